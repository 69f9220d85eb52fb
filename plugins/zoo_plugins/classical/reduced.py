"""Fewer numbers that say the same: standardised features on their principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact.nodes import Builder

__all__ = ["Reduced"]

_VARIANCE = 0.95
"""Share of the variance to keep: 'eigenfaces' (Turk and Pentland 1991), with the number left to the data."""
_MOST_COMPONENTS = 512
_MOST_ROWS = 4096
"""Images that decide the components where features are as many; eigenvectors cost the cube of the smaller number."""
_LEAST_SPREAD = 0.01
"""Of the mean spread of all features: one that hardly varies (the black border of scans) is not blown up to equal
the others, nor is its rounding."""


class Reduced(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Standardise, then project on the principal components that hold 95 % of the variance, at most 512.

    Attributes:
        whiten: whether components are brought to unit variance, too.
        random_state: of the choice of images where there are very many.
    """

    def __init__(self, *, whiten: bool = True, random_state: int = 0) -> None:
        self.whiten = whiten
        self.random_state = random_state

    def fit(self, rows: NDArray[np.float32], targets: Any = None) -> Self:
        """Learn centre, scale and components of (n, D) rows."""
        del targets
        self.mean_ = rows.mean(axis=0, dtype=np.float64)
        spread = rows.std(axis=0, dtype=np.float64)
        self.scale_ = np.maximum(spread, max(_LEAST_SPREAD * float(np.sqrt(np.mean(spread**2))), 1e-6))
        if min(rows.shape) > _MOST_ROWS:
            chosen = np.random.default_rng(self.random_state).choice(len(rows), _MOST_ROWS, replace=False)
            rows = rows[np.sort(chosen)]
        x = (rows - self.mean_) / self.scale_
        wide = x.shape[1] > len(x)
        values, vectors = np.linalg.eigh((x @ x.T if wide else x.T @ x) / len(x))
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        kept = int(np.searchsorted(np.cumsum(values), _VARIANCE * values.sum())) + 1
        kept = max(1, min(kept, _MOST_COMPONENTS, int(np.sum(values > 1e-9 * values[0]))))
        values, vectors = values[:kept], vectors[:, :kept]
        if wide:  # of X Xᵀ to those of Xᵀ X
            vectors = x.T @ vectors / np.sqrt(np.maximum(values * len(x), 1e-12))
        vectors = vectors * np.sign(
            vectors[np.abs(vectors).argmax(axis=0), np.arange(kept)]
        )  # which way round is chance
        self.matrix_ = vectors / (np.sqrt(np.maximum(values, 1e-12)) if self.whiten else 1)
        return self

    def transform(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, D) to (n, d)."""
        return np.asarray(((rows - self.mean_) / self.scale_) @ self.matrix_)

    def nodes(self, b: Builder, x: str) -> str:
        """`transform` as nodes."""
        centred = b.op("Sub", x, b.floats(self.mean_))
        return b.op("MatMul", b.op("Div", centred, b.floats(self.scale_)), b.floats(self.matrix_))
