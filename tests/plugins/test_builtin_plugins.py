"""The built-in families hold to the same contract as any third party's."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from catalogue_cards import CARDS, of_networks

from zoo import registry
from zoo.testing import PluginContract

if TYPE_CHECKING:
    from zoo.spec import ModelCard


class TestSimpleCNN(PluginContract):
    model = "simple_cnn"
    epochs = 6


@pytest.mark.slow
class TestResNet(PluginContract):
    model = "resnet18"


@pytest.mark.slow
class TestMobile(PluginContract):
    model = "mobilenetv3_small_100"
    epochs = 10  # after 8 an all-white picture gets logits of 19, of which torch itself loses 0.01 to float64


@pytest.mark.slow
class TestCSPNet(PluginContract):
    model = "cs3darknet_focus_s"
    epochs = 8


@pytest.mark.slow
class TestAnyTimm(PluginContract):
    model = "regnetx_002"
    epochs = 8


@pytest.mark.slow
class TestVision(PluginContract):
    """A transformer with learnt positions is built for the size at hand, in patches of 4 px."""

    model = "deit_tiny_patch16_224"


@pytest.mark.parametrize("card", of_networks())
def test_a_card_builds_for_small_gray_images_of_two_classes(card: ModelCard) -> None:
    """`zoo train densenet121` on 28 px X-rays must not end in a traceback. Shapes only, on torch's meta device."""
    torch = pytest.importorskip("torch")
    plugin = registry.load(card.plugin).plugin
    side = max(28, plugin.minimum_size)
    card = msgspec.structs.replace(card, preprocess=msgspec.structs.replace(card.preprocess, size=(side, side)))
    with torch.device("meta"), warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # initialisers warn that there is nothing to initialise
        answer = plugin.build(card, classes=2, channels=1).eval()(torch.zeros(2, 1, side, side))
    assert tuple(answer.shape) == (2, 2)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv3_small_100", "resnet10t", "ghostnet_100"])
def test_an_untrained_network_holds_few_classes_about_equally_likely(name: str) -> None:
    """A head that is drawn for a thousand classes says 'surely the second' of everything, and training unlearns it."""
    torch = pytest.importorskip("torch")
    card = CARDS[name]
    torch.manual_seed(0)
    module = registry.load(card.plugin).plugin.build(card, classes=3, channels=3).train()
    with torch.inference_mode():
        logits = module(torch.randn(16, 3, 64, 64))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(16) % 3)
    assert float(loss) == pytest.approx(np.log(3), abs=0.5)
