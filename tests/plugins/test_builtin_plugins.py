"""The built-in families hold to the same contract as any third party's."""

from __future__ import annotations

import pytest

from zoo.testing import PluginContract


class TestSimpleCNN(PluginContract):
    model = "simple_cnn"
    epochs = 6


class TestSVM(PluginContract):
    model = "svm"


class TestRandomForest(PluginContract):
    model = "random_forest"


@pytest.mark.slow
class TestResNet(PluginContract):
    model = "resnet18"


@pytest.mark.slow
class TestMobile(PluginContract):
    model = "mobilenetv3_small_100"
    epochs = 8


@pytest.mark.slow
class TestCSPNet(PluginContract):
    model = "cspresnet50"
