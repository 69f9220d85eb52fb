"""A search that is called again, after the machine has changed: weights came, a plugin went, there is more time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pictures
import pytest

import zoo
from zoo.runs import open_run
from zoo.workflow import _trials

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
    schedule = sys.modules["zoo.spec._schedule"]
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
    monkeypatch.setattr(sys.modules["zoo.store.weights"], "is_here", lambda _: True)
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
    monkeypatch.setattr(sys.modules["zoo.store.weights"], "is_here", lambda _: True)
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
