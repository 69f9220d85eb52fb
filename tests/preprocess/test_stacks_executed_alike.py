"""Stacks of channels in all executions of one preprocessing: numpy and Pillow, the graph in both forms, and torch."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
import torch
from graphs import Graph
from refusals import refused

from zoo.errors import ImageError
from zoo.learn._batches import standardize, to_unit
from zoo.preprocess import apply, check_range, normalize_batch, resize_image
from zoo.spec import Gaussian, Median, Percentile, PreprocessSpec, Scale, Window, encode

CHANNELS = 5
INTENSITIES = {
    "scale": Scale(maximum=65535),
    "window": Window(center=9000, width=30000),
    "windows": Window(center=(9000, 800, 30000, 500, 1000), width=(30000, 900, 60000, 1000, 2000)),
    "percentile": Percentile(low=1, high=99),
    "percentiles": Percentile(low=1, high=99, per="channel"),
    "padded": Percentile(low=1, high=99, per="channel", padding=((7, 7),)),
}


def spec_of(**fields: object) -> PreprocessSpec:
    mean, std = (tuple(np.linspace(low, low + 0.3, CHANNELS).tolist()) for low in (0.1, 0.2))
    return PreprocessSpec(**{"size": (12, 9), "channels": CHANNELS, "mean": mean, "std": std, **fields})


def images(dtype: str) -> list[np.ndarray]:
    """Channels of ranges that lie far apart; one image has a channel of one value, and one padding."""
    rng = np.random.default_rng(0)
    found = []
    for height, width in ((1, 1), (5, 31), (40, 17), (12, 9), (64, 50)):
        whole = (
            rng.random((height, width, CHANNELS)) * np.array([200, 3, 255, 20, 90]) * (1 if dtype == "uint8" else 200)
        )
        found.append(whole.astype(dtype))
    found[2][..., 3] = 77
    found[4][:9, :20] = 7
    return found


@pytest.mark.parametrize("portable", [False, True], ids=["default", "portable"])
@pytest.mark.parametrize(
    ("dtype", "resize", "intensity"),
    list(itertools.product(["uint8", "uint16", "float32"], ["stretch", "crop", "letterbox"], INTENSITIES)),
)
def test_graph_prepares_stacks_as_numpy_does(dtype: str, resize: str, intensity: str, portable: bool) -> None:
    denoise = {"stretch": None, "crop": Median(k=3), "letterbox": Gaussian(sigma=1.3)}[resize]
    spec = spec_of(resize=resize, intensity=INTENSITIES[intensity], denoise=denoise)
    graph = Graph(spec, dtype, portable=portable)
    for image in images(dtype):
        got, made = graph(image)
        expected = resize_image(image, spec)
        assert got.shape == expected.shape == (*spec.size, CHANNELS)
        assert np.abs(got - expected).max() <= 3e-5 * max(1.0, float(np.abs(expected).max()))
        exact = normalize_batch(got[None], spec)[0]
        assert (np.abs(made - exact) / np.maximum(1, np.abs(exact))).max() <= 2e-5


@pytest.mark.parametrize("intensity", INTENSITIES)
def test_training_on_a_device_prepares_stacks_as_numpy_does(intensity: str) -> None:
    spec = spec_of(intensity=INTENSITIES[intensity])
    resized = np.stack([resize_image(image, spec) for image in images("uint16")])
    got = standardize(to_unit(torch.from_numpy(resized), spec), spec).numpy()
    np.testing.assert_allclose(got, normalize_batch(resized, spec), atol=2e-5)


def test_each_channel_has_its_own_window_and_percentiles() -> None:
    """A dim stain beside a bright one would be black."""
    image = np.zeros((12, 9, 2), np.uint16)
    image[:6, :, 0], image[:6, :, 1] = 50000, 100
    plain = PreprocessSpec(size=(12, 9), channels=2, mean=(0, 0), std=(1, 1), resize="stretch")
    for intensity in (Percentile(per="channel"), Window(center=(25000.5, 50.5), width=(50001, 101))):
        made = apply(image, msgspec.structs.replace(plain, intensity=intensity))
        np.testing.assert_allclose(made[:, :6], 1, atol=1e-4)
        np.testing.assert_allclose(made[:, 6:], 0, atol=1e-4)
    together = apply(image, msgspec.structs.replace(plain, intensity=Percentile()))
    assert together[1].max() < 0.01


def test_border_of_a_letterbox_is_dark_in_each_channel() -> None:
    """CT values beside counts of PET: the air of one would be far below the nothing of the other."""
    image = np.stack([np.full((4, 12), -1000), np.full((4, 12), 5)], axis=2).astype(np.float32)
    spec = PreprocessSpec(size=(12, 12), channels=2, mean=(0, 0), std=(1, 1), resize="letterbox")
    assert (resize_image(image, spec) == image[:1, :1]).all()


def test_channel_of_nearly_one_value_stays_dark() -> None:
    """Rounding of a resize, stretched to the whole range, would be noise, another one on each machine."""
    image = np.full((9, 9, 2), 7979, np.float32)
    image[3, 3, 0] += 0.01
    spec = PreprocessSpec(
        size=(12, 12), channels=2, mean=(0, 0), std=(1, 1), intensity=Percentile(per="channel"), denoise=Gaussian()
    )
    assert np.abs(apply(image, spec)).max() < 1e-6


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_image_of_other_channels_is_refused(channels: int) -> None:
    with refused("image-channels", ImageError, found=channels, expected=CHANNELS):
        check_range(np.zeros((4, 4, channels), np.uint16), spec_of())


def test_stack_is_refused_where_colours_or_gray_are_expected() -> None:
    gray = PreprocessSpec(size=(4, 4), channels="gray")
    for dtype, expected in (("uint8", 3), ("uint16", 1)):
        with refused("image-channels", ImageError, found=5, expected=expected):
            check_range(np.zeros((4, 4, 5), dtype), gray)


@pytest.mark.parametrize("intensity", INTENSITIES)
def test_spec_of_a_stack_is_the_same_after_json(intensity: str) -> None:
    spec = spec_of(intensity=INTENSITIES[intensity])
    assert msgspec.json.decode(encode(spec), type=PreprocessSpec) == spec


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": 1},
        {"channels": 17},
        {"channels": 4},
        {"intensity": Window(center=(1, 2), width=(2, 3))},
        {"mean": (0.5,)},
    ],
)
def test_spec_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        spec_of(**fields)
