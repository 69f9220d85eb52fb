"""HOG, LBP and colours are what their papers say, in both executions, and trees keep to their paths in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from refusals import refused
from sklearn.ensemble import RandomForestClassifier

from zoo.artefact.nodes import Builder
from zoo.edge._session import open_session
from zoo.errors import GateError, UsageError
from zoo.spec import PreprocessSpec
from zoo_plugins.classical import colour, hog, lbp
from zoo_plugins.classical.described import build_described
from zoo_plugins.classical.heads import finish
from zoo_plugins.classical.reduced import Reduced
from zoo_plugins.classical.trees import sums
from zoo_plugins.random_forest import _tree

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spec(height: int, width: int, channels: int) -> PreprocessSpec:
    return PreprocessSpec(
        size=(height, width),
        channels="rgb" if channels == 3 else "gray",
        mean=(0.4, 0.5, 0.6)[:channels],
        std=(0.2, 0.25, 0.3)[:channels],
    )


def pictures(height: int, width: int, channels: int) -> NDArray[np.float32]:
    """Noise, flat, all black, steps and a slope; normalised."""
    rng = np.random.default_rng(0)
    made = np.zeros((5, channels, height, width))
    made[0] = rng.random(made[0].shape)
    made[1] = 0.5
    made[3, :, :, width // 2 :] = 1
    made[4] = np.linspace(0, 1, height)[None, :, None]
    given = spec(height, width, channels)
    scaled = (made - np.reshape(given.mean, (1, -1, 1, 1))) / np.reshape(given.std, (1, -1, 1, 1))
    return scaled.astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (13, 17), (28, 28), (64, 40), (96, 96)])
@pytest.mark.parametrize("name", ["hog", "lbp", "colour", "pixels"])
def test_the_graph_computes_the_definition_and_each_picture_by_itself(
    name: str, height: int, width: int, channels: int
) -> None:
    """The last bit counts: a tree that was fitted to one batch meets the same numbers one by one."""
    features, batch = build_described((name,), spec(height, width, channels)), pictures(height, width, channels)
    features.prove(batch)
    together = features.rows(batch)
    assert together.shape == (5, features.length)
    assert np.array_equal(together, np.concatenate([features.rows(one[None]) for one in batch]))


def test_a_graph_that_differs_from_its_definition_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hog, "_MOST", 0.1)
    features = build_described(("hog",), spec(16, 16, 1))
    monkeypatch.setattr(hog, "_MOST", 0.2)
    with refused("features-parity", GateError, features="hog"):
        features.prove(pictures(16, 16, 1))


def test_hog_votes_for_the_direction_of_an_edge() -> None:
    """A gradient straight down has 90°, the middle of bin 4; one straight across lies between bins 0 and 8."""
    slope = np.linspace(0, 1, 16)
    down = hog.rows(np.broadcast_to(slope[:, None], (1, 1, 16, 16)).astype(np.float32)).reshape(-1, 9)
    assert (down[:, 4] > 0.15).all()
    assert not np.delete(down, 4, axis=1).any()
    across = hog.rows(np.broadcast_to(slope, (1, 1, 16, 16)).astype(np.float32)).reshape(-1, 9)
    assert (across[:, 0] > 0.15).all()
    assert np.allclose(across[:, 0], across[:, 8])
    assert np.allclose(across[:, 1:8], 0)


def test_hog_does_not_change_with_brightness_and_hardly_with_contrast() -> None:
    noise = np.random.default_rng(0).random((1, 1, 32, 32)).astype(np.float32) / 2
    assert np.allclose(hog.rows(noise), hog.rows(noise + 0.4), atol=1e-5)
    assert np.abs(hog.rows(noise) - hog.rows(2 * noise)).max() < 0.02


def test_lbp_has_the_59_bins_of_uniform_patterns() -> None:
    bins = lbp.pattern_bins()
    assert np.bincount(bins).tolist() == [1] * 58 + [198]
    assert bins[0b00000000] != bins[0b00000001] != bins[0b11111111]
    assert bins[0b00000101] == 58, "four changes around the circle"
    assert bins[0b10000011] < 58, "two changes, across the end"


def test_lbp_of_a_dot_and_of_nothing() -> None:
    dot = np.zeros((1, 1, 9, 9), np.float32)
    dot[0, 0, 4, 4] = 1
    alone = lbp.rows(dot)[0]
    flat = lbp.rows(np.zeros_like(dot))[0]
    assert np.allclose(flat, np.bincount(lbp.pattern_bins()) / 256), "no neighbour is brighter or darker"
    # The dot has no brighter neighbour: pattern 0. Pixels that are flat all round have every pattern alike.
    assert alone[lbp.pattern_bins()[0]] >= 1 / 81 + 72 / 81 / 256
    assert alone.sum() == pytest.approx(1)


def test_a_colour_between_two_bins_is_shared() -> None:
    one = np.empty((1, 3, 2, 2), np.float32)
    one[:] = np.reshape([0.5 / 6, 2.5 / 6, 5.5 / 6], (1, 3, 1, 1))  # the centres of bins 0, 2 and 5
    found = colour.rows(one).reshape(6, 6, 6)
    assert found[0, 2, 5] == pytest.approx(1, abs=1e-5)
    one[:, 0] = 1 / 6  # half way from bin 0 to bin 1
    found = colour.rows(one).reshape(6, 6, 6)
    assert found[0, 2, 5] == pytest.approx(0.5, abs=1e-5)
    assert found[1, 2, 5] == pytest.approx(0.5, abs=1e-5)


def test_pictures_too_small_for_a_feature_are_refused() -> None:
    with refused("size-too-small", UsageError, features="hog", found=[3, 3], expected=4):
        build_described(("hog",), spec(3, 3, 1))


def test_a_tree_takes_the_same_path_in_float32() -> None:
    """At every threshold, and one float32 to either side of it: where a rounded threshold would answer otherwise."""
    rng = np.random.default_rng(0)
    rows = rng.random((200, 3)).astype(np.float32)
    targets = (rows.sum(axis=1) + rng.normal(0, 0.3, 200) > 1.5).astype(int)
    forest = RandomForestClassifier(5, random_state=0).fit(rows, targets)
    trees = [_tree(one.tree_, several=False) for one in forest.estimators_]
    b = Builder()
    model = finish(b, sums(b, "rows", trees, 2), length=3, classes=2, trees=True)
    near = np.concatenate([tree.threshold[~tree.leaf] for tree in trees]).astype(np.float32)
    near = np.concatenate([near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))])
    edges = np.stack([rng.permutation(near) for _ in range(3)], axis=1)
    session = open_session(model.SerializeToString(), "trees", provider="cpu", threads=None)
    got = session.run(["logits"], {"rows": edges})[0]
    assert np.allclose(got / 5, forest.predict_proba(edges), atol=1e-6)


def test_features_that_hardly_vary_are_not_blown_up() -> None:
    """The black border of scans varies by rounding only; scaled to unit variance, that rounding would decide."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    rows[:, 4] = 1e-7 * rows[:, 4]
    reduced = Reduced().fit(rows)
    moved = rows.copy()
    moved[:, 4] += 1e-6
    assert np.abs(reduced.transform(moved) - reduced.transform(rows)).max() < 1e-3


@pytest.mark.parametrize("shape", [(30, 200), (200, 30)])
def test_components_are_uncorrelated_whether_images_or_features_are_more(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(shape[0], 6)) @ rng.normal(size=(6, shape[1]))).astype(np.float32)
    found = Reduced().fit(rows).transform(rows)
    assert found.shape[1] <= 6
    assert np.allclose(found.T @ found / len(found), np.eye(found.shape[1]), atol=1e-3)
