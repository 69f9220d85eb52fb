"""A training in a folder that may hold a run: begin one, continue it, or report it; and how one is continued."""

from __future__ import annotations

import logging
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo._support.files import refuse_idle_overwrite
from zoo._support.text import is_utf8, quote_path
from zoo.data import TRAINED_ON, write_seen
from zoo.errors import TrainingError, UsageError
from zoo.runs import (
    RunFolder,
    TrainContext,
    bring_back,
    continue_command,
    find_run,
    left_something,
    open_run,
    refuse_changed,
    refuse_finished,
    refuse_other_model,
    settle,
    versions,
)
from zoo.workflow._begin import Job, find_job, this_process
from zoo.workflow._changed import change_free, find_changed, is_diverged
from zoo.workflow._find import is_run
from zoo.workflow._images import images_of, lasting_source
from zoo.workflow._recipe import refuse_options
from zoo.workflow._seen import list_seen, sift_start, start_of
from zoo.workflow._settings import settings_of

if TYPE_CHECKING:
    from zoo.registry import LoadedPlugin
    from zoo.runs import RunRecord
    from zoo.spec import Budget, ModelCard

__all__ = ["Step", "choose_step", "is_own", "place_of", "resume", "see_run"]

Step = Literal["begin", "continue", "report"]
"""What is to be done with a run folder: train a new run, take one to its end, say what one that is done gave."""

_NAMES_S = 90.0
"""Seconds for which NFS may remember that a name was not there (acdirmax, 60 by default), and some more."""

log = logging.getLogger("zoo")


def place_of(out: Path | None, budget: Budget, *, resume: bool | Literal["auto"], overwrite: bool) -> Path | None:
    """The folder that a training will work in, as far as it is known before the data is; None: a new one below runs/.

    Raises:
        UsageError: options that contradict each other, or would be ignored; or `out` is None and nothing was trained
            here that could be resumed.
    """
    if resume and overwrite:
        raise UsageError(
            "--overwrite replaces what --resume continues; give one of them",
            code="option-conflict",
            options=["--overwrite", "--resume"],
        )
    refuse_idle_overwrite(out, "--out", overwrite=overwrite)
    if resume == "auto" and out is None:
        raise UsageError(
            "--resume auto begins or continues the run in --out; name it", code="option-missing", options=["--out"]
        )
    if out is not None and not is_utf8(out.name):
        raise UsageError(
            f"{out.name!a} is not UTF-8, and run.json holds the name of the run; choose another --out",
            code="run-name",
            name=ascii(out.name),
        )
    if not resume:
        return out
    if resume is True:
        why = "a run is resumed as it began; only --epochs, the place of --data and a lower --lr can change"
        refuse_options(budget, keep=frozenset({"epochs", "lr"}), why=why)
    if out is None:
        return find_run(None)
    below = Path("runs") / out  # the id of a run
    if resume is True and not out.exists() and is_run(below):
        return below
    return out.resolve() if out.is_symlink() else out


def is_own(place: Path | None, *, overwrite: bool) -> bool:
    """Whether the run in `place` was begun by the job of torchrun that starts here, again.

    Nodes may come and go without a restart that torchrun counts, so the run itself says whose it is. A run that is done
    names nobody; one that this start replaces cannot be there after a restart.
    """
    job = find_job()
    if job is None or place is None:
        return False
    bring_back(place)
    if not is_run(place):
        return False
    record = open_run(place).record
    if record.status == "done":
        return not overwrite and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return record.trainer is not None and record.trainer.job == job


def see_run(place: Path, *, patience: float = _NAMES_S) -> None:
    """Wait until the run that the first process made is seen by this one, which may have to continue it.

    Raises:
        TrainingError: it is not.
    """
    end = time.monotonic() + patience
    while not is_run(place):
        if time.monotonic() > end:
            raise TrainingError(
                f"{quote_path(place)}: the first process made a run there, and {platform.node()} does not see it; put "
                "--out on storage that all nodes share, else a restart on another node loses the training",
                code="run-unshared",
                run=str(place),
                host=platform.node(),
            )
        time.sleep(0.1)


def choose_step(card: ModelCard, budget: Budget, place: Path | None, *, resume: bool | Literal["auto"]) -> Step:
    """What is to be done; the lock on the run is held. A run that left nothing counts as none, and goes.

    Raises:
        TrainingError: the run is of another model; where `resume` is "auto", it was begun with other options; else,
            there is none, or it is done.
    """
    if not resume or place is None:
        return "begin"
    bring_back(place)
    if not is_run(place):
        if resume == "auto":
            return "begin"
        raise TrainingError(
            f"{quote_path(place)} holds no run to resume; leave --resume out, or give --resume auto, which "
            "begins one where there is none",
            code="run-unknown",
            run=str(place),
        )
    run = open_run(place)
    record = run.record
    if record.folds:
        raise TrainingError(
            f"{quote_path(place)} is a run over {len(record.folds)} folds; resume it with zoo.train_folds, or 'zoo "
            f"train {record.card.name} --folds {len(record.folds)} --resume auto'",
            code="run-over-folds",
            run=str(place),
            folds=len(record.folds),
        )
    if record.card.name != card.name or _members(record.card, place) != _members(card, place):
        raise refuse_other_model(place, record.card.name, card.name)
    if resume == "auto" and (card.members or not left_something(record, place)) and record.status != "done":
        settle(run, kept=False)  # an ensemble is made in seconds
        return choose_step(card, budget, place, resume=resume)  # the run that it was to replace may be back
    if resume == "auto" or budget.get("lr") is not None:
        changed = find_changed(record, card, budget)
        if changed is not None:
            raise refuse_changed(*changed)
    if is_diverged(record) and _rate(budget, record) >= record.card.train.lr:
        raise _refuse_again(run)
    if resume == "auto":
        return "report" if record.status == "done" else "continue"
    if record.status == "done":
        raise refuse_finished(place)
    return "continue"


def _members(card: ModelCard, place: Path) -> set[Path]:
    """Folders of an ensemble's members; folds lie beside their ensemble, wherever all of them were moved to."""
    beside = card.train.fold == "none"
    return {(place.parent / Path(one).name if beside else Path(one)).resolve() for one in card.members}


def resume(
    loaded: LoadedPlugin,
    data: str | Path | None,
    budget: Budget,
    *,
    path: Path,
    skip_bad: bool,
) -> Job:
    """The interrupted run, and its data, unchanged.

    Args:
        loaded: the plugin of the run's model.
        data: where the images are now; None: where they were.
        budget: what the user said.
        path: the run.
        skip_bad: leave unreadable images out instead of refusing the set.

    Raises:
        DataError: the images are not those that the run began with.
    """
    run = open_run(path)
    record = run.record
    context = TrainContext(resuming=True, skip_bad=skip_bad or bool(record.skipped))
    run = RunFolder(run.path, record, writes=context.first)
    config = msgspec.structs.replace(change_free(record.card.train, budget), lr=_rate(budget, record))
    if config.lr < record.card.train.lr:
        place = f"epoch {record.epochs_done + 1}, step {record.steps_done + 1}"
        note = f"the learning rate was {record.card.train.lr:g}, at which training diverged, and is {config.lr:g} from "
        run.add_notes([note + place])
    if config != record.card.train:
        run.update(card=msgspec.structs.replace(record.card, train=config))
    splits = images_of(run, data)
    run.update(trainer=this_process(), source=record.source if data is None else lasting_source(data))
    splits, seen = sift_start(splits, list_seen(run), record.card.train.leaks, record.notes, start=start_of(record))
    if record.status in {"trained", "done"}:  # it stopped before it was evaluated; done: rank 0 was quick
        return Job(run, splits, context, seen)
    _record_changes(run, loaded)
    run.update(status="training")
    if context.first and not run.file(TRAINED_ON).is_file():
        write_seen(run.file(TRAINED_ON), splits)
    return Job(run, splits, context, seen)


def _rate(budget: Budget, record: RunRecord) -> float:
    """The learning rate that is asked for; by default that of the run."""
    asked = budget.get("lr") or settings_of(budget).get("lr") or record.card.train.lr
    return float(asked)


def _refuse_again(run: RunFolder) -> TrainingError:
    """The error of a run that would diverge again: the same bytes come from the same state."""
    record, found = run.record, run.record.diverged
    where = "" if found is None else f" in step {found.step} of epoch {found.epoch}"
    take = "" if record.best is None else f", or take its best epoch with 'zoo export {quote_path(run.path)} --onnx'"
    return TrainingError(
        f"{quote_path(run.path)} diverged{where} with --lr {record.card.train.lr:g}, and would again; expected a lower "
        f"--lr: '{continue_command(record, run.path, None)}'{take}",
        code="resume-diverged",
        run=str(run.path),
        lr=record.card.train.lr,
    )


def _record_changes(run: RunFolder, loaded: LoadedPlugin) -> None:
    """Say and record that other packages continue the run than began it: the bytes may differ from then on."""
    record, now = run.record, versions()
    changed = [
        f"{name} {record.versions.get(name, 'none')} before, {now.get(name, 'none')} now"
        for name in sorted(record.versions.keys() | now.keys())
        if record.versions.get(name) != now.get(name)
    ]
    was, origin = record.plugin, loaded.origin
    if (was.distribution, was.version, was.contents) != (origin.distribution, origin.version, origin.contents):
        changed.append(f"the code of the plugin {was.name} (of {was.distribution} {was.version} before)")
    if not changed:
        return
    note = f"resumed after epoch {record.epochs_done} with other packages: {'; '.join(changed)}"
    log.warning("%s; the weights may differ from those of an uninterrupted run", note)
    earlier = (*record.earlier_versions, record.versions)
    run.add_notes([note], versions=now, earlier_versions=earlier, plugin=origin)
