"""From raw pixels to the network's input, as values; executed by `zoo.preprocess` and by `zoo.artefact._graph`."""

from __future__ import annotations

import math
from typing import Literal

from zoo.spec._value import Value

__all__ = [
    "MOST_CHANNELS",
    "Channels",
    "Gaussian",
    "Intensity",
    "Median",
    "Percentile",
    "PreprocessSpec",
    "Scale",
    "Voi",
    "Window",
]

MOST_CHANNELS = 16
"""Of a stack: multispectral cameras and slices beside a slice have hardly more; an array turned the wrong way has."""

Channels = Literal["rgb", "gray"] | int
"""What the network sees of an image. rgb: three colours; one channel is repeated. gray: one channel; colours become
luma. A number from 2 to `MOST_CHANNELS`: a stack, its channels as they are."""


class Scale(Value, frozen=True, tag_field="type", tag="scale"):
    """y = x / maximum. `maximum` is the largest raw value the images can hold (255 for 8-bit)."""

    maximum: float

    def __post_init__(self) -> None:
        if not self.maximum > 0:
            raise ValueError(f"scale: maximum is {self.maximum}, expected a number above 0")


class Window(Value, frozen=True, tag_field="type", tag="window"):
    """y = clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1), LINEAR of DICOM PS3.3 C.11.2.1.2."""

    center: float | tuple[float, ...]
    """In raw values; of a stack one for all channels, or one for each."""
    width: float | tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(width > 1 for width in self.widths):
            raise ValueError(f"window: width is {self.width}, expected a number above 1")
        if len(self.centers) != len(self.widths):
            raise ValueError(
                f"window: center has {len(self.centers)} and width has {len(self.widths)} values, expected as many"
            )

    @property
    def centers(self) -> tuple[float, ...]:
        """One for all channels, or one for each."""
        return self.center if isinstance(self.center, tuple) else (self.center,)

    @property
    def widths(self) -> tuple[float, ...]:
        """As many as `centers`."""
        return self.width if isinstance(self.width, tuple) else (self.width,)


class Percentile(Value, frozen=True, tag_field="type", tag="percentile"):
    """y = clip((x - a) / (b - a), 0, 1), where a and b are percentiles of the resized image itself.

    low=0, high=100 is min-max scaling. A constant image, or channel, becomes 0.
    """

    low: float = 0.0
    high: float = 100.0
    padding: tuple[tuple[float, float], ...] = ()
    """Ranges (smallest, largest) of raw values that fill up the picture (PixelPaddingValue of DICOM). No percentile
    counts them, and they become 0. Before anything else they take the smallest value of the rest."""
    per: Literal["image", "channel"] = "image"
    """Whose values the percentiles are of: those of all channels of an image together, or of each channel alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ValueError(f"percentile: {self.low} to {self.high}, expected 0 <= low < high <= 100")
        if not all(low <= high and math.isfinite(low) and math.isfinite(high) for low, high in self.padding):
            raise ValueError("percentile: padding holds a range that does not go from a number to one as large")


class Voi(Value, frozen=True, tag_field="type", tag="voi"):
    """The file's own VOI LUT or window and photometric inversion, done by the reader; its values are in [0, 1].

    DICOM PS3.3 C.11.2; see `zoo.readers._dicom_values`. Nothing is left to do for the graph, which takes float32.
    """


Intensity = Scale | Window | Percentile | Voi
"""How raw pixel values become [0, 1]."""


class Median(Value, frozen=True, tag_field="type", tag="median"):
    """Median over a k × k neighbourhood, borders replicated. k is 3 or 5."""

    k: Literal[3, 5] = 3


class Gaussian(Value, frozen=True, tag_field="type", tag="gaussian"):
    """Gaussian blur with standard deviation `sigma` in pixels, cut at 3 sigma, borders replicated."""

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 5:
            raise ValueError(f"gaussian: sigma is {self.sigma}, expected a number in (0, 5]")


class PreprocessSpec(Value, frozen=True):
    """From a raw image to the network's input; executed by `zoo.preprocess` and by `zoo.artefact._graph`.

    The order is fixed: channels, denoise, resize (and crop or pad), intensity, mean and std.
    """

    size: tuple[int, int]
    """(height, width) of the network's input in pixels."""
    channels: Channels = "rgb"
    intensity: Intensity = Scale(maximum=255)
    denoise: Median | Gaussian | None = None
    resize: Literal["stretch", "crop", "letterbox"] = "crop"
    """stretch: both sides to size. crop: shorter side to size, centre crop. letterbox: longer side, padded
    with the image's own darkest value, or of a stack with each channel's own."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, ...] = (0.5,)
    """One value for each channel, in units of the [0, 1] scale."""
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if isinstance(self.channels, int) and not 2 <= self.channels <= MOST_CHANNELS:
            raise ValueError(f"channels is {self.channels}, expected rgb, gray or a number from 2 to {MOST_CHANNELS}")
        channels = self.channels if isinstance(self.channels, int) else 3 if self.channels == "rgb" else 1
        if not all(1 <= side <= 4096 for side in self.size):
            raise ValueError(f"size is {self.size[0]}x{self.size[1]}, expected 1 to 4096 pixels a side")
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(
                f"mean has {len(self.mean)} and std has {len(self.std)} values, expected {channels} for "
                f"{self.named_channels}"
            )
        if isinstance(self.intensity, Window) and len(self.intensity.centers) not in (1, channels):
            raise ValueError(
                f"intensity has a window for each of {len(self.intensity.centers)} channels, expected {channels} for "
                f"{self.named_channels}, or one for all"
            )
        if not all(1e-6 <= value <= 1e6 for value in self.std):
            raise ValueError("std holds a value outside 0.000001 to 1000000")
        if not all(abs(value) <= 1e6 for value in self.mean):
            raise ValueError("mean holds a value beyond 1000000")

    @property
    def largest(self) -> float:
        """The largest raw value that it takes, 0 being the smallest; infinity: it takes any value."""
        return getattr(self.intensity, "maximum", 1.0 if isinstance(self.intensity, Voi) else math.inf)

    @property
    def named_channels(self) -> str:
        """'rgb', 'gray' or '5 channels'."""
        return self.channels if isinstance(self.channels, str) else f"{self.channels} channels"
