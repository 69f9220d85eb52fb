"""Corrupted copies: the same ones each time, stronger with severity, of every pixel type, and recognisable."""

from __future__ import annotations

import numpy as np
import pytest
from pictures import photograph
from refusals import refused

from zoo.errors import UsageError
from zoo.evaluation import CORRUPTIONS, SEVERITIES, corrupt, corruptions_for

COLOUR = photograph("china")
GRAY = np.repeat(COLOUR[:, :, 1:2], 3, axis=2)
DEEP = (COLOUR[:, :, 1:2].astype(np.uint16) * 16) + 100
FLOATS = COLOUR[:, :, 1:2].astype(np.float32) * 8 - 1000
STACK = COLOUR[:64, :64, [0, 1, 2, 0, 1]]
IMAGES = {"colour": COLOUR, "gray": GRAY, "uint16": DEEP, "float32": FLOATS, "stack": STACK}


def test_ten_kinds_suit_every_image_and_colour_suits_colour_images() -> None:
    assert len(corruptions_for(GRAY)) == len(corruptions_for(DEEP)) == 10
    assert set(corruptions_for(COLOUR)) - set(corruptions_for(GRAY)) == {"colour"}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_copy_has_the_form_and_range_of_its_image_and_is_the_same_each_time(kind: str, name: str) -> None:
    image = IMAGES[name]
    if kind == "colour" and name in {"uint16", "float32", "stack"}:
        with refused("option-value", UsageError, value=["colour"]):
            corrupt(image, kind, 3)
        return
    before = image.copy()
    made = corrupt(image, kind, 3, seed=(7, 1))
    assert (made.shape, made.dtype) == (image.shape, image.dtype)
    assert np.array_equal(image, before)
    assert np.array_equal(made, corrupt(image, kind, 3, seed=(7, 1)))
    if image.dtype != np.uint8:
        assert image.min() <= made.min()
        assert made.max() <= image.max()
    if name == "gray" and kind != "colour":
        assert (made == made[:, :, :1]).all(), "a gray picture stays gray"


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_severity_grows_from_visible_to_recognisable(kind: str) -> None:
    image = COLOUR.astype(float)
    copies = [corrupt(COLOUR, kind, severity, seed=2).astype(float) for severity in SEVERITIES]
    away = [np.abs(copy - image).mean() for copy in copies]
    assert away == sorted(away)
    assert away[0] > 0.05, "of 255 levels"
    if kind != "rotation":  # nothing lies where it lay
        smooth = [one[:296:8, :448:8].ravel() for one in (image, copies[-1])]
        assert np.corrcoef(smooth)[0, 1] > 0.4


@pytest.mark.parametrize("side", [8, 28, 64])
def test_small_pictures_are_corrupted_too(side: int) -> None:
    image = COLOUR[100 : 100 + side, 200 : 200 + side]
    for kind in CORRUPTIONS:
        assert not np.array_equal(corrupt(image, kind, 5, seed=1), image), kind


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 40)])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_picture_smaller_than_a_mark_is_an_image_too(kind: str, shape: tuple[int, int]) -> None:
    image = COLOUR[100 : 100 + shape[0], 200 : 200 + shape[1]]
    for severity in SEVERITIES:
        assert corrupt(image, kind, severity, seed=1).shape == image.shape


def test_a_value_far_outside_the_others_stays() -> None:
    image = FLOATS.copy()
    image[0, 0] = -32768
    assert corrupt(image, "noise", 5)[0, 0, 0] == -32768


def test_an_image_of_one_value_is_no_obstacle() -> None:
    flat = np.full((16, 16, 1), 7, np.uint16)
    for kind in corruptions_for(flat):
        assert (corrupt(flat, kind, 3) == 7).all()


def test_unknown_kinds_and_severities_are_refused() -> None:
    with refused("option-value", UsageError, option="--corruptions", value=["fog"]):
        corrupt(COLOUR, "fog", 1)
    with refused("option-value", UsageError, option="--severities", value=[6]):
        corrupt(COLOUR, "noise", 6)
