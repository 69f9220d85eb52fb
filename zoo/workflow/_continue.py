"""`zoo train --from`: a run continued with more images or classes, and the old test set judged before and after.

The new run begins with the old one's weights, the head's rows of the classes that both know included, and keeps its
preprocessing. It does not learn from the old test images, unless that is asked for. Afterwards the old file and the new
one answer them. Images that the new run has learnt from are left out for both, and both are judged among the old
classes.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from zoo._support.labels import match_labels
from zoo._support.text import brief, name_each, quote_path
from zoo.data._named import OTHER_COLUMNS
from zoo.errors import DataError, UsageError, ZooError
from zoo.evaluation.comparison import Comparison
from zoo.runs import find_run, open_run
from zoo.spec import TrainConfig, encode
from zoo.workflow._find import MODEL_FILE, model_file, run_that_ships
from zoo.workflow._old_test import find_old_test
from zoo.workflow._settings import settings_of, spell_setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.data import Splits
    from zoo.registry import LoadedPlugin
    from zoo.runs import RunFolder
    from zoo.spec import Budget, ModelCard, Reading

__all__ = [
    "BEFORE_AFTER",
    "BeforeAfter",
    "describe_reading",
    "find_origin",
    "inherit",
    "inherit_reading",
    "judge_before_after",
    "match_head",
    "read_as_before",
    "refuse_request",
]

BEFORE_AFTER = "before_after.json"

NAMES = ("after", "before")
"""How the comparison calls the new file and the old one."""

_READING = ("columns", "group", "keep_na", "uncertain", "frames")
"""How the data of a continued run is read. What the model is given beside the image is not continued."""

_UNFIT = {
    "columns": (OTHER_COLUMNS, "--columns", "columns={}"),
    "group": (frozenset({"group-missing", "group-pattern", "group-unmatched"}), "--group", "group=null"),
    "frames": (frozenset({"frames-without-files"}), "--frames", "frames=one"),
}
"""Of the fields that data may not fit: codes of such data, the option that says another one, and the setting that
leaves it to the data."""

log = logging.getLogger("zoo")


class BeforeAfter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The old test set, judged by the file of the old run and by that of the run that continues it."""

    run: str
    """Id of the old run."""
    verdicts: dict[str, str] = {}
    """Metric to what the new file is on the old test images: better, worse or cannot tell."""
    called_new: int = 0
    """Old test images that the new file calls a class which the old one does not know; the comparison is among the old
    classes."""
    gone: int = 0
    """Old test images that are nowhere any more; the others are judged."""
    comparison: Comparison | None = None
    """"after", the new file, against "before", the old one, on the same images; None: they could not be judged."""
    reason: str | None = None
    """Why they could not."""


def refuse_request(budget: Budget, data: str | Path | None, place: Path | None) -> None:
    """Refuse to continue a run on nobody knows which images, or in its own folder.

    Raises:
        UsageError: no data was named, or `place` is the run that is continued.
    """
    named = budget.get("start_from")
    if named is None:
        return
    if data is None:
        raise UsageError(
            "--from continues a run with more images; name them with --data", code="option-missing", options=["--data"]
        )
    if place is not None and place.resolve() == find_run(named):
        raise UsageError(
            f"--from and --out: {quote_path(place)} is continued and is needed until the end; give another --out",
            code="option-conflict",
            options=["--from", "--out"],
        )


def find_origin(budget: Budget, card: ModelCard, loaded: LoadedPlugin) -> RunFolder | None:
    """The run that is to be continued; None: none was asked for.

    Raises:
        UsageError: such a run is not there, it is of another model or of one that takes columns, this model cannot
            continue, or options contradict each other.
        ModelError, TrainingError: the run is not finished.
    """
    named = budget.get("start_from")
    if named is None:
        return None
    _refuse_conflict(budget)
    run = open_run(run_that_ships(find_run(named)))
    old = run.record.card
    place = quote_path(run.path)
    if old.members:
        raise UsageError(
            f"--from: {place} is an ensemble, made of models that are trained already; continue one of them, such as "
            f"{quote_path(old.members[0])}",
            code="from-unsupported",
            model=old.name,
        )
    if (old.name, old.arch, old.plugin) != (card.name, card.arch, card.plugin):
        raise UsageError(
            f"--from: {place} is a run of {old.name}, not of {card.name}; give that model",
            code="from-model",
            run=str(run.path),
            found=old.name,
            expected=card.name,
        )
    if not loaded.plugin.keeps_head():
        raise UsageError(
            f"--from: {card.name} is fitted from the beginning each time; leave the option out, or continue a network",
            code="from-unsupported",
            model=card.name,
        )
    if old.table is not None:
        raise UsageError(
            f"--from: {place} takes columns beside the image, and its part that reads them cannot be continued; start "
            "from what it has learnt of images with --weights",
            code="from-columns",
            run=str(run.path),
            columns=list(old.table.names),
        )
    model_file(run.path)
    return run


def _refuse_conflict(budget: Budget) -> None:
    settings = settings_of(budget)
    asked = {
        "--pretrained": budget.get("pretrained"),
        "--set pretrained": "pretrained" in settings,
        "--weights": budget.get("weights"),
        "--freeze": budget.get("freeze") or settings.get("freeze"),
        "--size": budget.get("size"),
        "--inputs": budget.get("inputs") or settings.get("inputs"),
        "--set preprocess": any(name.startswith("preprocess.") for name in settings),
    }
    for option, given in asked.items():
        if given:
            raise UsageError(
                f"--from and {option}: the run that is continued decides weights, head, inputs and preprocessing; give "
                "one of the two, or start from its weights alone with --weights",
                code="option-conflict",
                options=["--from", option],
            )


def inherit(budget: Budget, origin: RunFolder) -> Budget:
    """What the user said; where that is silent, with the old run's order of grades and answers by mirror images."""
    config, settings = origin.record.card.train, budget.get("settings")
    if config.flips and settings_of(budget).get("flips", True):
        kept: dict[str, Any] = {"flips": True}
        if config.augment_flip != TrainConfig().augment_flip:  # what was said of sides then is true of the answers now
            kept["augment_flip"] = config.augment_flip
        settings = kept | settings_of(budget)
    said = {**budget, **settings_of(budget)}
    if said.get("task") is not None or said.get("order") is not None:
        return cast("Budget", {**budget, "settings": settings})
    return cast("Budget", {**budget, "settings": settings, "task": config.task, "order": config.order or None})


def inherit_reading(budget: Budget, origin: RunFolder) -> Reading:
    """How the old run read its data, where the user is silent: patients kept together then are kept together now."""
    config, said, plain = origin.record.card.train, settings_of(budget), TrainConfig()
    found = {
        name: getattr(config, name)
        for name in _READING
        if budget.get(name) is None and name not in said and getattr(config, name) != getattr(plain, name)
    }
    return cast("Reading", found)


def describe_reading(reading: Reading) -> tuple[str, ...]:
    """What the old run's way to read data is, where it holds for the new one too."""
    said = ", ".join(spell_setting(name, _plain(reading, name)) for name in reading)
    return (f"data is read as that of the run that is continued: {said}",) if said else ()


@contextlib.contextmanager
def read_as_before(origin: RunFolder | None, reading: Reading) -> Iterator[None]:
    """Refuse data, opened in this block, that cannot be read as the old run's were.

    Raises:
        DataError: names the option that says how else.
    """
    try:
        yield
    except DataError as problem:
        name = next((name for name in reading if name in _UNFIT and problem.code in _UNFIT[name][0]), None)
        if origin is None or name is None:
            raise
        _, option, plain = _UNFIT[name]
        raise DataError(
            f"{_cut(problem)}; --from reads data as that of {quote_path(origin.path)}, with "
            f"{spell_setting(name, _plain(reading, name))}; say with {option} how it is read, or leave it to the data "
            f"with --set '{plain}'",
            code="from-reading",
            run=str(origin.path),
            option=option,
            cause=problem.code,
        ) from None


def _plain(reading: Reading, name: str) -> Any:
    value = cast("Any", reading)[name]
    return dict(value) if name == "columns" else value


def match_head(origin: RunFolder, splits: Splits, source: str | Path) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """For each class of the data the row of the old head, None for a new one; and what is to be said.

    Args:
        origin: the run that is continued.
        splits: the data.
        source: where it came from.

    Raises:
        DataError: the images are of another task, pixel type or number of channels, or a class is missing.
        UsageError: grades are in another order.
    """
    _refuse_other(origin, splits)
    rows = match_labels(splits.labels, origin.record.labels)
    new = [label for label, row in zip(splits.labels, rows, strict=True) if row is None]
    said = f"; new: {brief(new)}" if new else ""
    notes = [f"continues {origin.record.id}, with its preprocessing and its {len(rows) - len(new)} classes{said}"]
    try:
        old, gone = find_old_test(origin, str(source))
    except ZooError as problem:
        notes.append(_say_not_judged(origin.record.id, problem))
    else:
        notes += [_say_gone(origin.record.id, gone, len(old.test))] if gone else []
    return rows, tuple(notes)


def _refuse_other(origin: RunFolder, splits: Splits) -> None:
    """Refuse images that the old file could not be asked about, and data that lacks a class of it."""
    from zoo.workflow._channels import fit_to_channels
    from zoo.workflow._images import refuse_kind

    old = origin.record
    if splits.task != old.task:
        raise DataError(
            f"the data is {splits.task}, and {quote_path(origin.path)} is {old.task}; name data of the same task",
            code="task-differs",
            data=splits.task,
            model=old.task,
        )
    refuse_kind(splits, [old.kind], quote_path(origin.path))
    fit_to_channels(old.card.preprocess, splits, old.card.preprocess.channels)
    found = match_labels(old.labels, splits.labels)
    missing = [label for label, place in zip(old.labels, found, strict=True) if place is None]
    if missing:
        raise DataError(
            f"{splits.fingerprint.name} has no image of {name_each('class', missing, 'which', 'which')} "
            f"{quote_path(origin.path)} knows; without images it would be forgotten: add some, or start from the "
            "weights alone with --weights",
            code="from-classes",
            missing=missing,
            known=list(old.labels),
        )
    if old.task == "ordinal" and list(found) != sorted(cast("list[int]", found)):
        raise UsageError(
            f"--order: {quote_path(origin.path)} knows the grades as {', '.join(old.labels)}; name them in that order",
            code="option-conflict",
            options=["--from", "--order"],
            known=list(old.labels),
        )


def judge_before_after(run: RunFolder) -> BeforeAfter:
    """The old test set, judged by both files; kept in the run. Where that cannot be, a note says why.

    Args:
        run: trained and exported; it continues another.
    """
    old = Path(cast("str", run.record.continues))
    try:
        comparison, others, gone = _compare(run, open_run(old))
    except ZooError as problem:
        found = BeforeAfter(run=old.name, reason=_cut(problem))
        run.add_notes([_say_not_judged(old.name, problem)])
    else:
        verdicts: dict[str, str] = {pair.metric: pair.verdict for pair in comparison.pairs}
        found = BeforeAfter(run=old.name, verdicts=verdicts, called_new=others, gone=gone, comparison=comparison)
    run.write(BEFORE_AFTER, encode(found))
    return found


def _compare(run: RunFolder, old: RunFolder) -> tuple[Comparison, int, int]:
    """Both files on the old test images; how many the new one calls a new class, and how many are gone."""
    from zoo.edge import Runtime
    from zoo.workflow._judge import compare_judged, judge
    from zoo.workflow._seen import find_overlap, list_seen, sift_for_all
    from zoo.workflow.evaluate import Target, load_plugin, look_up

    tested, gone = find_old_test(old, run.record.source)
    before, after = Runtime.open(model_file(old.path)), Runtime.open(run.file(MODEL_FILE))
    plugin = load_plugin(old)
    target = Target(before, plugin, tested, list_seen(old), own=True)
    seen: Any = list_seen(run)
    overlaps = [find_overlap(tested, "test", seen), look_up(target, "test")]
    (splits, _), said = sift_for_all([tested] * 2, "test", overlaps, NAMES, include=False)
    judged = [
        (after, judge(None, after, splits, "test", labels=before.labels, look=False)),
        (before, judge(plugin, before, splits, "test", look=False)),
    ]
    return compare_judged(judged, NAMES, said), judged[0][1].others, gone


def _say_gone(run: str, gone: int, left: int) -> str:
    note = f"{gone} of {gone + left} test images of {run} are gone; before and after are judged on the others"
    log.warning("%s", note)
    return note


def _say_not_judged(run: str, problem: ZooError) -> str:
    """A note for a record that goes into files: the reason may hold a path, so it is only logged."""
    note = f"the old test set of {run} is not judged before and after ({problem.code})"
    log.warning("%s: %s", note, _cut(problem))
    return note


def _cut(problem: ZooError) -> str:
    """What was found, without what to do: that is said of another command."""
    return str(problem).partition("; ")[0]
