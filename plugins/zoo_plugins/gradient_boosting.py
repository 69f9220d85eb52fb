"""Gradient boosting: trees that each mend what those before left wrong; the strongest on hand-made features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier

from zoo_plugins.classical import Classical
from zoo_plugins.classical.heads import finish
from zoo_plugins.classical.trees import Tree, move_thresholds, sums

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.spec import ModelCard

__all__ = ["GradientBoosting"]


class GradientBoosting(Classical):
    """scikit-learn's histogram gradient boosting (after LightGBM, Ke et al. 2017) on the features.

    100 trees for each class, of 15 leaves; a split sees a tenth of the features, and a tenth of a tree's answer counts
    (Friedman 2001, 2002). Logits are the sums of the trees.
    """

    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """The estimator."""
        del card, classes, channels
        return _Boosted()

    def logits(self, estimator: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """scikit-learn's decision_function."""
        found = estimator.boosted_.decision_function(rows)
        return np.asarray(np.stack([-found / 2, found / 2], axis=1) if found.ndim == 1 else found, np.float32)

    def head(self, estimator: Any, length: int) -> onnx.ModelProto:
        """The trees as one node, and where they start from."""
        from zoo.artefact.nodes import Builder

        b, boosted = Builder(), estimator.boosted_
        binary = len(estimator.classes_) == 2
        sides = np.array([[-0.5, 0.5]]) if binary else np.eye(len(estimator.classes_))
        # What scikit-learn keeps to itself; after training the gate compares the file with its own decision_function.
        trees = [
            _tree(one.nodes, sides[k])
            for stage in boosted._predictors  # noqa: SLF001 - scikit-learn offers no public way to the trees
            for k, one in enumerate(stage)
        ]
        start = boosted._baseline_prediction.reshape(1, -1) @ sides  # noqa: SLF001 - as above
        total = b.op("Add", sums(b, "rows", trees, sides.shape[1]), b.floats(start))
        return finish(b, total, length=length, classes=sides.shape[1], trees=True)


class _Boosted(BaseEstimator):  # type: ignore[misc]
    """scikit-learn's, its thresholds moved a little (see `zoo_plugins.classical.trees`)."""

    def __init__(self, random_state: int = 0, class_weight: str | None = None) -> None:
        self.random_state = random_state
        self.class_weight = class_weight

    def fit(self, rows: NDArray[np.float32], targets: NDArray[Any]) -> Self:
        self.boosted_ = HistGradientBoostingClassifier(
            max_iter=100,
            learning_rate=0.1,
            max_leaf_nodes=15,
            min_samples_leaf=5,
            max_features=0.1,
            max_bins=63,
            l2_regularization=1.0,
            early_stopping=False,
            class_weight=self.class_weight,
            random_state=self.random_state,
        ).fit(rows, targets)
        self.classes_ = self.boosted_.classes_
        rng, spread = np.random.default_rng(self.random_state), rows.std(axis=0, dtype=np.float64)
        for stage in self.boosted_._predictors:  # noqa: SLF001 - as in `head`
            for one in stage:
                nodes = one.nodes
                nodes["num_threshold"] = move_thresholds(nodes["num_threshold"], nodes["feature_idx"], spread, rng)
        return self


def _tree(nodes: NDArray[Any], side: NDArray[np.float64]) -> Tree:
    own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
    return Tree(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, own, nodes["left"]),
        right=np.where(leaf, own, nodes["right"]),
        weights=np.where(leaf, nodes["value"], 0)[:, None] * side,
    )
