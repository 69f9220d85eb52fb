"""The one pass over all pixels: every image is decoded once, and a few hundred bytes of it are kept."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from zoo.data._pixels import digest_pixels, is_gray
from zoo.data._threads import Progress, over_chunks
from zoo.data._unusable import Unusable
from zoo.data.audit._spectrum import TERMS, spectrum
from zoo.errors import ImageError
from zoo.readers import KINDS, blend_channels, stack_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data._index import Pool
    from zoo.readers import Probe, RawImage

__all__ = ["Looks", "look_at"]

Levels = tuple[float, float, float, float, float]
"""Smallest, largest and mean value, and the shares of pixels at the smallest and at the largest."""

_TINY = 64  # pixels; decoding smaller images is mostly Python, where a second thread only waits for the first
_SIDE, _BOX = 48, Image.Resampling.BOX  # four pixels to a wave of the highest frequency kept; saves most of the sums
_BYTES = np.arange(256)


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What was seen of the n images of a pool. A row of an image that cannot be decoded means nothing.

    Attributes:
        digest: (n, 32) uint8, sha256 of size and decoded pixels: the same picture in another format is the same.
        spectra: (n, TERMS, TERMS) float16, see `zoo.data.audit._spectrum.spectrum`.
        height: (n,) int32, pixels.
        width: (n,) int32, pixels.
        dtype: (n,) uint8, positions in `zoo.readers.KINDS`.
        bits: (n,) uint8, stored for each sample, as the header says.
        gray: (n,) bool, one channel is stored; of arrays: all channels are equal.
        channels: (n,) uint8, of a stack; 0: colours or gray.
        low: (n,) float32, smallest brightness; of a stack, as the next four, over all channels.
        high: (n,) float32, largest brightness.
        mean: (n,) float32, mean brightness.
        dark: (n,) float32, share of pixels at `low`.
        bright: (n,) float32, share of pixels at `high`.
        padded: (n,) bool, some pixels are padding; the five above leave them out.
        aspect: (n,) float32, height of a pixel over its width; 1 where the header says neither.
        personal: (n,) int32, positions in `fields`.
        fields: the different lists of fields with personal data that were met: names, never values.
        bad: position: why the image cannot be decoded, beginning with its id.
    """

    digest: NDArray[np.uint8]
    spectra: NDArray[np.float16]
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    dtype: NDArray[np.uint8]
    bits: NDArray[np.uint8]
    gray: NDArray[np.bool_]
    channels: NDArray[np.uint8]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    dark: NDArray[np.float32]
    bright: NDArray[np.float32]
    padded: NDArray[np.bool_]
    aspect: NDArray[np.float32]
    personal: NDArray[np.int32]
    fields: tuple[tuple[str, ...], ...]
    bad: dict[int, Unusable]

    @property
    def good(self) -> NDArray[np.int64]:
        """Positions of the images that could be decoded, ascending."""
        return np.delete(np.arange(len(self.bits), dtype=np.int64), sorted(self.bad))

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(n,) bool: all pixels of the image have one brightness."""
        flat: NDArray[np.bool_] = self.low == self.high
        return flat


def look_at(pool: Pool, *, progress: Progress | None = None) -> Looks:
    """Decode every image of `pool` and keep what an audit needs.

    Args:
        pool: images.
        progress: called as images get done.
    """
    n = len(pool.ids)
    seen = Looks(
        digest=np.zeros((n, 32), np.uint8),
        spectra=np.zeros((n, TERMS, TERMS), np.float16),
        height=np.zeros(n, np.int32),
        width=np.zeros(n, np.int32),
        dtype=np.zeros(n, np.uint8),
        bits=np.zeros(n, np.uint8),
        gray=np.zeros(n, np.bool_),
        channels=np.zeros(n, np.uint8),
        low=np.zeros(n, np.float32),
        high=np.zeros(n, np.float32),
        mean=np.zeros(n, np.float32),
        dark=np.zeros(n, np.float32),
        bright=np.zeros(n, np.float32),
        padded=np.zeros(n, np.bool_),
        aspect=np.ones(n, np.float32),
        personal=np.zeros(n, np.int32),
        fields=(),
        bad={},
    )
    lists: dict[tuple[str, ...], int] = {(): 0}
    numbering = threading.Lock()

    def work(chunk: range) -> None:
        for row in chunk:
            try:
                header = pool.source.probe(row)
                _note(seen, row, pool.source.read(row), header)
            except ImageError as problem:
                seen.bad[row] = Unusable(pool.ids[row], problem.reason)
                continue
            if header is not None and header.personal:
                with numbering:  # two threads must not give one number to two lists
                    seen.personal[row] = lists.setdefault(header.personal, len(lists))

    over_chunks(work, n, workers=1 if pool.largest_side <= _TINY else None, progress=progress)
    return dataclasses.replace(seen, fields=tuple(lists))


def _note(seen: Looks, row: int, image: RawImage, header: Probe | None) -> None:
    pixels = image.pixels
    gray = is_gray(pixels)
    seen.height[row], seen.width[row] = pixels.shape[:2]
    seen.dtype[row] = KINDS.index(image.kind)
    seen.bits[row] = header.bits if header is not None else 8 * pixels.dtype.itemsize
    seen.gray[row] = header.gray if header is not None else gray
    seen.aspect[row] = header.aspect if header is not None else 1
    channels = header.channels if header is not None else stack_of(image.kind, pixels.shape[2])
    seen.channels[row] = channels or 0
    if stack_of(image.kind, pixels.shape[2]):
        levels = _levels_of_channels(image)
        shape = spectrum(blend_channels(image))
        seen.padded[row] = image.padded.any()
    elif image.kind == "uint8":
        light = Image.fromarray(pixels).convert("L")  # the identity on replicated gray
        levels = _levels_of_bytes(light)
        shape = spectrum(np.asarray(light.resize((_SIDE, _SIDE), _BOX) if min(light.size) > 2 * _SIDE else light))
    else:
        values, padded = pixels[:, :, 0], image.padded[:, :, 0]
        levels = _levels(values[~padded] if not padded.all() else values[:1, :1])
        # as the smallest value, so that pictures of one field of view are not alike by its edge
        shape = spectrum(np.where(padded, np.asarray(levels[0], values.dtype), values))
        seen.padded[row] = padded.any()
    seen.digest[row] = np.frombuffer(digest_pixels(image), np.uint8)
    seen.low[row], seen.high[row], seen.mean[row], seen.dark[row], seen.bright[row] = levels
    seen.spectra[row] = shape


def _levels_of_bytes(light: Image.Image) -> Levels:
    counts = np.array(light.histogram())
    there = counts.nonzero()[0]
    low, high, n = int(there[0]), int(there[-1]), light.width * light.height
    return low, high, float(counts @ _BYTES) / n, float(counts[low]) / n, float(counts[high]) / n


def _levels_of_channels(image: RawImage) -> Levels:
    """Over all channels; shares are those of the channel that has most pixels at an end of its own."""
    padded = image.padded
    each = [
        _levels(values[~hidden] if not hidden.all() else values[:1, :1])
        for values, hidden in zip(image.pixels.transpose(2, 0, 1), padded.transpose(2, 0, 1), strict=True)
    ]
    low, high, mean, dark, bright = zip(*each, strict=True)
    return min(low), max(high), sum(mean) / len(mean), max(dark), max(bright)


def _levels(values: NDArray[Any]) -> Levels:
    low, high = values.min(), values.max()
    at_low, at_high = float((values == low).mean()), float((values == high).mean())
    return float(low), float(high), float(values.mean(dtype=np.float64)), at_low, at_high
