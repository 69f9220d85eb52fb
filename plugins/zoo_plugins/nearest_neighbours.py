"""The nearest training images vote: no model but the images, and so easy to question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors as Search
from sklearn.pipeline import Pipeline

from zoo_plugins.classical import Classical
from zoo_plugins.classical.heads import add_squared_distances, finish
from zoo_plugins.classical.reduced import Reduced

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.spec import ModelCard

__all__ = ["NearestNeighbours"]

_NEIGHBOURS = 15
_MOST_IMAGES = 20_000
"""That the file holds, drawn by the seed out of more: d float32 numbers each, 20 MB at 256 components."""
_DOUBT = 1.0
"""Votes that the labels' own frequencies get, beside at most 15 of the neighbours (Laplace's rule of succession)."""
_SMALLEST = 1e-6


class NearestNeighbours(Classical):
    """Features – standardised principal components – votes of the 15 nearest training images.

    A vote is 1 - d²/r², r the distance to the 16th image: Epanechnikov's kernel as wide as the neighbourhood (Hastie,
    Tibshirani and Friedman 2009, section 6.2). It is 0 where one neighbour takes the place of another, so the answer
    has no steps and needs no rule for ties.
    """

    several_labels = True

    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """The pipeline; how many labels an image has is seen in the targets."""
        del card, channels
        return Pipeline([("reduced", Reduced(whiten=False)), ("images", _Images(classes=classes))])

    def logits(self, estimator: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logarithms of the shares of votes; several labels: log-odds."""
        images = estimator["images"]
        distances, near = images.search_.kneighbors(estimator["reduced"].transform(rows))
        squares = distances**2
        votes = np.maximum(0, 1 - squares / (squares[:, -1:] + images.least_))  # (n, 16); the last is 0
        shares = np.einsum("nk,nkc->nc", votes, images.votes_[near]) + _DOUBT * images.frequency_
        shares = np.clip(shares / (votes.sum(axis=1, keepdims=True) + _DOUBT), _SMALLEST, 1 - _SMALLEST)
        return np.asarray(np.log(shares) - (np.log(1 - shares) if images.several_ else 0), np.float32)

    def head(self, estimator: Any, length: int) -> onnx.ModelProto:
        """Distances by a product of matrices, TopK, and the votes."""
        from zoo.artefact.nodes import Builder

        b, images = Builder(), estimator["images"]
        squares = add_squared_distances(b, estimator["reduced"].nodes(b, "rows"), images.points_)
        count = images.search_.n_neighbors
        near = b.op("TopK", squares, b.ints(count), axis=1, largest=0)  # (N, 16), nearest first
        last = b.slice(near, b.ints(count - 1), b.ints(count), (1,))
        ratio = b.op("Div", near, b.op("Add", last, b.floats(images.least_)))
        votes = b.op("Relu", b.op("Sub", b.floats(1), ratio))
        labels = b.op("Gather", b.floats(images.votes_), f"{near}_indices", axis=0)  # (N, 16, K)
        shares = b.op("ReduceSum", b.op("Mul", b.op("Unsqueeze", votes, b.ints(2)), labels), b.ints(1), keepdims=0)
        shares = b.op("Add", shares, b.floats(_DOUBT * images.frequency_))
        total = b.op("Add", b.op("ReduceSum", votes, b.ints(1), keepdims=1), b.floats(_DOUBT))
        shares = b.op("Clip", b.op("Div", shares, total), b.floats(_SMALLEST), b.floats(1 - _SMALLEST))
        logits = b.op("Log", shares)
        if images.several_:
            logits = b.op("Sub", logits, b.op("Log", b.op("Sub", b.floats(1), shares)))
        return finish(b, logits, length=length, classes=images.votes_.shape[1])


class _Images(BaseEstimator):  # type: ignore[misc]
    """The training images as points, with the labels they vote for."""

    def __init__(self, classes: int, random_state: int = 0) -> None:
        self.classes = classes
        self.random_state = random_state

    def fit(self, points: NDArray[Any], targets: NDArray[Any]) -> Self:
        self.several_ = targets.ndim == 2
        self.classes_ = np.unique(targets)
        votes = targets.astype(np.float64) if self.several_ else np.eye(self.classes)[targets]
        self.frequency_ = votes.mean(axis=0)
        if len(points) > _MOST_IMAGES:
            chosen = np.sort(np.random.default_rng(self.random_state).choice(len(points), _MOST_IMAGES, replace=False))
            points, votes = points[chosen], votes[chosen]
        self.points_, self.votes_ = points.astype(np.float32), votes
        # Beside it the distance to the 16th image counts: copies of one image have no neighbourhood of their own.
        self.least_ = 1e-3 * float(np.mean(np.sum(self.points_.astype(np.float64) ** 2, axis=1))) + 1e-12
        self.search_ = Search(n_neighbors=min(_NEIGHBOURS + 1, len(points)), algorithm="brute").fit(
            self.points_.astype(np.float64)
        )
        return self
