"""`zoo train --folds K`: one run over K folds, each a run of its own inside it, and one report on all their answers.

A fold is an ordinary training (`zoo train MODEL --folds K --fold I`), and the folds know nothing of each other. So this
verb makes a list of trainings, hands it to an engine, and pools what the exported files answered.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal, Unpack, cast

import msgspec

from zoo._support.text import format_count, quote_path
from zoo.errors import TrainingError, UsageError
from zoo.spec import Budget, Display, EvalReport, Interval, Table, check_budget
from zoo.workflow._engine import Engine, as_engine, open_engine
from zoo.workflow._find import OF_ALL, is_run, read_report
from zoo.workflow._folds_request import (
    FOLDS_REQUEST,
    FoldsRequest,
    Then,
    check_unchanged,
    read_request,
    share_time,
    spell_budget,
)
from zoo.workflow._last import of_all, of_folds, refuse_last
from zoo.workflow._settings import settings_of
from zoo.workflow._trainings import Training, refuse_listeners, train_all
from zoo.workflow.report import report, try_to_write

if TYPE_CHECKING:
    from zoo.runs import Best, Callback, RunFolder
    from zoo.workflow._engine import Hands
    from zoo.workflow.train import TrainResult

__all__ = ["Fold", "FoldsResult", "is_over_folds", "train_folds"]

log = logging.getLogger("zoo")


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """What one fold gave."""

    run: str
    best: Best | None
    epochs: int
    n: int
    """Test images."""
    metrics: dict[str, Interval]
    """Of its file, on them."""


class FoldsResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """What a training over folds gave."""

    run: str
    """The run that holds the folds."""
    model: str
    folds: tuple[str, ...]
    """The run of each fold."""
    test: EvalReport
    """Of all images, each answered by the exported file of the fold that has not seen it."""
    each: tuple[Fold, ...]
    median_best_epoch: int
    """Over the folds: how long to train on all images."""
    seconds: float
    """Of training, all folds together; where several train at a time, less time passes."""
    final: str | None = None
    """The run of what followed the folds, a model of all images or the ensemble of the folds; its report is `test`,
    with a note. None: nothing followed."""

    def headline(self) -> str:
        """The run, and what its folds did on all images."""
        return f"{self.run}, {format_count(len(self.folds), 'fold')}: {self.test.headline()}"

    def tables(self) -> dict[str, Table]:
        """Those of the pooled report, and folds: one row for each."""
        rows = ({"run": one.run, "images": one.n} | dict(one.metrics) for one in self.each)
        return self.test.tables() | {"folds": Table(rows)}

    def remarks(self) -> tuple[str, ...]:
        """The notes of the report."""
        return self.test.notes


def train_folds(
    model: str,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: bool | Literal["auto"] = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    then: Then | None = None,
    callbacks: Iterable[str | Callback] = (),
    engine: Engine | Literal["local", "ray"] = "local",
    **budget: Unpack[Budget],
) -> FoldsResult:
    """Train a model on every fold of the data, and judge all images by files that have not seen them.

    Of each fold, the next one is validation and the rest training. Folds are those that the data brings, or are dealt
    out as `zoo data split --folds` does: stratified, groups whole.

    Args:
        model: name of a model, as for `zoo.train`; no ensemble.
        data: images, as for `zoo.train`.
        out: the run folder; None: runs/MODEL-TIME.
        resume: whether to continue, as for `zoo.train`: finished folds stay, the first unfinished one is continued.
        overwrite: replace a run that is in `out`.
        skip_bad: leave unreadable images out, and record them, instead of refusing the set.
        then: what follows the folds: "all": one model of all images, for as many epochs as the median best epoch of
            the folds. It has no test set of its own: the figures that are expected of it are the pooled ones, and its
            report says so. "ensemble": the files of the folds as one, with equal weights, because no image is held out
            from all of them; its figures are the pooled ones of its members, and its report says so. "none", and None
            for a new run: nothing.
        callbacks: who hears of every fold, as for `zoo.train`.
        engine: who trains: "local", this process, one fold after the other; "ray", one fold a task of Ray; or a
            `zoo.Engine` with more words. Files and numbers are the same.
        **budget: fields of `zoo.spec.Budget`; `folds` is needed for a new run, and `budget` is the time of all folds.

    Raises:
        ZooError: any kind, as `zoo.train`. UsageError: `fold` is given, or several processes were started.
    """
    from zoo.loggers import find_callbacks

    check_budget(budget)
    heard = tuple(callbacks)
    find_callbacks(heard)  # a name that nobody knows is refused now
    _refuse(budget)
    engine = as_engine(engine)
    with open_engine(engine) as hands:
        refuse_listeners(heard, hands)
        return _train_folds(
            model, data, budget, hands, out=out, resume=resume, overwrite=overwrite, skip_bad=skip_bad, then=then,
            heard=heard, words=engine.words,
        )  # fmt: skip


def _train_folds(
    model: str,
    data: str | Path | None,
    budget: Budget,
    hands: Hands,
    *,
    out: str | Path | None,
    resume: bool | Literal["auto"],
    overwrite: bool,
    skip_bad: bool,
    then: Then | None,
    heard: tuple[str | Callback, ...],
    words: str,
) -> FoldsResult:
    """As `train_folds`, which has looked at its arguments."""
    from zoo.runs import hold_run, refuse_finished, settle
    from zoo.workflow._resume import place_of

    place = place_of(Path(out) if out else None, budget, resume=resume, overwrite=overwrite)
    if place is not None and resume and is_run(place):
        run, asked = _continue(model, data, budget, place, resume=resume, skip_bad=skip_bad, then=then)
    else:
        if resume is True:
            raise UsageError(f"{place} holds no run to resume", code="run-unknown", run=str(place))
        run, asked = _begin(model, data, budget, out=place, overwrite=overwrite, skip_bad=skip_bad, then=then)
    what = then or asked.then
    record = run.record
    if record.status == "done":
        if resume is True and what == "none":
            raise refuse_finished(run.path)
        log.info("%s is done already; this is what it gave", run.path)
    source = record.source if data is None else str(data)
    each = share_time(asked.budget, len(record.folds) + (asked.then == "all"))
    trainings = [
        Training(asked.model, source, run.path / name, asked.skip_bad, cast("Budget", {**each, "fold": fold}), heard)
        for name, fold in zip(record.folds, asked.folds, strict=True)
    ]
    with hold_run(run.path):
        try:
            return _carry_out(run, trainings, hands, what)
        except KeyboardInterrupt:
            done = [name for name in record.folds if is_run(run.path / name)]
            if not done:
                settle(run, kept=False)
                raise KeyboardInterrupt("interrupted before anything was learnt; nothing is left") from None
            run.update(status="interrupted")
            more = "" if what == asked.then else f" --then {what}"
            again = f"zoo train {model} --resume --out {quote_path(run.path)}{more}{words}"
            raise KeyboardInterrupt(
                f"interrupted; {quote_path(run.path)} keeps {format_count(len(done), 'fold')} of {len(record.folds)}; "
                f"continue with '{again}'"
            ) from None
        except BaseException:
            if not any(is_run(run.path / name) for name in record.folds):
                settle(run, kept=False)
            raise


def _continue(
    model: str,
    data: str | Path | None,
    budget: Budget,
    place: Path,
    *,
    resume: bool | Literal["auto"],
    skip_bad: bool,
    then: Then | None,
) -> tuple[RunFolder, FoldsRequest]:
    """A run over folds that is there, and what it was begun with, which the words of this call do not change."""
    from zoo.runs import open_run, refuse_other_model
    from zoo.workflow._images import images_of
    from zoo.workflow._recipe import refuse_options

    run = open_run(place)
    asked = read_request(run)
    if model != asked.model:
        raise refuse_other_model(place, asked.model, model)
    if resume == "auto":
        check_unchanged(asked, model, budget, skip_bad=skip_bad)
    else:
        why = "folds are resumed as they began; only the place of --data can change"
        refuse_options(budget, why=why, skip_bad=skip_bad)
    refuse_last(run.record, place, then or asked.then, len(asked.folds), held=True)
    if data is not None:
        first = place / run.record.folds[0]  # a run that is done has the fingerprint of all images instead
        images_of(open_run(first) if is_run(first) else run, data)
    return run, asked


def is_over_folds(out: Path | None) -> bool:
    """Whether the run in `out`, or the last one, is one over folds."""
    from zoo.runs import find_run, open_run

    try:
        return bool(open_run(find_run(out)).record.folds)
    except (UsageError, TrainingError):  # whoever needs the run says what is wrong with it
        return False


def _refuse(budget: Budget) -> None:
    if budget.get("fold") is not None:
        raise UsageError(
            "--folds trains every fold, --fold one; with zoo.train the two together train one fold of so many",
            code="option-conflict",
            options=["--folds", "--fold"],
        )
    if both := sorted(settings_of(budget).keys() & {"fold", "folds"}):
        raise UsageError(
            f"--folds K says what is trained; leave --set {both[0]} out",
            code="option-conflict",
            options=["--folds", f"--set {both[0]}"],
        )
    if budget.get("start_from") is not None:
        raise UsageError(
            "--folds and --from: the run that is continued has seen images of every fold; give one of them",
            code="option-conflict",
            options=["--folds", "--from"],
        )
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "--folds trains one run after the other in one process; start each fold by itself under torchrun, with "
            "--folds K --fold I",
            code="folds-processes",
        )


def _begin(
    model: str,
    data: str | Path | None,
    budget: Budget,
    *,
    out: Path | None,
    overwrite: bool,
    skip_bad: bool,
    then: Then | None,
) -> tuple[RunFolder, FoldsRequest]:
    """A new run over folds, after its first fold, with columns every fold, was decided and nothing spoke against it."""
    import numpy as np

    from zoo import registry
    from zoo._support.files import atomic_write
    from zoo.data._named import index
    from zoo.runs import create_run, new_id, refuse_occupied, settle
    from zoo.workflow._begin import prepare
    from zoo.workflow._recipe import configure

    card = registry.find(model)
    if card.members:
        raise UsageError(
            "--folds: the members of an ensemble are trained already; name a model", code="option-ignored",
            options=["--folds"],
        )  # fmt: skip
    count = budget.get("folds")
    if count is None:
        raise UsageError("name the number of folds with --folds K", code="option-missing", options=["--folds"])
    if out is not None:
        refuse_occupied(out, overwrite=overwrite)
    source = "digits" if data is None else data
    loaded = registry.load(card.plugin)
    config = configure(card, budget, settings_of(budget))
    own = index(source, skip_bad=skip_bad, **config.reading).folds
    numbers = list(range(count)) if own is None else np.unique(own).tolist()
    plan = prepare(card, loaded, source, cast("Budget", {**budget, "fold": numbers[0]}), skip_bad=skip_bad)
    refuse_last(plan.record, out, then or "none", len(numbers))
    for number in numbers[1:] if config.inputs else ():  # which cells may be empty hangs on the images of a fold
        prepare(card, loaded, source, cast("Budget", {**budget, "fold": number}), skip_bad=skip_bad)
    names = tuple(f"fold-{number}" for number in numbers)
    record = msgspec.structs.replace(plan.record, id=new_id(card.name), folds=names, notes=())
    asked = FoldsRequest(
        model=model, skip_bad=skip_bad, then=then or "none", budget=spell_budget(budget), folds=tuple(numbers)
    )
    run = create_run(out, record, overwrite=overwrite)
    try:
        atomic_write(run.file(FOLDS_REQUEST), msgspec.json.encode(asked))
    except BaseException:
        settle(run, kept=False)
        raise
    return run, asked


def _carry_out(run: RunFolder, trainings: Sequence[Training], hands: Hands, then: Then) -> FoldsResult:
    """All folds, their report, and what follows."""
    found = _finish(run, train_all(trainings, hands, run.path))
    if then != "none":
        first = trainings[0]
        last = of_all(first, found, run) if then == OF_ALL else of_folds(first, found, run)
        (ended,) = train_all([last], hands, run.path)
        found = msgspec.structs.replace(found, final=ended.run)
    try_to_write(run.path, lambda: report(run.path))
    return found


def _finish(run: RunFolder, results: Sequence[TrainResult]) -> FoldsResult:
    """Pool the answers of finished folds, judge them, write it all down."""
    from zoo.runs import open_run, settle
    from zoo.workflow._folds import pool, read_answers, report_answers

    parts = [open_run(Path(result.run)) for result in results]
    epochs = [1 if one.record.best is None else one.record.best.epoch for one in parts]
    answers = pool([read_answers(one.path) for one in parts])
    common = [note for note in parts[0].record.notes if all(note in one.record.notes for one in parts)]
    report = read_report(run) if run.record.status == "done" else None
    if report is None:
        name = run.record.data.name
        ordered = parts[0].record.task == "ordinal"
        report = report_answers(
            run.path,
            answers,
            model=run.record.card.name,
            data=name,
            notes=common,
            ordered=ordered,
            temperatures=[one.record.temperature for one in parts],
        )
    seconds = sum(result.seconds or 0.0 for result in results)
    run.update(
        status="done",
        trainer=None,
        data=report.data,
        epochs_done=int(median(epochs)),
        seconds=seconds,
        notes=report.notes,
        skipped=tuple(dict.fromkeys(name for one in parts for name in one.record.skipped)),
    )
    settle(run, kept=True)
    return FoldsResult(
        run=str(run.path),
        model=run.record.card.name,
        folds=tuple(result.run for result in results),
        test=report,
        each=tuple(
            Fold(run=result.run, best=result.best, epochs=result.epochs, n=result.test.n, metrics=result.test.metrics)
            for result in results
        ),
        median_best_epoch=int(median(epochs)),
        seconds=seconds,
    )
