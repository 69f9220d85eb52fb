"""Local binary patterns (Ojala, Pietikäinen and Mäenpää, PAMI 2002) with soft comparison, as arrays and as ONNX nodes.

The operator LBP(8, 1) on the luma: eight neighbours on a circle of radius 1 (those between pixels interpolated
bilinearly), against the centre. Patterns with at most two changes around the circle have a bin each, all others one
bin: 59 in all, not invariant to rotation (their u2). Histograms of cells are put side by side (Ahonen, Hadid and
Pietikäinen, PAMI 2006).

"Brighter than the centre" is not yes or no but a membership that rises linearly over some grey levels (Ahonen and
Pietikäinen, FinSig 2007, soft histograms): in flat regions, such as the black around a scan, rounding would otherwise
throw the dice for every bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo_plugins.classical.luma import luma, luma_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact.nodes import Builder

__all__ = ["MINIMUM_SIDE", "cells", "length", "nodes", "pattern_bins", "rows"]

MINIMUM_SIDE = 2

_SOFT = 4 / 255
"""Difference from the centre, in parts of the white level, at which a neighbour is wholly brighter or darker."""
_CELL, _MOST_CELLS = 16, 4
"""About the side of a cell in pixels, and the most cells a side."""
_NEIGHBOURS = 8
_PATTERNS = 59


def cells(side: int) -> int:
    """Number of cells along a side."""
    return int(np.clip(round(side / _CELL), 1, _MOST_CELLS))


def length(shape: tuple[int, int, int]) -> int:
    """Number of features of a (C, h, w) picture."""
    return cells(shape[1]) * cells(shape[2]) * _PATTERNS


def pattern_bins() -> NDArray[np.int64]:
    """(256,): the bin of each pattern; bit p is neighbour p. Uniform patterns in their order, then others."""
    bits = np.arange(256)[:, None] >> np.arange(_NEIGHBOURS) & 1
    uniform = np.sum(bits != np.roll(bits, 1, axis=1), axis=1) <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, _PATTERNS - 1)


def rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The definition, (n, C, h, w) in [0, 1] to (n, D): cell by cell 59 shares that sum to 1."""
    count, (height, width) = len(x), x.shape[2:]
    padded = np.pad(luma(x), ((0, 0), (1, 1), (1, 1)), mode="edge")
    member = []  # of each neighbour: how much brighter it is than the centre, in [0, 1]
    for kernel in _kernels():
        difference = sum(
            kernel[i, j] * padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3) if kernel[i, j]
        )
        member.append(np.clip(np.asarray(difference) / (2 * _SOFT) + 0.5, 0, 1))
    high, wide = cells(height), cells(width)
    tall, broad = height // high, width // wide
    bins = pattern_bins()
    result = np.zeros((count, high * wide, _PATTERNS))
    for pattern in range(256):
        weight = np.ones((count, height, width))
        for p, brighter in enumerate(member):
            weight *= brighter if pattern >> p & 1 else 1 - brighter
        kept = weight[:, : high * tall, : wide * broad].reshape(count, high, tall, wide, broad)
        result[:, :, bins[pattern]] += kept.mean(axis=(2, 4)).reshape(count, -1)
    return np.asarray(result.reshape(count, -1), np.float32)


def nodes(b: Builder, x: str, shape: tuple[int, int, int]) -> str:
    """The same as nodes: (N, C, h, w) to (N, D).

    A pattern's membership is a product of eight. Those of the first four neighbours, 16 maps, and of the last four,
    16 maps, are multiplied and summed over a cell as one product of matrices, so that no picture is held 256 times.
    """
    height, width = shape[1:]
    high, wide = cells(height), cells(width)
    tall, broad = height // high, width // wide
    padded = b.op("Pad", luma_nodes(b, x, shape), b.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
    difference = b.op("Conv", padded, b.floats(np.stack(_kernels())[:, None] / (2 * _SOFT)))  # (N, 8, h, w)
    member = b.op("Clip", b.op("Add", difference, b.floats(0.5)), b.floats(0), b.floats(1))
    halves = []
    for first in (0, 4):
        maps = ""
        for p in range(first, first + 4):
            brighter = b.slice(member, b.ints(p), b.ints(p + 1), (1,))
            both = (b.op("Sub", b.floats(1), brighter), brighter)
            maps = b.op("Concat", *(b.op("Mul", maps, side) if maps else side for side in both), axis=1)
        maps = b.slice(maps, b.ints(0, 0), b.ints(high * tall, wide * broad), (2, 3))  # (N, 16, h, w)
        maps = b.op("Reshape", maps, b.ints(-1, 16, high, tall, wide, broad))
        order = [0, 2, 4, 1, 3, 5] if first == 4 else [0, 2, 4, 3, 5, 1]
        maps = b.op("Transpose", maps, perm=order)
        sides = (16, tall * broad) if first == 4 else (tall * broad, 16)
        halves.append(b.op("Reshape", maps, b.ints(-1, high * wide, *sides)))
    patterns = b.op("MatMul", halves[1], halves[0])  # (N, cells, 16, 16): bits 4 to 7 by bits 0 to 3
    patterns = b.op("Reshape", patterns, b.ints(-1, high * wide, 256))
    into = np.eye(_PATTERNS)[pattern_bins()] / (tall * broad)
    return b.op("Flatten", b.op("MatMul", patterns, b.floats(into)), axis=1)


def _kernels() -> list[NDArray[np.float64]]:
    """(3, 3) each: the neighbour at angle p · 45°, interpolated, minus the centre."""
    result = []
    for p in range(_NEIGHBOURS):
        angle = 2 * np.pi * p / _NEIGHBOURS
        y, x = 1 - np.sin(angle), 1 + np.cos(angle)  # counted from the upper left of the window, as in their figure 1
        kernel = np.maximum(0, 1 - np.abs(np.arange(3) - y))[:, None] * np.maximum(0, 1 - np.abs(np.arange(3) - x))
        kernel[np.abs(kernel) < 1e-12] = 0
        kernel[1, 1] -= 1
        result.append(kernel)
    return result
