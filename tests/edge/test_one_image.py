"""One image, asked for by several threads at once: each gets its own answer, the one it would get alone."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from edge_models import paint
from PIL import Image

from zoo.edge import Failure, Prediction, Runtime

if TYPE_CHECKING:
    from pathlib import Path

RED, GREEN = (255, 0, 0), (0, 255, 0)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_bytes_a_path_and_an_array_get_the_answer_of_predict(model_file: Path, tmp_path: Path) -> None:
    runtime = Runtime.open(model_file)
    path = paint(tmp_path / "x.png", GREEN)
    (expected,) = runtime.predict(path)
    assert runtime.answer(path) == expected
    assert runtime.answer(path.read_bytes(), name=str(path)) == expected
    pixels = np.asarray(Image.open(path))
    assert runtime.answer(pixels, name=str(path)) == expected
    assert runtime.answer(path.read_bytes()).image == "image"


def test_bytes_that_are_no_image_are_a_failure_that_names_no_file(model_file: Path) -> None:
    runtime = Runtime.open(model_file)
    for data in (b"", b"%PDF-1.7", png(np.zeros((4, 4, 3), np.uint8))[:40]):
        result = runtime.answer(data, name="upload.png")
        assert isinstance(result, Failure)
        assert result.image == "upload.png"
        assert "upload.png" not in result.error


def test_threads_that_share_a_runtime_get_their_own_answers(model_file: Path) -> None:
    runtime = Runtime.open(model_file, threads=1)
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (4 + i % 5, 7, 3), dtype=np.uint8) for i in range(60)]
    files = [png(image) for image in images]
    alone = [runtime.answer(file) for file in files]
    rows = [runtime.logits(image[None]) for image in images]
    assert all(isinstance(one, Prediction) for one in alone)
    assert len({one.row()["probability"] for one in alone}) > 30, "answers must differ to tell a mix-up"
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(runtime.answer, files)) == alone
            together = list(pool.map(lambda image: runtime.logits(image[None]), images))
            assert all(np.array_equal(one, other) for one, other in zip(together, rows, strict=True))
