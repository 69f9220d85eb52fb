"""Images that are stacks of channels: the preprocessing that fits them, and numbers taken from the training images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.text import format_count
from zoo.errors import DataError, ImageError, UsageError
from zoo.spec import MOST_CHANNELS, Window
from zoo.workflow._images import read_some

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.spec import PreprocessSpec

__all__ = ["FITTED", "fit_mean_and_std", "fit_to_channels", "fit_window"]

FITTED = (0.5, 99.5)
"""Percentiles of the training pixels that become black and white when the intensity is "fitted"."""

_FITTED_IMAGES, _FITTED_PIXELS = 256, 2**16
"""At most so many training images, and so many pixels of each, evenly chosen, are looked at to fit a window."""
_FLAT = 1e-6
"""Below this standard deviation a channel says nothing, and is divided by 1."""


def fit_to_channels(spec: PreprocessSpec, data: Splits, asked: object) -> tuple[PreprocessSpec, bool]:
    """The preprocessing with the channels of the data, and whether its mean and std are still to be found.

    Three channels of 8 bits are colours unless the user says that they are not, with channels 3: no file tells.

    Args:
        spec: preprocessing of the card.
        data: its number of channels decides.
        asked: `preprocess.channels` as the user said it; None: not said.

    Raises:
        UsageError: the user names something else than rgb, gray or 2 to 16.
        DataError: the user, or the card, names another number than the data has.
    """
    if asked is not None and asked not in ("rgb", "gray", *range(2, MOST_CHANNELS + 1)):
        raise UsageError(
            f"preprocess.channels is {asked!r}, expected rgb, gray or a number from 2 to {MOST_CHANNELS}",
            code="setting-value",
            name="preprocess.channels",
            value=asked,
        )
    wanted = asked if asked is not None else spec.channels if isinstance(spec.channels, int) else None
    found = data.channels
    if found is None and wanted == 3 and data.kind == "uint8" and not data.gray:
        found = 3
    if found is None and not isinstance(wanted, int):
        return spec, False
    if found is None or wanted not in (None, found):
        there = f"stacks of {found} channels" if found else "gray" if data.gray else "in colours"
        raise DataError(
            f"preprocess.channels is {wanted}, and the images are {there}; leave the setting out, or give images "
            "that have such channels",
            code="channels-differ",
            found=found,
            expected=wanted if isinstance(wanted, int | str) else None,
        )
    if spec.channels == found:
        return spec, False
    fresh = {"channels": found, "mean": (0.0,) * found, "std": (1.0,) * found}
    return msgspec.structs.replace(spec, **fresh), True


def fit_mean_and_std(
    spec: PreprocessSpec, train: ImageSet, given: Mapping[str, Any]
) -> tuple[PreprocessSpec, tuple[str, ...]]:
    """Mean and standard deviation of each channel over training pixels after resize and intensity, and a note.

    Args:
        spec: with mean 0 and std 1, or what the user gave.
        train: training images; a few hundred of them are read.
        given: settings of the user; mean and std that are among them stay.

    Raises:
        DataError: no training image can be read.
    """
    import numpy as np

    from zoo.preprocess import check_range, normalize_batch, resize_image

    plain = msgspec.structs.replace(spec, mean=(0.0,) * len(spec.mean), std=(1.0,) * len(spec.std))
    sums, squares, count, images = np.zeros(len(spec.mean)), np.zeros(len(spec.mean)), 0, 0
    for image in read_some((train,), _FITTED_IMAGES, skip_bad=True):
        try:
            check_range(image.pixels, plain)
        except ImageError:  # training itself refuses it
            continue
        unit = normalize_batch(resize_image(image.pixels, plain)[None], plain)[0].astype(np.float64)
        sums += unit.sum(axis=(1, 2))
        squares += (unit**2).sum(axis=(1, 2))
        count += unit[0].size
        images += 1
    if not count:
        raise DataError(
            "no training image could be read to take mean and std of its channels from; look at them, or give "
            "--set preprocess.mean and preprocess.std",
            code="channels-unfitted",
        )
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    flat = std < _FLAT
    found = {"mean": _say_numbers(mean), "std": _say_numbers(np.where(flat, 1, std))}
    found = {name: values for name, values in found.items() if name not in given}
    notes = [f"{' and '.join(found)} of each channel are those of {format_count(images, 'training image')}"]
    if flat.any():
        which = ", ".join(str(at + 1) for at in np.flatnonzero(flat).tolist())
        notes.append(f"channel {which} has one value in all of them: it says nothing")
    return msgspec.structs.replace(spec, **found), tuple(notes) if found else ()


def _say_numbers(values: NDArray[np.float64]) -> tuple[float, ...]:
    """As run.json holds them, with six digits behind the point; a std of `_FLAT` has one."""
    return tuple(round(float(value), 6) for value in values)


def fit_window(train: ImageSet, channels: int | None) -> tuple[Window, str]:
    """A window between two percentiles of the training pixels, of stacks one for each channel, and what to say of it.

    Raises:
        DataError: no training image can be read, or all are of one value.
    """
    import numpy as np

    parts, padded = [], 0
    for image in read_some((train,), _FITTED_IMAGES, skip_bad=True):
        rows = image.pixels[~image.padded.any(axis=2)] if channels else image.unpadded[:, None]
        padded += len(rows) * (channels or 1) < image.pixels.size
        parts.append(rows[:: max(1, -(-len(rows) // _FITTED_PIXELS))].astype(np.float32))
    seen = np.concatenate(parts) if parts else np.empty((0, channels or 1), np.float32)
    lows, highs = np.percentile(seen, FITTED, axis=0).tolist() if seen.size else ([0.0], [0.0])
    if not all(low < high for low, high in zip(lows, highs, strict=True)):
        raise DataError(
            "intensity fitted: the training images hold no two values to fit a window to"
            f"{' in one of their channels' if channels else ''}; look at them",
            code="intensity-range",
            intensity="fitted",
        )
    ends = list(zip(lows, highs, strict=True))
    centers, widths = tuple((low + high) / 2 + 0.5 for low, high in ends), tuple(high - low + 1 for low, high in ends)
    window = Window(center=centers, width=widths) if channels else Window(center=centers[0], width=widths[0])
    said = ", ".join(f"{low:g} to {high:g}" for low, high in ends)
    return window, (
        f"intensity fitted: values from {said} become [0, 1]{' in each channel' if channels else ''}, "
        f"percentiles {FITTED[0]:g} and {FITTED[1]:g} of {len(parts)} training images"
        + (f"; padding left out in {padded} of them (PixelPaddingValue)" if padded else "")
    )
