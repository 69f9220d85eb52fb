"""The beginning and the end of `zoo train ensemble:…`; between them stands the plugin, as for any model.

Weights learnt on validation images are honest only where no member was trained on these images, and test numbers only
where none has seen the test images: that is looked up in what each member's run says it has seen.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.errors import DataError, GateError, UsageError
from zoo.locate import MODEL_FILE, images_of, lasting_source, without_bad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.compare import Comparison
    from zoo.data import Splits
    from zoo.registry import LoadedPlugin
    from zoo.runs import Run
    from zoo.spec import ModelCard

__all__ = ["begun", "beside_members", "refuse_options"]

COMPARISON = "comparison.json"

log = logging.getLogger("zoo")


def refuse_options(**given: Any) -> None:
    """Refuse what an ensemble would ignore: its members are trained already.

    Raises:
        UsageError: names of the options.
    """
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in {None, False}]
    if names:
        raise UsageError(
            f"{' and '.join(names)}: the members of an ensemble are trained already, and it takes the splits of the "
            "first; only --data, --out, --overwrite and --keep-leaks apply"
        )


def begun(
    card: ModelCard,
    loaded: LoadedPlugin,
    data: str | Path | None,
    *,
    leaks: Literal["drop", "keep", "refuse"] | None,
    out: Path | None,
    overwrite: bool,
) -> tuple[Run, Splits]:
    """A new run for an ensemble, and its images.

    Args:
        card: from `registry.find("ensemble:…")`.
        loaded: its plugin.
        data: images; None: those of the first run.
        leaks: keep: take weights that were learnt on images a member was trained on, and say so; else refuse.
        out: the run directory; None: runs/ensemble-TIME.
        overwrite: replace a run that stands in `out`.

    Raises:
        GateError: a member was trained on the validation images, or has seen the test images, or may have.
        DataError: the images are of other classes or another pixel type than the members', or can not be read.
    """
    from zoo import ship
    from zoo.data import TRAINED_ON, align, open_data, write_seen
    from zoo.runs import RunRecord, create_run, new_id, open_run, versions

    members = [open_run(Path(folder)) for folder in card.arch.split(",")]
    first, config = members[0].record, card.train
    skipped = tuple(dict.fromkeys(name for run in members for name in run.record.skipped))
    if data is None:
        splits = images_of(members[0], None)
    else:
        splits = open_data(
            data, split_seed=config.split_seed, skip_bad=bool(skipped), leaks=config.leaks, fold=config.fold
        )
        splits = align(splits, first.labels, first.task).read_for(card.preprocess)
    if splits.kind != first.kind:
        raise DataError(
            f"the images are {splits.kind}, the members were made for {first.kind} images; name such with --data"
        )
    notes = _refuse_seen(members, splits, keep=leaks == "keep")
    splits = dataclasses.replace(splits, notes=(*notes, *splits.notes))
    record = RunRecord(
        id=new_id(card.name),
        status="training",
        started=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        card=card,
        config=config,
        labels=splits.labels,
        task=splits.task,
        kind=splits.kind,
        source=lasting_source(first.source if data is None else data),
        data=splits.fingerprint,
        plugin=loaded.origin,
        versions=versions(),
        skipped=skipped,
        notes=splits.notes,
    )
    splits = without_bad(splits, skipped)
    if len(splits.val) == 0:
        raise DataError(
            f"{splits.fingerprint.name} has no validation image, on which the weights are learnt; name images that "
            "have some with --data"
        )
    ship.refuse_unreadable(splits.test, [run.record.card.preprocess for run in members])
    run = create_run(out, record, overwrite=overwrite)
    seen = [run.file(TRAINED_ON) for run in members if run.file(TRAINED_ON).is_file()]
    write_seen(run.file(TRAINED_ON), splits, seen)
    return run, splits


def beside_members(run: Run, splits: Splits) -> Comparison:
    """The ensemble's file and each member's on the test images: paired tests, latency and size; kept in the run.

    Args:
        run: finished.
        splits: its images; `Splits.test` chooses nothing here.
    """
    from zoo import ship
    from zoo.comparing import compare_judged
    from zoo.edge import Runtime
    from zoo.files import atomic_write
    from zoo.spec import encode

    folders = [run.path, *map(Path, run.record.card.arch.split(","))]
    opened = [Runtime.open(folder / MODEL_FILE) for folder in folders]
    found = compare_judged([(runtime, ship.judge(None, runtime, splits, "test")) for runtime in opened], folders)
    atomic_write(run.file(COMPARISON), encode(found))
    return found


def _refuse_seen(members: Sequence[Run], splits: Splits, *, keep: bool) -> tuple[str, ...]:
    """What members have seen of the images that decide and judge; nothing where they were divided as for this.

    Raises:
        GateError: something, and it was not asked to `keep` it.
    """
    from zoo.data import TRAINED_ON, read_seen, seen_among

    found = []
    for run in members:
        if run.record.data.sha256 == splits.fingerprint.sha256:
            continue
        name, place = f"{run.record.card.name} ({run.record.id})", run.file(TRAINED_ON)
        if not place.is_file():
            found.append(f"what {name} was trained on is not known: it was other images, and {TRAINED_ON} is missing")
            continue
        chosen = seen_among(splits.val.digests, read_seen(place, "train"))
        judged = seen_among(splits.test.digests, read_seen(place))
        if chosen:
            found.append(f"{name} was trained on {chosen} of {len(splits.val)} validation images")
        if judged:
            found.append(f"{name} has seen {judged} of {len(splits.test)} test images")
    if found and not keep:
        raise GateError(
            f"{'; '.join(found)}: weights and numbers would favour it; make an ensemble of runs on one split, name "
            "images that none has seen with --data, or take it so with --keep-leaks"
        )
    for note in found:
        log.warning("%s: weights and numbers favour it", note)
    return tuple(f"{note}: weights and numbers favour it" for note in found)
