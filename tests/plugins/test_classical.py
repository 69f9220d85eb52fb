"""The classical families hold to the contract; each with other features, so that all pass through it."""

from __future__ import annotations

from typing import ClassVar

from zoo.testing import PluginContract


class TestSVM(PluginContract):
    model = "svm"


class TestLinearSVM(PluginContract):
    model = "svm_linear"
    settings: ClassVar = {"features": "hog+colour"}


class TestLogisticRegression(PluginContract):
    model = "logistic_regression"
    settings: ClassVar = {"features": "colour"}


class TestNearestNeighbours(PluginContract):
    model = "knn"
    settings: ClassVar = {"features": "lbp+colour"}


class TestRandomForest(PluginContract):
    model = "random_forest"


class TestGradientBoosting(PluginContract):
    model = "gradient_boosting"
    settings: ClassVar = {"features": "hog+lbp+colour"}
