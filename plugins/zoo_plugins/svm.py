"""A support vector machine on principal components: the baseline a deep model must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from zoo.plugin import SklearnPlugin
from zoo_plugins.features import principal_components

if TYPE_CHECKING:
    from zoo.spec import ModelCard

__all__ = ["SVM"]


class SVM(SklearnPlugin):
    """Pixels – standardised – principal components – standardised – RBF SVM – Platt-scaled probabilities.

    C = 10 and gamma = 1/features are the usual starting points (Hsu, Chang and Lin 2003, section 3.2).
    """

    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """The pipeline; `card.preprocess.size` decides how many pixels it sees."""
        del classes
        machine = SVC(C=10.0, gamma="auto", class_weight="balanced")
        return make_pipeline(
            StandardScaler(),
            principal_components(card, channels),
            StandardScaler(),
            # Around the machine alone: skl2onnx 1.20 turns the two classes round when a pipeline stands
            # inside.
            CalibratedClassifierCV(machine, method="sigmoid", cv=3, ensemble=False),
        )
