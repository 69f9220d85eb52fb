"""`zoo train`: a card and images to a run, its best epoch through the gate, and the numbers of its file on test.

Heavy packages are imported inside the functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import msgspec

from zoo.errors import NotFirstRankError
from zoo.spec import Budget, EvalReport, Member
from zoo.workflow._find import MODEL_FILE
from zoo.workflow._settings import read_settings

if TYPE_CHECKING:
    from zoo.artefact import Shippable
    from zoo.evaluation.comparison import Comparison
    from zoo.plugin import ModelPlugin
    from zoo.runs import Best
    from zoo.workflow._begin import Job

__all__ = ["TrainResult", "read_settings", "train"]


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a training run gave."""

    run: str
    """The run folder."""
    model: str
    best: Best | None
    """epoch, metric and value of the weights that were kept."""
    images_per_second: float | None
    seconds: float | None
    test: EvalReport
    """Of the exported file, on the test images, from raw pixels."""
    members: tuple[Member, ...] = ()
    """Of an ensemble its networks, with their weights; empty: one network."""
    passed_over: dict[str, int] = {}
    """Files of the data's folder that are not read as images, by their format."""
    comparison: Comparison | None = None
    """Of an ensemble: its file beside each member's on the test images."""


def train(
    model: str,
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    **budget: Unpack[Budget],
) -> TrainResult:
    """Train a model, export its best epoch by validation AUROC through the parity gate, evaluate the file.

    Args:
        model: a name from `models()`, timm/NAME, hf-hub:ORG/NAME, local-dir:PATH, or ensemble:RUN,RUN…, the weighted
            mean of finished runs.
        data: a folder of class folders, a table, a MedMNIST-style .npz, or "digits"; None: "digits", or with `resume`
            the images the run began with.
        out: the run folder; None: runs/MODEL-TIME.
        resume: continue the run in `out` (or the last one) where it was interrupted.
        overwrite: replace a run that is in `out`.
        skip_bad: leave unreadable images out, and record them, instead of refusing the set.
        **budget: epochs, batch_size, lr, size, seed, device, precision, pretrained, weights, leaks, fold, columns,
            group, keep_na, uncertain, settings; see `zoo.spec.Budget`.

    Raises:
        ZooError: any kind; see `zoo.errors`. GateError: the export differs from what was trained, or
            images or groups are in two splits. NotFirstRankError: under torchrun, in every process but the first.
    """
    from zoo import registry
    from zoo.workflow import _begin, ensemble

    card = registry.find(model)
    loaded = registry.load(card.plugin)
    place = Path(out) if out else None
    if card.members:
        refuse = {"resume": resume, "skip_bad": skip_bad}
        job = ensemble.begin(card, loaded, data, budget, out=place, overwrite=overwrite, refuse=refuse)
    elif resume:
        job = _begin.resume(card, data, budget, out=place, skip_bad=skip_bad)
    else:
        source = "digits" if data is None else data
        job = _begin.begin(card, loaded, source, budget, out=place, overwrite=overwrite, skip_bad=skip_bad)
    trained = _fit(loaded.plugin, job)
    if not job.context.first:
        raise NotFirstRankError("this process trained along; the first one exports and evaluates")
    result = _finish(loaded.plugin, trained, job)
    comparison = ensemble.beside_members(job.run, job.data) if card.members else None
    return msgspec.structs.replace(result, comparison=comparison)


def _fit(plugin: ModelPlugin, job: Job) -> Shippable:
    """What the plugin trains; nothing half-written stays where it failed before anything was learnt."""
    from zoo.runs import settle
    from zoo.workflow._prove import shippable

    run, record = job.run, job.run.record
    if record.status == "trained":
        return shippable(plugin.load(record.card, run), record)
    try:
        trained = plugin.train(record.card, job.data, record.card.train, run, job.context)
    except BaseException as problem:
        # An ensemble takes seconds: what Ctrl-C leaves of one is made again, not resumed.
        again = bool(record.card.members) or isinstance(problem, Exception)
        if run.record.best is None and not job.context.resuming and again:
            settle(run, kept=False)
        raise
    settle(run, kept=True)
    return shippable(trained, run.record)


def _finish(plugin: ModelPlugin, trained: Shippable, job: Job) -> TrainResult:
    """Calibrate on validation, export through the gate, evaluate the file on test, write it all down."""
    from zoo.data import TRAINED_ON, write_seen
    from zoo.edge import Runtime
    from zoo.workflow import _prove
    from zoo.workflow._images import readable, without_bad
    from zoo.workflow._judge import judge, write_answers

    run = job.run
    skipped = run.record.skipped
    if job.context.skip_bad:  # training has met the bad images of train and val
        bad = readable(job.data.test, [run.record.card.preprocess])[1]
        skipped = tuple(dict.fromkeys((*skipped, *bad)))
    splits = without_bad(job.data, skipped)
    temperature = _prove.fit_calibration(trained, splits.val)
    run.add_notes(splits.notes, status="trained", temperature=temperature, skipped=skipped, data=splits.fingerprint)
    if job.context.skip_bad:
        write_seen(run.file(TRAINED_ON), splits)
    model, manifest = _prove.build(run, trained, splits)
    target = run.file(MODEL_FILE)
    _prove.save_model(target, model)
    judged = judge(plugin, Runtime.open(target), splits, "test")
    _prove.write_report(model, manifest, judged.report)
    _prove.save_model(target, model)
    write_answers(run.path, judged, temperature)
    run.update(status="done")
    record = run.record
    return TrainResult(
        run=str(run.path),
        model=record.card.name,
        best=record.best,
        images_per_second=record.images_per_second,
        seconds=record.seconds,
        test=judged.report,
        members=manifest.members,
        passed_over=dict(job.data.passed_over),
    )
