"""What became of a run, and the command that works on it then: one answer for every verb that meets it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

from zoo._support.text import format_count, quote_path
from zoo.errors import ModelError, TrainingError
from zoo.runs._folder import RECORD, STATE, open_run
from zoo.runs._lock import describe_trainer, is_live
from zoo.runs._replacing import replaced_run

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.runs._folder import RunFolder, RunRecord

__all__ = [
    "continue_command",
    "describe_stop",
    "left_something",
    "refuse_changed",
    "refuse_finished",
    "refuse_other_model",
    "refuse_unfinished",
    "remedy",
]

LESS = 3
"""What a learning rate at which training diverged is divided by, in the command that is offered: half a decade."""


def remedy(record: RunRecord, path: Path) -> str:
    """What became of a run that has no finished file, and the command that mends it."""
    place = quote_path(path)
    if record.folds and record.status == "done":
        again = continue_command(record, path, None)
        more = f"'{again} --then all' makes a model of all images, '{again} --then ensemble' one file of the folds"
        first = quote_path(path / record.folds[0])
        return f"it holds a file for each of {len(record.folds)} folds; name one, such as {first}; {more}"
    if record.status == "done":
        return f"the file has gone since; 'zoo export {place} --onnx --out {place}/model.onnx' makes it again"
    if is_live(path):
        return f"it is being trained now {describe_trainer(record.trainer)}; wait for it"
    if record.card.members:
        again = continue_command(record, path, f"ensemble:{','.join(record.card.members)}")
        if record.card.train.fold == "none" and (path.parent / RECORD).is_file():  # of the folds of that run
            again = f"{continue_command(open_run(path.parent).record, path.parent, None)} --then ensemble"
        return f"the ensemble was not finished; '{again}' makes it again"
    resume = continue_command(record, path, None)
    if record.folds:
        return f"not all of its {len(record.folds)} folds are finished; '{resume}' continues"
    if record.status == "trained":
        return f"it was trained, but its export was refused or stopped; '{resume}' tries again"
    if not left_something(record, path):
        return "its training stopped before anything was learnt; train it again as it was begun, with --overwrite"
    return f"its training did not finish (status {record.status}); '{resume}' continues it"


def refuse_unfinished(run: RunFolder, lacks: str) -> ModelError:
    """The error of a verb that needs what an unfinished run does not have yet; `lacks`: what that is."""
    old = replaced_run(run.path)
    kept = "" if old is None else f"; the run that it replaces waits in {quote_path(old)}"
    line = f"{quote_path(run.path)} {lacks}: {remedy(run.record, run.path)}{kept}"
    fields = {"run": str(run.path), "status": run.record.status}
    if is_live(run.path):
        return ModelError(line, code="run-busy", **fields)
    return ModelError(line, code="run-no-model", **fields)


def refuse_changed(name: str, was: object, now: object) -> TrainingError:
    """The error of a run that is to be resumed under other conditions than those it began with."""
    return TrainingError(
        f"cannot resume: {name} was {was} when the run began and is {now} now; give what it was, or train a new run in "
        "another --out",
        code="resume-changed",
        name=name,
        was=msgspec.to_builtins(was),
        now=msgspec.to_builtins(now),
    )


def refuse_finished(path: Path) -> TrainingError:
    """The error of a run that is to be resumed, and is done."""
    place = quote_path(path)
    return TrainingError(
        f"{place} is finished; train anew into another --out, or replace it with --overwrite",
        code="run-finished",
        run=str(path),
    )


def refuse_other_model(path: Path, found: str, expected: str) -> TrainingError:
    """The error of a run that is to be resumed, and is of another model."""
    return TrainingError(
        f"{quote_path(path)} is a run of {found}, not of this {expected}; name the run with --out",
        code="run-other-model",
        run=str(path),
        found=found,
        expected=expected,
    )


def describe_stop(run: RunFolder | None, model: str, *, left: bool) -> str:
    """What a training that was stopped leaves, and what works then.

    Args:
        run: the run folder; None: the run had not begun.
        model: name of the model as the user typed it.
        left: the run is there still; False: it left nothing of worth, and `settle` removed it.
    """
    if run is None:
        return "interrupted before the run began; nothing is left"
    place, record, old = quote_path(run.path), run.record, replaced_run(run.path)
    if not left:
        there = f"{place} is the run that it was" if run.path.is_dir() else "nothing is left"
        return f"interrupted before anything was learnt; {there}; the same command starts again"
    if record.status == "done":
        return f"interrupted at the very end; {place} is complete"
    kept = "" if old is None else f"; the run that it replaces waits in {quote_path(old)}"
    again = f"continue with '{continue_command(record, run.path, model)}'"
    if record.best is None:
        what = f"its first {format_count(record.steps_done, 'step')}" if record.steps_done else "the start"
        return f"interrupted in the first epoch; {place} keeps {what}; {again}{kept}"
    epochs = record.card.train.epochs
    if record.status == "trained" or (epochs != "auto" and record.epochs_done >= epochs):
        return f"interrupted after training; {place} keeps the weights; {again}{kept}"
    return (
        f"interrupted; {place} keeps the best of {record.epochs_done} of {epochs} epochs; "
        f"{again}, or take it as it is with 'zoo export {place} --onnx'{kept}"
    )


def left_something(record: RunRecord, path: Path) -> bool:
    """Whether a training that was stopped left anything to continue or to export."""
    return record.best is not None or (path / STATE).is_file()


def continue_command(record: RunRecord, path: Path, model: str | None) -> str:
    """The command that takes a run to its end; `model`: as the user typed it, None: as its card is called."""
    name = model or ("local-dir:FOLDER" if record.card.name.startswith("local-dir:") else record.card.name)
    # Ensembles train in seconds, so we restart them instead of resuming.
    how = "--overwrite" if record.card.members else "--resume"
    lr = record.card.train.lr
    if record.diverged is not None and record.diverged.lr == lr:
        how = f"{how} --lr {lr / LESS:.2g}"
    return f"zoo train {shlex.quote(name)} {how} --out {quote_path(path)}"
