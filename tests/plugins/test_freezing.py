"""`--freeze` from the command to the file: what it needs, what it refuses, what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from refusals import refused
from safetensors.torch import load_file

import zoo
from zoo import registry
from zoo.errors import UsageError
from zoo.runs import open_run
from zoo.spec import Budget, TrainConfig
from zoo.testing import colour_folder
from zoo.workflow._freeze import describe_freeze
from zoo.workflow._recipe import configure, find_unused


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_folder(tmp_path_factory.mktemp("pictures") / "colours", per_class=20, side=16)


@pytest.mark.slow
def test_the_whole_network_ships_with_an_unchanged_backbone(colours: Path, tmp_path: Path) -> None:
    first = zoo.train("simple_cnn", colours, epochs=2, batch_size=8, size=16, out=tmp_path / "first")
    done = zoo.train("simple_cnn", colours, weights=first.run, freeze=True, size=16, lr=0.1, out=tmp_path / "run")
    assert done.test.metrics["macro_auroc"].value > 0.9
    assert done.epochs == 1
    before, after = (load_file(Path(run) / "weights.safetensors") for run in (first.run, done.run))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "bias"}
    assert len({name.rpartition(".")[0] for name in changed}) == 1
    record = open_run(Path(done.run)).record
    assert record.card.train.freeze
    assert any("makes no use of lr" in note for note in record.notes)


@pytest.mark.parametrize(
    ("model", "code"), [("simple_cnn", "freeze-untrained"), ("random_forest", "freeze-unsupported")]
)
def test_what_has_no_trained_backbone_is_refused_before_images_are_read(model: str, code: str, tmp_path: Path) -> None:
    with refused(code, UsageError, model=model):
        zoo.train(model, tmp_path / "nothing", freeze=True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_how_long_training_lasts_is_no_question_of_a_head() -> None:
    """A time or a number of steps beside it is no conflict with the one epoch; a note says that it is not used."""
    card = registry.find("simple_cnn")
    budget = Budget(freeze=True, pretrained=True, budget="10m", epochs=7)
    config = configure(card, budget, {"steps": 50, "flips": True, "probe": 0.2})
    assert (config.epochs, config.steps, config.budget, config.probe, config.label_smoothing) == (1, None, None, 0, 0)
    assert config.flips
    (note,) = find_unused(registry.load(card.plugin).plugin, replace(card, train=config), budget)
    assert note.endswith("makes no use of epochs, budget")


@pytest.mark.parametrize(("ways", "said"), [("none", "image, not"), ("both", "mirror images, not")])
def test_what_is_said_of_mirror_images_is_what_is_computed(ways: Any, said: str) -> None:
    (line,) = describe_freeze(TrainConfig(freeze=True, augment_flip=ways))
    assert said in line


def test_an_ensemble_has_no_use_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from made_runs import make_run

    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        make_run(f"runs/{name}")
    with refused("option-ignored", UsageError):
        zoo.train("ensemble:a,b", freeze=True)
