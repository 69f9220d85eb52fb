"""The built-in families hold to the same contract as any third party's."""

from __future__ import annotations

import msgspec
import pytest

from zoo import info, models, registry
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
class TestVision(PluginContract):
    """A transformer with learnt positions is built for the size at hand."""

    model = "deit_tiny_patch16_224"
    epochs = 8


SMALL = [row.name for row in models() if row.plugin in {"resnet", "cspnet", "mobile", "timm"}]


@pytest.mark.parametrize("name", SMALL)
def test_small_images_are_enlarged_to_what_the_network_can_take(name: str) -> None:
    """`zoo train densenet121` on 28 px images must not end in a traceback."""
    torch = pytest.importorskip("torch")
    card = info(name)
    plugin = registry.load(card.plugin).plugin
    side = max(28, plugin.minimum_size)
    card = msgspec.structs.replace(card, preprocess=msgspec.structs.replace(card.preprocess, size=(side, side)))
    with torch.device("meta"):
        answer = plugin.build(card, classes=3, channels=3).eval()(torch.zeros(2, 3, side, side))
    assert tuple(answer.shape) == (2, 3)
