"""One preprocessing, two executions: numpy and Pillow against the nodes of the exported file."""

from __future__ import annotations

import itertools
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from graphs import Graph
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import PHOTOGRAPHS, photograph, tiles

from zoo.preprocess import crop_size, normalize_batch, resize_image
from zoo.spec import Gaussian, Median, Percentile, PreprocessSpec, Scale, Voi, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.spec import Intensity

# Both sides sum the same float32 weights in another order. In levels of an 8-bit picture.
LEVEL = 0.005
INTENSITIES: dict[str, Intensity] = {
    "scale": Scale(maximum=255),
    "window": Window(center=100, width=120),
    "percentile": Percentile(low=1, high=99),
}
DENOISE = {"none": None, "median3": Median(k=3), "median5": Median(k=5), "gaussian": Gaussian(sigma=1.3)}


def spec_of(channels: str, **fields: Any) -> PreprocessSpec:
    n = 3 if channels == "rgb" else 1
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if n == 3 else ((0.45,), (0.225,))
    return PreprocessSpec(channels=channels, mean=mean, std=std, **fields)


def random_images(kind: str, count: int, seed: int, top: int = 65535) -> list[NDArray[Any]]:
    """Noise and smooth pictures from 1×1 to a few hundred pixels a side."""
    rng = np.random.default_rng(seed)
    sides = [(1, 1), (1, 7), (9, 1), (2, 3), *np.exp(rng.uniform(0, np.log(260), (count, 2))).astype(int)][:count]
    images = []
    for index, (height, width) in enumerate(sides):
        channels = 3 if kind == "uint8" else 1
        highest = 255 if kind == "uint8" else top
        image = rng.integers(0, highest + 1, (height, width, channels)).astype(np.float64)
        if index % 2:  # smooth, as most pictures are
            y, x = np.mgrid[:height, :width, :1][:2]
            image = (np.sin(y / 9 + index) * np.cos(x / 7) * 0.5 + 0.5) * highest + np.zeros((1, 1, channels))
        images.append(image.astype(kind) if kind != "float32" else (image - highest / 2).astype(np.float32))
    return images


def differences(graph: Graph, spec: PreprocessSpec, images: list[NDArray[Any]]) -> tuple[float, float]:
    """Largest difference in levels, and largest error of the arithmetic on equal pixels."""
    largest = arithmetic = 0.0
    for image in images:
        got, made = graph(image)
        expected = resize_image(image, spec)
        assert got.shape == expected.shape
        largest = max(largest, float(np.abs(got - expected).max()))
        exact = normalize_batch(got[None], spec)[0]
        arithmetic = max(arithmetic, float((np.abs(made - exact) / np.maximum(1, np.abs(exact))).max()))
    return largest, arithmetic


COMBINATIONS = list(
    itertools.product(["rgb", "gray"], ["stretch", "crop", "letterbox"], ["bicubic", "bilinear"], DENOISE, INTENSITIES)
)


@pytest.mark.parametrize(("channels", "resize", "interpolation", "denoise", "intensity"), COMBINATIONS)
def test_eight_bit_images_are_prepared_alike(
    channels: str, resize: str, interpolation: str, denoise: str, intensity: str
) -> None:
    """144 combinations, each on other images, some 860 in all."""
    spec = spec_of(
        channels,
        size=(24, 18),
        resize=resize,
        interpolation=interpolation,
        denoise=DENOISE[denoise],
        intensity=INTENSITIES[intensity],
    )
    seed = zlib.crc32(repr((channels, resize, interpolation, denoise, intensity)).encode())
    largest, arithmetic = differences(Graph(spec), spec, random_images("uint8", 6, seed))
    assert largest <= LEVEL
    assert arithmetic <= 1e-5


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_two_hundred_sizes(resize: str, interpolation: str) -> None:
    """What the parity gate and the documentation state, on small, large and lopsided pictures."""
    spec = spec_of("rgb", size=(32, 40), resize=resize, interpolation=interpolation)
    largest, arithmetic = differences(Graph(spec), spec, random_images("uint8", 200, 7))
    assert largest <= LEVEL
    assert arithmetic <= 1e-5


@pytest.mark.parametrize("ratio", [(5, 4), (3, 2), (9, 8), (2, 1), (3, 1), (6, 1), (4, 5), (2, 3)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_ratios_with_many_ties(interpolation: str, ratio: tuple[int, int]) -> None:
    """280 px scans on a 224 px network are an ordinary case; on uint8 exact halves would be rounded apart."""
    side = 64 * ratio[0] // ratio[1]
    spec = spec_of("gray", size=(64, 64), resize="stretch", interpolation=interpolation)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    assert differences(Graph(spec), spec, [image])[0] <= LEVEL


@pytest.mark.parametrize("kind", ["uint16", "float32"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("channels", ["rgb", "gray"])
@pytest.mark.parametrize("denoise", DENOISE)
def test_deep_images_are_prepared_alike(
    kind: Literal["uint16", "float32"], resize: str, channels: str, denoise: str
) -> None:
    """Within 3e-5 of the brightest value, sharp edges over the whole range included: float32 sums differ."""
    intensity = {
        "stretch": Scale(maximum=65535),
        "crop": Window(center=9000, width=30000),
        "letterbox": Percentile(),
    }
    for interpolation in ("bicubic", "bilinear"):
        spec = spec_of(
            channels,
            size=(24, 18),
            resize=resize,
            interpolation=interpolation,
            denoise=DENOISE[denoise],
            intensity=intensity[resize],
        )
        graph = Graph(spec, kind)
        for image in random_images(kind, 8, zlib.crc32(f"{kind}{resize}{channels}{denoise}".encode())):
            got, made = graph(image)
            expected = resize_image(image, spec)
            assert np.abs(got - expected).max() <= 3e-5 * max(1.0, float(np.abs(expected).max()))
            exact = normalize_batch(got[None], spec)[0]
            assert (np.abs(made - exact) / np.maximum(1, np.abs(exact))).max() <= 1e-5


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_real_photographs(interpolation: str) -> None:
    """Large pictures of other people's cameras, at the size networks take."""
    images = [photograph(name) for name in PHOTOGRAPHS] + [tile for name in PHOTOGRAPHS for tile in tiles(name, 256)]
    assert len(images) >= 4
    spec = spec_of("rgb", size=(224, 224), resize="crop", interpolation=interpolation)
    largest, arithmetic = differences(Graph(spec), spec, images)
    assert largest <= LEVEL
    assert arithmetic <= 1e-5


@cache
def sizing(resize: str, size: tuple[int, int]) -> Graph:
    return Graph(spec_of("gray", size=size, resize=resize))


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    resize=st.sampled_from(["crop", "letterbox"]),
    size=st.sampled_from([(7, 5), (8, 8), (5, 16)]),
)
@example(height=90, width=1, resize="crop", size=(8, 8))
@example(height=1, width=90, resize="letterbox", size=(8, 8))
@example(height=3, width=2, resize="crop", size=(5, 16))
@settings(max_examples=120, deadline=None)
def test_any_size_is_cut_and_padded_at_the_same_place(
    height: int, width: int, resize: str, size: tuple[int, int]
) -> None:
    """A crop one pixel further, or padding on the other side, is what rounding sizes differently does."""
    y, x = np.mgrid[:height, :width]
    image = np.clip(20 + 2 * y + x % 3, 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    got, _ = sizing(resize, size)(image)
    expected = resize_image(image, spec_of("gray", size=size, resize=resize))
    assert got.shape == (*size, 1)
    assert np.abs(got - expected).max() <= LEVEL, crop_size(height, width, size, cover=resize == "crop")


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_pictures_shown_by_their_own_window_are_prepared_alike(resize: str) -> None:
    spec = spec_of("gray", size=(24, 18), resize=resize, intensity=Voi())
    images = [(image - image.min()) / max(1, np.ptp(image)) for image in random_images("float32", 8, 5)]
    largest, arithmetic = differences(Graph(spec, "float32"), spec, images)
    assert largest <= 2e-6
    assert arithmetic <= 1e-6


@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_hounsfield_units_are_prepared_alike(resize: str) -> None:
    """Negative values and a dark border: 0 would be water, not air."""
    spec = spec_of("gray", size=(24, 18), resize=resize, intensity=Window(center=40, width=400))
    images = [image / 10 - 1000 for image in random_images("float32", 8, 6, top=40_000)]
    largest, arithmetic = differences(Graph(spec, "float32"), spec, images)
    assert largest <= 0.02
    assert arithmetic <= 1e-5


def test_a_batch_is_prepared_image_by_image() -> None:
    """Percentiles and the padding's darkest value belong to each image, not to the batch."""
    spec = spec_of("gray", size=(12, 12), resize="letterbox", intensity=Percentile(low=1, high=99))
    graph = Graph(spec, "float32")
    rng = np.random.default_rng(3)
    images = rng.normal(size=(3, 9, 14, 1)).astype(np.float32) * np.float32([1, 50, 900]).reshape(3, 1, 1, 1)
    names = ["preprocessed", "resized"]
    together = graph.session.run(names, {"image": images})
    for index, image in enumerate(images):
        alone = graph.session.run(names, {"image": image[None]})
        assert all(np.allclose(a[index], b[0], atol=1e-4) for a, b in zip(together, alone, strict=True))
