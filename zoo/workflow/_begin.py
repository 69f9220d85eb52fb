"""The beginning of a training: a new run, with its images and what its plugin is told."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from zoo.data import TRAINED_ON, apply_advice, balance, join_start, read_seen, write_seen
from zoo.errors import DataError, UsageError
from zoo.evaluation import check_metric
from zoo.runs import RunRecord, TrainContext, Trainer, create_run, new_id, open_run, settle, versions, weights_licence
from zoo.spec import UNKNOWN, ModelCard, Weights, is_non_commercial, parse_duration
from zoo.store.weights import resolve as resolve_weights
from zoo.workflow._continue import describe_reading, find_origin, inherit, inherit_reading, match_head, read_as_before
from zoo.workflow._decide import check_decisions
from zoo.workflow._find import is_run, weights_file
from zoo.workflow._freeze import describe_freeze, refuse_freeze
from zoo.workflow._images import lasting_source, open_as, refuse_unreadable
from zoo.workflow._old_test import spare_old_test
from zoo.workflow._recipe import configure, find_unused, resolve
from zoo.workflow._seen import UNKNOWN_START, find_overlap, name_start, sift_start
from zoo.workflow._settings import settings_of
from zoo.workflow._teacher import Teaching, begin_with, find_teacher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.data import Seen, Splits
    from zoo.registry import LoadedPlugin
    from zoo.runs import RunFolder
    from zoo.spec import Budget, Reading, SeenImages
    from zoo.store.weights import ResolvedWeights

__all__ = ["Hold", "Job", "Plan", "begin", "create_record", "find_job", "prepare", "start_run", "this_process"]

Hold = Callable[[Path], None]
"""Takes the lock on a run until the training ends."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One training before its plugin is called.

    Attributes:
        run: its folder, with all that was decided in its record.
        data: its images; test holds none that what it starts from has seen.
        seen: what to say of those; None: there is nothing to say.
        context: what the plugin is told beside card, data and recipe.
    """

    run: RunFolder
    data: Splits
    context: TrainContext
    seen: SeenImages | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One training that nothing speaks against, before its run is made.

    Attributes:
        loaded: its plugin.
        record: what the run will begin with; its id and time are those of `begin`.
        data: its images.
        context: what the plugin is told beside card, data and recipe.
        start: what the weights that it starts from have seen; None: that is not known, or it starts from none.
        seen: what to say of test images that the start has seen; None: nothing.
        teaching: whose answers it learns from, too; None: nobody's.
    """

    loaded: LoadedPlugin
    record: RunRecord
    data: Splits
    context: TrainContext
    start: Seen | None = None
    seen: SeenImages | None = None
    teaching: Teaching | None = None


def begin(plan: Plan, *, out: Path | None, hold: Hold | None = None, overwrite: bool = False) -> Job:
    """A new run, with all that was decided for it in its record, and its data; arguments as `zoo.train`.

    `hold` is called with the folder of the run where `out` is None, so that nobody else trains it from then on.
    """
    record = msgspec.structs.replace(plan.record, id=new_id(plan.record.card.name), started=_now())
    start = [] if plan.start is None else [plan.start]
    return start_run(
        record,
        plan.data,
        plan.context,
        out=out,
        hold=hold,
        overwrite=overwrite,
        start=start,
        seen=plan.seen,
        teaching=plan.teaching,
    )


def prepare(
    card: ModelCard,
    loaded: LoadedPlugin,
    data: str | Path,
    budget: Budget,
    *,
    skip_bad: bool = False,
    began: float | None = None,
) -> Plan:
    """Decide all of a training and refuse what cannot be, before anything is written; arguments as `zoo.train`.

    `began` is when the time of `--budget` began, on the clock of `time.monotonic`; None: when the plugin trains.
    """
    origin = find_origin(budget, card, loaded)
    reading: Reading = {} if origin is None else inherit_reading(budget, origin)
    if origin is not None:
        budget = cast("Budget", {**inherit(budget, origin), **reading})
    config = configure(card, budget, settings_of(budget))
    refuse_freeze(loaded.plugin, card, config)
    with read_as_before(origin, reading):
        splits = open_as(data, config, skip_bad=skip_bad)
    chosen, advice = apply_advice(splits, settings_of(budget))
    config = configure(card, budget, chosen)
    _refuse_unknown(loaded, card, splits)
    rows, continued = ((), ()) if origin is None else match_head(origin, splits, data)
    if origin is not None:
        splits, spared = spare_old_test(splits, origin, config.leaks)
        continued = (*continued, *describe_reading(reading), *spared)
    spec = None if origin is None else origin.record.card.preprocess
    recipe = resolve(loaded.plugin, card, splits, config, size=budget.get("size"), settings=chosen, spec=spec)
    card = recipe.card
    splits = splits.read_for(card.preprocess)
    check_metric(card.train.metric, splits.labels)
    check_decisions(card.train, splits)
    _refuse_inputs(loaded, card)
    loaded.plugin.check(card, splits)
    source = loaded.plugin.starts_from(card)
    start, had_seen, said = _find_start(source, budget, origin) if card.train.pretrained else (None, None, ())
    if start is not None:
        card = msgspec.structs.replace(card, weights=_record_start(source, start))  # whose licence the file states
    about = (
        *continued,
        *_say_licence(start),
        *describe_freeze(card.train),
        *_describe_weights(card, splits),
        *_describe_grades(loaded, card, splits),
    )
    teaching = find_teacher(budget, card, loaded, splits)
    if teaching is not None:
        said = (*said, *teaching.notes)
        had_seen = join_start([one for one in (had_seen, teaching.seen) if one is not None])
    whose = name_start(weights=start is not None, teacher=teaching is not None)
    notes = (*advice, *find_unused(loaded.plugin, card, budget), *recipe.notes, *about, *said)
    for note in notes:  # those of the data were said when it was opened
        log.info("%s", note)
    if not skip_bad and TrainContext().first:
        refuse_unreadable(splits.test, [card.preprocess])  # now, not after hours of training
    whole, (splits, seen) = splits, sift_start(splits, had_seen, card.train.leaks, said, start=whose)
    leaks = _say_seen(whole, had_seen, seen, whose)
    record = create_record(
        card, splits, loaded, source=data, skipped=splits.skipped, notes=(*leaks, *notes, *splits.notes)
    )
    if start is not None:
        pinned = f"{start.source} sha256:{start.sha256}"
        record = msgspec.structs.replace(record, weights=pinned, start_licence=start.licence)
    if origin is not None:
        record = msgspec.structs.replace(record, continues=str(origin.path))
    if teaching is not None:
        record = msgspec.structs.replace(record, teacher=teaching.about)
    time_s = None if began is None or card.train.budget is None else parse_duration(card.train.budget)
    context = TrainContext(
        pretrained=start.path if start else None,
        head_rows=rows,
        skip_bad=skip_bad or bool(splits.skipped),
        deadline=None if began is None or time_s is None else began + time_s,
    )
    return Plan(loaded, record, splits, context, had_seen, seen, teaching)


def start_run(  # noqa: D417 - overwrite is create_run's
    record: RunRecord,
    splits: Splits,
    context: TrainContext,
    *,
    out: Path | None,
    hold: Hold | None,
    overwrite: bool,
    start: Sequence[Seen] = (),
    members: Sequence[Seen] = (),
    seen: SeenImages | None = None,
    teaching: Teaching | None = None,
) -> Job:
    """Make the run folder and what must be in it before training; what was there is there still where that fails.

    Args:
        record: all that was decided.
        splits: its images.
        context: for the plugin.
        out: the run folder; None: runs/MODEL-TIME.
        hold: takes the lock on a run folder that is made here.
        start: what the weights that training starts from have seen.
        members: what the models that go into an ensemble have seen.
        seen: what to say of test images that the start has seen; None: nothing.
        teaching: who is asked before training; None: nobody.
    """
    run = create_run(out, record, overwrite=overwrite, first=context.first)
    try:
        if out is None and hold is not None:
            hold(run.path)
        if context.first:
            write_seen(run.file(TRAINED_ON), splits, start=start, members=members)
            if teaching is not None:
                begin_with(teaching, run)
    except BaseException:
        settle(run, kept=False)
        raise
    return Job(run, splits, context, seen)


def _describe_weights(card: ModelCard, splits: Splits) -> tuple[str, ...]:
    """What an image of each class counts in training, where the user asked for it."""
    if card.train.class_weight == "none":
        return ()
    found = balance(splits.train.targets, len(splits.labels))
    present = found if found.ndim == 1 else found[:, 1]  # (K,)
    least, most = int(present.argmin()), int(present.argmax())
    counts = f"of {splits.labels[least]} counts {present[least]:.2f}, one of {splits.labels[most]} {present[most]:.2f}"
    return (f"class_weight {card.train.class_weight}: in training an image {counts}",)


def _describe_grades(loaded: LoadedPlugin, card: ModelCard, splits: Splits) -> tuple[str, ...]:
    """The order that grades were put in, and whether the model learns it."""
    if splits.task != "ordinal":
        return ()
    order = f"grades from the lowest to the highest: {', '.join(splits.labels)}"
    if not loaded.plugin.ordered_grades:
        order += f"; {card.name} learns them as classes, and the report alone knows their order"
    return (order,)


def _find_start(
    card: ModelCard, budget: Budget, origin: RunFolder | None
) -> tuple[ResolvedWeights, Seen | None, tuple[str, ...]]:
    """The weights to start from, what they have seen where that is known, and a note on it where they are a user's.

    Args:
        card: whose weights.
        budget: what was said of the training.
        origin: run that is continued; None: none.
    """
    named = budget.get("weights") or None if origin is None else origin.path
    if named is None:
        return resolve_weights(card), None, ()
    start = resolve_weights(card, weights_file(named))
    beside = start.path.parent
    if not start.source.startswith("file:"):
        return start, None, (UNKNOWN_START,)
    sha256 = None
    if is_run(beside):
        record = open_run(beside).record
        licence = weights_licence(record) or record.card.licence
        sha256 = record.seen
        start = dataclasses.replace(start, source=f"file:{record.id}/{start.path.name}", licence=licence)
    if not (beside / TRAINED_ON).is_file():
        return start, None, (UNKNOWN_START,)
    return start, join_start([read_seen(beside / TRAINED_ON, sha256)]), ()


def _say_licence(start: ResolvedWeights | None) -> tuple[str, ...]:
    """A note on what the licence of other people's weights is; whoever may not use them stops here."""
    if start is None or (start.source.startswith("file:") and start.licence == "unknown"):
        return ()
    use = ", not for commercial use" if is_non_commercial(start.licence) else ""
    return (f"pretrained weights {start.source.partition('@')[0]}: licence {start.licence}{use}",)


def _say_seen(splits: Splits, had_seen: Seen | None, seen: SeenImages | None, whose: str) -> tuple[str, ...]:
    """Notes on held-out images that the start has seen, as warnings too."""
    notes = [seen.note] if seen is not None and (seen.count or seen.grouped) else []
    if had_seen is not None and (count := int(find_overlap(splits, "val", had_seen).seen.sum())):
        notes.append(
            f"{count} of {len(splits.val)} validation images were in the training or validation set of {whose}: "
            "the choice of the best epoch is optimistic"
        )
    for note in notes:
        log.warning("%s", note)
    return tuple(notes)


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


def _refuse_inputs(loaded: LoadedPlugin, card: ModelCard) -> None:
    """Refuse columns beside the image where the model would be trained without them."""
    if card.table is not None and not loaded.plugin.takes_columns:
        raise UsageError(
            f"--inputs {','.join(card.table.names)}: {card.name} sees the image alone; leave it out, or choose a "
            "network, such as simple_cnn or resnet18",
            code="inputs-unsupported",
            model=card.name,
            columns=list(card.table.names),
        )


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
        started=_now(),
        card=card,
        labels=splits.labels,
        task=splits.task,
        kind=splits.kind,
        source=lasting_source(source),
        data=splits.fingerprint,
        plugin=loaded.origin,
        versions=versions(),
        trainer=this_process(),
        skipped=skipped,
        notes=notes,
    )


def this_process() -> Trainer:
    """Who trains: for run.json."""
    return Trainer(pid=os.getpid(), host=platform.node(), job=find_job())


def find_job() -> str | None:
    """The job of torchrun that this process belongs to, the same after each restart; None: torchrun did not start it.

    A job without a name of its own is that of one agent, which starts all its processes again.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{platform.node()}:{os.getppid()}" if name == "none" else name


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _record_start(card: ModelCard, start: ResolvedWeights) -> Weights | None:
    """The weights a run begins with, for its record; the user's own file leaves what the card says."""
    if start.source.startswith(("file:", "package:")):
        return card.weights
    known = card.weights if card.weights and card.weights.source == start.source else None
    return msgspec.structs.replace(known or Weights(source=start.source, licence=""), licence=start.licence)
