"""The validation metric that was asked for chooses the epoch, and its history shows it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net

from zoo.data import Splits
from zoo.learn import WEIGHTS_FILE
from zoo.learn._history import Epoch, best_epoch, best_of, draw_history, epochs_without_gain, write_history
from zoo.learn._progress import epoch_line
from zoo.runs import Callback, open_run


def row(epoch: int, chosen: float | None, loss: float = 0.5, metric: str = "kappa", auroc: float | None = 0.9) -> Epoch:
    return Epoch(
        epoch=epoch, lr=0.1, train_loss=0.5, val_loss=loss, val_accuracy=0.5, val_macro_auroc=auroc,
        images_per_second=10, seconds=1, metric=metric, val_chosen=chosen,
    )  # fmt: skip


def test_the_best_epoch_has_the_best_metric_then_the_lowest_loss() -> None:
    history = [row(1, 0.2), row(2, 0.4, 0.6), row(3, 0.4, 0.5), row(4, -0.1, 0.1)]
    assert best_of(history).epoch == 3
    assert (best_of(history).metric, best_of(history).value) == ("val_kappa", 0.4)
    assert epochs_without_gain(history) == 2


def test_a_negative_metric_is_better_than_one_that_is_not_defined() -> None:
    """A kappa below 0 once counted as worse than nothing, because nothing was taken for 0."""
    history = [row(1, None, 0.1), row(2, -0.2, 0.9)]
    assert best_epoch(history).epoch == 2
    assert epochs_without_gain(history) == 0


def test_of_a_likelihood_the_lowest_is_the_best() -> None:
    history = [row(1, 0.9, metric="nll"), row(2, 0.6, metric="nll"), row(3, 0.7, metric="nll")]
    assert (best_of(history).epoch, best_of(history).metric) == (2, "val_nll")
    assert epochs_without_gain(history) == 1


def test_where_the_metric_is_defined_nowhere_the_loss_decides() -> None:
    history = [row(1, None, 0.5), row(2, None, 0.3), row(3, None, 0.4)]
    assert (best_of(history).epoch, best_of(history).metric) == (2, "val_loss")
    assert epochs_without_gain(history) == 1
    assert "val loss 0.300" in epoch_line(history[1], 3, 0)


def test_the_history_has_a_column_of_the_metric(tmp_path: Path) -> None:
    name = "sensitivity@0.9:痣, atypical"
    for metric, own in ((name, [f"val_{name}"]), ("accuracy", []), ("macro_auroc", [])):
        history = [row(1, 0.25, metric=metric), row(2, None, metric=metric)]
        write_history(tmp_path / "history.csv", history)
        lines = list(csv.reader((tmp_path / "history.csv").read_text("utf-8").splitlines()))
        assert lines[0][-1 - len(own) :] == ["seconds", *own]
        if own:
            assert [line[-1] for line in lines[1:]] == ["0.25", ""]
        draw_history(tmp_path / "history.png", history)
        assert (tmp_path / "history.png").stat().st_size > 1000


class Hears(Callback):
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def epoch(self, row: Any) -> None:
        self.rows.append(row)


@pytest.mark.parametrize("metric", ["kappa", "nll", "sensitivity@0.8:1", "accuracy"])
def test_training_keeps_the_epoch_that_the_metric_chooses(stripes: Splits, tmp_path: Path, metric: str) -> None:
    config = msgspec.structs.replace(CONFIG, metric=metric, sampling="balanced", loss="focal")
    run = new_run(tmp_path / "run", stripes, config)
    heard = Hears()
    fitted = learn(tiny_net(), stripes, SPEC, config, run, callbacks=(heard,))
    assert fitted.best.metric == f"val_{metric}"
    rows = list(csv.DictReader(run.file("history.csv").read_text().splitlines()))
    values = [float(one[f"val_{metric}"]) for one in rows]
    best = min(values) if metric == "nll" else max(values)
    assert values[fitted.best.epoch - 1] == best == pytest.approx(fitted.best.value, abs=1e-5)
    assert open_run(run.path).record.best == fitted.best
    told = [{name: f"{value:.6g}" for name, value in row.items()} for row in heard.rows]
    assert told == rows, "a logger draws every column, so each is a number"


def test_a_run_of_grades_resumes_to_the_same_bytes(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order, metric and loss are functions of recipe and place, not of what happened before."""
    from zoo.data import order_grades
    from zoo.learn import _fit

    grades = order_grades(stripes)
    config = msgspec.structs.replace(CONFIG, metric="kappa", sampling="balanced", loss="focal", task="ordinal")
    whole, broken = new_run(tmp_path / "whole", grades, config), new_run(tmp_path / "broken", grades, config)
    learn(tiny_net(), grades, SPEC, config, whole)
    keep, calls = _fit.keep, []

    def stopping(*given: object) -> object:
        state = keep(*given)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return state

    monkeypatch.setattr(_fit, "keep", stopping)
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_net(), grades, SPEC, config, broken)
    monkeypatch.setattr(_fit, "keep", keep)
    learn(tiny_net(seed=9), grades, SPEC, config, open_run(broken.path), resuming=True)
    assert broken.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()
    assert open_run(broken.path).record.best == open_run(whole.path).record.best
