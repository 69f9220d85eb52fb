"""A shortcut through headers: the same answer as the long way, or none."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from zoo.readers import _quick as quick
from zoo.readers import probe

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)


def saved(form: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


PLAIN = [
    saved("PNG"),
    saved("PNG", PIXELS[..., 0], dpi=(72, 72)),
    saved("PNG", PIXELS[..., 0].astype(np.uint16) * 200),
    saved("JPEG", dpi=(300, 300), comment=b"a comment"),
    saved("JPEG", PIXELS[..., 0], progressive=True),
    saved("JPEG", subsampling=0, optimize=True, restart_marker_rows=1),
]


@pytest.mark.parametrize("data", PLAIN)
def test_plain_files_take_the_shortcut(data: bytes) -> None:
    """Without it a million files take minutes."""
    assert quick.probe(data) == probe(data)


def test_real_files_get_the_same_answer(photos: Path, scenes: Path, tabled: Path, leaky: Path) -> None:
    files = [path for folder in (photos, scenes, tabled, leaky) for path in folder.rglob("*.*")]
    data = [path.read_bytes() for path in files if path.suffix in {".png", ".jpg", ".jpeg"}]
    answers = [quick.probe(one) for one in data]
    assert sum(answer is not None for answer in answers) > 0.9 * len(data)
    assert all(answer in (None, probe(one)) for one, answer in zip(data, answers, strict=True))


def test_what_is_not_plain_goes_the_long_way() -> None:
    text = PngInfo()
    text.add_text("Author", "x")
    turned = Image.Exif()
    turned[0x0112] = 6
    special = [
        saved("PNG", pnginfo=text),
        saved("JPEG", exif=turned),
        saved("PNG", exif=turned),
        saved("PNG", np.dstack([PIXELS, PIXELS[..., :1]])),
        saved("GIF"),
        saved("PNG", PIXELS[..., 0], transparency=3),
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
    ]
    cmyk = io.BytesIO()
    Image.new("CMYK", (4, 4)).save(cmyk, "JPEG")
    animated = io.BytesIO()
    Image.new("RGB", (4, 4)).save(animated, "PNG", save_all=True, append_images=[Image.new("RGB", (4, 4), "red")])
    assert [quick.probe(data) for data in (*special, cmyk.getvalue(), animated.getvalue())] == [None] * 11


@settings(max_examples=400)
@given(
    data=st.sampled_from(PLAIN),
    place=st.floats(0, 0.999),
    new=st.binary(max_size=3),
    gone=st.integers(0, 4),
    end=st.none() | st.integers(0, 700),
)
def test_damaged_headers_are_never_answered_otherwise(
    data: bytes, place: float, new: bytes, gone: int, end: int | None
) -> None:
    at = int(place**2 * len(data))  # headers stand in front
    damaged = (data[:at] + new + data[at + gone :])[:end]
    answer = quick.probe(damaged)
    assert answer is None or answer == probe(damaged)
