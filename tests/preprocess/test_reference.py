"""`zoo.preprocess` against what others say is right: Pillow, SciPy, DICOM's formula, arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from refusals import refused

from zoo.errors import ImageError
from zoo.preprocess import apply, check_range, crop_size, gaussian_kernel, normalize_batch, resize_image
from zoo.spec import Gaussian, Intensity, Median, Percentile, PreprocessSpec, Scale, Voi, Window

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
GRAY = {"channels": "gray", "mean": (0.0,), "std": (1.0,)}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(31, 17), (64, 48), (150, 90)])
def test_stretch_is_pillows_own_resize(interpolation: str, size: tuple[int, int]) -> None:
    """Else 'resized as Pillow does' would be untrue. Pillow rounds to uint8 after each pass, we never do."""
    image = noise(80, 60) // 2 + 64  # no overshoot: Pillow would cut it between its passes
    spec = PreprocessSpec(size=size, resize="stretch", interpolation=interpolation, mean=(0.0,) * 3, std=(1.0,) * 3)
    expected = np.asarray(Image.fromarray(image).resize((size[1], size[0]), FILTERS[interpolation]), np.float32)
    assert (
        np.abs(resize_image(image, spec) - expected).max() <= 1.3
    )  # half a level for each rounding, and the filter's gain


def test_overshoot_of_an_eight_bit_picture_is_cut() -> None:
    """A bicubic filter makes values below 0 and above 255 at edges, which no 8-bit picture has."""
    image = np.where(np.arange(60) % 20 < 10, 0, 255).astype(np.uint8)[None, :, None].repeat(80, 0).repeat(3, 2)
    made = resize_image(image, PreprocessSpec(size=(150, 90), resize="stretch", mean=(0.0,) * 3, std=(1.0,) * 3))
    assert (made.min(), made.max()) == (0, 255)


def test_sixteen_bits_are_not_cut_to_eight() -> None:
    """A 12-bit X-ray must keep its 4096 levels."""
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64, 1)
    spec = PreprocessSpec(size=(64, 64), intensity=Scale(maximum=4095), **GRAY)
    assert len(np.unique(apply(ramp, spec))) == 4096
    assert np.allclose(apply(ramp, spec)[0], ramp[:, :, 0] / 4095, atol=1e-7)


def test_gray_is_pillows_luma() -> None:
    image = noise(40, 50)
    spec = PreprocessSpec(size=(40, 50), **GRAY)
    assert np.array_equal(resize_image(image, spec)[:, :, 0], np.asarray(Image.fromarray(image).convert("L")))


def test_gray_of_replicated_gray_is_itself() -> None:
    """Else a gray picture stored as RGB would be answered differently from the same stored as gray."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    spec = PreprocessSpec(size=(16, 16), **GRAY)
    assert np.array_equal(resize_image(levels, spec)[:, :, 0], levels[:, :, 0])


@pytest.mark.parametrize("k", [3, 5])
def test_median_is_pillows_median_inside(k: int) -> None:
    image = noise(30, 40)
    spec = PreprocessSpec(size=(30, 40), denoise=Median(k=k), mean=(0.0,) * 3, std=(1.0,) * 3)
    expected = np.asarray(Image.fromarray(image).filter(ImageFilter.MedianFilter(k)))
    r = k // 2
    assert np.array_equal(resize_image(image, spec)[r:-r, r:-r], expected[r:-r, r:-r])


def test_gaussian_is_the_convolution_scipy_does() -> None:
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).normal(size=(30, 40, 1)).astype(np.float32)
    spec = PreprocessSpec(size=(30, 40), denoise=Gaussian(sigma=1.5), intensity=Scale(maximum=1), **GRAY)
    radius = len(gaussian_kernel(1.5)) // 2
    expected = gaussian_filter(image[:, :, 0].astype(float), 1.5, mode="nearest", radius=radius)
    assert np.allclose(resize_image(image, spec)[:, :, 0], expected, atol=1e-5)


def test_window_is_dicoms_linear_formula() -> None:
    """PS3.3 C.11.2.1.2.1, word for word: below, above, and the line between."""
    center, width = 40.0, 400.0
    x = np.float32([-1000, -160, -159.5, 0, 39.5, 40, 239, 239.5, 240, 3000])
    expected = np.where(
        x <= center - 0.5 - (width - 1) / 2,
        0.0,
        np.where(x > center - 0.5 + (width - 1) / 2, 1.0, (x - (center - 0.5)) / (width - 1) + 0.5),
    )
    spec = PreprocessSpec(size=(1, 10), intensity=Window(center=center, width=width), **GRAY)
    assert np.allclose(normalize_batch(x.reshape(1, 1, 10, 1), spec)[0, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("intensity", [Scale(maximum=4), Window(center=2, width=3), Percentile(), Voi()])
def test_the_callers_images_are_not_changed(intensity: Intensity) -> None:
    """Images are decoded once and normalised each epoch; a second division would go unseen."""
    images = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    images.flags.writeable = False
    spec = PreprocessSpec(size=(2, 2), intensity=intensity, **GRAY)
    first = normalize_batch(images, spec)
    assert np.array_equal(first, normalize_batch(images, spec))
    assert not np.shares_memory(first, images)


def test_values_of_a_files_own_window_are_taken_as_they_are_and_others_refused() -> None:
    spec = PreprocessSpec(size=(2, 2), intensity=Voi(), **GRAY)
    shown = np.array([0, 0.25, 0.5, 1], np.float32).reshape(2, 2, 1)
    check_range(shown, spec)
    assert np.array_equal(normalize_batch(shown[None], spec)[0, 0], shown[..., 0])
    for wrong in (shown * 2, shown - 1, np.zeros((2, 2, 3), np.uint8)):
        with refused("image-range", ImageError):
            check_range(wrong, spec)


def test_minimum_to_maximum_and_constant_images() -> None:
    spec = PreprocessSpec(size=(1, 3), intensity=Percentile(), **GRAY)
    assert normalize_batch(np.float32([[[[2], [4], [6]]]]), spec).ravel().tolist() == [0, 0.5, 1]
    assert normalize_batch(np.full((1, 1, 3, 1), 7, np.float32), spec).ravel().tolist() == [0, 0, 0]


def test_each_image_of_a_batch_has_its_own_percentiles() -> None:
    """Else an answer would depend on which other images were sent with it."""
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32) * [
        [[[1]]],
        [[[9]]],
        [[[40]]],
    ]
    spec = PreprocessSpec(size=(8, 8), intensity=Percentile(low=2, high=98), **GRAY)
    together = normalize_batch(images, spec)
    assert np.array_equal(together, np.concatenate([normalize_batch(image[None], spec) for image in images]))


def test_mean_and_std_are_of_the_unit_scale() -> None:
    image = np.full((2, 2, 3), (255, 0, 51), np.uint8)
    spec = PreprocessSpec(size=(2, 2), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    assert np.allclose(apply(image, spec)[:, 0, 0], expected, atol=1e-6)


def test_letterbox_pads_with_the_darkest_value() -> None:
    """In Hounsfield units 0 is water, not black."""
    scan = np.full((10, 20, 1), 300, np.float32)
    scan[4, 4] = -1000
    spec = PreprocessSpec(size=(20, 20), resize="letterbox", intensity=Scale(maximum=1), **GRAY)
    made = resize_image(scan, spec)
    assert made.shape == (20, 20, 1)
    assert (made[:5] == -1000).all()
    assert (made[15:] == -1000).all()
    assert np.array_equal(made[5:15], scan)


def test_values_above_the_declared_range_are_refused() -> None:
    """Clipped in silence they would be wrong answers."""
    spec = PreprocessSpec(size=(2, 2), intensity=Scale(maximum=4095), **GRAY)
    check_range(np.full((2, 2, 1), 4095, np.uint16), spec)
    with pytest.raises(ImageError, match=r"4096.*4095.*preprocess\.intensity\.maximum"):
        check_range(np.full((2, 2, 1), 4096, np.uint16), spec)


def test_values_below_0_are_no_part_of_a_declared_range() -> None:
    """Air in Hounsfield units would reach the network as -0.25, where training shows 0 to 1."""
    spec = PreprocessSpec(size=(2, 2), intensity=Scale(maximum=4095), **GRAY)
    check_range(np.zeros((2, 2, 1), np.float32), spec)
    with refused("image-range", ImageError, low=-1024, high=3000, most=4095):
        check_range(np.array([-1024, 0, 1, 3000], np.float32).reshape(2, 2, 1), spec)
    check_range(np.full((2, 2, 1), -1024, np.float32), PreprocessSpec(size=(2, 2), intensity=Percentile(), **GRAY))


def test_the_largest_value_of_a_range_is_in_it() -> None:
    spec = PreprocessSpec(size=(2, 2), intensity=Scale(maximum=0.3), **GRAY)
    check_range(np.full((2, 2, 1), 0.3, np.float32), spec)  # float32 holds a little more


@pytest.mark.parametrize("intensity", [Scale(maximum=4), Window(center=2, width=3), Percentile(), Voi()])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(intensity: Intensity, value: float) -> None:
    image = np.zeros((2, 2, 1), np.float32)
    image[1, 0] = value
    with refused("image-not-finite", ImageError):
        check_range(image, PreprocessSpec(size=(2, 2), intensity=intensity, **GRAY))


sides = st.integers(1, 5000)
targets = st.tuples(st.integers(1, 512), st.integers(1, 512))


@given(height=sides, width=sides, size=targets)
def test_crop_covers_the_target_and_one_side_is_exact(height: int, width: int, size: tuple[int, int]) -> None:
    found = crop_size(height, width, size, cover=True)
    assert found[0] >= size[0]
    assert found[1] >= size[1]
    assert found[0] == size[0] or found[1] == size[1]


@given(height=sides, width=sides, size=targets)
def test_letterbox_fits_the_target_and_keeps_a_pixel(height: int, width: int, size: tuple[int, int]) -> None:
    found = crop_size(height, width, size, cover=False)
    assert 1 <= found[0] <= size[0]
    assert 1 <= found[1] <= size[1]
    assert found[0] == size[0] or found[1] == size[1]


@given(height=sides, width=sides, size=targets, cover=st.booleans())
def test_the_aspect_ratio_is_kept_to_half_a_pixel(height: int, width: int, size: tuple[int, int], cover: bool) -> None:
    """A cell must stay round: the free side is the exact one, rounded half up, unless a bound holds it."""
    from fractions import Fraction

    made_h, made_w = crop_size(height, width, size, cover=cover)
    ratio = max if cover else min
    scale = ratio(Fraction(size[0], height), Fraction(size[1], width))
    for made, side in ((made_h, height), (made_w, width)):
        assert abs(made - side * scale) <= Fraction(1, 2) or made == 1
