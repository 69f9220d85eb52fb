"""Resizing by matrix products, for runtimes that read the Resize operator in another way: the same pictures."""

from __future__ import annotations

import zlib
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from graphs import Graph
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import PHOTOGRAPHS, photograph, tiles
from test_two_executions import COMBINATIONS, DENOISE, INTENSITIES, LEVEL, differences, random_images, spec_of

from zoo.preprocess import resize_image
from zoo.spec import Percentile, Scale, Window

if TYPE_CHECKING:
    pass


def test_no_operator_is_left_that_runtimes_read_differently() -> None:
    for resize in ("stretch", "crop", "letterbox"):
        spec = spec_of("rgb", size=(24, 18), resize=resize)
        operators = {node.op_type for node in Graph(spec, portable=True).model.graph.node}
        assert "Resize" not in operators
        assert "Pad" not in operators
        assert "Resize" in {node.op_type for node in Graph(spec).model.graph.node}


@pytest.mark.parametrize(("channels", "resize", "interpolation", "denoise", "intensity"), COMBINATIONS)
def test_eight_bit_images_are_prepared_alike(
    channels: str, resize: str, interpolation: str, denoise: str, intensity: str
) -> None:
    spec = spec_of(
        channels,
        size=(24, 18),
        resize=resize,
        interpolation=interpolation,
        denoise=DENOISE[denoise],
        intensity=INTENSITIES[intensity],
    )
    seed = zlib.crc32(repr((channels, resize, interpolation, denoise, intensity)).encode())
    largest, arithmetic = differences(Graph(spec, portable=True), spec, random_images("uint8", 6, seed))
    assert largest <= LEVEL
    assert arithmetic <= 1e-5


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
def test_two_hundred_sizes_are_nearer_than_by_the_operator(resize: str, interpolation: str) -> None:
    spec = spec_of("rgb", size=(32, 40), resize=resize, interpolation=interpolation)
    images = random_images("uint8", 200, 7)
    largest, arithmetic = differences(Graph(spec, portable=True), spec, images)
    assert largest <= LEVEL
    assert largest <= differences(Graph(spec), spec, images)[0]
    assert arithmetic <= 1e-5


@pytest.mark.parametrize("kind", ["uint16", "float32"])
@pytest.mark.parametrize("resize", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_deep_images_are_prepared_alike(kind: Literal["uint16", "float32"], resize: str, channels: str) -> None:
    """Within 3e-5 of the brightest value, which is what the operator keeps, too."""
    intensity = {
        "stretch": Scale(maximum=65535),
        "crop": Window(center=9000, width=30000),
        "letterbox": Percentile(),
    }
    for interpolation in ("bicubic", "bilinear"):
        spec = spec_of(channels, size=(24, 18), resize=resize, interpolation=interpolation, intensity=intensity[resize])
        graph = Graph(spec, kind, portable=True)
        for image in random_images(kind, 8, zlib.crc32(f"{kind}{resize}{channels}".encode())):
            got, _ = graph(image)
            expected = resize_image(image, spec)
            assert np.abs(got - expected).max() <= 3e-5 * max(1.0, float(np.abs(expected).max()))


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("height", "width"), [(3001, 4003), (9, 20011), (4096, 7)])
def test_large_coordinates_lose_nothing(height: int, width: int, interpolation: str) -> None:
    """float32 holds 4000.5 to 0.0002: weights made of such numbers would be wrong in the fourth digit."""
    spec = spec_of("gray", size=(224, 1000), resize="stretch", interpolation=interpolation)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert differences(Graph(spec, portable=True), spec, [image])[0] <= LEVEL


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_real_photographs(interpolation: str) -> None:
    images = [photograph(name) for name in PHOTOGRAPHS] + [tile for name in PHOTOGRAPHS for tile in tiles(name, 256)]
    spec = spec_of("rgb", size=(224, 224), resize="crop", interpolation=interpolation)
    assert differences(Graph(spec, portable=True), spec, images)[0] <= LEVEL


@cache
def sizing(resize: str, size: tuple[int, int]) -> Graph:
    return Graph(spec_of("gray", size=size, resize=resize), portable=True)


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
    y, x = np.mgrid[:height, :width]
    image = np.clip(20 + 2 * y + x % 3, 0, 255).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    got, _ = sizing(resize, size)(image)
    assert np.abs(got - resize_image(image, spec_of("gray", size=size, resize=resize))).max() <= LEVEL


def test_a_batch_is_prepared_image_by_image() -> None:
    """The padding's darkest value belongs to each image, not to the batch."""
    spec = spec_of("gray", size=(12, 12), resize="letterbox", intensity=Percentile(low=1, high=99))
    graph = Graph(spec, "float32", portable=True)
    rng = np.random.default_rng(3)
    images = rng.normal(size=(3, 9, 14, 1)).astype(np.float32) * np.float32([1, 50, 900]).reshape(3, 1, 1, 1)
    (together,) = graph.session.run(["resized"], {"image": images})
    for index, image in enumerate(images):
        apart = np.abs(together[index].transpose(1, 2, 0) - resize_image(image, spec)).max()
        assert apart <= 3e-5 * np.abs(image).max()
