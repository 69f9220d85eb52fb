"""Drawn golden images: nobody's, near the decision, and as good as real ones at telling a wrong deployment."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from golden_cases import CASES, Network, photographs, wrong_deployments
from PIL import Image

from zoo.artefact import draw_golden, is_clear, look_at, look_of
from zoo.artefact._golden import GOLDEN_SIDE
from zoo.preprocess import check_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = 1e-3


@cache
def drawn(name: str, task: Any = "multiclass") -> tuple[Network, list[NDArray[Any]], list[NDArray[Any]]]:
    """A network, 32 images of a user, and 32 that were drawn for them."""
    network = CASES[name]
    own = photographs(network)
    look = look_at(own, network.manifest)
    return network, own, draw_golden(look, network.logits, count=32, tolerance=TOLERANCE, task=task)


@pytest.mark.parametrize("name", CASES)
def test_they_are_of_the_kind_that_the_file_takes_and_pass_every_stage(name: str) -> None:
    network, own, golden = drawn(name)
    spec = network.manifest.preprocess
    assert len(golden) == 32
    assert {(image.dtype, image.shape[2]) for image in golden} == {(own[0].dtype, own[0].shape[2])}
    assert {image.shape for image in own} & {image.shape for image in golden}
    heights = {image.shape[0] for image in golden}
    assert min(heights) < spec.size[0] < max(heights), "one is enlarged, one is reduced"
    for image in golden:
        check_range(image, spec)
    low, high = (np.array([edge(image.min(), image.max()) for image in own]) for edge in (min, max))
    inside = [image for image in golden if image.min() >= low.min() and image.max() <= high.max()]
    assert len(inside) == 32


@pytest.mark.parametrize("name", CASES)
def test_they_lie_nearer_to_the_decision_than_images_do_and_no_rounding_changes_their_label(name: str) -> None:
    network, own, golden = drawn(name)
    answers, before = ([network.logits(image[None])[0] for image in images] for images in (golden, own))
    assert all(is_clear(logits, TOLERANCE, "multiclass") for logits in answers)
    ours, theirs = (
        np.median([np.diff(np.sort(logits)[-2:])[0] for logits in several]) for several in (answers, before)
    )
    assert ours < 0.5 * theirs
    assert len({int(logits.argmax()) for logits in answers}) >= 3


def test_of_several_labels_one_is_near_half_and_both_sides_are_there() -> None:
    network, _, golden = drawn("photographs", task="multilabel")
    answers = np.array([network.logits(image[None])[0] for image in golden])
    nearest = np.abs(answers).min(axis=1)
    assert (nearest > TOLERANCE).all()
    assert np.median(nearest) < 0.2 * np.median(np.abs(answers))
    given = answers > 0
    assert (given.any(axis=0) & ~given.all(axis=0)).sum() >= 3


def test_no_pixel_of_an_image_is_in_them() -> None:
    """Nine pixels of a photograph are found nowhere else; so a piece of one would be found here."""
    network, own, golden = drawn("photographs")

    def pieces(image: NDArray[Any]) -> set[bytes]:
        windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(0, 1)).reshape(-1, 27)
        rough = windows[np.ptp(windows, axis=1) > 24]  # a piece of sky is of one colour, as a drawn shape may be
        return {piece.tobytes() for piece in rough}

    theirs = set().union(*map(pieces, own))
    assert len(theirs) > 10_000
    assert not theirs & set().union(*map(pieces, golden))
    assert network.manifest.input.dtype == "uint8"


def test_the_same_file_and_images_give_the_same_pictures() -> None:
    network, own, first = drawn("deep")
    look = look_at(own, network.manifest)
    second = draw_golden(look, network.logits, count=32, tolerance=TOLERANCE, task="multiclass")
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert len({(image.shape, image.tobytes()) for image in first}) == 32, "a picture twice proves nothing more"


def test_without_images_they_follow_the_preprocessing() -> None:
    for name, network in CASES.items():
        look = look_of(network.manifest)
        golden = draw_golden(look, network.logits, count=32, tolerance=TOLERANCE, task="multiclass")
        for image in golden:
            check_range(image, network.manifest.preprocess)
            assert image.dtype == network.manifest.input.dtype, name
        assert len({int(network.logits(image[None]).argmax()) for image in golden}) >= 3, name


def test_padding_is_drawn_too() -> None:
    network, _, golden = drawn("padded")
    assert network.manifest.preprocess.intensity.padding == ((-2000.0, -2000.0),)  # type: ignore[union-attr]
    shares = [float((image == -2000).mean()) for image in golden]
    assert 0 < np.mean([share > 0 for share in shares]) < 1
    assert max(shares) < 0.5


def test_gray_data_are_drawn_gray_and_sometimes_in_colour_which_the_file_converts() -> None:
    network = CASES["photographs"]
    own = [np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in photographs(network)]
    golden = draw_golden(
        look_at(own, network.manifest), network.logits, count=32, tolerance=TOLERANCE, task="multiclass"
    )
    gray = [bool((image == image[:, :, :1]).all()) for image in golden]
    assert 0.5 < np.mean(gray) < 1


def test_large_images_stand_for_themselves_by_smaller_ones_of_their_shape() -> None:
    network = CASES["photographs"]
    large = np.zeros((3000, 1500, 3), np.uint8)
    large[::7] = 255
    look = look_at([large], network.manifest)
    assert look.sizes[0] == (GOLDEN_SIDE, GOLDEN_SIDE // 2)
    assert max(max(size) for size in look.sizes) == GOLDEN_SIDE


def test_images_of_one_value_or_of_padding_alone_leave_the_levels_to_the_preprocessing() -> None:
    network = CASES["padded"]
    for value in (5.0, -2000.0):
        flat = np.full((30, 30, 1), value, np.float32)
        look = look_at([flat], network.manifest)
        assert dataclasses.replace(look, sizes=()) == dataclasses.replace(look_of(network.manifest), sizes=())


@pytest.mark.parametrize("name", CASES)
def test_they_tell_every_wrong_deployment_that_real_images_tell(name: str) -> None:
    """Each fault is a way in which deployments go wrong; an image tells it where a logit leaves the tolerance."""
    network, own, golden = drawn(name)
    told = {}
    for fault, wrong in wrong_deployments(network).items():
        counts = []
        for images in (own, golden):
            pairs = [(network.logits(image[None])[0], wrong(image[None])[0]) for image in images]
            off = [np.abs(bad - good) / np.maximum(1, np.abs(good)) for good, bad in pairs]
            counts.append(sum(float(one.max()) > TOLERANCE for one in off))
        told[fault] = counts
    assert len(told) >= 5
    for fault, (by_own, by_golden) in told.items():
        assert by_golden >= 8, f"{fault}: {by_golden} of 32, of real ones {by_own}"


@pytest.mark.parametrize("offset", [0.0, 4.0])
def test_with_a_wide_tolerance_and_many_labels_no_label_is_left_open(offset: float) -> None:
    """One of 14 findings lies near its threshold in most pictures, so another processor was refused for it."""
    network = CASES["photographs"]
    mixing = np.random.default_rng(2).normal(0, 1, (6, 14)).astype(np.float32)

    def predict(batch: NDArray[Any]) -> NDArray[Any]:
        return network.logits(batch) @ mixing - np.float32(offset)

    look = look_at(photographs(network), network.manifest)
    golden = draw_golden(look, predict, count=32, tolerance=0.4, task="multilabel")
    answers = [predict(image[None])[0] for image in golden]
    assert len(golden) == len({image.tobytes() for image in golden}) == 32
    assert all(is_clear(logits, 0.4, "multilabel") for logits in answers)
