"""What holds a file in another format to its golden answers, and the steps around a network that starts from torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from refusals import refused

import zoo.preprocess
from zoo.artefact.formats._network import CalibratedNetwork
from zoo.artefact.formats._proof import prepare, replay_golden
from zoo.edge._replay import Golden
from zoo.errors import GateError
from zoo.preprocess import normalize_batch
from zoo.spec import InputSpec, Percentile, PreprocessSpec, Scale, Voi, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from zoo.spec import Intensity, Task

INTENSITIES: list[Intensity] = [Scale(maximum=1000), Voi(), Window(center=300, width=500)]
STACK = Window(center=(100.0, 400.0), width=(50.0, 900.0))


@pytest.mark.parametrize("intensity", [*INTENSITIES, STACK], ids=["scale", "voi", "window", "windows"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_steps_around_the_network_are_those_of_the_reference(intensity: Intensity, task: Task) -> None:
    import torch

    channels: Any = 2 if intensity is STACK else "gray"
    numbers = (0.3,) * (2 if channels == 2 else 1)
    spec = PreprocessSpec(size=(4, 5), channels=channels, intensity=intensity, mean=numbers, std=numbers)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20 * len(numbers), 3))
    shift = (0.5, -1.0, 2.0)
    whole = CalibratedNetwork(network, spec, stage="resized", temperature=1.7, task=task, shift=shift)
    low, high = (0, 1) if isinstance(intensity, Voi) else (-100, 900)
    pixels = np.random.default_rng(0).uniform(low, high, whole.shape).astype(np.float32)
    with torch.inference_mode():
        found = {name: one.numpy() for name, one in whole(torch.from_numpy(pixels)).items()}
        own = network(torch.from_numpy(normalize_batch(pixels, spec))).numpy() + np.float32(shift)
    assert found["logits"] == pytest.approx(own, abs=1e-5)
    scaled = own / 1.7
    expected = 1 / (1 + np.exp(-scaled)) if task == "multilabel" else softmax(scaled)
    assert found["probabilities"] == pytest.approx(expected, abs=1e-5)


def test_a_percentile_inside_the_network_is_never_passed_over() -> None:
    import torch

    spec = PreprocessSpec(size=(4, 4), channels="gray", intensity=Percentile(), mean=(0.0,), std=(1.0,))
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    whole = CalibratedNetwork(network, spec, stage="resized", temperature=1, task="multiclass")
    with pytest.raises(TypeError):
        whole(torch.zeros(whole.shape))


GRAY = PreprocessSpec(size=(2, 2), channels="gray", intensity=Scale(maximum=255), mean=(0.0,), std=(1.0,))
GIVEN = InputSpec(name="image", dtype="float32", channels=1, stage="resized")


def golden_set(logits: list[list[float]], novelty: list[float] | None = None) -> Golden:
    images = [np.full((3, 3, 3), at, np.uint8) for at in range(len(logits))]
    none = np.zeros((0, 2), np.float32)
    scores = np.asarray(novelty or [], np.float32)
    names = [f"image_{at:04d}" for at in range(len(logits))]
    return Golden(names, images, np.asarray(logits, np.float32), none, none, scores, 1e-3, None)


def judged(change: Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]], task: Task = "multiclass", **more: Any) -> Any:
    """Replay two images of a model whose answers are `change` of the golden ones."""
    golden = golden_set([[2.0, 1.0], [0.5, -0.5]], more.pop("novelty", None))
    rows: Iterator[NDArray[Any]] = iter(golden.logits)
    return replay_golden(
        lambda _: dict(change(next(rows)[None])),
        golden,
        what="it",
        runtime="a runtime",
        labels=("a", "b"),
        spec=GRAY,
        given=GIVEN,
        temperature=1.0,
        task=task,
        outputs=more.pop("outputs", ("probabilities", "logits")),
    )


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    return np.exp(logits) / np.exp(logits).sum()


def test_equal_answers_pass() -> None:
    proof = judged(lambda row: {"logits": row, "probabilities": softmax(row)})
    assert (proof.images, proof.flips) == (2, 0)
    assert proof.max_abs_logit == 0
    scored = judged(
        lambda row: {"logits": row, "probabilities": softmax(row), "novelty": np.float32([3])},
        outputs=("probabilities", "logits", "novelty"),
        novelty=[3, 3],
    )
    assert scored.max_abs_novelty == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {"logits": row + 0.01, "probabilities": softmax(row)},
        lambda row: {"logits": row, "probabilities": softmax(row / 1.1)},
        lambda row: {"logits": row, "probabilities": softmax(row / 1.001)},
        lambda row: {"logits": row * np.nan, "probabilities": softmax(row)},
        lambda row: {"logits": row, "probabilities": softmax(row) * np.nan},
        lambda row: {"logits": row[:, ::-1], "probabilities": softmax(row[:, ::-1])},
        lambda row: {"logits": row[:, :1], "probabilities": softmax(row)[:, :1]},
        lambda row: {"logits": row, "probabilities": 1 / 0},
        lambda row: {"scores": row, "probabilities": softmax(row)},
        lambda row: {"logits": row, "scores": softmax(row)},
    ],
    ids=[
        "logits",
        "temperature",
        "by a little",
        "nan",
        "nan probability",
        "labels",
        "shape",
        "crash",
        "no logits",
        "other names",
    ],
)
def test_any_other_answer_is_refused(change: Callable[[NDArray[Any]], Mapping[str, NDArray[Any]]]) -> None:
    with refused("format-mismatch", GateError, mismatches=2, images=2):
        judged(change)


def test_a_score_of_unlike_images_that_differs_is_refused() -> None:
    with refused("format-mismatch", GateError, mismatches=1):
        judged(
            lambda row: {"logits": row, "probabilities": softmax(row), "novelty": np.float32([3])},
            outputs=("probabilities", "logits", "novelty"),
            novelty=[3, 4],
        )


def test_a_file_without_the_score_that_it_is_to_give_is_refused() -> None:
    with refused("format-mismatch", GateError, mismatches=2):
        judged(
            lambda row: {"logits": row, "probabilities": softmax(row)},
            outputs=("probabilities", "logits", "novelty"),
            novelty=[3, 3],
        )


def test_what_the_client_does_is_done_by_the_reference() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    resized = prepare(image, GRAY, GIVEN)
    assert (resized.shape, resized.dtype) == ((1, 2, 2, 1), np.float32)
    tensor = prepare(image, GRAY, msgspec.structs.replace(GIVEN, stage="tensor"))
    assert tensor == pytest.approx(zoo.preprocess.apply(image, GRAY)[None])
    raw = prepare(image, GRAY, msgspec.structs.replace(GIVEN, stage="raw", dtype="uint8", channels=3))
    assert (raw[0] == image).all()
