"""The beginning and the end of `zoo train ensemble:…`. The plugin does the middle, as for any model.

Weights learnt on validation images are honest only where no member was trained on these images, and test numbers only
where none has seen the test images: that is looked up in what each member's run says it has seen.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo.errors import DataError, GateError, UsageError
from zoo.spec import TrainConfig, to_builtins
from zoo.workflow._decide import check_decisions
from zoo.workflow._find import MODEL_FILE
from zoo.workflow._settings import fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zoo.data import Splits
    from zoo.evaluation.comparison import Comparison
    from zoo.registry import LoadedPlugin
    from zoo.runs import RunFolder, RunRecord
    from zoo.spec import Budget, ModelCard
    from zoo.workflow._begin import Hold, Job

__all__ = ["begin", "beside_members", "refuse_columns", "refuse_idle"]

_MEMBERS_DECIDE = (
    "the members of an ensemble are trained already, and it takes the splits of the first; only --data, --out, "
    "--operating, --overwrite and --keep-leaks apply"
)

COMPARISON = "comparison.json"

log = logging.getLogger("zoo")


def refuse_idle(budget: Budget, **others: bool) -> None:
    """Refuse options that an ensemble has no use for, `others` beside the budget, and whether they were given.

    Raises:
        UsageError: names them.
    """
    from zoo.workflow._recipe import refuse_options

    keep = {"fold"} if budget.get("fold") == "none" else {"operating"}
    refuse_options(budget, keep=frozenset({"leaks", *keep}), why=_MEMBERS_DECIDE, **others)


def refuse_columns(records: Iterable[RunRecord]) -> None:
    """Refuse members that take columns.

    Raises:
        UsageError: names the first.
    """
    if beside := [record for record in records if record.card.table is not None]:
        raise UsageError(
            f"{beside[0].id} takes columns beside the image, and an ensemble sees the image alone; leave it out",
            code="inputs-unsupported",
            model=beside[0].card.name,
            run=beside[0].id,
        )


def begin(
    card: ModelCard,
    loaded: LoadedPlugin,
    data: str | Path | None,
    budget: Budget,
    *,
    out: Path | None,
    hold: Hold,
    overwrite: bool,
) -> Job:
    """A new run for an ensemble, and its images.

    Args:
        card: from `registry.find("ensemble:…")`.
        loaded: its plugin.
        data: images; None: those of the first run.
        budget: leaks="keep" takes weights that were learnt on images a member was trained on, and says so. fold="none"
            takes the folds of the run that `out` lies in: no image is held out from all, so weights are equal.
        out: the run folder; None: runs/ensemble-TIME.
        hold: takes the lock on a run folder that is made here.
        overwrite: replace a run that is in `out`.

    Raises:
        UsageError: a member takes columns, or holds no image out and is not one of the folds around `out`.
        GateError: a member was trained on the validation images, or has seen the test images, or may have.
        DataError: the images are of other classes or another pixel type than the members', or cannot be read.
    """
    from zoo.data import align, join_start
    from zoo.runs import TrainContext, open_run
    from zoo.workflow._begin import create_record, start_run
    from zoo.workflow._folds import refuse_none
    from zoo.workflow._images import images_of, open_as, refuse_kind, refuse_unreadable, without_bad
    from zoo.workflow._seen import list_seen, sift_start

    config = fit(to_builtins(card.train) | {"operating": list(budget.get("operating") or ())}, TrainConfig)
    card = msgspec.structs.replace(card, train=config)
    of_folds = "none" in (budget.get("fold"), config.fold)
    if of_folds:
        refuse_none({"fold": "none"}, out, card.members)
        config = msgspec.structs.replace(config, fold="none")
        card = msgspec.structs.replace(card, train=config)
    members = [open_run(Path(folder)) for folder in card.members]
    first = members[0].record
    refuse_columns(run.record for run in members)
    skipped = tuple(dict.fromkeys(name for run in members for name in run.record.skipped))
    if data is None:
        splits = images_of(members[0], None).read_for(card.preprocess)
    else:
        splits = open_as(data, config, skip_bad=bool(skipped))
        splits = align(splits, first.labels, first.task).read_for(card.preprocess)
    refuse_kind(splits, [first.kind], "every member")
    keep = budget.get("leaks") == "keep"
    notes = () if of_folds else _refuse_seen(members, splits, keep=keep)  # of folds no image decides, and none judges
    if keep:
        card = msgspec.structs.replace(card, train=msgspec.structs.replace(config, leaks="keep"))
    lists = [known for run in members if (known := list_seen(run)) is not None]
    started = join_start(one.only("start") for one in lists)
    splits, seen = sift_start(splits, started, card.train.leaks)
    notes = (*([] if seen is None else [seen.note]), *notes)
    splits = dataclasses.replace(splits, notes=(*notes, *splits.notes))
    record = create_record(
        card, splits, loaded, source=first.source if data is None else data, skipped=skipped, notes=splits.notes
    )
    splits = without_bad(splits, skipped)
    if len(splits.val) == 0:
        raise DataError(
            f"{splits.fingerprint.name} has no validation image, on which the weights are learnt; name images that "
            "have some with --data",
            code="split-empty",
            split="val",
        )
    check_decisions(config, splits)
    refuse_unreadable(splits.test, [run.record.card.preprocess for run in members])
    return start_run(record, splits, TrainContext(), out=out, hold=hold, overwrite=overwrite, members=lists, seen=seen)


def beside_members(run: RunFolder, splits: Splits) -> Comparison:
    """The ensemble's file and each member's on the test images: paired tests, latency and size; kept in the run.

    Args:
        run: finished.
        splits: its images; `Splits.test` chooses nothing here.
    """
    from zoo._support.files import atomic_write
    from zoo.edge import Runtime
    from zoo.spec import encode
    from zoo.workflow._judge import compare_judged, different_names, judge

    folders = [run.path, *map(Path, run.record.card.members)]
    opened = [Runtime.open(folder / MODEL_FILE) for folder in folders]
    judged = [(runtime, judge(None, runtime, splits, "test", look=False)) for runtime in opened]
    found = compare_judged(judged, different_names([one.manifest.name for one in opened], folders))
    atomic_write(run.file(COMPARISON), encode(found))
    return found


def _refuse_seen(members: Sequence[RunFolder], splits: Splits, *, keep: bool) -> tuple[str, ...]:
    """What members have seen of the images that decide and judge; nothing where they were divided as for this.

    Raises:
        GateError: something, and it was not asked to `keep` it.
    """
    from zoo.workflow._seen import find_overlap, list_seen

    found = []
    for run in members:
        own = run.record.data.sha256 == splits.fingerprint.sha256
        name, seen = f"{run.record.card.name} ({run.record.id})", list_seen(run)
        if seen is None:
            if not own:
                found.append(f"what {name} was trained on is not known: it was other images, and its list is missing")
            continue
        chosen = int(seen.holds(splits.val.digests, *(("start",) if own else ("train", "start"))).sum())
        judged = 0 if own else int(find_overlap(splits, "test", seen).seen.sum())
        if chosen:
            found.append(f"{name} was trained on {chosen} of {len(splits.val)} validation images")
        if judged:
            found.append(f"{name} has seen {judged} of {len(splits.test)} test images")
    if found and not keep:
        raise GateError(
            f"{'; '.join(found)}: weights and numbers would favour it; make an ensemble of runs on one split, name "
            "images that none has seen with --data, or take it so with --keep-leaks",
            code="ensemble-leak",
            found=list(found),
        )
    for note in found:
        log.warning("%s: weights and numbers favour it", note)
    return tuple(f"{note}: weights and numbers favour it" for note in found)
