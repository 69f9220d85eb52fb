"""A random forest on pixels: the baseline that needs no tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.ensemble import RandomForestClassifier

from zoo.plugin import SklearnPlugin

if TYPE_CHECKING:
    from zoo.spec import ModelCard

__all__ = ["RandomForest"]


class RandomForest(SklearnPlugin):
    """300 trees (Breiman 2001) on the raw pixels, classes weighted by their frequency."""

    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """The forest; leaves of at least two images keep the exported file small."""
        del card, classes, channels
        return RandomForestClassifier(n_estimators=300, min_samples_leaf=2, class_weight="balanced", n_jobs=-1)
