"""Logistic regression on principal components: the simplest model whose probabilities mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression as Fitted
from sklearn.pipeline import Pipeline

from zoo.spec import UNKNOWN
from zoo_plugins.classical import Classical
from zoo_plugins.classical.heads import finish, linear
from zoo_plugins.classical.reduced import Reduced

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.spec import ModelCard

__all__ = ["LogisticRegression"]


class LogisticRegression(Classical):
    """Features – standardised principal components – multinomial logistic regression; several labels: one for each."""

    several_labels = True
    unknown_labels = True

    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """The pipeline; how many labels an image has is seen in the targets."""
        del card, classes, channels
        return Pipeline([("reduced", Reduced()), ("model", _Logistic())])

    def logits(self, estimator: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Linear in the components."""
        model = estimator["model"]
        return np.asarray(estimator["reduced"].transform(rows) @ model.weights_ + model.offset_, np.float32)

    def head(self, estimator: Any, length: int) -> onnx.ModelProto:
        """Two products of matrices."""
        from zoo.artefact.nodes import Builder

        b, model = Builder(), estimator["model"]
        logits = linear(b, estimator["reduced"].nodes(b, "rows"), model.weights_, model.offset_)
        return finish(b, logits, length=length, classes=len(model.offset_))


class _Logistic(BaseEstimator):  # type: ignore[misc]
    """scikit-learn's, once for (n,) classes or for each column of (n, K) labels; weights_ (d, K), offset_ (K,).

    A label is learnt from the images that it is known of.
    """

    def __init__(self, strength: float = 0.01, class_weight: str | None = None) -> None:
        self.strength = strength
        self.class_weight = class_weight

    def fit(self, rows: NDArray[Any], targets: NDArray[Any]) -> Self:
        if targets.ndim == 2:
            fits = [self._fit(rows[column != UNKNOWN], column[column != UNKNOWN]) for column in targets.T]
            self.weights_ = np.concatenate([fit.coef_ for fit in fits]).T
            self.offset_ = np.concatenate([fit.intercept_ for fit in fits])
            return self
        fit = self._fit(rows, targets)
        self.classes_ = fit.classes_
        sides = np.array([[-0.5], [0.5]]) if len(fit.classes_) == 2 else np.eye(len(fit.classes_))
        self.weights_, self.offset_ = (sides @ fit.coef_).T, sides @ fit.intercept_
        return self

    def _fit(self, rows: NDArray[Any], targets: NDArray[Any]) -> Fitted:
        return Fitted(C=self.strength, class_weight=self.class_weight, max_iter=1000).fit(rows, targets)
