"""The Vision GNN: its graph must not depend on rounding, else the shipped file would answer differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from refusals import refused

import zoo
from zoo import registry
from zoo.errors import CatalogueError
from zoo.preprocess import apply
from zoo.testing import PluginContract

if TYPE_CHECKING:
    from zoo.contract import Subject

torch = pytest.importorskip("torch")
functional = pytest.importorskip("torch.nn.functional")
vig = pytest.importorskip("zoo_plugins.vig")


@pytest.mark.slow
class TestViG(PluginContract):
    model = "vig_mini"

    def test_pictures_full_of_ties_get_the_trained_answers(self, subject: Subject) -> None:
        """Repeated tiles, mirrored halves and flat areas make nodes that are equally far; noise makes most near so."""
        run = subject.run
        rng = np.random.default_rng(0)
        tile = rng.integers(0, 256, (8, 8, 3))
        half = rng.integers(0, 256, (32, 16, 3))
        flat = np.full((32, 32, 3), 127)
        flat[4:9, 5:11] = 200
        raw = np.stack(
            [
                np.tile(tile, (4, 4, 1)),
                np.tile(tile[:4, :4], (8, 8, 1)),
                np.concatenate((half, half[:, ::-1]), axis=1),
                flat,
                *rng.integers(0, 256, (12, 32, 32, 3)),
            ]
        ).astype(np.uint8)
        spec = run.record.card.preprocess
        expected = subject.plugin.load(run.record.card, run).predict(np.stack([apply(image, spec) for image in raw]))
        apart = np.abs(subject.runtime.logits(raw) - expected) / np.maximum(1, np.abs(expected))
        assert np.median(apart.max(axis=1)) < 1e-4  # the bars of the parity gate
        assert apart.max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"),
    [("vig_ti", 7.18e6), ("pvig_ti", 10.7e6)],
)
def test_the_papers_architectures_have_its_parameters(name: str, published: float) -> None:
    """The authors' own models count 7.18 and 10.7 million at 224 px; another number is another network."""
    card = zoo.info(name)
    with torch.device("meta"):
        module = vig.ViG().build(card, classes=1000, channels=3)
        answer = module.eval()(torch.zeros(2, 3, 224, 224))
    count = sum(parameter.numel() for parameter in module.parameters())
    assert count == card.parameters == pytest.approx(published, rel=0.002)
    assert tuple(answer.shape) == (2, 1000)


def slow(size: tuple[int, int]) -> Any:
    return pytest.param(size, marks=pytest.mark.slow)


@pytest.mark.parametrize("size", [(33, 47), *map(slow, [(16, 16), (28, 28), (64, 40), (97, 130)])])
@pytest.mark.parametrize("name", ["vig_ti", "pvig_ti", "vig_mini"])
def test_pictures_of_any_size_have_a_graph(name: str, size: tuple[int, int]) -> None:
    card = zoo.info(name)
    card = msgspec.structs.replace(card, preprocess=msgspec.structs.replace(card.preprocess, size=size))
    with torch.device("meta"):
        module = registry.load("vig").plugin.build(card, classes=3, channels=1).eval()
        assert tuple(module(torch.zeros(2, 1, *size)).shape) == (2, 3)


def test_two_nodes_that_change_places_move_nothing() -> None:
    """The third nearest and the first left out swap by a rounding error; the paper's own graph would jump by 5."""
    angles = torch.tensor([0.0, 0.2, 0.5, 0.5, 0.9])
    swapped = []
    for shift in (-1e-7, 1e-7):
        turned = angles + shift * torch.tensor([0, 0, 1.0, -1.0, 0])
        features = torch.stack((turned.cos(), turned.sin()), dim=1)[None]  # (1, 5, 2)
        index, share = vig._neighbours(features, features, torch.zeros(5, 5), 3)
        values = torch.tensor([0.0, 1.0, -5.0, 5.0, 9.0])[index[0, 0]]
        swapped.append(float((values * share[0, 0]).max()))
        whole, near, last = share[0, 0].tolist()
        assert whole > 0.99 > near > 0.8 > last  # the squared distance of the first left out is six times the second's
    assert swapped == pytest.approx([near, near], abs=1e-3)


@pytest.mark.slow
def test_a_rounding_of_the_input_stays_small_through_all_blocks() -> None:
    """What a runtime that adds in another order does; where neighbours fade late, each block makes it larger."""
    card = zoo.info("vig_ti")
    card = msgspec.structs.replace(card, preprocess=msgspec.structs.replace(card.preprocess, size=(32, 32)))
    torch.manual_seed(0)
    module = vig.ViG().build(card, classes=10, channels=3)
    for one in module.modules():
        if isinstance(one, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            one.momentum = 1.0
    pictures = functional.interpolate(torch.randn(24, 3, 8, 8), size=(32, 32), mode="bilinear")
    with torch.inference_mode():
        module.train()(pictures)
        module.eval()
        moved = module(pictures * (1 + 1e-7 * torch.randn_like(pictures))) - module(pictures)
    assert float(moved.abs().max()) < 2e-5


def test_the_nearest_are_neighbours_in_their_order() -> None:
    features = torch.randn(2, 30, 8, generator=torch.Generator().manual_seed(0))
    index, share = vig._neighbours(features, features, torch.zeros(30, 30), 9)
    unit = (features / features.norm(dim=2, keepdim=True)).double()
    distance = torch.cdist(unit, unit)
    assert torch.equal(index, distance.argsort(dim=2)[:, :, :9])
    assert torch.equal(index[:, :, 0], torch.arange(30).expand(2, 30))
    assert bool((share >= 0).all())
    assert bool((share.diff(dim=2) <= 0).all())


def test_dilation_skips_keys_and_leaves_enough() -> None:
    near = vig._candidates((14, 14), (14, 14), 9, 3)
    assert bool(near.diagonal().all())
    assert near.sum(axis=1).min() > 9
    assert not near[0, 1]
    assert near[0, 3]
    assert vig._candidates((4, 4), (4, 4), 9, 3).all()  # too few nodes to leave any out


def test_nearness_is_the_product_of_the_papers_embeddings() -> None:
    """Sine and cosine of row and column, as transformers have them; averaged keys are in the middle."""
    width, side = 16, 6
    frequency = 10_000.0 ** -(np.arange(width // 4) * 4 / width)
    rows, columns = (np.outer(place.ravel(), frequency) for place in np.mgrid[:side, :side])
    embedded = np.concatenate([np.sin(rows), np.cos(rows), np.sin(columns), np.cos(columns)], axis=1)
    assert np.allclose(vig._nearness((side, side), (side, side), width), 2 / width * embedded @ embedded.T)
    halved = vig._nearness((side, side), (side // 2, side // 2), width)
    assert np.allclose(halved[[0, 1, side, side + 1], 0], halved[0, 0])


def test_an_architecture_that_is_not_there_is_one_line() -> None:
    card = msgspec.structs.replace(zoo.info("vig_mini"), arch="vig_huge")
    with refused("model-unknown", CatalogueError, arch="vig_huge"):
        vig.ViG().build(card, classes=2, channels=3)
