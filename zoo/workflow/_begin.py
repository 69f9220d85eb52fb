"""The beginning of a training: a new run, or an interrupted one, with its images and what its plugin is told."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from zoo.data import TRAINED_ON, apply_advice, write_seen
from zoo.errors import DataError, TrainingError
from zoo.runs import RunFolder, RunRecord, TrainContext, create_run, find_run, new_id, open_run, versions
from zoo.spec import UNKNOWN, ModelCard, Weights
from zoo.store.weights import resolve as resolve_weights
from zoo.workflow._images import images_of, lasting_source, open_as, refuse_unreadable
from zoo.workflow._recipe import configure, find_unused, refuse_options, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits
    from zoo.registry import LoadedPlugin
    from zoo.spec import Budget
    from zoo.store.weights import ResolvedWeights

__all__ = ["Job", "begin", "create_record", "resume"]

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One training before its plugin is called.

    Attributes:
        run: its folder, with all that was decided in its record.
        data: its images.
        context: what the plugin is told beside card, data and recipe.
    """

    run: RunFolder
    data: Splits
    context: TrainContext


def begin(
    card: ModelCard,
    loaded: LoadedPlugin,
    data: str | Path,
    budget: Budget,
    *,
    out: Path | None,
    overwrite: bool = False,
    skip_bad: bool = False,
) -> Job:
    """A new run, with all that was decided for it in its record, and its data; arguments as `zoo.train`."""
    chosen, advice = apply_advice(data, budget.get("settings") or {})
    config = configure(card, budget, chosen)
    splits = open_as(data, config, skip_bad=skip_bad)
    _refuse_unknown(loaded, card, splits)
    recipe = resolve(loaded.plugin, card, splits, config, size=budget.get("size"), settings=chosen)
    card = recipe.card
    splits = splits.read_for(card.preprocess)
    origin = loaded.plugin.starts_from(card)
    start = resolve_weights(origin, budget.get("weights") or None) if card.train.pretrained else None
    if start is not None:
        card = msgspec.structs.replace(card, weights=_record_start(origin, start))  # whose licence the file states
    notes = (*advice, *find_unused(loaded.plugin, card, budget), *recipe.notes)
    for note in notes:  # those of the data were said when it was opened
        log.info("%s", note)
    if not skip_bad:
        refuse_unreadable(splits.test, [card.preprocess])  # now, not after hours of training
    record = create_record(card, splits, loaded, source=data, skipped=splits.skipped, notes=(*notes, *splits.notes))
    if start is not None:
        record = msgspec.structs.replace(record, weights=f"{start.source} sha256:{start.sha256}")
    context = TrainContext(pretrained=start.path if start else None, skip_bad=skip_bad or bool(splits.skipped))
    run = create_run(out, record, overwrite=overwrite, first=context.first)
    return _with_seen(Job(run, splits, context))


def _refuse_unknown(loaded: LoadedPlugin, card: ModelCard, splits: Splits) -> None:
    """Refuse labels of -1 where the plugin would take them for a number."""
    targets = splits.train.targets
    unknown = int((targets == UNKNOWN).sum()) if targets.ndim == 2 else 0
    if unknown and not loaded.plugin.unknown_labels:
        raise DataError(
            f"{splits.fingerprint.name}: {unknown} labels in train are unknown (-1), {card.name} needs all labels of "
            "every image; choose --uncertain positive or negative, or another model, such as simple_cnn",
            code="labels-unknown",
            model=card.name,
            unknown=unknown,
        )


def resume(card: ModelCard, data: str | Path | None, budget: Budget, *, out: Path | None, skip_bad: bool) -> Job:
    """The interrupted run, and its data, unchanged.

    Raises:
        UsageError: an option that would be ignored.
        TrainingError: a run of another model, or one that is finished.
    """
    why = "a run is resumed as it began; only --epochs and the place of --data can change"
    refuse_options(budget, keep=frozenset({"epochs"}), why=why)
    run = open_run(find_run(out))
    record = run.record
    if record.card.name != card.name:
        raise TrainingError(
            f"{run.path} is a run of {record.card.name}, not of {card.name}; name the run with --out",
            code="run-other-model",
            run=str(run.path),
            found=record.card.name,
            expected=card.name,
        )
    if record.status == "done":
        raise TrainingError(
            f"{run.path} is finished; train anew into another --out, or replace it with --overwrite",
            code="run-finished",
            run=str(run.path),
        )
    context = TrainContext(resuming=True, skip_bad=skip_bad or bool(record.skipped))
    run = RunFolder(run.path, record, writes=context.first)
    if epochs := budget.get("epochs"):
        config = msgspec.structs.replace(record.card.train, epochs=epochs)
        run.update(card=msgspec.structs.replace(record.card, train=config))
    splits = images_of(run, data)
    if data is not None:
        run.update(source=lasting_source(data))
    if record.status == "trained":  # it stopped between its last epoch and its evaluation
        return Job(run, splits, context)
    run.update(status="training")
    return _with_seen(Job(run, splits, context))


def create_record(  # noqa: D417 - notes and skipped are RunRecord's
    card: ModelCard,
    splits: Splits,
    loaded: LoadedPlugin,
    *,
    source: str | Path,
    skipped: tuple[str, ...],
    notes: tuple[str, ...],
) -> RunRecord:
    """The record that a run begins with.

    Args:
        card: resolved for this run.
        splits: its images.
        loaded: its plugin.
        source: what --data was.
    """
    return RunRecord(
        id=new_id(card.name),
        status="training",
        started=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        card=card,
        labels=splits.labels,
        task=splits.task,
        kind=splits.kind,
        source=lasting_source(source),
        data=splits.fingerprint,
        plugin=loaded.origin,
        versions=versions(),
        skipped=skipped,
        notes=notes,
    )


def _with_seen(job: Job) -> Job:
    """Keep what the run will have seen, before it sees it."""
    if job.context.first:
        write_seen(job.run.file(TRAINED_ON), job.data)
    return job


def _record_start(card: ModelCard, start: ResolvedWeights) -> Weights | None:
    """The weights a run begins with, for its record; the user's own file leaves what the card says."""
    if start.source.startswith(("file:", "package:")):
        return card.weights
    known = card.weights if card.weights and card.weights.source == start.source else None
    return msgspec.structs.replace(known or Weights(source=start.source, licence=""), licence=start.licence)
