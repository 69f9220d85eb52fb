"""The card of `ensemble:RUN,RUN…`, made from the records of its runs; no plugin is imported and no image read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.text import brief
from zoo.errors import UsageError
from zoo.spec import ModelCard, Percentile, TrainConfig, Voi

if TYPE_CHECKING:
    from zoo.runs import RunFolder, RunRecord

__all__ = ["ENSEMBLE", "ENSEMBLE_PLUGIN", "ensemble_card"]

ENSEMBLE = "ensemble:"
"""Before the runs, which commas separate."""

ENSEMBLE_PLUGIN = "ensemble"


def ensemble_card(name: str) -> ModelCard:
    """A card whose members are the folders of the runs; its preprocessing is that of the largest input.

    Members by percentiles come first: images are read as the preprocessing of the card says, and files with padding
    adopt the value that those members leave out.

    The seed and the split are those of the first run.

    Raises:
        UsageError: fewer than two runs, one twice, one that is missing, unfinished or an ensemble, or runs that cannot
            answer together: other labels, task, pixels or padding.
    """
    from zoo.runs import find_run, open_run

    named = [part.strip() for part in name.removeprefix(ENSEMBLE).split(",")]
    if len(named) > 1 and not all(named):
        raise UsageError(
            f"{name}: a comma has no run on one side; expected {ENSEMBLE}runs/a,runs/b",
            code="ensemble-name",
            name=name,
        )
    if len(named) < 2:
        raise UsageError(
            f"{name}: expected at least two runs, separated by commas, such as {ENSEMBLE}runs/a,runs/b",
            code="ensemble-name",
            name=name,
        )
    runs: list[RunFolder] = []
    for part in named:
        run = open_run(find_run(part))
        if run.record.folds:
            raise UsageError(
                f"{part} is a run over folds and can be no member; name single runs, such as its model of all images",
                code="ensemble-member",
                member=part,
                status=run.record.status,
            )
        if any(run.path == other.path for other in runs):
            raise UsageError(f"{part} is named twice; name each run once", code="ensemble-twice", member=part)
        _refuse(part, run, runs[0].record if runs else run.record)
        _refuse_padding(part, run, runs)
        runs.append(run)
    first = runs[0].record
    specs = [run.record.card.preprocess for run in runs]
    largest = max(specs, key=lambda spec: (isinstance(spec.intensity, Percentile), spec.size[0] * spec.size[1]))
    config = first.card.train
    return ModelCard(
        name=ENSEMBLE_PLUGIN,
        plugin=ENSEMBLE_PLUGIN,
        arch=ENSEMBLE_PLUGIN,
        members=tuple(str(run.path) for run in runs),
        family=ENSEMBLE_PLUGIN,
        summary=f"The weighted mean of {', '.join(run.record.card.name for run in runs)}",
        preprocess=largest,
        train=TrainConfig(
            epochs=1,
            seed=config.seed,
            split_seed=config.split_seed,
            leaks=config.leaks,
            fold=config.fold,
            folds=config.folds,
            columns=config.columns,
            group=config.group,
            keep_na=config.keep_na,
            uncertain=config.uncertain,
            frames=config.frames,
            metric=config.metric,
        ),
        licence=" AND ".join(dict.fromkeys(run.record.card.licence for run in runs)),
    )


def _refuse(name: str, run: RunFolder, first: RunRecord) -> None:
    """Refuse a run that can be no member, or not of one ensemble with the first."""
    from zoo.runs import remedy

    record = run.record
    if record.plugin.name == ENSEMBLE_PLUGIN:
        raise UsageError(
            f"{name} is an ensemble itself; name its members instead",
            code="ensemble-nested",
            member=name,
        )
    if record.status != "done":
        raise UsageError(
            f"{name} can be no member: {remedy(record, run.path)}",
            code="ensemble-member",
            member=name,
            status=record.status,
        )
    if record.task != first.task:
        raise UsageError(
            f"{name} is {record.task}, {first.id} is {first.task}; an ensemble answers one question",
            code="ensemble-mixed",
            member=name,
            differs="task",
        )
    if set(record.labels) != set(first.labels):
        raise UsageError(
            f"{name} knows the labels {brief(record.labels)}, {first.id} {brief(first.labels)}; "
            "expected runs on the same labels",
            code="ensemble-mixed",
            member=name,
            differs="labels",
        )
    if record.kind != first.kind:
        raise UsageError(
            f"{name} takes {record.kind} images, {first.id} {first.kind}; expected runs on the same images",
            code="ensemble-mixed",
            member=name,
            differs="kind",
        )
    if isinstance(record.card.preprocess.intensity, Voi) != isinstance(first.card.preprocess.intensity, Voi):
        raise UsageError(
            f"only one of {name} and {first.id} reads DICOM files through their own window (intensity voi); "
            "both would need the same pixels",
            code="ensemble-mixed",
            member=name,
            differs="intensity",
        )


def _refuse_padding(name: str, run: RunFolder, others: list[RunFolder]) -> None:
    """Refuse a member by percentiles that leaves out other padding than one before: an image has one filling."""
    from zoo._support.ranges import describe_ranges  # numpy, which 'zoo list' is to do without

    ours = run.record.card.preprocess.intensity
    for other in others:
        theirs = other.record.card.preprocess.intensity
        if not isinstance(ours, Percentile) or not isinstance(theirs, Percentile) or ours.padding == theirs.padding:
            continue
        raise UsageError(
            f"{name} leaves the padding {describe_ranges(ours.padding) or 'none'} out of percentiles, "
            f"{other.record.id} {describe_ranges(theirs.padding) or 'none'}; expected runs on the same images",
            code="ensemble-mixed",
            member=name,
            differs="padding",
        )
