"""Early layers of pretrained networks may learn more slowly; without the setting nothing moves."""

from __future__ import annotations

import pytest
import timm
import torch
from refusals import refused
from timm.optim import param_groups_layer_decay
from tiny_learning import CONFIG, tiny_net

from zoo.errors import TrainingError
from zoo.learn._optim import adamw, set_rate
from zoo.spec import ModelCard, PreprocessSpec, TrainConfig
from zoo.workflow._recipe import configure

CARD = ModelCard(
    name="x",
    plugin="x",
    arch="x",
    family="x",
    summary="",
    preprocess=PreprocessSpec(size=(28, 28), channels="gray"),
    train=TrainConfig(lr=0.001, layer_decay=0.75),
)


def test_without_it_steps_are_those_of_plain_adamw_to_the_bit() -> None:
    """Every number measured before the setting was there must stay."""
    ours, plain = tiny_net(seed=3), tiny_net(seed=3)
    matrices = [p for p in plain.parameters() if p.ndim > 1]
    rest = [p for p in plain.parameters() if p.ndim <= 1]
    reference = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": CONFIG.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=CONFIG.lr,
        fused=True,
    )
    optimizer = adamw(ours, CONFIG)
    for step in range(3):
        x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(step))
        for net, stepper in ((ours, optimizer), (plain, reference)):
            torch.manual_seed(step)
            net(x).square().mean().backward()
            for group in reference.param_groups:
                group["lr"] = 0.01 / (step + 1)
            set_rate(optimizer, 0.01 / (step + 1))
            stepper.step()
            stepper.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("arch", ["test_vit", "test_vit_relpos", "test_convnext"])
def test_shares_are_those_of_timm(arch: str) -> None:
    model = timm.create_model(arch, num_classes=3)
    optimizer = adamw(model, TrainConfig(layer_decay=0.7))
    set_rate(optimizer, 0.01)
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    expected = {
        id(p): 0.01 * group["lr_scale"]
        for group in param_groups_layer_decay(model, layer_decay=0.7)
        for p in group["params"]
    }
    assert found == pytest.approx(expected)
    assert found[id(model.get_classifier().weight)] == 0.01
    assert len(set(found.values())) > 3


def test_a_network_that_does_not_name_its_layers_is_refused() -> None:
    with refused("layers-unknown", TrainingError, network="TinyNet"):
        adamw(tiny_net(), TrainConfig(layer_decay=0.7))


@pytest.mark.parametrize(
    ("budget", "settings", "expected"),
    [
        ({}, {}, 1.0),
        ({"pretrained": True}, {}, 0.75),
        ({"pretrained": True}, {"layer_decay": 0.9}, 0.9),
        ({}, {"layer_decay": 0.9}, 0.9),
    ],
)
def test_a_card_asks_for_it_with_pretrained_weights_only(
    budget: dict[str, bool], settings: dict[str, float], expected: float
) -> None:
    """From scratch the early layers have nothing to keep and everything to learn."""
    assert configure(CARD, budget, settings).layer_decay == expected


@pytest.mark.parametrize("value", [0, 1.2, -0.5])
def test_a_share_that_makes_no_sense_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="layer_decay is"):
        TrainConfig(layer_decay=value)
