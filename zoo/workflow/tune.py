"""`zoo tune`: the recipe of one model that validation likes best, by Optuna's trials, and its run.

The run of the best trial is what is shipped. Its file meets the test images at the end, once.
"""

from __future__ import annotations

import importlib.util
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

import msgspec

from zoo.errors import UsageError
from zoo.spec import Budget, Display, EvalReport, Table, check_budget
from zoo.workflow._engine import Engine, open_engine
from zoo.workflow._settings import settings_of, words_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import optuna

    from zoo.workflow._engine import Hands
    from zoo.workflow._study import Study

__all__ = ["TuneResult", "TuneTrial", "describe_point", "tune"]

TRIALS_DEFAULT = 20
"""Where neither trials nor minutes are said: the first eight look around, the others where it was good."""


class TuneTrial(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe that was tried."""

    number: int
    state: Literal["complete", "pruned", "failed", "unfinished"]
    """unfinished: the time was over; the same call with more of it continues."""
    value: float | None
    """The metric of its best epoch, or of the last one that was seen."""
    epochs: int
    """That it was seen for."""
    settings: dict[str, Any]
    why: str = ""
    """Why it failed."""


class TuneResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """The best recipe, its run, and all that were tried."""

    model: str
    run: str
    """Run folder of the best trial."""
    metric: str
    """What chose, on the validation images."""
    best: TuneTrial
    trials: tuple[TuneTrial, ...]
    recipe: dict[str, Any]
    """Trains it again: `zoo.train(model, data, **recipe)`."""
    study: str
    """Optuna's file."""
    minutes: float
    """Of all calls together."""
    test: EvalReport
    """Of the best trial's file, on the test images, which chose nothing."""
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """The best settings, and what their file did on the test images."""
        return f"{self.model} with {describe_point(self.best.settings)}: {self.test.headline()}"

    def tables(self) -> dict[str, Table]:
        """trials: one row each. Then those of the report."""
        rows = [
            {"trial": one.number, "state": one.state, self.metric: one.value, "epochs": one.epochs, **one.settings}
            for one in self.trials
        ]
        return {"trials": Table(rows), **self.test.tables()}


def tune(
    model: str,
    data: str | Path | None = None,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    skip_bad: bool = False,
    engine: Engine | Literal["local", "ray"] = "local",
    **budget: Unpack[Budget],
) -> TuneResult:
    """Search the recipe of a model, chosen on validation; the best run is judged once on test.

    The first trial is the recipe without a search. What the user says in `budget` is not varied. The same call
    continues where an earlier one was stopped, and with more trials or minutes.

    Args:
        model: a name from `models()`, or as `zoo.train` takes it.
        data: images, as in `zoo.train`.
        trials: number of recipes, over all calls; None: 20, or as many as the minutes hold.
        minutes: time of all calls together; None: no end.
        out: folder of the search; None: runs/tune-MODEL-HASH, the hash being of what is asked for.
        skip_bad: leave unreadable images out of every trial, instead of refusing the set.
        engine: who trains: "local", this process, one after the other; "ray", one trial a task of Ray; or a
            `zoo.Engine` with more words. Several trials at a time are asked for before the others have ended.
        **budget: options of `zoo.train`, without its `budget`.

    Raises:
        UsageError: Optuna is not installed, the engine cannot be had, or nothing is left to vary (code tune-nothing).
        ResumeError: `out` holds a search for something else, or other files.
        TrainingError: no trial came to its end (code tune-none), or another process conducts this search (run-busy).
        ZooError: as `zoo.train`, of the recipe without a search.
    """
    began = time.monotonic()
    check_budget(budget)
    _refuse(trials, minutes, budget)
    source = "digits" if data is None else data
    said = words_of(budget)
    with open_engine(engine) as hands:
        return _tune(model, source, trials, minutes, out, began, said, hands, skip_bad=skip_bad)


def _tune(  # noqa: PLR0917 - what was asked for
    model: str,
    source: str | Path,
    trials: int | None,
    minutes: float | None,
    out: str | Path | None,
    began: float,
    said: dict[str, Any],
    hands: Hands,
    *,
    skip_bad: bool,
) -> TuneResult:
    """As `tune`, which has looked at its arguments."""
    from zoo.runs import point_latest
    from zoo.workflow._study import STUDY, Study
    from zoo.workflow.train import train

    search = Study(model, source, said, minutes, out, began, hands, skip_bad=skip_bad)
    with search.clock.alone():
        search.conduct(trials if trials is not None else TRIALS_DEFAULT if minutes is None else None)
        best = search.best()
        recipe = {**search.recipe(best.params, again=True), **({"skip_bad": True} if skip_bad else {})}
        place = search.place(best.number)
        asked = cast("Budget", search.recipe(best.params, again=False, number=best.number))
        result = train(model, source, out=place, resume="auto", skip_bad=skip_bad, **asked)
    search.clock.note()
    point_latest(Path("runs"), place)
    rows = _rows(search)
    return TuneResult(
        model=result.model,
        run=result.run,
        metric=search.metric,
        best=next(one for one in rows if one.number == best.number),
        trials=rows,
        recipe=recipe,
        study=str(search.folder / STUDY),
        minutes=search.clock.spent / 60,
        test=result.test,
        notes=_notes(search.metric, rows),
    )


def _refuse(trials: int | None, minutes: float | None, budget: Budget) -> None:
    """Refuse what cannot be a search, before anything is read."""
    from zoo.workflow._folds import refuse_none

    for name, value in (("trials", trials), ("minutes", minutes)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(
                f"--{name} {value}: expected a number above 0", code="option-value", option=f"--{name}", value=value
            )
    if budget.get("budget") is not None or "budget" in settings_of(budget):
        raise UsageError(
            "--budget is the time of one training; give --minutes for that of the search",
            code="option-conflict",
            options=["--budget", "--minutes"],
        )
    refuse_none(budget, None)
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "zoo tune needs optuna, which is not installed: pip install 'edgezoo[tune]'",
            code="tune-missing",
            package="optuna",
        )


def _rows(study: Study) -> tuple[TuneTrial, ...]:
    """The trials that began."""
    return tuple(_row(one) for one in study.study.trials if one.state.name != "WAITING")


def _row(one: optuna.trial.FrozenTrial) -> TuneTrial:
    from zoo.workflow._study import round_numbers

    states = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    seen = one.intermediate_values
    value = one.value if one.value is not None else seen[max(seen)] if seen else None
    return TuneTrial(
        number=one.number,
        state=cast("Any", states.get(one.state.name, "unfinished")),
        value=value,
        epochs=one.user_attrs.get("epochs", max(seen, default=0)),
        settings=round_numbers(one.params),
        why=one.user_attrs.get("why", ""),
    )


def _notes(metric: str, rows: tuple[TuneTrial, ...]) -> tuple[str, ...]:
    """What a reader of the trials must know."""
    whole = [one for one in rows if one.state == "complete"]
    said = [f"{metric} of the best trial on validation is the best of {len(whole)}, and so optimistic"]
    first = next((one for one in rows if one.number == 0), None)
    if first is not None and first.value is not None:
        said.append(f"the recipe without a search has {first.value:.4f} there")
    return tuple(said)


def describe_point(settings: Mapping[str, Any]) -> str:
    """Settings on one line, numbers with four digits, such as "lr 0.001, mixup 0.2"."""
    said = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in said.items())
