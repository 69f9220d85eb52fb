"""Running a model over a set: order, batches, memory and models that misbehave."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refused

from zoo.errors import DataError, ImageError, ModelError
from zoo.evaluation import predict_set


@dataclass
class Set:
    arrays: list

    @property
    def ids(self):
        return [f"{i}.png" for i in range(len(self.arrays))]

    def __len__(self):
        return len(self.arrays)

    def read(self, i):
        if self.arrays[i] is None:
            raise ImageError("3.png", "cut short; expected a whole file, copy it again")
        return SimpleNamespace(pixels=self.arrays[i])


def images(*sides):
    return Set([np.full((side, side, 3), i, dtype=np.uint8) for i, side in enumerate(sides)])


class Model:
    """Answers with the pixel value, so that the order can be seen."""

    def __init__(self):
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch.shape)
        value = batch[:, 0, 0, 0].astype(np.float64)
        return np.stack([value, -value], axis=1)


def test_logits_come_in_the_order_of_the_images_whatever_their_sizes():
    logits = predict_set(Model(), images(8, 8, 9, 8, 8, 8, 7), batch_size=2)
    assert logits.dtype == np.float32
    assert logits[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_equal_neighbours_share_a_batch_and_none_is_larger_than_asked():
    model = Model()
    predict_set(model, images(8, 8, 8, 9, 8), batch_size=2)
    assert [shape[0] for shape in model.batches] == [2, 1, 1, 1]
    assert {shape[1:] for shape in model.batches} == {(8, 8, 3), (9, 9, 3)}


def test_pixel_types_are_not_mixed_in_a_batch():
    """Stacking uint8 with uint16 would silently turn the 8-bit image into a 16-bit one."""
    model = Model()
    predict_set(model, Set([np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4, 1), np.uint16)]))
    assert len(model.batches) == 2


def test_progress_is_told_after_every_batch():
    told = []
    predict_set(Model(), images(8, 8, 8), batch_size=2, progress=lambda done, n: told.append((done, n)))
    assert told == [(2, 3), (3, 3)]


def test_an_empty_set_is_refused():
    with refused("split-empty", DataError):
        predict_set(Model(), Set([]))


def test_an_unreadable_image_stops_and_is_never_replaced():
    with pytest.raises(ImageError, match=r"3\.png"):
        predict_set(Model(), Set([np.zeros((2, 2, 3), np.uint8), None]))


@pytest.mark.parametrize(
    "answer",
    [lambda b: np.zeros(len(b)), lambda b: np.zeros((len(b) + 1, 2)), lambda b: np.zeros((len(b), len(b)))],
)
def test_answers_of_a_wrong_shape_are_refused(answer):
    with refused("model-answer-shape", ModelError):
        predict_set(answer, images(8, 8, 8), batch_size=2)


def test_a_nan_names_the_image_it_came_from():
    def sick(batch):
        logits = np.zeros((len(batch), 2))
        logits[batch[:, 0, 0, 0] == 2, 1] = np.nan
        return logits

    with refused("model-answer-not-finite", ModelError, image="2.png"):
        predict_set(sick, images(8, 8, 8, 8), batch_size=2)


def test_importing_evaluation_brings_no_heavy_library():
    """The training loop and every verb that names `Predict` would pay for it."""
    code = (
        "import sys, zoo.evaluation.comparison; "
        "print({'scipy', 'sklearn', 'matplotlib', 'torch', 'onnxruntime', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
