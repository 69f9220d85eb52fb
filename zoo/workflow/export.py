"""From a finished run to what leaves the machine: the file or the bundle, proven before a byte is written.

Used by `zoo export`; training proves and evaluates its own file through `zoo.workflow._prove`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.text import file_name
from zoo.errors import ModelError, TrainingError, UsageError
from zoo.spec import EvalReport, Manifest, Parity, Quantization
from zoo.workflow._find import MODEL_FILE, is_exported

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from zoo.artefact import Shippable
    from zoo.data import Splits
    from zoo.evaluation import Predict
    from zoo.plugin import ModelPlugin
    from zoo.runs import RunFolder
    from zoo.spec import QuantizedKind, Target
    from zoo.workflow._prove import Stage

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
        run: a run folder or id; None: the last run.
        preprocess: full: from raw pixels; normalize: from resized pixels; none: from preprocessed numbers.
        portable: resize by matrix products in place of the Resize operator, which OpenVINO, TensorRT and others read
            differently or refuse; slower on large pictures.
        evidence: with the further output "evidence" (N, K, h, w): where the model sees what, for those that can say.
        quantize: int8 or fp16: the smallest change of the proven file that passes the guard of
            `zoo.artefact.quantize`; its report is then its own, from raw test images.
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
    how = _How(preprocess, portable, evidence, quantize, target, bundle, out, data)
    exported = None if run is None or not is_exported(Path(run)) else Path(run)
    _refuse_combinations(how, exported, web=web is not None)
    if web is not None:
        return _write_page(run, exported, how, Path(web), None if ort_web is None else Path(ort_web))
    return _write_file(run, how)


@dataclass(frozen=True, slots=True)
class _How:
    """The arguments of `export` that say what is written."""

    preprocess: Stage
    portable: bool
    evidence: bool
    quantize: QuantizedKind | None
    target: Target | None
    bundle: bool
    out: str | Path | None
    data: str | Path | None


def _refuse_combinations(how: _How, exported: Path | None, *, web: bool) -> None:
    """Refuse arguments that contradict each other, before anything is opened.

    Args:
        how: what is asked for.
        exported: the file or bundle that was named in place of a run.
        web: whether a page is asked for.

    Raises:
        UsageError: names them.
    """
    if how.portable and how.preprocess != "full":
        raise UsageError(
            f"--portable is about how a file resizes, with --preprocess {how.preprocess} it does not",
            code="option-conflict",
            options=["--portable", "--preprocess"],
        )
    if how.target is not None and how.quantize is None:
        raise UsageError(
            f"target {how.target} is of a quantised file; name --int8 or --fp16 too, or leave it out",
            code="option-conflict",
            options=["--target"],
        )
    if web and (how.bundle or how.out is not None or how.preprocess != "full"):
        raise UsageError(
            "--web writes a folder of its own; leave out --bundle, --out and --preprocess",
            code="option-conflict",
            options=["--web"],
        )
    if exported is None:
        return
    if not web:
        raise UsageError(
            f"{exported} is exported already; name its run, or write its page with --web",
            code="export-again",
            path=str(exported),
        )
    if how.portable or how.evidence or how.quantize or how.data is not None:
        raise UsageError(
            f"{exported} is a bundle, whose page holds it as it is; name its run to export it otherwise",
            code="export-again",
            path=str(exported),
        )


def _write_file(run: str | Path | None, how: _How) -> ExportResult:
    """The run's file or bundle; see `export`."""
    from zoo import registry
    from zoo.runs import find_run, open_run
    from zoo.workflow import _prove

    opened = open_run(find_run(run))
    written = _target(opened, how, how.quantize)
    plugin = registry.load(opened.record.plugin.name).plugin
    opened, trained, splits = _restore(opened, plugin, how.data)
    if how.quantize is not None and trained.members:
        raise UsageError(
            f"--{how.quantize}: an ensemble ships in float32, its members are proven one by one; "
            "export it as it is, or one member with --" + how.quantize,
            code="ensemble-quantise",
            quantize=how.quantize,
        )
    model, manifest = _prove.build(
        opened,
        trained,
        splits,
        stage=how.preprocess,
        portable=how.portable,
        report=_report_of(opened),
        evidence=how.evidence,
    )
    predict = None
    if how.quantize is not None:
        model, manifest, predict = _quantise(
            opened, plugin, splits, (model, manifest), kind=how.quantize, target=how.target
        )
        assert manifest.quantization is not None  # noqa: S101 - it was just made
        written = _target(opened, how, manifest.quantization.kind)  # int8 may have ended as fp16
    if how.bundle:
        _write_bundle(written, model, manifest, splits, predict)
    else:
        _prove.save_model(written, model)
    assert manifest.parity is not None  # noqa: S101 - build gives none without
    return ExportResult(
        path=str(written), size_bytes=_size(written), parity=manifest.parity, quantization=manifest.quantization
    )


def _target(run: RunFolder, how: _How, kind: QuantizedKind | None) -> Path:
    """Where to write.

    Raises:
        UsageError: a name that does not fit what is written.
    """
    suffix = "zoo" if how.bundle else "onnx"
    stem = "-".join((file_name(run.record.card.name), *([kind] if kind else [])))
    target = Path(how.out) if how.out else run.file("export") / f"{stem}.{suffix}"
    if how.bundle and not target.name.endswith((".zoo", ".zoo.zip")):
        raise UsageError(
            f"--out {target}: the name of a bundle ends in .zoo (a folder) or .zoo.zip (one file)",
            code="out-name",
            path=str(target),
        )
    if not how.bundle and target.is_dir():
        raise UsageError(
            f"--out {target} is a folder; expected a file name such as {target / 'model.onnx'}",
            code="out-name",
            path=str(target),
        )
    return target


def _restore(run: RunFolder, plugin: ModelPlugin, data: str | Path | None) -> tuple[RunFolder, Shippable, Splits]:
    """The model as its plugin saved it, and the images it was trained with; an interrupted run gets its temperature."""
    from zoo.workflow import _prove
    from zoo.workflow._images import images_of, without_bad

    record = run.record
    trained = _prove.shippable(plugin.load(record.card, run), record)
    splits = without_bad(images_of(run, data), record.skipped)
    if record.status not in {"trained", "done"}:  # in memory only: its training may still be running
        epochs = f"{record.epochs_done} of {record.card.train.epochs}"
        note = f"training stopped after epoch {epochs}; this is its best epoch so far"
        temperature = _prove.fit_calibration(trained, splits.val)
        run = run.in_memory()
        run.add_notes([note], temperature=temperature)
    return run, trained, splits


def _quantise(
    run: RunFolder,
    plugin: ModelPlugin,
    splits: Splits,
    proven: tuple[onnx.ModelProto, Manifest],
    *,
    kind: QuantizedKind,
    target: Target | None,
) -> tuple[onnx.ModelProto, Manifest, Predict]:
    """The quantised file with its own report, and how it answers raw images.

    Raises:
        QuantizationError: no rung passed the guard.
    """
    from zoo.artefact import set_manifest
    from zoo.artefact.quantize import climb, confirm
    from zoo.workflow._judge import judge

    model, manifest = proven
    taken = climb(model, manifest, splits, kind=kind, target=target, seed=run.record.card.train.seed)
    float32, own = (judge(plugin, runtime, splits, "test") for runtime in (taken.float32, taken.runtime))
    made, record = confirm(taken, own.images, float32.logits, own.logits)
    manifest = msgspec.structs.replace(manifest, quantization=record, report=own.report)
    set_manifest(made, manifest)
    return made, manifest, taken.runtime.logits


def _write_bundle(
    target: Path, model: onnx.ModelProto, manifest: Manifest, splits: Splits, predict: Predict | None
) -> None:
    """Write the bundle with golden answers by `predict`; None: by the file itself on this machine."""
    from zoo.artefact import GOLDEN_IMAGES, set_manifest, write_bundle
    from zoo.edge import Runtime
    from zoo.workflow._prove import golden_images

    set_manifest(model, manifest)
    content = model.SerializeToString()
    evidence: Predict | None = None  # of a quantised file no map: how far kernels elsewhere move one is not known
    if predict is None:
        with tempfile.TemporaryDirectory() as folder:
            proven = Path(folder) / MODEL_FILE
            proven.write_bytes(content)
            runtime = Runtime.open(proven)
            predict, evidence = runtime.logits, runtime.evidence if runtime.has_evidence else None
    tolerance = None if manifest.quantization is None else manifest.quantization.tolerance
    images = golden_images(splits, GOLDEN_IMAGES if tolerance is None else 4 * GOLDEN_IMAGES)
    if tolerance is not None:
        images = _put_decided_first(images, predict, tolerance)[:GOLDEN_IMAGES]
    write_bundle(target, content, manifest, images=images, predict=predict, evidence=evidence)


def _put_decided_first(images: list[NDArray[Any]], predict: Predict, tolerance: float) -> list[NDArray[Any]]:
    """The images, sorted so that those whose label cannot change within the golden tolerance come first."""
    import numpy as np

    def clear(image: NDArray[Any]) -> bool:
        *_, second, best = np.sort(predict(image[None])[0].astype(np.float64))
        return bool(best - second > tolerance * (max(1.0, abs(best)) + max(1.0, abs(second))))

    return sorted(images, key=lambda image: not clear(image))


def _write_page(
    run: str | Path | None, exported: Path | None, how: _How, target: Path, ort_web: Path | None
) -> ExportResult:
    """A folder for a web server; what it would fail for is found out before the model is built."""
    from zoo.artefact._ort_web import engine_files
    from zoo.artefact._web import check_place, write_web

    check_place(target)
    with tempfile.TemporaryDirectory() as folder:
        proof = None if exported is None else _fit_for_a_page(exported)
        engine = engine_files(ort_web)
        made = replace(how, bundle=True, out=Path(folder) / "model.zoo")
        bundle = exported or Path(_write_file(run, made).path)
        parity, quantization = proof or _fit_for_a_page(bundle)
        write_web(target, bundle, engine)
    return ExportResult(path=str(target), size_bytes=_size(target), parity=parity, quantization=quantization)


def _fit_for_a_page(bundle: Path) -> tuple[Parity, Quantization | None]:
    """What the bundle says of its proof.

    Raises:
        ModelError: the bundle holds none, or cannot be opened.
        UsageError: a browser cannot give the model its images.
    """
    from zoo.artefact._web import check_fits
    from zoo.edge.bundle import open_model

    manifest = open_model(bundle).manifest
    check_fits(manifest)
    if manifest.parity is None:
        raise ModelError(
            f"{bundle}: no proof of its export in it; export it again", code="bundle-no-proof", path=str(bundle)
        )
    return manifest.parity, manifest.quantization


def _report_of(run: RunFolder) -> EvalReport | None:
    from zoo.spec import decode

    path = run.file("report.json")
    return decode(path.read_bytes(), EvalReport, str(path), TrainingError) if path.is_file() else None


def _size(target: Path) -> int:
    return sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) if target.is_dir() else target.stat().st_size
