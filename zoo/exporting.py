"""From a finished run to what leaves the machine: the file or the bundle, proven before a byte is written.

Used by `zoo export`; training proves and evaluates its own file through `zoo.ship`.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.errors import ModelError, TrainingError, UsageError
from zoo.locate import MODEL_FILE, images_of, without_bad
from zoo.spec import EvalReport, Manifest, Parity, Quantization
from zoo.text import file_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx
    from numpy.typing import NDArray

    from zoo.data import Splits
    from zoo.evaluate import Predict
    from zoo.export import Pool
    from zoo.plugin import Trained
    from zoo.runs import Run
    from zoo.ship import Stage
    from zoo.spec import QuantizedKind, Target

__all__ = ["ExportResult", "export"]


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """A file that passed the gate."""

    path: str
    size_bytes: int
    parity: Parity
    quantization: Quantization | None = None
    """What was tried and measured to make the file smaller; null: it is float32."""


def export(
    run: str | Path | None = None,
    *,
    preprocess: Stage = "full",
    portable: bool = False,
    evidence: bool = False,
    quantize: QuantizedKind | None = None,
    target: Target | None = None,
    bundle: bool = False,
    out: str | Path | None = None,
    data: str | Path | None = None,
    web: str | Path | None = None,
    ort_web: str | Path | None = None,
) -> ExportResult:
    """Write a run's ONNX file, or its bundle, and prove it; when the proof fails nothing is left behind.

    Args:
        run: a run directory or id; None: the last run.
        preprocess: full: from raw pixels; normalize: from resized pixels; none: from preprocessed numbers.
        portable: resize by matrix products in place of the Resize operator, which OpenVINO, TensorRT and others read
            differently or refuse; slower on large pictures.
        evidence: with the further output "evidence" (N, K, h, w): where the model sees what, for those that can say.
        quantize: int8 or fp16: the smallest change of the proven file that passes the guard of
            `zoo.export.quantize`; its report is then its own, from raw test images.
        target: what a quantised file is for: avx512 (with VNNI), avx2, arm64 or gpu; None: this machine.
        bundle: write NAME.zoo with manifest, golden set, report, card and parts list; where `out` ends in .zoo.zip,
            one file with the same in it.
        out: file or folder to write; None: export/NAME.onnx or export/NAME.zoo in the run, NAME-int8 or NAME-fp16
            where it is quantised.
        data: the images the run was trained with, if they have moved.
        web: write this folder instead: a page that runs the model in the browser. `run` may then be a bundle too.
        ort_web: npm's package of onnxruntime-web for it; None: the store, else npm.

    Raises:
        GateError: the parity gate refused, or (`QuantizationError`) no quantised file passed the guard.
        UsageError: a name that does not fit what is written; `portable` for a file that does not resize; a
            target without `quantize`, or a model that has nothing to quantise; `evidence` of one that makes none.
    """
    from zoo import ship
    from zoo.export import Pool
    from zoo.runs import find_run, open_run

    if portable and preprocess != "full":
        raise UsageError(f"--portable is about how a file resizes, with --preprocess {preprocess} it does not")
    if target is not None and quantize is None:
        raise UsageError(f"target {target} is of a quantised file; name --int8 or --fp16 too, or leave it out")
    if web is not None:
        if bundle or out is not None or preprocess != "full":
            raise UsageError("--web writes a folder of its own; leave out --bundle, --out and --preprocess")
        if run is not None and _is_bundle(Path(run)) and (portable or evidence or quantize or data is not None):
            raise UsageError(f"{run} is a bundle, whose page holds it as it is; name its run to export it otherwise")
        make = partial(
            export, run, portable=portable, evidence=evidence, quantize=quantize, target=target, bundle=True, data=data
        )
        return _page(run, make, Path(web), None if ort_web is None else Path(ort_web))
    if run is not None and _is_bundle(Path(run)):
        raise UsageError(f"{run} is exported already; name its run, or write its page with --web")
    opened = open_run(find_run(run))
    written = _target(opened, out, bundle=bundle, kind=quantize)
    trained, splits = _restored(opened, data)
    if quantize is not None and isinstance(trained, Pool):
        raise UsageError(
            f"--{quantize}: an ensemble ships in float32, its members are proven one by one; "
            "export it as it is, or one member with --" + quantize
        )
    model, manifest = ship.build(
        opened,
        trained,
        splits,
        stage=preprocess,
        portable=portable,
        report=_report_of(opened),
        evidence=evidence,
    )
    predict = None
    if quantize is not None:
        model, manifest, predict = _quantised(opened, splits, (model, manifest), quantize, target)
        assert manifest.quantization is not None  # noqa: S101 - it was just made
        written = _target(opened, out, bundle=bundle, kind=manifest.quantization.kind)  # int8 may have ended as fp16
    if bundle:
        _write_bundle(written, model, manifest, splits, predict)
    else:
        ship.save_model(written, model)
    assert manifest.parity is not None  # noqa: S101 - build gives none without
    return ExportResult(
        path=str(written), size_bytes=_size(written), parity=manifest.parity, quantization=manifest.quantization
    )


def _target(run: Run, out: str | Path | None, *, bundle: bool, kind: QuantizedKind | None) -> Path:
    """Where to write.

    Raises:
        UsageError: a name that does not fit what is written.
    """
    suffix = "zoo" if bundle else "onnx"
    stem = "-".join((file_name(run.record.card.name), *([kind] if kind else [])))
    target = Path(out) if out else run.file("export") / f"{stem}.{suffix}"
    if bundle and not target.name.endswith((".zoo", ".zoo.zip")):
        raise UsageError(f"--out {target}: the name of a bundle ends in .zoo (a folder) or .zoo.zip (one file)")
    if not bundle and target.is_dir():
        raise UsageError(f"--out {target} is a folder; expected a file name such as {target / 'model.onnx'}")
    return target


def _restored(run: Run, data: str | Path | None) -> tuple[Trained | Pool, Splits]:
    """The model as its plugin saved it, and the images it was trained with; an interrupted run gets its temperature."""
    from zoo import registry, ship

    record = run.record
    trained = registry.load(record.plugin.name).plugin.load(record.card, run)
    splits = without_bad(images_of(run, data), record.skipped)
    if record.status not in {"trained", "done"}:  # in memory only: its training may still be going on
        epochs = f"{record.epochs_done} of {record.config.epochs}"
        note = f"training stopped after epoch {epochs}; this is its best epoch so far"
        temperature = ship.fitted_temperature(trained, record.card.preprocess, splits.val)
        run.record = msgspec.structs.replace(record, temperature=temperature, notes=(*record.notes, note))
    return trained, splits


def _quantised(
    run: Run,
    splits: Splits,
    proven: tuple[onnx.ModelProto, Manifest],
    kind: QuantizedKind,
    target: Target | None,
) -> tuple[onnx.ModelProto, Manifest, Predict]:
    """The quantised file with its own report, and how it answers raw images.

    Raises:
        QuantizationError: no candidate passed the guard.
    """
    from zoo import registry, ship
    from zoo.export import set_manifest
    from zoo.export.quantize import climb, confirm

    plugin = registry.load(run.record.plugin.name).plugin
    model, manifest = proven
    taken = climb(model, manifest, splits, kind=kind, target=target, seed=run.record.config.seed)
    float32, own = (ship.judge(plugin, runtime, splits, "test") for runtime in (taken.float32, taken.runtime))
    made, record = confirm(taken, own.images, float32.logits, own.logits)
    manifest = msgspec.structs.replace(manifest, quantization=record, report=own.report)
    set_manifest(made, manifest)
    return made, manifest, taken.runtime.logits


def _write_bundle(
    target: Path, model: onnx.ModelProto, manifest: Manifest, splits: Splits, predict: Predict | None
) -> None:
    """Write the bundle with golden answers by `predict`; None: by the file itself on this machine."""
    from zoo.edge import Runtime
    from zoo.export import GOLDEN_IMAGES, set_manifest, write_bundle
    from zoo.ship import golden_images

    set_manifest(model, manifest)
    content = model.SerializeToString()
    evidence: Predict | None = None  # of a quantised file no map: how far kernels elsewhere move one is not known
    if predict is None:
        with tempfile.TemporaryDirectory() as folder:
            proven = Path(folder) / MODEL_FILE
            proven.write_bytes(content)
            runtime = Runtime.open(proven)
            predict, evidence = runtime.logits, runtime.evidence if runtime.has_evidence else None
    images = golden_images(splits, GOLDEN_IMAGES)
    if manifest.quantization is not None and manifest.quantization.tolerance is not None:
        some = golden_images(splits, 4 * GOLDEN_IMAGES)
        images = _decided(some, predict, manifest.quantization.tolerance)[:GOLDEN_IMAGES]
    write_bundle(target, content, manifest, images=images, predict=predict, evidence=evidence)


def _decided(images: list[NDArray[Any]], predict: Predict, tolerance: float) -> list[NDArray[Any]]:
    """The images, those first whose label no difference within the golden tolerance can change."""
    import numpy as np

    def clear(image: NDArray[Any]) -> bool:
        *_, second, best = np.sort(predict(image[None])[0].astype(np.float64))
        return bool(best - second > tolerance * (max(1.0, abs(best)) + max(1.0, abs(second))))

    return sorted(images, key=lambda image: not clear(image))


def _page(
    run: str | Path | None, make: Callable[..., ExportResult], target: Path, ort_web: Path | None
) -> ExportResult:
    """A folder for a web server; what it would fail for is found out before the model is built."""
    from zoo.export.ort_web import engine_files
    from zoo.export.web import check_place, write_web

    check_place(target)
    with tempfile.TemporaryDirectory() as folder:
        if run is not None and _is_bundle(Path(run)):
            bundle = Path(run)
            parity, quantization = _fit_for_a_page(bundle)
            engine = engine_files(ort_web)
        else:
            engine = engine_files(ort_web)
            bundle = Path(make(out=Path(folder) / "model.zoo").path)
            parity, quantization = _fit_for_a_page(bundle)
        write_web(target, bundle, engine)
    return ExportResult(path=str(target), size_bytes=_size(target), parity=parity, quantization=quantization)


def _fit_for_a_page(bundle: Path) -> tuple[Parity, Quantization | None]:
    """What the bundle says of its proof.

    Raises:
        ModelError: it holds none, or is no bundle that can be opened.
        UsageError: a browser can not give the model its images.
    """
    from zoo.edge.bundle import open_model
    from zoo.export.web import check_fits

    manifest = open_model(bundle).manifest
    check_fits(manifest)
    if manifest.parity is None:
        raise ModelError(f"{bundle}: no proof of its export in it; export it again")
    return manifest.parity, manifest.quantization


def _is_bundle(path: Path) -> bool:
    return path.is_file() or (path / "manifest.json").is_file()


def _report_of(run: Run) -> EvalReport | None:
    from zoo.spec import decode

    path = run.file("report.json")
    return decode(path.read_bytes(), EvalReport, str(path), TrainingError) if path.is_file() else None


def _size(target: Path) -> int:
    return sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) if target.is_dir() else target.stat().st_size
