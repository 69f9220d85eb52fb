"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005), as arrays and as ONNX nodes.

Their form R-HOG on the luma: centred differences, unsigned orientation in 9 bins, votes of the gradient's magnitude
shared linearly among the two nearest orientations and the four nearest cells, blocks of 2×2 cells that overlap by
one, L2-Hys. Without steps anywhere, so a pixel that differs by rounding moves a feature by rounding. Theirs and not
here: gamma, the strongest colour channel (the choice of a channel is a step), the Gaussian window over a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo_plugins.classical.luma import luma, luma_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact.nodes import Builder

__all__ = ["MINIMUM_SIDE", "cells", "length", "nodes", "rows"]

MINIMUM_SIDE = 4
"""Pixels: two cells of two pixels, the least that makes a block."""

_BINS = 9
"""Orientations; more did not help Dalal and Triggs (section 6.3). Centred at 10°, 30°, …, 170°."""
_CELL = 8
"""Pixels (section 6.4); smaller for pictures under 32 px, larger where there would be more than 8 cells a side."""
_MOST = 0.2
"""The clip of L2-Hys (section 6.4, after Lowe)."""
_EPSILON = 0.01
"""Added to a block's norm (theirs has no value): mean votes are in parts of the white level, so flat blocks stay
flat."""
_TINY = 1e-12
"""Replaces a gradient of 0, so that the quotient exists; its vote is 0."""
_ARCTAN = (0.0028662257, -0.0161657367, 0.0429096138, -0.0752896400, 0.1065626393, -0.1420889944, 0.1999355085,
           -0.3333314528, 1.0)  # fmt: skip
"""arctan(x)/x by powers of x² from the 8th down, to 2e-8 for |x| <= 1 (Abramowitz and Stegun, 4.4.49)."""


def cells(height: int, width: int) -> tuple[int, int, int]:
    """Side of a cell in pixels, and how many fit into a picture's height and width; the border that is left is cut."""
    side = min(height, width)
    cell = max(2, min(_CELL, side // 4), side // 8)
    return cell, height // cell, width // cell


def length(shape: tuple[int, int, int]) -> int:
    """Number of features of a (C, h, w) picture."""
    _, high, wide = cells(*shape[1:])
    return 4 * _BINS * (high - 1) * (wide - 1)


def rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The definition, (n, C, h, w) in [0, 1] to (n, D): block by block, its four cells, their 9 orientations."""
    grey = luma(x)  # (n, h, w) float64
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    angle = np.mod(np.arctan2(down, across), np.pi) * _BINS / np.pi  # in bins, [0, 9)
    distance = np.abs(angle[:, None] - (np.arange(_BINS) + 0.5)[None, :, None, None])
    votes = np.hypot(across, down)[:, None] * np.maximum(0, 1 - np.minimum(distance, _BINS - distance))
    cell, high, wide = cells(*x.shape[2:])
    shares = [_shares(side, cell, count) for side, count in zip(x.shape[2:], (high, wide), strict=True)]
    histogram = np.einsum("nbhw,ih,jw->nbij", votes, *shares, optimize=True) / cell**2  # (n, 9, high, wide)
    corners = [histogram[:, :, i : high - 1 + i, j : wide - 1 + j] for i in (0, 1) for j in (0, 1)]
    blocks = np.concatenate(corners, axis=1)  # (n, 36, high - 1, wide - 1)
    for most in (_MOST, np.inf):
        blocks = np.minimum(blocks / np.sqrt(np.sum(blocks**2, axis=1, keepdims=True) + _EPSILON**2), most)
    return np.asarray(blocks.transpose(0, 2, 3, 1).reshape(len(x), -1), np.float32)


def nodes(b: Builder, x: str, shape: tuple[int, int, int]) -> str:
    """The same as nodes: (N, C, h, w) to (N, D)."""
    height, width = shape[1:]
    cell, high, wide = cells(height, width)
    padded = b.op("Pad", luma_nodes(b, x, shape), b.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")  # (N, 1, h + 2, w + 2)

    def part(top: int, left: int) -> str:
        return b.slice(padded, b.ints(top, left), b.ints(top + height, left + width), (2, 3))

    across, down = b.op("Sub", part(1, 2), part(1, 0)), b.op("Sub", part(2, 1), part(0, 1))
    magnitude = b.op("Sqrt", b.op("Add", b.op("Mul", across, across), b.op("Mul", down, down)))
    angle = b.op("Mul", _angle(b, across, down), b.floats(_BINS / np.pi))  # [-4.5, 4.5]: the same circle as [0, 9)
    centres = (np.arange(_BINS) + 0.5 - _BINS * (np.arange(_BINS) >= _BINS // 2)).reshape(1, -1, 1, 1)
    distance = b.op("Abs", b.op("Sub", angle, b.floats(centres)))
    distance = b.op("Min", distance, b.op("Sub", b.floats(_BINS), distance))
    votes = b.op("Mul", magnitude, b.op("Relu", b.op("Sub", b.floats(1), distance)))  # (N, 9, h, w)
    tent = np.maximum(0, 1 - np.abs(np.arange(1 - cell, cell) if cell % 2 else np.arange(0.5 - cell, cell)) / cell)
    kernel = np.repeat(np.outer(tent, tent)[None, None] / cell**2, _BINS, axis=0)  # (9, 1, 2·cell, 2·cell) or one less
    begin, end = _inside(height, width)
    votes = b.slice(votes, b.ints(*begin), b.ints(*end), (2, 3))
    before = cell // 2
    histogram = b.op(
        "Conv", votes, b.floats(kernel), group=_BINS, strides=[cell, cell], pads=[before] * 4
    )  # (N, 9, high, wide)
    corners = [
        b.slice(histogram, b.ints(i, j), b.ints(high - 1 + i, wide - 1 + j), (2, 3)) for i in (0, 1) for j in (0, 1)
    ]
    blocks = b.op("Concat", *corners, axis=1)
    for clip in (True, False):
        squares = b.op("Conv", b.op("Mul", blocks, blocks), b.floats(np.ones((1, 4 * _BINS, 1, 1))))  # their sum
        blocks = b.op("Div", blocks, b.op("Sqrt", b.op("Add", squares, b.floats(_EPSILON**2))))
        if clip:
            blocks = b.op("Min", blocks, b.floats(_MOST))
    return b.op("Flatten", b.op("Transpose", blocks, perm=[0, 2, 3, 1]), axis=1)


def _angle(b: Builder, across: str, down: str) -> str:
    """The unsigned orientation of a gradient, in [-pi/2, pi/2].

    Not by the operator Atan: ONNX Runtime 1.31 computes the end of a batch otherwise than its middle, by the last bit,
    and then a tree could answer one picture in two ways. For the same reason sums are convolutions here, not
    ReduceSum.
    """
    x, y = b.op("Abs", across), b.op("Abs", down)
    ratio = b.op("Div", b.op("Min", x, y), b.op("Max", x, y, b.floats(_TINY)))
    square = b.op("Mul", ratio, ratio)
    series = b.floats(_ARCTAN[0])
    for coefficient in _ARCTAN[1:]:
        series = b.op("Add", b.op("Mul", series, square), b.floats(coefficient))
    flat = b.op("Mul", series, ratio)
    angle = b.op("Where", b.op("Greater", y, x), b.op("Sub", b.floats(np.pi / 2), flat), flat)
    falling = b.op("Less", b.op("Mul", across, down), b.floats(0))
    return b.op("Where", falling, b.op("Neg", angle), angle)


def _inside(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the whole cells begin and end: half of the border is cut on either side."""
    cell, high, wide = cells(height, width)
    top, left = (height - cell * high) // 2, (width - cell * wide) // 2
    return (top, left), (top + cell * high, left + cell * wide)


def _shares(side: int, cell: int, count: int) -> NDArray[np.float64]:
    """(count, side): the share of a pixel's vote that each cell along one axis gets, linear in the distance."""
    start = (side - cell * count) // 2
    pixels = np.arange(side) - start
    inside = (pixels >= 0) & (pixels < cell * count)
    centres = (np.arange(count) + 0.5) * cell - 0.5
    return np.maximum(0, 1 - np.abs(pixels[None] - centres[:, None]) / cell) * inside
