"""A search that is called again, after the machine has changed: weights came, a plugin went, there is more time."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

import pictures
import pytest

import zoo
from zoo._support.files import atomic_write
from zoo.runs import open_run
from zoo.spec import Interval, encode
from zoo.workflow import _trials
from zoo.workflow._candidates import Limits, find_candidates
from zoo.workflow._clock import Clock, open_search
from zoo.workflow._engine import open_engine
from zoo.workflow._halving import Plan, Search, read_plan

QUICK = {"minutes": 5.0}
BOTH = ("logistic_regression", "simple_cnn")


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 × 12 gray pictures, with or without faint stripes."""
    return pictures.striped(tmp_path_factory.mktemp("stripes") / "stripes.npz", train=120, others=60)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and networks that are trained in two epochs."""
    monkeypatch.chdir(tmp_path)
    schedule = importlib.import_module("zoo.spec._schedule")
    for name, value in (("SCRATCH_STEPS", 8), ("FEWEST_EPOCHS", 1), ("MOST_EPOCHS", 2)):
        monkeypatch.setattr(schedule, name, value)


def stop_at(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C where the trial begins whose name begins so, once."""
    conduct, stopped = _trials.conduct, []

    def stop(trial: _trials.Trial, *rest: Any) -> _trials.Outcome:
        if trial.name.startswith(name) and not stopped:
            stopped.append(trial.name)
            raise KeyboardInterrupt
        return conduct(trial, *rest)

    monkeypatch.setattr(_trials, "conduct", stop)


def test_weights_that_come_later_change_nothing_in_a_search_that_was_begun_without(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call refused its own pick: it had been trained from random weights, and was now asked for others."""
    found = zoo.pick(stripes, budget=QUICK, models=["simple_cnn"])
    monkeypatch.setattr(importlib.import_module("zoo.store.weights"), "is_here", lambda _: True)
    again = zoo.pick(stripes, budget=QUICK, models=["simple_cnn"])
    assert (again.run, again.table, again.test) == (found.run, found.table, found.test)
    assert not again.table[0].pretrained
    (note,) = set(again.notes) - set(found.notes)
    assert "simple_cnn" in note


def test_a_trial_that_was_stopped_goes_on_without_the_weights_that_came(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at("round1-simple_cnn", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        zoo.pick(stripes, budget=QUICK, models=BOTH)
    monkeypatch.setattr(importlib.import_module("zoo.store.weights"), "is_here", lambda _: True)
    found = zoo.pick(stripes, budget=QUICK, models=BOTH)
    row = next(row for row in found.table if row.model == "simple_cnn")
    assert row.run is not None
    assert open_run(Path(row.run)).record.weights is None
    assert (row.pretrained, row.epochs) == (False, 2)


def test_a_network_whose_plugin_is_gone_is_a_row_and_is_trained_when_it_is_back(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was left out in silence; beside others that the plan named with it, a KeyError ended every call."""
    stop_at("round1-simple_cnn", monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        zoo.pick(stripes, budget=QUICK, models=BOTH)
    with monkeypatch.context() as patch:
        patch.setenv("ZOO_PLUGINS", "logistic_regression")
        found = zoo.pick(stripes, budget=QUICK, models=BOTH)
    assert found.model == "logistic_regression"
    (row,) = (row for row in found.table if row.model == "simple_cnn")
    assert (row.value, row.run) == (None, None)
    assert "ZOO_PLUGINS" in row.dropped
    (row,) = (row for row in zoo.pick(stripes, budget=QUICK, models=BOTH).table if row.model == "simple_cnn")
    assert row.value is not None


def test_more_minutes_go_on_in_the_same_folder(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was refused as another search, and a new one trained all again."""
    short = zoo.pick(stripes, budget={"minutes": 0.001}, models=BOTH)
    assert [row.model for row in short.table] == ["logistic_regression on hog"]
    conduct, begun = _trials.conduct, []

    def listening(trial: _trials.Trial, *rest: Any) -> _trials.Outcome:
        begun.append(trial.name)
        return conduct(trial, *rest)

    monkeypatch.setattr(_trials, "conduct", listening)
    longer = zoo.pick(stripes, budget=QUICK, models=BOTH)
    assert begun == ["round1-simple_cnn"]
    assert longer.table[0].run == short.table[0].run
    assert (longer.budget["minutes"], len(longer.table)) == (5.0, 2)


def test_more_minutes_bring_the_next_round(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fake trainings of 90 s: the time was over after the first round, and no network was left to begin with."""
    names = ("resnet10t", "simple_cnn", "vig_mini")
    asked: list[str] = []
    clocks: list[Clock] = []

    def fake(trial: _trials.Trial, data: Any, folder: Path, callbacks: Any = ()) -> _trials.Outcome:
        del data, callbacks
        asked.append(trial.name)
        clocks[-1].before += 90
        value = Interval(value=0.5 + 0.1 * names.index(trial.model), low=0.4, high=0.9)
        found = _trials.Outcome(trial=trial.name, run="run", value=value, latency_ms=1, size_bytes=1, whole=False)
        atomic_write(folder / "trials" / f"{trial.name}.json", encode(found))
        return found

    monkeypatch.setattr(_trials, "conduct", fake)
    images, folder = importlib.import_module("zoo.workflow.pick")._open(stripes, {})[0], Path("search")
    plan = Plan(find_candidates(images, Limits(), slot=600, models=names))
    for minutes, rounds in ((5.0, 1), (60.0, 2)):
        clocks.append(open_search(folder, {}, minutes, time.monotonic()))
        with open_engine("local") as hands:
            search = Search(folder, stripes, clocks[-1], Limits(), {}, "macro_auroc", hands, images, plan)
            search.conduct()
        plan = read_plan(folder)
        assert (len(plan.rounds), plan.done) == (rounds, rounds == 2)
        assert any("more minutes" in note for note in search.notes(search.best())) is (rounds == 1)
    assert asked[3:] == ["round2-vig_mini"]
