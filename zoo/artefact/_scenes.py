"""Drawn scenes for golden images: gradients, edges, gratings and speckle, by a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_tones", "plane"]

Array = NDArray[Any]


def draw_tones(size: tuple[int, int], seed: int, planes: int) -> NDArray[np.float64]:
    """(H, W, planes) tones from 0 to 1: a gradient, and on it shapes that are flat, striped, speckled or shaded."""
    rng = np.random.default_rng(seed)
    rows, columns = plane(*size)
    tones = _shade(rng, rows, columns, planes)
    for _ in range(int(rng.integers(3, 14))):
        mask = _shape(rng, rows, columns)
        fill = (_flat, _stripes, _speckle, _shade)[int(rng.integers(4))]
        tones[mask] = fill(rng, rows, columns, planes)[mask]
    return tones


def plane(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(H, W) coordinates of the pixels' centres, down and to the right, from -1 to 1."""
    down, right = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))
    return np.broadcast_to(down[:, None], (height, width)), np.broadcast_to(right, (height, width))


def _colour(rng: np.random.Generator, planes: int) -> NDArray[np.float64]:
    """(C,) tones: of one brightness, and of some colour."""
    return np.clip(rng.uniform(0, 1) + rng.normal(0, 0.15, planes) * (planes > 1), 0, 1)


def _shape(rng: np.random.Generator, rows: Array, columns: Array) -> NDArray[np.bool_]:
    """(H, W): a turned ellipse or box."""
    turn, (down, right) = rng.uniform(0, np.pi), rng.uniform(-1, 1, 2)
    tall, wide = rng.uniform(0.05, 0.8, 2)
    across = ((columns - right) * np.cos(turn) + (rows - down) * np.sin(turn)) / wide
    along = ((rows - down) * np.cos(turn) - (columns - right) * np.sin(turn)) / tall
    inside = across**2 + along**2 < 1 if rng.integers(2) else np.maximum(np.abs(across), np.abs(along)) < 1
    return np.asarray(inside)


def _flat(rng: np.random.Generator, rows: Array, columns: Array, planes: int) -> NDArray[np.float64]:
    del columns
    return np.broadcast_to(_colour(rng, planes), (*rows.shape, planes))


def _stripes(rng: np.random.Generator, rows: Array, columns: Array, planes: int) -> NDArray[np.float64]:
    """As fine as two pixels: what a filter without antialiasing makes another picture of."""
    turn, period = rng.uniform(0, np.pi), 2 * 8 ** rng.uniform(0, 1)
    height, width = rows.shape
    place = (columns * width / 2 * np.cos(turn) + rows * height / 2 * np.sin(turn)) / period
    return np.where((place % 1 < 0.5)[:, :, None], _colour(rng, planes), _colour(rng, planes))


def _speckle(rng: np.random.Generator, rows: Array, columns: Array, planes: int) -> NDArray[np.float64]:
    """Squares of one to four pixels in two colours."""
    del columns
    side, (height, width) = int(rng.integers(1, 5)), rows.shape
    cells = rng.random((-(-height // side), -(-width // side))) < 0.5
    cells = cells.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return np.where(cells[:, :, None], _colour(rng, planes), _colour(rng, planes))


def _shade(rng: np.random.Generator, rows: Array, columns: Array, planes: int) -> NDArray[np.float64]:
    """From one colour to another along a line."""
    turn = rng.uniform(0, 2 * np.pi)
    share = np.clip((columns * np.cos(turn) + rows * np.sin(turn) + 1) / 2, 0, 1)[:, :, None]
    return np.asarray(share * _colour(rng, planes) + (1 - share) * _colour(rng, planes))
