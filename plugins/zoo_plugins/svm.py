"""Support vector machines on principal components: the baseline a deep model must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC, LinearSVC

from zoo_plugins.classical import Classical
from zoo_plugins.classical.heads import add_squared_distances, finish, linear
from zoo_plugins.classical.reduced import Reduced

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.spec import ModelCard

__all__ = ["SVM"]


class SVM(Classical):
    """Features – standardised principal components of unit variance – RBF or (arch `svm_linear`) linear SVM.

    C = 10 and gamma = 1/components are the usual starting points (Hsu, Chang and Lin 2003, section 3.2). Logits are
    margins: of the linear machine each class against the rest, of the RBF one the mean of a class's margins against
    every other. They are calibrated as any model's are, by the run's temperature on validation images; in a trial
    with 45 and with 90 training images, four draws of each, Platt's sigmoids were a little further off.
    """

    def build(self, card: ModelCard, *, classes: int, channels: int) -> Any:
        """The pipeline, the same for any number of classes."""
        del classes, channels
        machine = (
            LinearSVC(C=0.01, dual="auto", max_iter=5000)
            if card.arch == "svm_linear"
            else SVC(C=10.0, gamma="auto", decision_function_shape="ovo")
        )
        return Pipeline([("reduced", Reduced()), ("machine", machine)])

    def logits(self, estimator: Any, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Margins, by scikit-learn's decision_function."""
        machine = estimator["machine"]
        margins = machine.decision_function(estimator["reduced"].transform(rows))
        return np.asarray(margins.reshape(len(rows), -1) @ _votes(machine), np.float32)

    def head(self, estimator: Any, length: int) -> onnx.ModelProto:
        """The machine's numbers in a few products of matrices."""
        from zoo.artefact.nodes import Builder

        b, machine = Builder(), estimator["machine"]
        x = estimator["reduced"].nodes(b, "rows")
        votes = _votes(machine)
        if isinstance(machine, LinearSVC):
            margins = linear(b, x, machine.coef_.T @ votes, machine.intercept_ @ votes)
        else:
            gamma = 1 / machine.n_features_in_
            distances = add_squared_distances(b, x, machine.support_vectors_)
            kernel = b.op("Exp", b.op("Mul", distances, b.floats(-gamma)))  # (N, support vectors)
            margins = linear(b, kernel, _coefficients(machine) @ votes, machine.intercept_ @ votes)
        return finish(b, margins, length=length, classes=len(machine.classes_))


def _votes(machine: SVC | LinearSVC) -> NDArray[np.float64]:
    """(margins, K): what each margin says of each class."""
    classes = len(machine.classes_)
    if classes == 2:
        return np.array([[-1.0, 1.0]])
    if isinstance(machine, LinearSVC):
        return np.eye(classes)
    pairs = list(zip(*np.triu_indices(classes, 1), strict=True))  # of i against j, positive for i
    votes = np.zeros((len(pairs), classes))
    for margin, (i, j) in enumerate(pairs):
        votes[margin, i], votes[margin, j] = 1 / (classes - 1), -1 / (classes - 1)
    return votes


def _coefficients(machine: SVC) -> NDArray[np.float64]:
    """(support vectors, margins) from libsvm's packing.

    A support vector of class i has K - 1 coefficients, one for each other class in order (LIBSVM's README, "sv_coef").
    """
    packed = machine.dual_coef_
    classes = len(machine.classes_)
    if classes == 2:
        return np.asarray(packed.T)
    owner = np.repeat(np.arange(classes), machine.n_support_)
    columns = [
        np.where(owner == i, packed[j - 1], 0) + np.where(owner == j, packed[i], 0)
        for i, j in zip(*np.triu_indices(classes, 1), strict=True)
    ]
    return np.stack(columns, axis=1)
