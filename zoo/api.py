"""What `import zoo` offers, and what the verbs of the command line call.

Every function returns values and prints nothing; progress goes to the logger "zoo" and, on a terminal, to a
bar on stderr. Heavy packages are imported inside the functions.
"""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from zoo.errors import DataError, TrainingError, UsageError
from zoo.locate import MODEL_FILE, images_of, judged, lasting_source, model_file, without_bad
from zoo.spec import EvalReport, ModelCard, Parity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from zoo.compare import Comparison
    from zoo.data import Splits
    from zoo.edge import Bench, Runtime, Verification
    from zoo.plugin import ModelPlugin, Trained
    from zoo.registry import Row
    from zoo.runs import Best, Run
    from zoo.ship import Judged, Stage

__all__ = [
    "ExportResult",
    "TrainResult",
    "bench",
    "compare",
    "evaluate",
    "export",
    "info",
    "models",
    "open",
    "train",
    "verify",
]

log = logging.getLogger("zoo")

_LATENCY_RUNS = 30


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


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """A file that passed the gate."""

    path: str
    size_bytes: int
    parity: Parity
    quantization: None = None
    """Reserved: this release exports float32 only."""


def models(family: str | None = None) -> list[Row]:
    """Every model of every installed catalogue; no plugin is imported."""
    from zoo import registry

    return registry.models(family)


def info(model: str) -> ModelCard:
    """One card.

    Raises:
        CatalogueError: no such model; the line names those it could have been.
    """
    from zoo import registry

    return registry.find(model)


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
    settings: Mapping[str, Any] | None = None,
) -> TrainResult:
    """Train a model, export its best epoch by validation AUROC through the parity gate, evaluate the file.

    Args:
        model: a name from `models()`, or timm/NAME.
        data: a folder of class folders, a MedMNIST-style .npz, or "digits"; None: "digits", or with `resume`
            the images the run began with.
        pretrained: start from the card's pretrained weights.
        weights: start from this safetensors file.
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
        settings: other fields of TrainConfig by name, and of PreprocessSpec as "preprocess.NAME".

    Raises:
        ZooError: of every kind; see `zoo.errors`. GateError: the export differs from what was trained.
    """
    from zoo import registry, ship
    from zoo.runs import settle

    card = registry.find(model)
    budget = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "seed": seed,
        "device": device,
        "precision": precision,
        "pretrained": True if pretrained or weights else None,
    }
    loaded = registry.load(card.plugin)
    plugin = loaded.plugin
    if resume:
        run, splits = _resumed(card, out, epochs, data)
        if run.record.status == "trained":  # it stopped between its last epoch and its evaluation
            return _finish(run, plugin, plugin.load(run.record.card, run), splits)
    else:
        from zoo.data import ADVICE, open_data
        from zoo.recipe import configured, resolve
        from zoo.runs import RunRecord, create_run, new_id, versions
        from zoo.weights import resolve as resolve_weights

        data = "digits" if data is None else data
        settings = ADVICE.get(str(data), {}) | dict(settings or {})
        config = configured(card, budget, settings)
        splits = open_data(data, split_seed=config.split_seed, skip_bad=skip_bad)
        recipe = resolve(plugin, card, splits, config, size=size, settings=settings)
        start = resolve_weights(recipe.card, Path(weights) if weights else None) if config.pretrained else None
        for note in recipe.notes:  # those of the data were said when it was opened
            log.info("%s", note)
        record = RunRecord(
            id=new_id(card.name),
            status="training",
            started=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            card=recipe.card,
            config=config,
            labels=splits.labels,
            kind=splits.kind,
            source=lasting_source(data),
            data=splits.fingerprint,
            plugin=loaded.origin,
            versions=versions(),
            weights=f"{start.source} sha256:{start.sha256}" if start else None,
            skipped=splits.skipped,
            notes=(*recipe.notes, *splits.notes),
        )
        if not skip_bad:
            ship.refuse_unreadable(splits.test, recipe.card.preprocess)  # now, not after hours of training
        run = create_run(Path(out) if out else None, record, overwrite=overwrite)
        run.pretrained = start.path if start else None
    run.skip_bad = skip_bad or bool(run.record.skipped)
    try:
        trained = plugin.train(run.record.card, splits, run.record.config, run)
    except Exception:
        if run.record.best is None and not resume:
            settle(run, kept=False)
        raise
    settle(run, kept=True)
    if not run.first:
        raise SystemExit(0)  # started by torchrun: rank 0 alone exports and evaluates
    return _finish(run, plugin, trained, splits)


def _finish(run: Run, plugin: ModelPlugin, trained: Trained, splits: Splits) -> TrainResult:
    """Calibrate on validation, export through the gate, evaluate the file on test, write it all down."""
    from zoo import ship
    from zoo.edge import Runtime

    spec = run.record.card.preprocess
    if run.skip_bad:  # training has met the bad images of train and val
        bad = ship.readable(splits.test, spec)[1]
        run.update(skipped=tuple(dict.fromkeys((*run.record.skipped, *bad))))
    splits = without_bad(splits, run)
    run.update(notes=tuple(dict.fromkeys((*run.record.notes, *splits.notes))))
    temperature = ship.fitted_temperature(trained, spec, splits.val)
    run.update(status="trained", temperature=temperature)
    model, manifest = ship.build(run, trained, splits)
    target = run.file(MODEL_FILE)
    _save(target, model)
    judged = ship.judge(plugin, Runtime.open(target), splits, "test")
    ship.with_report(model, manifest, judged.report)
    _save(target, model)
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
    )


def evaluate(
    target: str | Path | None = None,
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
) -> EvalReport:
    """Run a shipped file on raw images and judge its answers.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run.
        data: images; None: those the run was trained with (a bundle or file needs it).
        split: train, val or test.
        provider: execution provider.
        skip_bad: leave out images that can not be read.
    """
    return judged(target, data, split=split, provider=provider, skip_bad=skip_bad)[1].report


def compare(
    targets: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    budget: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare models on the same images: intervals, latency and size of each, and a paired test of each pair.

    Args:
        targets: runs, bundles, .onnx files, or names of models, which are trained first with one budget.
        data: images; None: those of the runs, which must then be the same, or "digits" where nothing was
            trained yet.
        split: train, val or test.
        provider: execution provider.
        budget: arguments of `train` for the models that are trained, such as {"epochs": 5}.

    Raises:
        UsageError: fewer than two targets.
        DataError: the targets were not trained on the same data and `data` is None, or do not know the same
            labels.
    """
    from zoo.compare import Contender
    from zoo.compare import compare as compared

    if len(targets) < 2:
        raise UsageError(f"{len(targets)} model to compare, expected at least two runs, bundles, files or model names")
    located = _located(targets, data, budget or {})
    opened = [judged(where, data, split=split, provider=provider) for where in located]
    labels = opened[0][0].labels
    images = opened[0][1].images
    contenders = []
    for (runtime, answers), name in zip(opened, _different_names(located, opened), strict=True):
        if set(runtime.labels) != set(labels):
            raise DataError(
                f"{name} knows other labels than {runtime.manifest.name}; models of one task can be compared"
            )
        same = answers.report.data.sha256 == opened[0][1].report.data.sha256
        if not same or list(answers.images.ids) != list(images.ids):
            raise DataError(f"{name} was evaluated on other images; name one set for all with --data")
        order = [runtime.labels.index(label) for label in labels]
        contenders.append(
            Contender(
                name=name,
                logits=answers.logits[:, order],
                temperature=runtime.manifest.temperature,
                latency_ms=_latency_ms(runtime, images.read(0).pixels),
                size_bytes=(runtime.path / MODEL_FILE if runtime.path.is_dir() else runtime.path).stat().st_size,
            )
        )
    return compared(contenders, images.targets, labels)


def export(
    run: str | Path | None = None,
    *,
    preprocess: Stage = "full",
    bundle: bool = False,
    out: str | Path | None = None,
    data: str | Path | None = None,
) -> ExportResult:
    """Write a run's ONNX file, or its bundle, and prove it; when the proof fails nothing is left behind.

    Args:
        run: a run directory or id; None: the last run.
        preprocess: full: from raw pixels; normalize: from resized pixels; none: from preprocessed numbers.
        bundle: write NAME.zoo with manifest, golden set, report and card.
        out: file or folder to write; None: export/NAME.onnx or export/NAME.zoo in the run.
        data: the images the run was trained with, if they have moved.

    Raises:
        GateError: the parity gate refused.
    """
    from zoo import registry, ship
    from zoo.edge import Runtime
    from zoo.export import GOLDEN_IMAGES, set_manifest, write_bundle
    from zoo.runs import find_run, open_run

    opened = open_run(find_run(run))
    record = opened.record
    suffix = "zoo" if bundle else "onnx"
    target = Path(out) if out else opened.file("export") / f"{record.card.name.replace('/', '-')}.{suffix}"
    if bundle and target.suffix != ".zoo":
        raise UsageError(f"--out {target}: a bundle is a folder whose name ends in .zoo")
    if not bundle and target.is_dir():
        raise UsageError(f"--out {target} is a folder; expected a file name such as {target / 'model.onnx'}")
    plugin = registry.load(record.plugin.name).plugin
    trained = plugin.load(record.card, opened)
    splits = without_bad(images_of(opened, data), opened)
    if record.status not in {"trained", "done"}:  # in memory only: its training may still be going on
        epochs = f"{record.epochs_done} of {record.config.epochs}"
        note = f"training stopped after epoch {epochs}; this is its best epoch so far"
        temperature = ship.fitted_temperature(trained, record.card.preprocess, splits.val)
        opened.record = msgspec.structs.replace(record, temperature=temperature, notes=(*record.notes, note))
    report = _report_of(opened)
    model, manifest = ship.build(opened, trained, splits, stage=preprocess, report=report)
    if not bundle:
        _save(target, model)
    else:
        set_manifest(model, manifest)
        content = model.SerializeToString()
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            proven = Path(folder) / MODEL_FILE
            proven.write_bytes(content)
            predict = Runtime.open(proven).logits
        images = ship.golden_images(splits, GOLDEN_IMAGES)
        write_bundle(target, content, manifest, images=images, predict=predict)
    proof = manifest.parity
    assert proof is not None  # noqa: S101 - build gives none without
    return ExportResult(path=str(target), size_bytes=_size(target), parity=proof)


def open(path: str | Path, *, provider: str = "cpu", threads: int | None = None) -> Runtime:  # noqa: A001 - zoo.open
    """Open an .onnx file, a bundle or a run for prediction.

    Raises:
        ModelError: not a model of this tool, or damaged.
        ProviderError: the provider is not there.
    """
    from zoo.edge import Runtime

    return Runtime.open(model_file(Path(path)), provider=provider, threads=threads)


def verify(path: str | Path, *, provider: str = "cpu") -> Verification:
    """Check every hash of a bundle and replay its golden set on this machine.

    Raises:
        GateError: something differs; the line lists all that does.
    """
    from zoo.edge import verify as replay

    return replay(Path(path), provider=provider)


def bench(path: str | Path, *, provider: str = "cpu", threads: int | None = None, runs: int = 100) -> Bench:
    """Latency, memory, cold start and size of a model file on this machine."""
    from zoo.edge import bench as measure

    return measure(model_file(Path(path)), provider=provider, threads=threads, runs=runs)


# --- inside -----------------------------------------------------------------------------------------


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


def _located(targets: Sequence[str | Path], data: str | Path | None, budget: Mapping[str, Any]) -> list[Path]:
    """Where each model is; names of the catalogue are trained, after every name was found to mean something."""
    found = [_found(target) for target in targets]
    if data is None:  # on the images of a run that is already there
        runs = [path for path in found if path is not None and (path / "run.json").is_file()]
        data = _source_of(runs[0]) if runs else "digits"
    paths = []
    for target, path in zip(targets, found, strict=True):
        if path is None:
            log.info("training %s", target)
            given = dict(budget)
            if given.get("pretrained") and info(str(target)).weights is None:
                log.info("%s has no pretrained weights and starts from scratch", target)
                given["pretrained"] = False
            path = Path(train(str(target), data, **given).run)  # noqa: PLW2901 - what was missing is filled in
        paths.append(path)
    return paths


def _found(target: str | Path) -> Path | None:
    """The run, bundle or file called `target`; None: it is a model to train."""
    from zoo.errors import CatalogueError
    from zoo.runs import find_run

    if Path(target).exists():
        return Path(target)
    try:
        return find_run(target)
    except UsageError:
        pass
    try:
        info(str(target))
    except CatalogueError as problem:
        raise UsageError(f"'{target}' is no run, bundle, file or model: {problem}") from None
    return None


def _source_of(run: Path) -> str:
    from zoo.runs import open_run

    return open_run(run).record.source


def _different_names(paths: Sequence[Path], opened: Sequence[tuple[Runtime, Judged]]) -> list[str]:
    """The models' names; where two are equal, with the name of the run or file."""
    names = [runtime.manifest.name for runtime, _ in opened]
    return [
        name if names.count(name) == 1 else f"{name} ({path.stem if path.is_file() else path.resolve().name})"
        for name, path in zip(names, paths, strict=True)
    ]


def _latency_ms(runtime: Runtime, image: Any) -> float:
    """Median milliseconds from one raw image to its answer."""
    import statistics
    import time

    batch = image[None]
    times = []
    for _ in range(_LATENCY_RUNS + 3):
        start = time.perf_counter()
        runtime.logits(batch)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1e3


def _report_of(run: Run) -> EvalReport | None:
    from zoo.spec import decode

    path = run.file("report.json")
    return decode(path.read_bytes(), EvalReport, str(path), TrainingError) if path.is_file() else None


def _save(target: Path, model: onnx.ModelProto) -> None:
    from zoo.files import atomic_write

    atomic_write(target, model.SerializeToString())


def _size(target: Path) -> int:
    return sum(p.stat().st_size for p in target.iterdir()) if target.is_dir() else target.stat().st_size
