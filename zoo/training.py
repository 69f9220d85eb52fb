"""Training as users call it: data and card to a run, its best epoch through the gate, the file's numbers on test.

A run that was interrupted goes on from what it left. Heavy packages are imported inside the functions.
"""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from zoo.errors import TrainingError
from zoo.locate import MODEL_FILE, images_of, lasting_source, without_bad
from zoo.spec import EvalReport, Member, ModelCard, Weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo.compare import Comparison
    from zoo.data import Splits
    from zoo.export import Pool
    from zoo.plugin import ModelPlugin, Trained
    from zoo.registry import LoadedPlugin
    from zoo.runs import Best, Run
    from zoo.weights import ResolvedWeights

__all__ = ["TrainResult", "begin", "train"]

log = logging.getLogger("zoo")


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a training run gave."""

    run: str
    """The run directory."""
    model: str
    best: Best | None
    """epoch, metric and value of the weights that were kept."""
    images_per_second: float | None
    seconds: float | None
    test: EvalReport
    """Of the exported file, on the test images, from raw pixels."""
    members: tuple[Member, ...] = ()
    """Of an ensemble its networks, with their weights; empty: one network."""
    comparison: Comparison | None = None
    """Of an ensemble: its file beside each member's on the test images."""


def train(
    model: str,
    data: str | Path | None = None,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    size: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: Literal["auto", "fp32", "bf16"] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    skip_bad: bool = False,
    leaks: Literal["drop", "keep", "refuse"] | None = None,
    fold: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train a model, export its best epoch by validation AUROC through the parity gate, evaluate the file.

    Args:
        model: a name from `models()`, timm/NAME, hf-hub:ORG/NAME, local-dir:PATH, or ensemble:RUN,RUN…, the weighted
            mean of finished runs.
        data: a folder of class folders, a table, a MedMNIST-style .npz, or "digits"; None: "digits", or with `resume`
            the images the run began with.
        pretrained: start from the card's pretrained weights.
        weights: start from this safetensors file, hf-hub:ORG/NAME or local-dir:PATH.
        epochs: see `TrainConfig`; None leaves it to the card.
        batch_size: likewise.
        lr: likewise.
        size: side of the network's input in pixels; None: the images' own up to 64, else the card's.
        seed: as epochs.
        device: likewise.
        precision: likewise.
        out: the run directory; None: runs/MODEL-TIME.
        resume: go on with the run in `out` (or the last one) where it was interrupted.
        overwrite: replace a run that stands in `out`.
        skip_bad: leave unreadable images out, and record them, instead of refusing the set.
        leaks: training images that are copies of held-out ones: "drop" leaves them out, "keep" trains on them, "refuse"
            stops; groups in two splits are refused unless "keep".
        fold: of data with folds, the one that is test; None: the first.
        settings: other fields of TrainConfig by name, and of PreprocessSpec as "preprocess.NAME".

    Raises:
        ZooError: of every kind; see `zoo.errors`. GateError: the export differs from what was trained, or
            images or groups stand in two splits.
    """
    from zoo import ensemble, registry
    from zoo.data import TRAINED_ON, write_seen
    from zoo.registry import ENSEMBLE_PLUGIN
    from zoo.runs import settle

    card = registry.find(model)
    loaded = registry.load(card.plugin)
    plugin = loaded.plugin
    pool = card.plugin == ENSEMBLE_PLUGIN
    if pool:
        ensemble.refuse_options(
            pretrained=pretrained, weights=weights, epochs=epochs, batch_size=batch_size, lr=lr, size=size, seed=seed,
            device=device, precision=precision, resume=resume, skip_bad=skip_bad, fold=fold, set=settings or None,
        )  # fmt: skip
        run, splits = ensemble.begun(
            card, loaded, data, leaks=leaks, out=Path(out) if out else None, overwrite=overwrite
        )
    elif resume:
        run, splits = _resumed(card, out, epochs, data)
        if run.record.status == "trained":  # it stopped between its last epoch and its evaluation
            return _finish(run, plugin, plugin.load(run.record.card, run), splits)
    else:
        budget = {
            "epochs": epochs,
            "batch_size": batch_size,
            "lr": lr,
            "seed": seed,
            "device": device,
            "precision": precision,
            "pretrained": True if pretrained or weights else None,
            "leaks": leaks,
            "fold": fold,
        }
        run, splits = begin(
            card,
            loaded,
            "digits" if data is None else data,
            budget,
            settings or {},
            size=size,
            weights=weights,
            out=Path(out) if out else None,
            overwrite=overwrite,
            skip_bad=skip_bad,
        )
    if not pool:
        run.skip_bad = skip_bad or bool(run.record.skipped)
        if run.first:
            write_seen(run.file(TRAINED_ON), splits)
    try:
        trained = plugin.train(run.record.card, splits, run.record.config, run)
    except BaseException as problem:
        # What Ctrl-C leaves of an ensemble is made again sooner than gone on with.
        if run.record.best is None and not resume and (pool or isinstance(problem, Exception)):
            settle(run, kept=False)
        raise
    settle(run, kept=True)
    if not run.first:
        raise SystemExit(0)  # started by torchrun: rank 0 alone exports and evaluates
    result = _finish(run, plugin, trained, splits)
    return msgspec.structs.replace(result, comparison=ensemble.beside_members(run, splits)) if pool else result


def begin(
    card: ModelCard,
    loaded: LoadedPlugin,
    data: str | Path,
    budget: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    size: int | None,
    weights: str | Path | None,
    out: Path | None,
    overwrite: bool,
    skip_bad: bool,
) -> tuple[Run, Splits]:
    """A new run, with all that was decided for it in its record, and its data; arguments as `train`."""
    from zoo import ship
    from zoo.data import advised, open_data
    from zoo.recipe import configured, resolve, unused
    from zoo.runs import RunRecord, create_run, new_id, versions
    from zoo.weights import resolve as resolve_weights

    chosen, advice = advised(data, settings)
    config = configured(card, budget, chosen)
    splits = open_data(data, split_seed=config.split_seed, skip_bad=skip_bad, leaks=config.leaks, fold=config.fold)
    recipe = resolve(loaded.plugin, card, splits, config, size=size, settings=chosen)
    card, config = recipe.card, recipe.card.train
    splits = splits.read_for(card.preprocess)
    origin = loaded.plugin.starts_from(card)
    start = resolve_weights(origin, weights or None) if config.pretrained else None
    if start is not None:
        card = msgspec.structs.replace(card, weights=_started_from(origin, start))  # whose licence the file states
    notes = (*advice, *unused(loaded.plugin, card, budget, settings), *recipe.notes)
    for note in notes:  # those of the data were said when it was opened
        log.info("%s", note)
    record = RunRecord(
        id=new_id(card.name),
        status="training",
        started=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        card=card,
        config=config,
        labels=splits.labels,
        task=splits.task,
        kind=splits.kind,
        source=lasting_source(data),
        data=splits.fingerprint,
        plugin=loaded.origin,
        versions=versions(),
        weights=f"{start.source} sha256:{start.sha256}" if start else None,
        skipped=splits.skipped,
        notes=(*notes, *splits.notes),
    )
    if not skip_bad:
        ship.refuse_unreadable(splits.test, [card.preprocess])  # now, not after hours of training
    run = create_run(out, record, overwrite=overwrite)
    run.pretrained = start.path if start else None
    return run, splits


def _started_from(card: ModelCard, start: ResolvedWeights) -> Weights | None:
    """The weights a run begins with, for its record; the user's own file leaves what the card says."""
    if start.source.startswith(("file:", "package:")):
        return card.weights
    known = card.weights if card.weights and card.weights.source == start.source else None
    return msgspec.structs.replace(known or Weights(source=start.source, licence=""), licence=start.licence)


def _finish(run: Run, plugin: ModelPlugin, trained: Trained | Pool, splits: Splits) -> TrainResult:
    """Calibrate on validation, export through the gate, evaluate the file on test, write it all down."""
    from zoo import ship
    from zoo.edge import Runtime

    spec = run.record.card.preprocess
    if run.skip_bad:  # training has met the bad images of train and val
        bad = ship.readable(splits.test, [spec])[1]
        run.update(skipped=tuple(dict.fromkeys((*run.record.skipped, *bad))))
    splits = without_bad(splits, run.record.skipped)
    run.update(notes=tuple(dict.fromkeys((*run.record.notes, *splits.notes))))
    temperature = ship.fitted_temperature(trained, spec, splits.val)
    run.update(status="trained", temperature=temperature)
    model, manifest = ship.build(run, trained, splits)
    target = run.file(MODEL_FILE)
    ship.save_model(target, model)
    judged = ship.judge(plugin, Runtime.open(target), splits, "test")
    ship.with_report(model, manifest, judged.report)
    ship.save_model(target, model)
    ship.write_answers(run.path, judged, temperature)
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
    )


def _resumed(
    card: ModelCard, out: str | Path | None, epochs: int | None, data: str | Path | None
) -> tuple[Run, Splits]:
    """The interrupted run, and its data, unchanged."""
    from zoo.runs import find_run, open_run

    run = open_run(find_run(out))
    record = run.record
    if record.card.name != card.name:
        raise TrainingError(f"{run.path} is a run of {record.card.name}, not of {card.name}; name the run with --out")
    if record.status == "done":
        raise TrainingError(f"{run.path} is finished; train anew into another --out, or replace it with --overwrite")
    if epochs is not None:
        config = msgspec.structs.replace(record.config, epochs=epochs)
        run.update(config=config, card=msgspec.structs.replace(record.card, train=config))
    splits = images_of(run, data)
    if data is not None:
        run.update(source=lasting_source(data))
    run.resuming = True
    if record.status != "trained":
        run.update(status="training")
    return run, splits
