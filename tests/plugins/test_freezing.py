"""`--freeze` from the command to the file: what it needs, what it refuses, what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from beside_images import TABLE
from msgspec.structs import replace
from refusals import refused
from safetensors.torch import load_file, save_file

import zoo
from zoo import registry
from zoo.errors import UsageError, WeightsError
from zoo.learn import EMBEDDING, NetworkWithColumns, find_last_layer, torch_features
from zoo.runs import TrainContext, open_run
from zoo.spec import Budget, TrainConfig
from zoo.testing import colour_folder
from zoo.workflow import _begin
from zoo.workflow._begin import Job
from zoo.workflow._freeze import describe_freeze
from zoo.workflow._recipe import configure, find_unused
from zoo.workflow.train import fit
from zoo_plugins.classical.frozen import freeze


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


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a resnet18 with the usual stem of 7x7."""
    place = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(timm.create_model("resnet18").state_dict(), place)
    return place


@pytest.mark.parametrize(
    ("model", "budget"),
    [("resnet18", Budget(freeze=True)), ("svm_linear", Budget(settings={"features": "frozen:resnet18"}))],
)
def test_features_of_a_random_first_convolution_are_refused(
    residual: Path, colours: Path, tmp_path: Path, model: str, budget: Budget
) -> None:
    """A small picture changes the stem of a ResNet; nothing would ever train it."""
    with refused("weights-stem", WeightsError, model="resnet18", layers=["conv1"], size=[28, 28]):
        zoo.train(model, colours, weights=residual, size=28, out=tmp_path / "run", **budget)


def test_a_first_convolution_that_is_new_is_recorded_and_one_that_is_not_is_none(
    residual: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head-only epochs of --set probe let it learn, in a resumed run too."""
    for size, fresh in ((28, ("conv1",)), (65, ())):
        job = begin("resnet18", colours, tmp_path / str(size), weights=residual, size=size)
        monkeypatch.setattr("zoo.learn.fit", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(registry.load("resnet").plugin, job)
        assert open_run(job.run.path).record.fresh == fresh


def stop(*_: Any) -> Any:
    raise KeyboardInterrupt


def begin(model: str, data: Path, out: Path, **budget: Any) -> Job:
    card = registry.find(model)
    plan = _begin.prepare(card, registry.load(card.plugin), data, Budget(**budget))
    return _begin.begin(plan, out=out)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [False, True])
def test_frozen_features_are_those_that_a_head_alone_is_trained_on(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: bool
) -> None:
    """At 96 px the positions of this transformer are resampled; weights of a run with --inputs hold more than it."""
    torch.manual_seed(0)
    network, place = timm.create_model("test_vit", num_classes=3 + EMBEDDING * columns), tmp_path / "weights"
    model = NetworkWithColumns(network, 3, TABLE) if columns else network
    save_file(model.state_dict(), place)
    job = begin("timm/test_vit", colours, tmp_path / "run", weights=place, size=96, freeze=True)
    plugin, spec = registry.load("timm").plugin, job.run.record.card.preprocess
    given: list[Any] = []

    def keep(module: Any, *_: Any, **__: Any) -> Any:
        given.append(module.eval())
        stop()

    monkeypatch.setattr("zoo.learn.fit_head", keep)
    with pytest.raises(KeyboardInterrupt):
        fit(plugin, job)
    layer = find_last_layer(given[0], channels=3, size=spec.size)
    assert layer is not None
    batch = np.random.default_rng(0).normal(0, 1, (2, 3, *spec.size)).astype(np.float32)
    expected = torch_features(given[0], layer)(batch)
    frozen = freeze("timm/test_vit", spec, job.run, TrainContext(pretrained=place))
    assert frozen.rows(batch) == pytest.approx(expected, abs=1e-4)


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
