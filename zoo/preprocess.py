"""PreprocessSpec on arrays: the reference execution, for training and for devices that preprocess themselves.

`zoo.artefact._graph` writes the same steps as ONNX nodes; the parity gate proves at every export that the two
agree on the user's own images. The order is fixed: channels, denoise, resize (with crop or padding) on raw
values, then intensity, mean and std. The first half has a fixed output size and so can be cached; the second
half is cheap arithmetic on a batch.

Padding that `Percentile` leaves out goes its own way. No filter may mix it into its neighbours, so the smallest value
of the rest takes its place, and after the resize it comes back where the nearest raw pixel is padding.

What this module does not know: files, labels, augmentation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo._support.ranges import in_ranges
from zoo._support.text import format_count
from zoo.errors import ImageError
from zoo.spec import Gaussian, Median, Percentile, PreprocessSpec, Scale, Voi, Window

__all__ = [
    "NO_CONTRAST",
    "apply",
    "channels_of",
    "check_range",
    "crop_size",
    "find_padding",
    "gaussian_kernel",
    "normalize_batch",
    "place_image",
    "place_window",
    "raw_channels",
    "resize_image",
]


def __dir__() -> list[str]:
    return __all__


Array = NDArray[Any]

NO_CONTRAST = np.float32(5e-6)
"""Share of the larger percentile that two of them are apart at least. A resize of one value leaves differences of 3e-7
of it, which would be stretched to the whole range; one level of 16 bits is 1.5e-5."""
_FLOAT_MAX = np.finfo(np.float32).max
"""Divides to 0 what has no contrast."""

MOST_PIXELS = 64_000_000
"""That an image may have for a moment, between scaling and cropping."""


def channels_of(spec: PreprocessSpec) -> int:
    """Number of channels of the network's input: 3 for rgb, 1 for gray, those of the raw image for a stack."""
    return spec.channels if isinstance(spec.channels, int) else 3 if spec.channels == "rgb" else 1


def raw_channels(spec: PreprocessSpec, kind: str) -> int:
    """Number of channels of the raw images that a spec takes: a stack's own, else 3 of uint8 and 1 of deeper ones."""
    return spec.channels if isinstance(spec.channels, int) else 3 if kind == "uint8" else 1


def apply(pixels: Array, spec: PreprocessSpec) -> NDArray[np.float32]:
    """One raw image to the network's input.

    Args:
        pixels: (H, W, C) as `zoo.readers.read` gives it; C is `raw_channels(spec, dtype)`.
        spec: what to do.

    Returns:
        (c, h, w) float32, where (h, w) is spec.size and c is `channels_of(spec)`.
    """
    return np.asarray(normalize_batch(resize_image(pixels, spec)[None], spec)[0])


def check_range(pixels: Array, spec: PreprocessSpec) -> None:
    """Refuse an image whose channels or values are not those that the spec declares; clipping would be silent.

    So is one so long and thin that covering the input would take a flood of memory: 60000x1 pixels become
    13440000x224 before they are cropped.

    Raises:
        ImageError: another number of channels; or the shape; or a value that is not finite, or is not from 0 to the
            maximum of `Scale` or to 1 of `Voi`, which takes no 8-bit pictures.
    """
    height, width = pixels.shape[:2]
    expected = raw_channels(spec, pixels.dtype.name)
    if pixels.shape[2] != expected:
        raise ImageError(
            None,
            f"{format_count(pixels.shape[2], 'channel')} of {pixels.dtype}, expected {expected}; "
            "give this model images of the kind it was trained on",
            code="image-channels",
            found=pixels.shape[2],
            expected=expected,
        )
    if spec.resize == "crop" and math.prod(crop_size(height, width, spec.size, cover=True)) > MOST_PIXELS:
        raise ImageError(
            None,
            f"{width}x{height} pixels would be scaled to more than {MOST_PIXELS // 10**6} million "
            f"to fill {spec.size[1]}x{spec.size[0]}; crop it, or train with --set preprocess.resize=letterbox",
            code="image-scale",
            width=width,
            height=height,
        )
    if pixels.dtype != np.uint8 or isinstance(spec.intensity, Voi):
        _check_values(pixels, spec)


def _check_values(pixels: Array, spec: PreprocessSpec) -> None:
    if spec.largest == math.inf and pixels.dtype.kind != "f":
        return
    low, high = float(pixels.min()), float(pixels.max())  # NaN where a value is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(
            None, "holds values that are not finite; replace them before using the image", code="image-not-finite"
        )
    voi = isinstance(spec.intensity, Voi)
    if spec.largest == math.inf or (low >= 0 and high <= np.float32(spec.largest) and pixels.dtype != np.uint8):
        return
    if voi:
        advice = "this model takes DICOM files through their own VOI LUT or window, or arrays made so"
    elif low < 0:
        advice = "train with a window, such as --set preprocess.intensity=fitted, which takes values below 0"
    else:
        advice = "state the range of these images with --set preprocess.intensity.maximum=VALUE when training"
    raise ImageError(
        None,
        f"{pixels.dtype} pixels from {low:g} to {high:g}, expected {'float32 from ' if voi else ''}0 to "
        f"{spec.largest:g}; {advice}",
        code="image-range",
        low=low,
        high=high,
        most=spec.largest,
    )


def resize_image(pixels: Array, spec: PreprocessSpec) -> NDArray[np.float32]:
    """The geometric half: channels, denoise, resize, crop or pad.

    Args:
        pixels: (H, W, C) raw image, as for `apply`.
        spec: what to do.

    Returns:
        (h, w, c) float32 raw values; those of 8-bit pictures stay within [0, 255].
    """
    planes = _channels(pixels, spec)
    if not _padding(spec) or not (padded := find_padding(planes, spec)).any():
        return _fit(planes, spec)
    filled = planes if padded.all() else np.where(padded, planes[~padded].min(), planes)
    return np.where(_find_nearest(padded, spec), np.float32(_padding(spec)[0][0]), _fit(filled, spec))


def find_padding(values: Array, spec: PreprocessSpec) -> NDArray[np.bool_]:
    """Which of the raw values are padding that the intensity leaves out: of any shape, as `values`."""
    return in_ranges(values, _padding(spec))


def _padding(spec: PreprocessSpec) -> tuple[tuple[float, float], ...]:
    return spec.intensity.padding if isinstance(spec.intensity, Percentile) else ()


def _find_nearest(padded: NDArray[np.bool_], spec: PreprocessSpec) -> NDArray[np.bool_]:
    """(H, W, c) to (h, w, c): what the nearest raw pixel is; the border of a letterbox is none.

    Whole-number arithmetic, so that the ONNX graph finds the same pixels.
    """
    height, width = padded.shape[:2]
    inner, places = _inner_size(height, width, spec), place_image(height, width, spec)
    found = padded
    for axis, there in enumerate(inner):
        lines = np.arange(spec.size[axis]) - int(places[axis][1])
        rows = (2 * np.clip(lines, 0, there - 1) + 1) * padded.shape[axis] // (2 * there)
        inside = np.expand_dims((lines >= 0) & (lines < there), (1 - axis, 2))
        found = np.take(found, rows, axis) & inside
    return found


def _inner_size(height: int, width: int, spec: PreprocessSpec) -> tuple[int, int]:
    """The (height, width) to resize to, before the crop or the letterbox's border."""
    return spec.size if spec.resize == "stretch" else crop_size(height, width, spec.size, cover=spec.resize == "crop")


def _fit(planes: Array, spec: PreprocessSpec) -> NDArray[np.float32]:
    """Denoise, resize, crop or pad: (H, W, c) to (h, w, c)."""
    height, width = planes.shape[:2]
    target_h, target_w = spec.size
    inner = _resize(_denoise(planes, spec), _inner_size(height, width, spec), spec)
    if planes.dtype == np.uint8:  # a bicubic filter overshoots at edges
        inner = np.clip(inner, 0, 255)
    if spec.resize == "crop":
        top, left = (inner.shape[0] - target_h) // 2, (inner.shape[1] - target_w) // 2
        return np.ascontiguousarray(inner[top : top + target_h, left : left + target_w])
    if spec.resize == "stretch":
        return inner
    # The border takes the image's own smallest value, so that it is dark in any unit (0 is mid-grey in
    # Hounsfield units). Channels of a stack may be of different units.
    darkest = inner.min(axis=(0, 1)) if isinstance(spec.channels, int) else inner.min()
    canvas = np.full((target_h, target_w, inner.shape[2]), darkest, np.float32)
    top, left = (target_h - inner.shape[0]) // 2, (target_w - inner.shape[1]) // 2
    canvas[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return canvas


def normalize_batch(batch: Array, spec: PreprocessSpec) -> NDArray[np.float32]:
    """The arithmetic half: intensity to [0, 1], then mean and std.

    Args:
        batch: (N, h, w, c) as `resize_image` gives it.
        spec: what to do.

    Returns:
        (N, c, h, w) float32.
    """
    x = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), dtype=np.float32)
    intensity = spec.intensity
    if isinstance(intensity, Scale):
        x = x / np.float32(intensity.maximum)  # never in place: x may be the caller's own array
    elif isinstance(intensity, Voi):
        pass  # the reader gave values in [0, 1]
    elif isinstance(intensity, Window):
        middle, span = place_window(intensity)
        x = np.clip((x - middle) / span + np.float32(0.5), 0, 1)
    else:
        x = _stretch_percentiles(x, find_padding(x, spec), intensity)
    mean = np.asarray(spec.mean, np.float32).reshape(1, -1, 1, 1)
    std = np.asarray(spec.std, np.float32).reshape(1, -1, 1, 1)
    return (x - mean) / std


def crop_size(height: int, width: int, size: tuple[int, int], *, cover: bool) -> tuple[int, int]:
    """The (height, width) to resize to before cropping (cover) or padding, aspect ratio kept.

    Whole-number arithmetic, rounded half up, so that the ONNX graph finds the same numbers.
    """
    target_h, target_w = size
    by_height = (height * target_w <= width * target_h) == cover
    if by_height:
        other = (width * target_h + height // 2) // height
        return target_h, max(target_w, other) if cover else min(target_w, max(1, other))
    other = (height * target_w + width // 2) // width
    return max(target_h, other) if cover else min(target_h, max(1, other)), target_w


def place_image(height: int, width: int, spec: PreprocessSpec) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a raw image lies in the network's input: what `resize_image` does to places.

    Args:
        height: height of the raw image, in pixels.
        width: width of the raw image, in pixels.
        spec: what is done to the image.

    Returns:
        (scale, offset) of rows and of columns: the raw place y, in pixels from the upper edge, is at y · scale + offset
        of the input. A crop has a negative offset or none, a letterbox a positive one or none.
    """
    inner = _inner_size(height, width, spec)
    # Floor division of what is cut off, as `resize_image` has it, also where an odd pixel is left.
    offsets = [
        -((there - side) // 2) if there >= side else (side - there) // 2
        for there, side in zip(inner, spec.size, strict=True)
    ]
    return (inner[0] / height, offsets[0]), (inner[1] / width, offsets[1])


def place_window(window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Middle and span of a window in raw values: numbers, or (c, 1, 1) each where channels have their own."""
    middle = np.asarray([center - 0.5 for center in window.centers], np.float32)
    span = np.asarray([width - 1 for width in window.widths], np.float32)
    shape = (-1, 1, 1) if len(middle) > 1 else ()
    return middle.reshape(shape), span.reshape(shape)


def gaussian_kernel(sigma: float) -> NDArray[np.float32]:
    """(2r + 1,) weights of a Gaussian that sum to 1, r = ceil(3 sigma)."""
    radius = math.ceil(3 * sigma)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def _channels(pixels: Array, spec: PreprocessSpec) -> Array:
    if isinstance(spec.channels, int):
        return pixels if pixels.dtype == np.uint8 else np.asarray(pixels, np.float32)
    if pixels.dtype != np.uint8:
        planes = np.asarray(pixels, np.float32)
        return np.repeat(planes, 3, axis=2) if spec.channels == "rgb" else planes
    if spec.channels == "rgb":
        return pixels
    # Pillow's integer luma: (19595 R + 38470 G + 7471 B + 32768) >> 16 (ITU-R BT.601), the identity on
    # replicated grey.
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def _denoise(planes: Array, spec: PreprocessSpec) -> Array:
    if spec.denoise is None:
        return planes
    if isinstance(spec.denoise, Median):
        k = spec.denoise.k
        padded = np.pad(planes, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(0, 1))
        return np.asarray(np.median(windows, axis=(-2, -1)), planes.dtype)
    return _blur(planes, spec.denoise)


def _blur(planes: Array, denoise: Gaussian) -> Array:
    kernel = gaussian_kernel(denoise.sigma)
    radius = len(kernel) // 2
    result = planes.astype(np.float32)
    for axis in (0, 1):
        width = [(radius, radius) if axis == dimension else (0, 0) for dimension in range(3)]
        padded = np.pad(result, width, mode="edge")
        result = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis) @ kernel
    return result


def _resize(planes: Array, size: tuple[int, int], spec: PreprocessSpec) -> NDArray[np.float32]:
    """(H, W, c) to (size[0], size[1], c) with Pillow's antialiased filters on floats.

    On uint8 Pillow rounds after each pass, and where a sum lies near a half no other runtime can be sure to round
    to the same side: one level on a few pixels moved a probability by 0.01. Floats leave nothing to chance.
    """
    if planes.shape[:2] == size:
        return np.asarray(planes, np.float32)
    method = Image.Resampling.BICUBIC if spec.interpolation == "bicubic" else Image.Resampling.BILINEAR
    channels = np.ascontiguousarray(planes.transpose(2, 0, 1), np.float32)
    done = [np.asarray(Image.fromarray(channel).resize((size[1], size[0]), method)) for channel in channels]
    return np.stack(done, axis=2)


def _stretch_percentiles(
    x: NDArray[np.float32], padded: NDArray[np.bool_], intensity: Percentile
) -> NDArray[np.float32]:
    parts = (len(x) * x.shape[1], -1) if intensity.per == "channel" else (len(x), -1)
    ends = [
        np.percentile(values[~out], [intensity.low, intensity.high]) if not out.all() else np.zeros(2)
        for values, out in zip(x.reshape(parts), padded.reshape(parts), strict=True)
    ]
    low, high = np.asarray(ends, np.float32).T.reshape(2, len(x), -1, 1, 1)
    flat = high - low <= NO_CONTRAST * np.maximum(np.abs(low), np.abs(high))
    span = np.where(flat, _FLOAT_MAX, high - low)
    return np.where(padded, np.float32(0), np.clip((x - low) / span, 0, 1))
