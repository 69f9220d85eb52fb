"""Histograms of colours (Swain and Ballard, IJCV 1991) with soft bins, as arrays and as ONNX nodes.

Red, green and blue in 6 bins each, counted together: 216 features of the whole picture; of grey pictures 32 bins of
brightness. A pixel is shared among the nearest bins linearly, so that no value jumps from one to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact.nodes import Builder

__all__ = ["MINIMUM_SIDE", "length", "nodes", "rows"]

MINIMUM_SIDE = 1

_COLOURS, _GREYS = 6, 32
"""Bins a channel."""


def length(shape: tuple[int, int, int]) -> int:
    """Number of features of a (C, h, w) picture."""
    return _GREYS if shape[0] == 1 else _COLOURS**3


def rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The definition, (n, C, h, w) in [0, 1] to (n, D): shares of the pixels that sum to 1."""
    bins = _GREYS if x.shape[1] == 1 else _COLOURS
    place = np.clip(x.astype(np.float64) * bins - 0.5, 0, bins - 1)  # centres at 0, 1, …, bins - 1
    member = np.maximum(0, 1 - np.abs(place[..., None] - np.arange(bins)))  # (n, C, h, w, bins)
    if x.shape[1] == 1:
        return np.asarray(member.mean(axis=(1, 2, 3)), np.float32)
    red, green, blue = (member[:, c].reshape(len(x), -1, bins) for c in range(3))
    joint = np.einsum("npr,npg,npb->nrgb", red, green, blue, optimize=True) / red.shape[1]
    return np.asarray(joint.reshape(len(x), -1), np.float32)


def nodes(b: Builder, x: str, shape: tuple[int, int, int]) -> str:
    """The same as nodes: (N, C, h, w) to (N, D)."""
    channels, height, width = shape
    bins, pixels = (_GREYS if channels == 1 else _COLOURS), height * width
    place = b.op("Sub", b.op("Mul", x, b.floats(bins)), b.floats(0.5))
    place = b.op("Clip", place, b.floats(0), b.floats(bins - 1))
    place = b.op("Reshape", place, b.ints(-1, channels, 1, pixels))
    centres = b.floats(np.arange(bins).reshape(1, 1, -1, 1))
    member = b.op("Relu", b.op("Sub", b.floats(1), b.op("Abs", b.op("Sub", place, centres))))  # (N, C, bins, pixels)
    if channels == 1:
        return b.op("Flatten", b.op("ReduceMean", member, b.ints(3), keepdims=0), axis=1)
    red = b.slice(member, b.ints(0), b.ints(1), (1,))
    green, blue = (b.slice(member, b.ints(c), b.ints(c + 1), (1,)) for c in (1, 2))
    red = b.op("Reshape", red, b.ints(-1, bins, 1, pixels))
    both = b.op("Reshape", b.op("Mul", red, green), b.ints(-1, bins * bins, pixels))
    blue = b.op("Transpose", b.op("Reshape", blue, b.ints(-1, bins, pixels)), perm=[0, 2, 1])
    joint = b.op("MatMul", both, blue)  # (N, 36, 6)
    return b.op("Flatten", b.op("Div", joint, b.floats(pixels)), axis=1)
