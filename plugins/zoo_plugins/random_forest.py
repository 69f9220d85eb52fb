"""A random forest: the baseline that needs no tuning."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier

from zoo.errors import UsageError
from zoo_plugins.classical import Classical
from zoo_plugins.classical.heads import finish
from zoo_plugins.classical.trees import Tree, move_thresholds, sums

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.spec import ModelCard

__all__ = ["RandomForest"]

_TREES = 300
_MOST_DEPTH = 64
"""ONNX Runtime walks down a tree by recursion when it opens a file; forests of real images are 20 to 30 deep."""
_DOUBT = 1.0
"""Trees' votes that the labels share evenly, so that no probability is 0 and a single tree moves no logit far."""


class RandomForest(Classical):
    """300 trees (Breiman 2001) on the features."""

    several_labels = True

    def check(self, card: ModelCard, data: Splits) -> None:
        """Refuse to weigh several labels, too: one tree answers for all of them, and an image has one weight in it."""
        super().check(card, data)
        if data.task == "multilabel" and card.train.class_weight != "none":
            raise UsageError(
                f"--set class_weight={card.train.class_weight}: {card.name} cannot weigh each of several labels; leave "
                "the setting out, or choose a network or logistic_regression",
                code="class-weight-unsupported",
                model=card.name,
            )

    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """The forest; leaves of at least two images keep the exported file small."""
        del card, classes, channels
        return _Forest()

    def logits(self, estimator: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logarithms of the smoothed mean of the trees' shares; several labels: log-odds."""
        found = estimator.forest_.predict_proba(rows)
        shares = np.stack([one[:, 1] for one in found], axis=1) if estimator.several_ else np.asarray(found)
        even = 0.5 if estimator.several_ else 1 / shares.shape[1]
        shares = (_TREES * shares + _DOUBT * even) / (_TREES + _DOUBT)
        return np.asarray(np.log(shares) - (np.log(1 - shares) if estimator.several_ else 0), np.float32)

    def head(self, estimator: Any, length: int) -> onnx.ModelProto:
        """The trees as one node, and the logarithm."""
        from zoo.artefact.nodes import Builder

        b = Builder()
        trees = [_tree(fitted.tree_, several=estimator.several_) for fitted in estimator.forest_.estimators_]
        classes = trees[0].weights.shape[1]
        even = 0.5 if estimator.several_ else 1 / classes
        shares = b.op("Add", sums(b, "rows", trees, classes), b.floats(_DOUBT * even))
        shares = b.op("Div", shares, b.floats(_TREES + _DOUBT))
        logits = b.op("Log", shares)
        if estimator.several_:
            logits = b.op("Sub", logits, b.op("Log", b.op("Sub", b.floats(1), shares)))
        return finish(b, logits, length=length, classes=classes, trees=True)


class _Forest(BaseEstimator):  # type: ignore[misc]
    """scikit-learn's, its thresholds moved a little (see `zoo_plugins.classical.trees`)."""

    def __init__(self, random_state: int = 0, class_weight: str | None = None) -> None:
        self.random_state = random_state
        self.class_weight = class_weight

    def fit(self, rows: NDArray[np.float32], targets: NDArray[Any]) -> Self:
        self.several_ = targets.ndim == 2
        self.forest_ = forest = RandomForestClassifier(
            n_estimators=_TREES,
            min_samples_leaf=2,
            max_depth=_MOST_DEPTH,
            class_weight=self.class_weight,
            n_jobs=-1,
            random_state=self.random_state,
        )
        with warnings.catch_warnings():  # scikit-learn's threads set filters aside at once and lose some
            forest.fit(rows, targets)
        forest.n_jobs = 1  # answers are quick, and come without threads
        self.classes_ = self.forest_.classes_
        rng, spread = np.random.default_rng(self.random_state), rows.std(axis=0, dtype=np.float64)
        for fitted in self.forest_.estimators_:
            tree = fitted.tree_
            tree.threshold[:] = move_thresholds(tree.threshold, np.maximum(tree.feature, 0), spread, rng)
        return self


def _tree(fitted: Any, *, several: bool) -> Tree:
    own = np.arange(fitted.node_count)
    leaf = fitted.children_left < 0
    value = fitted.value[:, :, 1] if several else fitted.value[:, 0]  # (nodes, K): share of each label or class
    return Tree(
        feature=np.where(leaf, 0, fitted.feature).astype(np.int64),
        threshold=np.asarray(fitted.threshold, np.float64),
        left=np.where(leaf, own, fitted.children_left),
        right=np.where(leaf, own, fitted.children_right),
        weights=np.asarray(value, np.float64),
    )
