"""Grad-CAM: the formula of its paper, on the last map of any network, and a map that hangs on what was learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import timm
import torch
from torch import nn

from zoo.edge._explain import correlate_ranks
from zoo.learn import GradCam

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = (32, 32)


def _image(seed: int = 0, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(3, *size)).astype(np.float32)


def _network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
    ).eval()  # fmt: skip


def _found(network: nn.Module, size: tuple[int, int] = SIZE) -> GradCam:
    found = GradCam.of(network.eval(), channels=3, size=size)
    assert found is not None
    return found


def test_the_map_of_a_mean_and_a_linear_layer_is_known_in_closed_form() -> None:
    """There the gradient of each place is the weight over the number of places (Zhou et al. 2016)."""
    network = _network()
    gradcam = _found(network)
    assert gradcam.layer == "7"
    image = _image()
    shown = gradcam.map(image, 1)
    with torch.no_grad():
        last = network[:8](torch.from_numpy(image)[None])
        weights = network[10].weight[1]
        raised = torch.einsum("c,nchw->nhw", weights, last)
        logit = network(torch.from_numpy(image)[None])[0, 1] - network[10].bias[1]
        expected = nn.functional.interpolate(raised[None], SIZE, mode="bilinear")[0, 0]
    assert np.allclose(shown, expected.numpy(), atol=1e-5)
    assert np.isclose(float(raised.mean()), float(logit), atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "options", "layer"),
    [
        ("resnet18", {}, "layer4"),
        ("vit_tiny_patch16_224", {"depth": 2, "img_size": 64}, "blocks.1.norm1"),  # tokens, of which one is the class
        ("vit_tiny_patch16_224", {"depth": 2, "img_size": 64, "reg_tokens": 4, "global_pool": "avg", "fc_norm": False},
         "norm"),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1), "embed_dim": 24, "num_heads": (2, 4), "img_size": 64},
         "norm"),  # (N, rows, columns, D)
    ],
)  # fmt: skip
def test_the_last_map_is_found_whatever_the_family(arch: str, options: dict[str, object], layer: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(arch, num_classes=3, **options)
    gradcam = _found(network, (64, 64))
    assert gradcam.layer == layer
    shown = gradcam.map(_image(size=(64, 64)), 2)
    assert shown.shape == (64, 64)
    assert np.ptp(shown) > 0


def test_places_of_tokens_are_those_of_the_picture() -> None:
    """A network of tokens that sees brightness: its map is brightest where the picture is."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut, self.norm, self.head = (
                nn.Conv2d(3, 4, 8, 8, bias=False),
                nn.LayerNorm(4, eps=1e4),
                nn.Linear(4, 2),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.cut(x).flatten(2).transpose(1, 2)
            tokens = self.norm(torch.cat([tokens.new_zeros(len(x), 1, 4), tokens], dim=1))
            return self.head(tokens[:, 1:].mean(dim=1))

    network = Tokens()
    with torch.no_grad():
        network.cut.weight.zero_()
        network.cut.weight[0] = 1
        network.head.weight[1] = torch.tensor([1.0, -1, 0, 0])
    image = np.full((3, 32, 48), 0.01, np.float32)
    image[:, 8:16, 32:40] = 1
    shown = _found(network, (32, 48)).map(image, 1)
    assert np.unravel_index(shown.argmax(), shown.shape)[0] // 8 == 1
    assert np.unravel_index(shown.argmax(), shown.shape)[1] // 8 == 4


def test_a_network_without_a_map_has_none() -> None:
    assert GradCam.of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), channels=3, size=SIZE) is None


def test_shuffled_weights_follow_the_seed_and_leave_the_network_alone() -> None:
    network = _network()
    before = {name: one.clone() for name, one in network.state_dict().items()}
    gradcam = _found(network)
    one, again, other = (gradcam.shuffle(seed).map(_image(), 0) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())


def _stripes(rng: np.random.Generator, along: int) -> NDArray[np.float32]:
    """Stripes along or across in one place of a picture that is noise, no weaker than they are."""
    image = np.repeat(rng.choice([-1.0, 1.0], (1, *SIZE)), 3, axis=0).astype(np.float32)
    wave = np.where(np.arange(14) // 2 % 2, 1.0, -1.0)
    top, left = rng.integers(0, 18, 2)
    image[:, top : top + 14, left : left + 14] = wave[:, None] if along else wave
    return image


def test_the_map_of_a_trained_network_is_not_that_of_random_weights() -> None:
    """Any weights are excited by stripes and noise; only a network that has learnt the stripes tells them apart."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 400)
    images = torch.from_numpy(np.stack([_stripes(rng, target) for target in targets]))
    network = _network().train()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for start in list(range(0, 400, 40)) * 6:
        batch = slice(start, start + 40)
        loss = nn.functional.cross_entropy(network(images[batch]), torch.from_numpy(targets[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gradcam = _found(network)
    assert loss.item() < 0.1
    scores = []
    for seed in range(8):
        image = _stripes(np.random.default_rng(100 + seed), seed % 2)
        own = np.abs(gradcam.map(image, seed % 2))
        scores += [correlate_ranks(own, np.abs(gradcam.shuffle(draw).map(image, seed % 2))) for draw in range(1, 6)]
    assert abs(np.mean(scores)) < 0.15  # -0.005 when this was written
