"""From a finished run to what leaves the machine: the file or the bundle, proven before a byte is written.

Used by `zoo export`; training proves and evaluates its own file through `zoo.workflow._prove`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo._support.text import format_count, megabytes, quote_path
from zoo.errors import DataError, ModelError
from zoo.spec import Display, GoldenKind, Manifest, Parity, Quantization, Table
from zoo.workflow._find import MODEL_FILE, is_exported, read_report, run_that_ships

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.artefact import Shippable
    from zoo.data import Splits
    from zoo.plugin import ModelPlugin
    from zoo.runs import RunFolder
    from zoo.spec import QuantizedKind, Reference, Target
    from zoo.workflow._answered import Answered
    from zoo.workflow._prove import Stage
    from zoo.workflow._request import Golden, Request

__all__ = ["ExportResult", "export"]


class ExportResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """A file that passed the gate."""

    path: str
    size_bytes: int
    parity: Parity
    quantization: Quantization | None = None
    """What was tried and measured to make the file smaller; null: it is float32."""
    proven: Literal["export", "training"] = "export"
    """When the file passed the gate. training: the images were not at hand, and the run's own file was taken."""
    golden: GoldenKind | None = None
    """Whose the images of the golden set are; null: no bundle was written, or an older release wrote it."""
    golden_images: int | None = None
    """How many there are; null: no bundle was written."""
    notes: tuple[str, ...] = ()
    """What else must be known of this file: that its training was not finished, or when it was proven."""

    def headline(self) -> str:
        """The file, its size, and how far it is from what was trained."""
        kind = "float32" if self.quantization is None else self.quantization.kind
        within, images = f"{self.parity.max_abs_probability:.1e}", format_count(self.parity.images, "image")
        proof = f"probabilities of {images} within {within}, {format_count(self.parity.flips, 'flip')}"
        return f"{self.path}: {megabytes(self.size_bytes)}, {kind}; {proof}"

    def tables(self) -> dict[str, Table]:
        """The proof: one row."""
        return {"parity": Table([msgspec.structs.asdict(self.parity)])}


def export(
    run: str | Path | None = None,
    *,
    preprocess: Stage = "full",
    portable: bool = False,
    evidence: bool = False,
    features: bool = False,
    operating: Sequence[str] = (),
    quantize: QuantizedKind | None = None,
    target: Target | None = None,
    bars: Sequence[str] = (),
    accept_unproven: bool = False,
    finetune: bool = False,
    bundle: bool = False,
    seen: bool = True,
    out: str | Path | None = None,
    data: str | Path | None = None,
    web: str | Path | None = None,
    ort_web: str | Path | None = None,
    fetch: bool = False,
    golden: Golden | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Write a run's ONNX file, or its bundle, and prove it; when the proof fails nothing is left behind.

    Where the images of a finished run are gone, its own file is taken, which passed the gate at training.

    Args:
        run: a run folder or id; None: the last run.
        preprocess: full: from raw pixels; normalize: from resized pixels; none: from preprocessed numbers.
        portable: resize by matrix products in place of the Resize operator, which OpenVINO, TensorRT and others read
            differently or refuse; slower on large pictures.
        evidence: with the further output "evidence" (N, K, h, w): where the model sees what, for those that can say.
        features: with the further output "features" (N, D): what the last layer makes the logits of; of a classical
            model what its estimator sees.
        operating: rules, such as "sensitivity=0.9:melanoma", that choose operating points on the validation images in
            the place of the run's own; the run stays as it is, and test images judge the new points for the report.
        quantize: int8 or fp16: the smallest change of the proven file that passes the guard of
            `zoo.artefact.quantize`; its report is then its own, from raw test images.
        target: what a quantised file is for: avx512 (with VNNI), avx2, arm64 or gpu; None: this machine.
        bars: how much a quantised file may lose, such as "auroc=0.005", where that is to differ from `zoo.spec.Bars`.
        accept_unproven: take a quantised file of which the images are too few to tell whether it is as good. Its
            manifest, its card and its report say so.
        finetune: where rounding all layers to int8 is not enough, train the network for it, on training images.
        bundle: write NAME.zoo with manifest, golden set, report, card and parts list; where `out` ends in .zoo.zip,
            one file with the same in it.
        seen: the bundle carries salted hashes of the images that the model has seen, for `zoo.evaluate`; a page
            never does.
        out: file or folder to write; None: export/NAME.onnx or export/NAME.zoo in the run, NAME-int8 or NAME-fp16
            where it is quantised.
        data: the images the run was trained with, if they have moved.
        web: write this folder instead: a page that runs the model in the browser. `run` may then be a bundle too.
        ort_web: npm's package of onnxruntime-web for it; None: the store.
        fetch: where the store has none, let npm get it, which may ask the network.
        golden: images of the bundle's golden set. generated: drawn for the purpose; own: taken from the data. None:
            own where the data are a set of the catalogue whose licence lets anybody pass them on, else generated.
        overwrite: replace the file, bundle or page that is there; what is not ours is never replaced.

    Raises:
        DataError: the images are gone or others, and what is asked for needs them; or the validation images cannot
            follow a rule of `operating`.
        OutputError: something is there already, or it is the run's own file, and another kind of file is asked for.
        ModelError: a bundle whose golden images are a user's own was to become a page, or the run's own file is not
            the one that it proved.
        GateError: the parity gate refused, or (`QuantizationError`) no quantised file passed the guard.
        UsageError: a name that does not fit what is written; `portable` for a file that does not resize; a
            target without `quantize`, or a model that has nothing to quantise; `evidence` or `features` of one
            that makes none.
    """
    from zoo.workflow._request import Request, read_bars, refuse_combinations

    request = Request(
        preprocess=preprocess,
        portable=portable,
        evidence=evidence,
        features=features,
        operating=tuple(operating),
        quantize=quantize,
        target=target,
        bars=read_bars(bars),
        accept_unproven=accept_unproven,
        finetune=finetune,
        bundle=bundle,
        seen=seen,
        out=out,
        data=data,
        golden=golden,
        overwrite=overwrite,
    )
    exported = None if run is None or not is_exported(Path(run)) else Path(run)
    refuse_combinations(request, exported, web=web is not None, ort_web=ort_web is not None, fetch=fetch)
    if web is not None:
        return _write_page(run, exported, request, Path(web), None if ort_web is None else Path(ort_web), fetch=fetch)
    return _write_file(run, request)


def _write_file(run: str | Path | None, request: Request) -> ExportResult:
    """The run's file or bundle; see `export`."""
    from zoo import registry
    from zoo._support.files import sha256_file
    from zoo.artefact import TrainedNetwork
    from zoo.runs import find_run, open_run
    from zoo.workflow import _prove
    from zoo.workflow._answered import answer_images
    from zoo.workflow._golden import choose_kind, write_proven_bundle
    from zoo.workflow._images import images_of
    from zoo.workflow._other_points import choose_at_export
    from zoo.workflow._proven import known_reference
    from zoo.workflow._quantise import quantise
    from zoo.workflow._request import check_places, refuse_quantised, target_of

    opened = open_run(run_that_ships(find_run(run)))
    if request.quantize is not None:
        refuse_quantised(opened.record.card, request.quantize)
    check_places(opened, request)
    try:
        splits = images_of(opened, request.data)
    except DataError as problem:
        if problem.code != "data-moved":
            raise
        return _write_own(opened, request, problem)
    plugin = registry.load(opened.record.plugin.name).plugin
    refer: Answered | Reference | None
    opened, trained, splits, refer, notes = _restore(opened, plugin, splits)
    settled, report = opened, read_report(opened)
    if request.operating:
        settled, report, refer = choose_at_export(opened, trained, plugin, splits, request.operating)
    elif request.quantize is None and refer is None and opened.record.card.train.fold != "none":
        refer = known_reference(opened) or answer_images(trained, splits.val, opened.record.card.train.seed)
    model, manifest = _prove.build(
        settled,
        trained,
        splits,
        stage=request.preprocess,
        portable=request.portable,
        report=report,
        evidence=request.evidence,
        features=request.features,
        refer=None if request.quantize else refer,  # a quantised file has its own
    )
    predict = None
    if request.quantize is not None:
        model, manifest, predict = quantise(
            opened,
            plugin,
            splits,
            (model, manifest),
            kind=request.quantize,
            target=request.target,
            bars=request.bars,
            accept_unproven=request.accept_unproven,
            finetune=trained if request.finetune and isinstance(trained, TrainedNetwork) else None,
        )
    written = target_of(opened, request, manifest.quantization.kind if manifest.quantization else None)
    golden = choose_kind(request.golden, request.data or opened.record.source) if request.bundle else None
    if golden is None:
        _prove.save_model(written, model)
    else:
        content = model.SerializeToString()
        seen = _format_seen(opened) if request.seen else None
        write_proven_bundle(written, content, manifest, golden=golden, splits=splits, predict=predict, seen=seen)
    if written.resolve() == opened.file(MODEL_FILE).resolve():
        opened.update(proven=sha256_file(written))
    return _result(written, manifest, golden, notes)


def _write_own(run: RunFolder, request: Request, gone: DataError) -> ExportResult:
    """The file that a finished run wrote and proved, or its bundle, where the images are gone.

    Raises:
        DataError: the run has no such file, or what is asked for is made or proven on images.
    """
    from zoo._support.files import atomic_write
    from zoo.workflow._golden import write_proven_bundle
    from zoo.workflow._proven import has_proven_file, read_proven
    from zoo.workflow._request import target_of

    if not has_proven_file(run):
        raise gone
    name, cause, why = run.path.name, gone.fields["cause"], str(gone).rpartition("; ")[0]
    if options := [*request.unlike_the_runs_own, *(["--golden own"] if request.golden == "own" else [])]:
        kind = "--onnx --bundle" if request.bundle else "--onnx"
        raise DataError(
            f"{why}, and {', '.join(options)} needs them: such a file is made and proven on them; name their place "
            f"with --data, or take the file that was proven at training with 'zoo export {quote_path(run.path)} "
            f"{kind}'",
            code="export-needs-images",
            run=name,
            options=options,
            cause=cause,
        ) from None
    content, manifest = read_proven(run)
    assert manifest.parity is not None  # noqa: S101 - read_proven refuses a file without
    note = (
        f"{why}: this is the file that the run itself wrote, proven at training on {manifest.parity.images} raw "
        "images; nothing was proven again"
    )
    written = target_of(run, request, None)
    if request.bundle:
        seen = _format_seen(run) if request.seen else None
        write_proven_bundle(written, content, manifest, golden="generated", splits=None, seen=seen)
    else:
        atomic_write(written, content)
    done = _result(written, manifest, "generated" if request.bundle else None, (note,))
    return msgspec.structs.replace(done, proven="training")


def _result(written: Path, manifest: Manifest, golden: GoldenKind | None, notes: tuple[str, ...]) -> ExportResult:
    from zoo._support.files import size_of
    from zoo.artefact import GOLDEN_IMAGES

    assert manifest.parity is not None  # noqa: S101 - build gives none without
    return ExportResult(
        path=str(written),
        size_bytes=size_of(written),
        parity=manifest.parity,
        quantization=manifest.quantization,
        golden=golden,
        golden_images=GOLDEN_IMAGES if golden else None,
        notes=notes,
    )


def _restore(
    run: RunFolder, plugin: ModelPlugin, splits: Splits
) -> tuple[RunFolder, Shippable, Splits, Answered | None, tuple[str, ...]]:
    """The model as its plugin saved it, the images it can be proven on, and what must be said of it.

    An interrupted run gets its temperature, from answers that come back, too.
    """
    from zoo.runs import check_learnt, is_live, refuse_unfinished
    from zoo.workflow import _prove
    from zoo.workflow._calibrate import calibrate
    from zoo.workflow._images import without_bad
    from zoo.workflow._unlike import restore_space

    record = run.record
    if record.best is None:
        raise refuse_unfinished(run, "has nothing to export yet")
    check_learnt(run)
    trained = _prove.shippable(plugin.load(record.card, run), record)
    restore_space(run, trained)
    splits = without_bad(splits, record.skipped)
    if record.status in {"trained", "done"}:
        return run, trained, splits, None, ()
    how = "is running and has done" if is_live(run.path) else "stopped after"
    note = f"training {how} epoch {record.epochs_done} of {record.card.train.epochs}; this is its best epoch so far"
    settled = calibrate(trained, record, splits)
    run = run.in_memory()  # its training may still be running
    run.add_notes([note, *settled.notes], **settled.changes)
    return run, settled.trained, splits, settled.answered, (note, *settled.notes)


def _format_seen(run: RunFolder) -> bytes | None:
    """What the run has seen as a bundle carries it; None: the run does not know."""
    from zoo.data import format_seen
    from zoo.workflow._seen import list_seen

    seen = list_seen(run)
    return None if seen is None else format_seen(seen, f"{run.record.id} {run.record.data.sha256}")


def _write_page(
    run: str | Path | None,
    exported: Path | None,
    request: Request,
    target: Path,
    ort_web: Path | None,
    *,
    fetch: bool,
) -> ExportResult:
    """A folder for a web server; what it would fail for is found out before the model is built."""
    from zoo._support.files import refuse_occupied, size_of
    from zoo.artefact._ort_web import engine_files
    from zoo.artefact._web import check_place, write_web

    check_place(target)
    if target.exists() and any(target.iterdir()):
        refuse_occupied(target, overwrite=request.overwrite, holds="page")
    with tempfile.TemporaryDirectory() as folder:
        done = None if exported is None else _fit_for_a_page(exported, request)
        engine = engine_files(ort_web, fetch=fetch)
        made = replace(request, bundle=True, seen=False, out=Path(folder) / "model.zoo")
        if done is None:
            done = _write_file(run, made)
            _fit_for_a_page(Path(done.path), request)
        write_web(target, Path(done.path), engine)
    return msgspec.structs.replace(done, path=str(target), size_bytes=size_of(target))


def _fit_for_a_page(bundle: Path, request: Request) -> ExportResult:
    """What the bundle says of its proof.

    Raises:
        ModelError: the bundle holds none, or cannot be opened, or its golden images may be a user's own.
        UsageError: a browser cannot give the model its images.
    """
    from zoo.artefact._web import check_fits
    from zoo.edge.bundle import GOLDEN, open_model

    manifest = open_model(bundle).manifest
    check_fits(manifest)
    if manifest.parity is None:
        raise ModelError(
            f"{bundle}: no proof of its export in it; export it again", code="bundle-no-proof", path=str(bundle)
        )
    publishes = GOLDEN in manifest.files and manifest.golden not in {"generated", "public"}
    if publishes and request.golden != "own":
        whose = (
            "are images of whoever exported it" if manifest.golden else "may be anybody's (an older release wrote it)"
        )
        raise ModelError(
            f"{bundle}: its golden images {whose}, and a page publishes them; export the page from the run, which "
            "draws others, or look at them and publish them with --golden own",
            code="golden-own",
            path=str(bundle),
            golden=manifest.golden,
        )
    return _result(bundle, manifest, manifest.golden, ())
