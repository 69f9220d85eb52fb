"""One setting weighs classes in every family; one that cannot refuses it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest
from pictures import rare_class
from refusals import refused

import zoo
from zoo import registry
from zoo.contract._pictures import two_labels
from zoo.data import open_data
from zoo.errors import UsageError
from zoo.plugin import ModelPlugin, SklearnPlugin, TorchPlugin
from zoo.plugin._sklearn import _named
from zoo.runs import open_run
from zoo.spec import TrainConfig

WEIGHING = ("svm", "svm_linear", "logistic_regression", "random_forest", "gradient_boosting")
BALANCED = {"class_weight": "balanced"}


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rare_class(tmp_path_factory.mktemp("pictures") / "rare.npz", side=4)


@pytest.fixture(scope="module")
def runs(rare: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, zoo.TrainResult]:
    """A linear SVM with each weight of classes."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        how: zoo.train("svm_linear", rare, out=folder / how, settings={"class_weight": how})
        for how in ("none", "balanced")
    }


@pytest.mark.parametrize("model", WEIGHING)
def test_every_family_weighs_classes_only_when_it_is_asked_to(model: str) -> None:
    """A baseline that weighs unasked is favoured beside networks that do not; one that ignores the setting, too."""
    card = registry.find(model)
    plugin = registry.load(card.plugin).plugin
    assert isinstance(plugin, SklearnPlugin)
    rng = np.random.default_rng(0)
    targets = (np.arange(300) < 30).astype(np.int64)
    rows = rng.normal(size=(300, 4)).astype(np.float32) + 0.8 * targets[:, None].astype(np.float32)
    called = {}
    for how in (None, "balanced"):
        estimator = plugin.build(card, classes=2, channels=1)
        (name,) = _named(estimator, "class_weight")
        assert estimator.get_params()[name] is None
        estimator.set_params(**{name: how}).fit(rows, targets)
        called[how] = plugin.logits(estimator, rows)[targets == 1].argmax(axis=1).mean()
    assert called["balanced"] > called[None]


def test_an_svm_finds_more_of_a_rare_class_where_classes_are_balanced(runs: dict[str, zoo.TrainResult]) -> None:
    found = {how: done.test.per_class["1"]["sensitivity"].value for how, done in runs.items()}
    assert found["balanced"] > found["none"] + 0.4, found


def test_the_weight_of_classes_stands_in_run_report_and_card(runs: dict[str, zoo.TrainResult], tmp_path: Path) -> None:
    for how, done in runs.items():
        assert open_run(Path(done.run)).record.card.train.class_weight == how
        assert any("class_weight balanced" in note for note in done.test.notes) == (how == "balanced")
        bundle = zoo.export(done.run, bundle=True, out=tmp_path / f"{how}.zoo")
        assert f"Class weight in training: {how}" in (tmp_path / f"{how}.zoo" / "CARD.md").read_text("utf-8")
        assert zoo.open(bundle.path).manifest.provenance.config.class_weight == how


def test_a_family_that_cannot_weigh_refuses_before_a_run_is_made(rare: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with refused("class-weight-unsupported", UsageError, model="knn"):
        zoo.train("knn", rare, out=out, settings=BALANCED)
    with refused("class-weight-unsupported", UsageError, model="random_forest"):
        zoo.train("random_forest", two_labels(tmp_path / "two.npz", side=8), out=out, settings=BALANCED)
    assert not out.exists()


class Own:
    """A training of its own, which knows nothing of the setting."""

    unused_settings: ClassVar = frozenset()

    def train(self, *given: object) -> object: ...

    def load(self, *given: object) -> object: ...

    def build(self, *given: object, **named: object) -> object: ...


@pytest.mark.parametrize("kind", [ModelPlugin, TorchPlugin])
def test_a_plugin_that_trains_by_its_own_code_does_not_ignore_the_setting_in_silence(kind: type, rare: Path) -> None:
    plugin = type("Third", (Own, kind), {})()
    card, data = registry.find("simple_cnn"), open_data(rare)
    plugin.check(card, data)
    with refused("class-weight-unsupported", UsageError):
        plugin.check(msgspec.structs.replace(card, train=TrainConfig(class_weight="balanced")), data)
