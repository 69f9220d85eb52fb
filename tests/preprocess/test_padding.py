"""Padding that percentiles leave out (PixelPaddingValue): numpy, training and exported file do the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
from graphs import Graph

from zoo.learn._batches import standardize, to_unit
from zoo.preprocess import apply, normalize_batch, resize_image
from zoo.spec import Gaussian, Median, Percentile, PreprocessSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.spec import Intensity

PADDING = (-2000.0, -2000.0)
RANDOM = np.random.default_rng(5)


def spec_of(channels: Literal["rgb", "gray"] = "gray", *, intensity: Intensity, **fields: Any) -> PreprocessSpec:
    """Mean 0 and std 1: what comes out is the intensity's own [0, 1]."""
    n = 3 if channels == "rgb" else 1
    return PreprocessSpec(channels=channels, mean=(0.0,) * n, std=(1.0,) * n, intensity=intensity, **fields)


def scan_of(height: int, width: int, *, value: float = -2000, share: float = 0.5) -> NDArray[np.float32]:
    """(height, width, 1): tissue from 0 to 80 HU, with padding to the left as a field of view leaves it."""
    tissue = RANDOM.uniform(0, 80, (height, width, 1)).astype(np.float32)
    tissue.reshape(-1)[[0, -1]] = 0, 80
    tissue[:, : int(width * share)] = value
    return tissue


def test_tissue_beside_padding_fills_the_range() -> None:
    """Counted as a value, padding of -2000 would push 0 to 80 HU into 0.9615 to 1."""
    image = scan_of(64, 64)
    image[0, 40] = 0
    spec = spec_of(size=(64, 64), intensity=Percentile(padding=(PADDING,)))
    made = apply(image, spec)[0]
    assert (made[:, :32] == 0).all()
    np.testing.assert_allclose(made[:, 32:], image[:, 32:, 0] / 80, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_percentiles_are_those_of_the_rest(share: float) -> None:
    """However much of the picture is padding, the ends are those of the picture without it."""
    image = scan_of(40, 40, share=share)
    tissue = image[image > -1000]
    low, high = np.percentile(tissue, [2, 95])
    made = apply(image, spec_of(size=(40, 40), intensity=Percentile(low=2, high=95, padding=(PADDING,))))
    expected = np.clip((tissue - low) / (high - low), 0, 1)
    np.testing.assert_allclose(made[0][image[:, :, 0] > -1000], expected, atol=1e-5)


@pytest.mark.parametrize("denoise", [None, Median(k=3), Gaussian(sigma=1.3)])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("size", [(24, 24), (100, 90)])
def test_no_filter_mixes_padding_into_its_neighbours(
    resize: Literal["stretch", "crop", "letterbox"], size: tuple[int, int], denoise: Median | Gaussian | None
) -> None:
    """The pixel beside the edge would else be some -700 HU, and the smallest value of the picture."""
    image = scan_of(64, 50)
    spec = spec_of(size=size, resize=resize, denoise=denoise, intensity=Percentile(padding=(PADDING,)))
    resized = resize_image(image, spec)
    assert (resized[resized != -2000] > -30).all()  # a bicubic filter overshoots by a little
    assert (resized == -2000).any()


@pytest.mark.parametrize("channels", ["rgb", "gray"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("denoise", [None, Median(k=3), Gaussian()])
@pytest.mark.parametrize("portable", [False, True])
def test_numpy_training_and_file_agree(
    channels: Literal["rgb", "gray"],
    resize: Literal["stretch", "crop", "letterbox"],
    interpolation: Literal["bicubic", "bilinear"],
    denoise: Median | Gaussian | None,
    portable: bool,
) -> None:
    intensity = Percentile(low=1, high=98.5, padding=(PADDING, (3000.0, 3095.0)))
    spec = spec_of(
        channels, size=(24, 18), resize=resize, interpolation=interpolation, denoise=denoise, intensity=intensity
    )
    graph = Graph(spec, "float32", portable=portable)
    for height, width in [(24, 18), (1, 1), (1, 9), (50, 41), (48, 36), (9, 7), (101, 30)]:
        image = scan_of(height, width, share=RANDOM.uniform(0, 1))
        image[RANDOM.uniform(size=image.shape) < 0.1] = RANDOM.choice([3000, 3050.5, 3095])
        resized, made = graph(image)
        expected = resize_image(image, spec)
        np.testing.assert_array_equal(resized == -2000, expected == -2000)
        assert np.abs(resized - expected).max() <= 0.05  # of 3000: float32 sums differ
        np.testing.assert_allclose(made, normalize_batch(resized[None], spec)[0], atol=1e-5)
        trained = standardize(to_unit(torch.from_numpy(expected[None]), spec), spec)
        np.testing.assert_allclose(trained.numpy(), normalize_batch(expected[None], spec), atol=1e-5)


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("portable", [False, True])
def test_each_image_of_a_batch_has_its_own_padding(
    resize: Literal["stretch", "crop", "letterbox"], portable: bool
) -> None:
    """One without padding, one half of it, one of nothing else; of that every pixel is 0."""
    spec = spec_of(size=(20, 14), resize=resize, intensity=Percentile(low=2, high=97, padding=((-2000, -1999),)))
    images = np.stack([scan_of(33, 18, share=share) for share in (0, 0.5, 1)])
    images[2, ::2] = -1999
    graph = Graph(spec, "float32", portable=portable)
    (made,) = graph.session.run(["preprocessed"], {"image": images})
    resized = np.stack([resize_image(image, spec) for image in images])
    trained = to_unit(torch.from_numpy(resized), spec).numpy()
    for index, image in enumerate(images):
        np.testing.assert_allclose(made[index], apply(image, spec), atol=1e-4)
        np.testing.assert_allclose(trained[index], made[index], atol=1e-4)
    assert not made[2].any()
    assert made[0].min() == 0
    assert made[0].max() == 1


def test_padding_above_the_picture_becomes_black() -> None:
    """MONOCHROME1 mirrors it to the bright end."""
    image = scan_of(16, 16, value=4095)
    made = apply(image, spec_of(size=(16, 16), intensity=Percentile(padding=((4095, 4095),))))[0]
    assert not made[:, :8].any()
    assert made.max() == 1


def test_an_image_that_holds_no_padding_is_prepared_as_before() -> None:
    image = RANDOM.normal(size=(31, 44, 1)).astype(np.float32)
    plain, told = (
        apply(image, spec_of(size=(16, 16), intensity=Percentile(low=1, high=99, padding=padding)))
        for padding in ((), (PADDING,))
    )
    np.testing.assert_array_equal(plain, told)


def test_the_callers_pixels_stay_as_they_are() -> None:
    image = scan_of(8, 8)
    image.flags.writeable = False
    resize_image(image, spec_of(size=(8, 8), resize="stretch", intensity=Percentile(padding=(PADDING,))))


@pytest.mark.parametrize("padding", [((3, 2),), ((float("nan"), 1),), ((0, float("inf")),)])
def test_a_padding_that_is_no_range_is_refused(padding: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="padding"):
        Percentile(padding=padding)
