"""Networks made of numpy, each with a preprocessing of its own, and the ways in which their deployments go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pictures import PHOTOGRAPHS, photograph
from PIL import Image

from zoo.preprocess import apply, channels_of
from zoo.spec import InputSpec, Median, Percentile, PreprocessSpec, Scale, Voi, Window

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Network:
    """Two layers of fixed random numbers behind `zoo.preprocess`, which is what a file executes."""

    spec: PreprocessSpec
    dtype: str
    sizes: tuple[tuple[int, int], ...]

    @property
    def manifest(self) -> Any:
        given = InputSpec(name="image", dtype=self.dtype, channels=3 if self.dtype == "uint8" else 1)  # type: ignore[arg-type]
        return SimpleNamespace(preprocess=self.spec, views=(self.spec,), input=given, kinds=(self.dtype,))

    def logits(self, batch: Array, prepare: Callable[[Array, PreprocessSpec], Array] = apply) -> Array:
        """(N, H, W, C) raw images to (N, 6) logits."""
        ready = np.stack([prepare(image, self.spec) for image in batch]).reshape(len(batch), -1)
        rng = np.random.default_rng(5)
        first = rng.normal(0, ready.shape[1] ** -0.5, (ready.shape[1], 24)).astype(np.float32)
        second = rng.normal(0, 1, (24, 6)).astype(np.float32)
        return np.asarray(np.tanh(3 * (ready @ first)) @ second)


def _spec(**fields: Any) -> PreprocessSpec:
    channels = fields.get("channels", "rgb")
    count = 3 if channels == "rgb" else 1
    usual = {
        "size": (32, 32), "channels": channels, "intensity": Scale(maximum=255), "denoise": None, "resize": "crop",
        "interpolation": "bicubic", "mean": (0.5, 0.4, 0.3)[:count], "std": (0.2, 0.25, 0.3)[:count],
    }  # fmt: skip
    return PreprocessSpec(**(usual | fields))


CASES = {
    "photographs": Network(_spec(), "uint8", ((50, 64), (64, 40), (41, 41))),
    "deep": Network(
        _spec(channels="gray", intensity=Scale(maximum=4095), resize="letterbox", interpolation="bilinear"),
        "uint16",
        ((60, 50), (48, 48)),
    ),
    "window": Network(
        _spec(channels="gray", intensity=Window(center=40, width=400), resize="stretch", denoise=Median(k=3)),
        "float32",
        ((64, 64),),
    ),
    "padded": Network(
        _spec(channels="gray", intensity=Percentile(low=1, high=99, padding=((-2000.0, -2000.0),))),
        "float32",
        ((56, 60),),
    ),
    "voi": Network(_spec(channels="gray", intensity=Voi()), "float32", ((44, 52),)),
}


def photographs(network: Network) -> list[Array]:
    """32 cuts of photographs in the pixel type and range that the network takes."""
    rng = np.random.default_rng(1)
    images = []
    for index in range(32):
        pixels = photograph(PHOTOGRAPHS[index % 2])
        height, width = network.sizes[index % len(network.sizes)]
        top, left = rng.integers(pixels.shape[0] - height), rng.integers(pixels.shape[1] - width)
        cut = pixels[top : top + height, left : left + width]
        if network.dtype == "uint8":
            images.append(np.ascontiguousarray(cut))
            continue
        gray = (cut @ np.float64([0.3, 0.59, 0.11]))[:, :, None] / 255
        low, high = _range(network.spec)
        values = (low + gray * (high - low)).astype(network.dtype)
        if network is CASES["padded"]:
            values[:4] = -2000
        images.append(values)
    return images


def _range(spec: PreprocessSpec) -> tuple[float, float]:
    if isinstance(spec.intensity, Scale):
        return 0, spec.intensity.maximum
    return (0, 1) if isinstance(spec.intensity, Voi) else (-300, 400)


def wrong_deployments(network: Network) -> dict[str, Callable[[Array], Array]]:
    """What others make of the same network; each takes raw images as `Network.logits` does."""
    spec = network.spec

    def with_spec(**changes: Any) -> Callable[[Array], Array]:
        other = msgspec.structs.replace(spec, **changes)
        return partial(network.logits, prepare=lambda image, _: apply(image, other))

    def resized(image: Array, _: PreprocessSpec) -> Array:
        """By the nearest pixels to the input's size, without any filter."""
        rows, columns = (np.arange(there) * side // there for side, there in zip(image.shape, spec.size, strict=False))
        return apply(image[rows][:, columns], spec)

    def without_antialias(image: Array, _: PreprocessSpec) -> Array:
        """Twice as large first, by which a filter of the whole pixel becomes one of half of it."""
        planes = [
            np.asarray(
                Image.fromarray(plane.astype(np.float32)).transform(
                    (spec.size[1], spec.size[0]),
                    Image.Transform.AFFINE,
                    (image.shape[1] / spec.size[1], 0, 0, 0, image.shape[0] / spec.size[0], 0),
                    Image.Resampling.BILINEAR,
                )
            )
            for plane in image.transpose(2, 0, 1)
        ]
        return apply(np.stack(planes, axis=2).astype(image.dtype), spec)

    other = "bilinear" if spec.interpolation == "bicubic" else "bicubic"
    found = {
        "another mean": with_spec(mean=tuple(value + 0.02 for value in spec.mean)),
        "another std": with_spec(std=tuple(value * 1.05 for value in spec.std)),
        "another filter": with_spec(interpolation=other),
        "another way to resize": with_spec(resize="stretch" if spec.resize != "stretch" else "crop"),
        "nearest pixels": partial(network.logits, prepare=resized),
        "no antialias": partial(network.logits, prepare=without_antialias),
        "upside down": partial(network.logits, prepare=lambda image, same: apply(image[::-1], same)),
    }
    if channels_of(spec) == 3:
        found["order of channels"] = partial(
            network.logits, prepare=lambda image, same: apply(np.ascontiguousarray(image[:, :, ::-1]), same)
        )
    if isinstance(spec.intensity, Window):
        found["window off by one"] = with_spec(intensity=Window(center=spec.intensity.center + 1, width=400))
        found["no denoise"] = with_spec(denoise=None)
    if isinstance(spec.intensity, Percentile):
        found["padding forgotten"] = with_spec(intensity=Percentile(low=1, high=99))
    if isinstance(spec.intensity, Scale) and network.dtype == "uint16":
        found["range off by one"] = with_spec(intensity=Scale(maximum=spec.intensity.maximum + 16))
    return found
