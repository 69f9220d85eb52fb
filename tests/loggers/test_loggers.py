"""What `--log` writes can be read by the programs it is for, and tells nothing of where the images lie."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from made_runs import make_report, make_run
from refusals import refused

from zoo._support.versions import tool_version
from zoo.errors import PluginError, UsageError
from zoo.loggers import BUILT_IN, find_callbacks
from zoo.loggers import _find as find_module
from zoo.registry import callbacks
from zoo.runs import Callback, RunFolder, Step, open_run
from zoo_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping

ROW = {"epoch": 1.0, "lr": 0.01, "train_loss": 0.7, "val_loss": 0.5, "val_macro_auroc": None, "images_per_second": 9.0}


def needs(package: str) -> pytest.MarkDecorator:
    missing = find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install 'edgezoo[{package}]'")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    from PIL import Image

    made = make_run(tmp_path / "runs" / "a", source="/secret/place")
    for name in ("history.png", "augmented.png"):
        Image.new("RGB", (40, 30), "green").save(made / name)
    return open_run(made)


def train(name: str, run: RunFolder, *, to_the_end: bool = True) -> None:
    """As a training calls a logger, twice where it is resumed."""
    (logger,) = find_callbacks([name])
    logger.start(run)
    logger.step(Step(epoch=1, step=1, steps=2, images=8, lr=0.02))
    logger.step(Step(epoch=1, step=2, steps=2, images=8, lr=0.01, loss=0.7))
    logger.epoch(ROW)
    logger.end(make_report() if to_the_end else None)


@needs("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # theirs
def test_tensorboard_reads_curves_results_and_plots_of_a_run(run: RunFolder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train("tensorboard", run)
    found: Any = EventAccumulator(str(run.file("tensorboard")))
    found.Reload()
    assert [(one.step, round(one.value, 4)) for one in found.Scalars("train/loss")] == [(2, 0.7)]
    assert [(one.step, round(one.value, 4)) for one in found.Scalars("epoch/val_loss")] == [(1, 0.5)]
    assert [round(found.Scalars(f"test/accuracy{end}")[0].value, 4) for end in ("", "_low", "_high")] == [
        0.9,
        0.8,
        0.95,
    ]
    assert found.Tags()["images"] == ["history", "confusion"][:1]  # never augmented.png
    assert b"/secret/place" not in b"".join(path.read_bytes() for path in run.file("tensorboard").iterdir())


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")  # of what MLflow imports
@pytest.mark.parametrize("name", ["a", 'it\'s a "run"'])
def test_mlflow_holds_one_run_however_often_it_was_resumed(run: RunFolder, name: str) -> None:
    """Whatever it is called: a name with an apostrophe ended the words of the search for it."""
    run.update(id=name)
    train("mlflow", run, to_the_end=False)
    train("mlflow", run)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=Path("mlruns").resolve().as_uri())
    experiment = client.get_experiment_by_name("zoo")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert (found.data.params["model"], found.data.params["train.epochs"]) == ("svm", "1")
    assert found.data.metrics["test/accuracy_low"] == 0.8
    assert found.data.metrics["epoch/val_loss"] == 0.5
    assert [one.path for one in client.list_artifacts(found.info.run_id)] == ["history.png"]
    texts = [path.read_bytes() for path in Path("mlruns").rglob("*") if path.is_file() and path.name != "meta.yaml"]
    assert not [text for text in texts if b"/secret/place" in text]


@needs("wandb")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_writes_offline_and_nothing_of_the_machine(run: RunFolder) -> None:
    import platform

    train("wandb", run)
    (folder,) = Path("wandb").glob("offline-run-*")
    (written,) = folder.glob("*.wandb")
    text = written.read_bytes()
    assert b"test/accuracy_low" in text
    for secret in ("/secret/place", str(Path.home()), platform.node()):
        assert secret.encode() not in text or len(secret) < 4, secret
    assert not [path.name for path in folder.rglob("augmented*")]


def test_a_logger_whose_package_is_missing_is_one_line_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a night of training it would be too late."""
    monkeypatch.setattr(find_module.importlib.util, "find_spec", lambda _: None)
    for name, built in BUILT_IN.items():
        with refused("logger-missing", UsageError, logger=name, package=built.package) as caught:
            find_callbacks([name])
        assert f"edgezoo[{name}]" in str(caught.value)


def test_a_name_that_nobody_knows_is_told_with_those_that_are() -> None:
    for name in ("tensorbord", "", "Tensorboard", "runs/a"):
        with refused("logger-unknown", UsageError, logger=name) as caught:
            find_callbacks([name])
        assert {"tensorboard", "mlflow", "wandb"} <= set(caught.value.fields["known"])


def bring(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Install a package `ward` 1 whose entry points have these names."""
    (folder / "ward.py").write_text(
        "from zoo.runs import Callback\nclass Ward(Callback):\n    heard = []\n"
        "    def epoch(self, row):\n        self.heard.append(row['epoch'])\nclass Not: pass\n"
    )
    info = folder / "ward-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ward\nVersion: 1\n")
    (info / "entry_points.txt").write_text("\n".join(("[zoo.callbacks]", *names)))
    monkeypatch.delenv("ZOO_PLUGINS", raising=False)
    monkeypatch.syspath_prepend(folder)


def test_the_name_of_another_package_finds_its_callback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hospital's own monitor is an entry point away."""
    bring(tmp_path, monkeypatch, "ward = ward:Ward", "bad = ward:Not", "gone = ward:Gone")
    (found,) = find_callbacks(["ward, ward"])
    found.start(open_run(make_run(tmp_path / "run")))
    found.epoch(ROW)
    assert sys.modules["ward"].Ward.heard == [1.0]
    for name in ("bad", "gone"):
        with refused("callback-broken", PluginError, callback=name if name == "gone" else "Not"):
            find_callbacks([name])
    monkeypatch.setenv("ZOO_PLUGINS", "resnet")
    with refused("callback-forbidden", PluginError, callback="ward"):
        find_callbacks(["ward"])


def test_a_package_that_takes_a_name_of_ours_clashes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is taken silently: the curves would go where nobody looks for them."""
    bring(tmp_path, monkeypatch, "tensorboard = ward:Ward")
    ours = f"edgezoo {tool_version()}"
    with refused("callback-clash", PluginError, callback="tensorboard", owners=[ours, "ward 1"]) as caught:
        find_callbacks(["tensorboard"])
    assert [(row.state, row.status) for row in callbacks()] == [("broken", str(caught.value))]
    monkeypatch.setenv("ZOO_PLUGINS", "resnet")
    assert [row.state for row in callbacks()] == ["forbidden"]
    monkeypatch.setattr(find_module.importlib.util, "find_spec", lambda _: None)
    with refused("logger-missing", UsageError, logger="tensorboard"):  # ours alone is asked
        find_callbacks(["tensorboard"])


def test_plugin_list_and_doctor_show_callbacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(tmp_path, monkeypatch, "ward = ward:Ward", "gone = ward:Gone")
    assert main(["plugin", "list", "--json"]) == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row.get("group") == "zoo.callbacks"]
    assert [(row["name"], row["distribution"], row["target"], row["state"]) for row in rows] == [
        ("gone", "ward", "ward:Gone", "ok"),
        ("ward", "ward", "ward:Ward", "ok"),
    ]
    monkeypatch.setattr("zoo.registry.check_plugins", lambda _: [])  # each of ours takes seconds
    assert main(["doctor", "--wait", "60", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["state"]) for row in found["callbacks"]] == [("gone", "broken"), ("ward", "ok")]
    assert [problem for problem in found["problems"] if "ward" in problem] == [found["callbacks"][0]["status"]]


class Watcher(Callback):
    """Fails with something in one moment."""

    def __init__(self, moment: str, problem: BaseException) -> None:
        self.moment, self.problem = moment, problem
        self.heard: list[str] = []

    def _hear(self, moment: str) -> None:
        self.heard.append(moment)
        if moment == self.moment:
            raise self.problem

    def start(self, run: RunFolder) -> None:  # noqa: ARG002
        self._hear("start")

    def step(self, step: Step) -> None:  # noqa: ARG002
        self._hear("step")

    def epoch(self, row: Mapping[str, float | None]) -> None:  # noqa: ARG002
        self._hear("epoch")

    def end(self, report: object) -> None:  # noqa: ARG002
        self._hear("end")


def call_all(callback: Callback, run: RunFolder) -> None:
    callback.start(run)
    for _ in range(2):
        callback.step(Step(epoch=1, step=1, steps=1, images=1, lr=1.0))
        callback.epoch(ROW)
    callback.end(None)


@pytest.mark.parametrize("moment", ["step", "epoch", "end"])
def test_a_defect_of_a_callback_is_one_warning_and_switches_it_off(
    run: RunFolder, caplog: pytest.LogCaptureFixture, moment: str
) -> None:
    """A server that is full must not end a night of training."""
    watcher = Watcher(moment, ZeroDivisionError("full"))
    call_all(*find_callbacks([watcher]), run)
    assert watcher.heard.count(moment) == 1
    assert watcher.heard[-1] == moment
    assert len([line for line in caplog.messages if "Watcher" in line]) == 1
    assert any("Watcher" in note for note in open_run(run.path).record.notes) == (moment != "end")


def test_before_training_a_defect_is_an_error(run: RunFolder) -> None:
    with refused("callback-failed", PluginError, callback="Watcher", moment="start"):
        call_all(*find_callbacks([Watcher("start", ValueError("no"))]), run)


@pytest.mark.parametrize("problem", [UsageError("enough", code="enough"), KeyboardInterrupt()])
def test_a_callback_can_end_a_training_on_purpose(run: RunFolder, problem: BaseException) -> None:
    """A search that gives up a trial needs a way to say so."""
    with pytest.raises(type(problem)) as caught:
        call_all(*find_callbacks([Watcher("epoch", problem)]), run)
    assert caught.value is problem


def test_a_class_instead_of_an_object_is_told() -> None:
    with refused("callback-broken", PluginError, callback="Watcher"):
        find_callbacks([Watcher])  # type: ignore[list-item]
    with refused("callback-broken", PluginError, callback="int"):
        find_callbacks([3])  # type: ignore[list-item]
