"""The classical families hold to the contract; each with other features, so that all pass through it."""

from __future__ import annotations

from typing import ClassVar

import pytest

from zoo.testing import PluginContract


class TestSVM(PluginContract):
    model = "svm"


@pytest.mark.slow
class TestLinearSVM(PluginContract):
    model = "svm_linear"
    settings: ClassVar = {"features": "hog+colour"}


class TestLogisticRegression(PluginContract):
    model = "logistic_regression"
    settings: ClassVar = {"features": "colour"}


@pytest.mark.slow
class TestNearestNeighbours(PluginContract):
    model = "knn"
    settings: ClassVar = {"features": "lbp+colour"}


class TestRandomForest(PluginContract):
    model = "random_forest"


@pytest.mark.slow
class TestGradientBoosting(PluginContract):
    model = "gradient_boosting"
    settings: ClassVar = {"features": "hog+lbp+colour"}
