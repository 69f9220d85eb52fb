"""Whether a lossless JPEG brings every sample: the bits that its samples take, counted.

Where the data has ended a decoder reads zeros, and gives a picture all the same. A sample takes the bits of its Huffman
code and as many as its difference from the prediction has (ITU-T T.81, annex H.1), so the samples say how many bits
the data must hold.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.readers._jpeg import RESTART

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CATEGORIES", "LosslessScan", "is_whole_lossless"]

CATEGORIES = 17
"""A difference has 0 to 16 bits."""
_BLOCK = 2**16
"""Samples whose bits are counted at once."""


@dataclass(frozen=True, slots=True)
class LosslessScan:
    """One scan, see T.81, B.2.3.

    Attributes:
        components: which of the picture it holds, counted from 0.
        codes: for each component the length of the code of each category, 0 where there is none.
        predictor: 1 to 7.
        shift: the point transform.
        interval: lines between two restarts; 0: none.
        data: the coded bytes.
    """

    components: tuple[int, ...]
    codes: tuple[tuple[int, ...], ...]
    predictor: int
    shift: int
    interval: int
    data: bytes


def is_whole_lossless(pixels: NDArray[Any], scans: Sequence[LosslessScan], bits: int) -> bool:
    """Whether the data of all scans goes as far as the picture that was decoded from it.

    Args:
        pixels: (H, W) or (H, W, C), as decoded, unsigned.
        scans: all of the frame.
        bits: bits of a sample.
    """
    planes = pixels.reshape(*pixels.shape[:2], -1)
    return all(_has_bits(planes, scan, bits) for scan in scans)


def _has_bits(planes: NDArray[Any], scan: LosslessScan, bits: int) -> bool:
    height, width = planes.shape[:2]
    lines = scan.interval or height
    parts = RESTART.split(scan.data) if scan.interval else [scan.data]
    if len(parts) < -(-height // lines):
        return False
    block = max(1, _BLOCK // width)
    for part, first in zip(parts, range(0, height, lines), strict=False):
        end = min(first + lines, height)
        needed = 0
        for component, codes in zip(scan.components, scan.codes, strict=True):
            # 16 has no further bits; what has no code cannot have been coded, and counts as the least
            cost = np.array([code + category % 16 if code else 1 for category, code in enumerate(codes)], np.uint8)
            cost = cost[_categories()]
            for top in range(first, end, block):
                above = max(top - 1, first)
                rows = planes[above : min(top + block, end), :, component] >> scan.shift
                found = _predict_anew(rows, scan.predictor, 1 << (bits - scan.shift - 1) if top == first else None)
                needed += int(cost[found].sum(dtype=np.int64))
        if 8 * (len(part) - part.count(b"\xff\0")) < needed:
            return False
    return True


@functools.cache
def _categories() -> NDArray[np.int32]:
    """(65536,) bits of each difference modulo 2^16."""
    difference = np.arange(0x10000)
    return np.frexp(np.minimum(difference, 0x10000 - difference).astype(np.float32))[1]


def _predict_anew(samples: NDArray[Any], predictor: int, begin: int | None) -> NDArray[np.uint16]:
    """Differences from the prediction, modulo 2^16 (T.81, H.1.2.1).

    Args:
        samples: (H, W) samples of one component.
        predictor: 1 to 7.
        begin: prediction of the first sample; None: the first line was counted before.
    """
    rows = samples.astype(np.int32 if predictor > 4 else np.uint16)  # those that halve need the sign
    above, left, corner = rows[:-1, 1:], rows[1:, :-1], rows[:-1, :-1]
    predicted = np.empty_like(rows)
    predicted[0, 1:] = rows[0, :-1]
    predicted[0, 0] = begin or 0
    predicted[1:, 0] = rows[:-1, 0]
    predicted[1:, 1:] = _PREDICTORS[predictor](left, above, corner)
    return (rows - predicted)[0 if begin is not None else 1 :].astype(np.uint16)


_PREDICTORS: dict[int, Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]] = {
    1: lambda left, _above, _corner: left,
    2: lambda _left, above, _corner: above,
    3: lambda _left, _above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + (above - corner >> 1),
    6: lambda left, above, corner: above + (left - corner >> 1),
    7: lambda left, above, _corner: left + above >> 1,
}
"""T.81, table H.1."""
