"""The classical families hold to the contract; each with other features, so that all pass through it."""

from __future__ import annotations

from zoo.testing import PluginContract


class TestSVM(PluginContract):
    model = "svm"


class TestLinearSVM(PluginContract):
    model = "svm_linear"
    settings = {"features": "hog+colour"}


class TestLogisticRegression(PluginContract):
    model = "logistic_regression"
    settings = {"features": "colour"}


class TestNearestNeighbours(PluginContract):
    model = "knn"
    settings = {"features": "lbp+colour"}


class TestRandomForest(PluginContract):
    model = "random_forest"


class TestGradientBoosting(PluginContract):
    model = "gradient_boosting"
    settings = {"features": "hog+lbp+colour"}
