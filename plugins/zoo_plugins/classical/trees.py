"""Decision trees as one node of ONNX, with thresholds that float32 keeps.

Training compares float32 features with float64 thresholds, ONNX Runtime with float32 ones. For a float32 x, x <= t
holds exactly when x <= the largest float32 that is not above t; so thresholds are rounded down, and every picture takes
the same path on both sides.

What is left is that a feature itself may differ by rounding between two ways to resize a picture. scikit-learn puts a
threshold in the middle between two values, and resized 8-bit pictures lie in the middle often: hundreds of trees
then turn over at once. So each threshold is moved a little, each otherwise: see `move_thresholds`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.artefact.nodes import Builder

__all__ = ["Tree", "move_thresholds", "sums"]

_SHIFT = 1e-3
"""Largest move of a threshold, in standard deviations of its feature: of pixels a twentieth of a level, so that no
8-bit picture takes another way."""


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """Nodes of one tree in any order, the root first; a leaf has itself as children."""

    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    """Where x[feature] <= threshold leads."""
    right: NDArray[np.int64]
    weights: NDArray[np.float64]
    """(nodes, K): what a leaf adds to each of K sums."""

    @property
    def leaf(self) -> NDArray[np.bool_]:
        """Which nodes are leaves."""
        return np.asarray(self.left == np.arange(len(self.left)))


def move_thresholds(
    thresholds: NDArray[Any], features: NDArray[Any], spread: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Thresholds, each moved by up to `_SHIFT` of the spread of its feature.

    Args:
        thresholds: threshold of each node of a tree.
        features: column that each compares; of a leaf any.
        spread: (D,) standard deviation of each column.
        rng: seeded by the run.
    """
    return np.asarray(thresholds + spread[features] * rng.uniform(-_SHIFT, _SHIFT, len(thresholds)))


def sums(b: Builder, rows: str, trees: Sequence[Tree], classes: int) -> str:
    """(N, classes): the sum over all trees of the weights of the leaf that each row reaches."""
    sizes = [len(tree.left) for tree in trees]
    ids = np.concatenate([np.arange(size) for size in sizes])
    numbers = np.repeat(np.arange(len(trees)), sizes)
    leaf = np.concatenate([tree.leaf for tree in trees])
    thresholds = _round_down(np.concatenate([tree.threshold for tree in trees]))
    weights = np.concatenate([tree.weights for tree in trees])
    node, target = np.nonzero(weights * leaf[:, None])

    def ways(name: str) -> list[int]:
        values = np.concatenate([getattr(tree, name) for tree in trees])
        return [int(value) for value in np.where(leaf, 0, values)]

    return b.op(
        "TreeEnsembleRegressor",
        rows,
        domain="ai.onnx.ml",
        n_targets=classes,
        nodes_treeids=numbers.tolist(),
        nodes_nodeids=ids.tolist(),
        nodes_featureids=ways("feature"),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_values=np.where(leaf, np.float32(0), thresholds).tolist(),
        nodes_truenodeids=ways("left"),
        nodes_falsenodeids=ways("right"),
        target_treeids=numbers[node].tolist(),
        target_nodeids=ids[node].tolist(),
        target_ids=target.tolist(),
        target_weights=weights[node, target].astype(np.float32).tolist(),
    )


def _round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each value."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)
