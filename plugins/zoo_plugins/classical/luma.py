"""The brightness of a picture, of which texture and gradients are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact.nodes import Builder

__all__ = ["luma", "luma_nodes"]

_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue: ITU-R BT.601, section 2.5.1."""


def luma(x: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, C, h, w) with C = 3 or 1 to (n, h, w) float64; grey stays as it is."""
    weights = _WEIGHTS if x.shape[1] == 3 else (1.0,)
    return np.asarray(np.einsum("nchw,c->nhw", x.astype(np.float64), np.asarray(weights)))


def luma_nodes(b: Builder, x: str, shape: tuple[int, int, int]) -> str:
    """The same as nodes: (N, C, h, w) to (N, 1, h, w)."""
    if shape[0] == 1:
        return x
    return b.op("Conv", x, b.floats(np.reshape(_WEIGHTS, (1, 3, 1, 1))))
