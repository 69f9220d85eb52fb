"""From a run or a bundle to a model file of another runtime, proven by that runtime before it is kept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from zoo._support.text import file_name, megabytes
from zoo.errors import GateError, ModelError, UsageError
from zoo.spec import NOVELTY, Display, FormatName, GoldenKind, GoldenProof, InputSpec, Percentile, Table
from zoo.workflow._find import is_exported, run_that_ships

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from zoo.artefact.formats import ConverterInput, Format, FormatVerification
    from zoo.edge.bundle import Contents
    from zoo.runs import RunFolder
    from zoo.spec import Manifest
    from zoo.workflow._prove import Stage
    from zoo.workflow._request import Golden

__all__ = ["FormatResult", "export_format", "verify_format"]


class FormatResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """A folder with a model file in another format, its facts and its golden set."""

    path: str
    size_bytes: int
    """Of the folder without its golden set."""
    parity: GoldenProof | None
    """How far the file is from the golden answers of the ONNX file, by its own runtime; null: it does not run here."""
    quantization: None = None
    """Always null: these files are float32."""
    format: FormatName
    file: str
    """What to give to the runtime, below `path`."""
    client: str
    """In words, what a client does to an image before it is given to the file."""
    statement: str
    """What was proven, and how to prove it elsewhere."""
    golden: GoldenKind | None
    """Whose the golden images are."""
    notes: tuple[str, ...] = ()
    """What else must be known of the file."""

    def headline(self) -> str:
        """The folder, its size, and what was proven."""
        return f"{self.path}: {megabytes(self.size_bytes)}, {self.format}; {self.statement}"

    def tables(self) -> dict[str, Table]:
        """The proof: one row, or none."""
        return {} if self.parity is None else {"parity": Table([msgspec.structs.asdict(self.parity)])}


def export_format(
    run: str | Path | None = None,
    *,
    format: FormatName,  # noqa: A002 - the name of the option
    preprocess: Stage | None = None,
    operating: Sequence[str] = (),
    out: str | Path | None = None,
    data: str | Path | None = None,
    golden: Golden | None = None,
    overwrite: bool = False,
) -> FormatResult:
    """Write a run's or a bundle's model for another runtime, after that runtime gave the golden answers.

    The ONNX bundle is made first, as `zoo.export` does, with its parity gate and its golden set. Then the format's own
    converter writes the file, and its own runtime answers the golden images. Where they differ nothing is left behind.

    Args:
        run: a run folder or id, None: the last run; for openvino also a float32 bundle.
        format: openvino, from the portable ONNX file; litert, executorch or coreml, from torch. Core ML runs on macOS
            only, and its file says that it was not proven.
        preprocess: full: from raw pixels, which openvino does; normalize: from resized pixels; none: from preprocessed
            numbers. None: as much as the format can.
        operating: rules that choose other operating points; see `zoo.export`.
        out: folder to write, NAME.FORMAT; None: in the run's export/, or beside the bundle.
        data: the images the run was trained with, if they have moved.
        golden: images of the golden set; see `zoo.export`.
        overwrite: replace such a folder that is there.

    Raises:
        ZooError: a package is missing (`package-missing`), and any error of `zoo.export`.
        GateError: the runtime's answers differ from the golden ones.
        ModelError: the converter refused (`format-conversion`), or the bundle holds no golden set.
        ProviderError: tensorrt, whose files are made on the GPU that runs them.
        UsageError: the format cannot do so much or so little preprocessing, starts from torch and there is none, or
            the bundle is int8 or fp16.
    """
    from zoo._support.files import refuse_occupied, size_of
    from zoo.artefact.formats import check_format_place, find_format, write_folder
    from zoo.edge.bundle import GOLDEN
    from zoo.runs import find_run, open_run

    if format not in get_args(FormatName):
        raise UsageError(
            f"--format {format}: not known; expected one of {', '.join(get_args(FormatName))}",
            code="format-unknown",
            format=format,
            known=list(get_args(FormatName)),
        )
    form = find_format(format)
    exported = None if run is None or not is_exported(Path(run)) else Path(run)
    opened = None if exported is not None else open_run(run_that_ships(find_run(run)))
    target = _target_of(form, opened, exported, out)
    _check_request(form, opened, exported, preprocess, asked=bool(operating or data or golden))
    check_format_place(target)
    refuse_occupied(target, overwrite=overwrite, holds="format")
    form.require()
    network = _network_of(form, opened)
    with tempfile.TemporaryDirectory() as place:
        if opened is None:
            assert exported is not None  # noqa: S101 - one of the two is there
            contents = _open_bundle(exported)
        else:
            contents = _make_bundle(opened, form, Path(place), operating=operating, data=data, golden=golden)
    _refuse_resize(form, contents.manifest)
    manifest, lost = _fit(contents.manifest, form)
    source, given = _source_of(network, opened, contents, manifest, preprocess)
    said = write_folder(
        target,
        form,
        source,
        manifest,
        contents.files[GOLDEN],
        given=given,
        notes=lost,
        remedy="; nothing was written, take the ONNX file or another format",
    )
    return FormatResult(
        path=str(target),
        size_bytes=size_of(target) - said.sizes[GOLDEN],
        parity=said.proof,
        format=said.format,
        file=said.file,
        client=said.client,
        statement=said.statement,
        golden=said.golden,
        notes=said.notes,
    )


def verify_format(path: str | Path) -> FormatVerification:
    """Prove a folder of `export_format` on this machine: every hash, and the golden set by the format's runtime.

    Raises:
        ZooError: the runtime's package is missing.
        ModelError: it is not such a folder, or the runtime refused the file.
        GateError: a file is another, or a golden answer is.
    """
    from zoo.artefact.formats import find_format, prove_folder, read_folder

    folder = Path(path)
    return prove_folder(folder, find_format(read_folder(folder).format))


def _target_of(form: Format, run: RunFolder | None, exported: Path | None, out: str | Path | None) -> Path:
    """Where to write.

    Raises:
        UsageError: the name does not end in that of the format.
    """
    if out is not None:
        target = Path(out)
        if target.suffix != f".{form.name}":
            raise UsageError(
                f"--out {target}: --format {form.name} writes a folder whose name ends in .{form.name}",
                code="out-name",
                path=str(target),
            )
        return target
    if run is not None:
        return run.file("export") / f"{file_name(run.record.card.name)}.{form.name}"
    assert exported is not None  # noqa: S101 - one of the two is there
    return exported.with_name(f"{exported.name.removesuffix('.zip').removesuffix('.zoo')}.{form.name}")


def _check_request(
    form: Format, run: RunFolder | None, exported: Path | None, preprocess: Stage | None, *, asked: bool
) -> None:
    """Before any work.

    Raises:
        UsageError: what is asked for cannot be had in this format.
    """
    if run is None and asked:
        raise UsageError(
            f"{exported} is a bundle, whose file is taken as it is; name its run to export it otherwise",
            code="export-again",
            path=str(exported),
        )
    if form.takes == "onnx":
        if preprocess not in {None, "full"}:
            raise UsageError(
                f"--preprocess {preprocess}: --format {form.name} has all of it inside; leave the option out",
                code="format-preprocess",
                format=form.name,
                preprocess=preprocess,
            )
        return
    if run is None:
        raise UsageError(
            f"--format {form.name} starts from the trained network in torch, and {exported} holds the ONNX file alone; "
            "name the run, or take --format openvino",
            code="format-network",
            format=form.name,
        )
    spec = run.record.card.preprocess
    can = ("none",) if isinstance(spec.intensity, Percentile) else ("normalize", "none")
    if preprocess is not None and preprocess not in can:
        why = "cannot sort pixels for a percentile" if preprocess == "normalize" else "has one fixed input size"
        raise UsageError(
            f"--preprocess {preprocess}: a {form.name} file {why}, so the client does that; leave the option out, or "
            f"give one of: {', '.join(can)}",
            code="format-preprocess",
            format=form.name,
            preprocess=preprocess,
        )
    if run.record.card.table is not None:
        raise UsageError(
            f"--format {form.name}: {run.record.card.name} takes columns beside the image, and such models go through "
            "ONNX alone; export it with --onnx, or take --format openvino",
            code="inputs-unsupported",
            model=run.record.card.name,
        )


def _open_bundle(path: Path) -> Contents:
    """A float32 bundle with its golden set.

    Raises:
        ModelError: it is a lone file, or holds none.
        UsageError: it is int8 or fp16.
    """
    from zoo.edge.bundle import GOLDEN, is_archive, open_model

    if path.is_file() and not is_archive(path):
        raise ModelError(
            f"{path}: a lone file has no golden set to prove another format by; name its run, or its bundle",
            code="bundle-expected",
        )
    contents = open_model(path, keep=(GOLDEN,))
    if GOLDEN not in contents.files:
        raise ModelError(
            f"{path}: no {GOLDEN} in the bundle, expected raw images with their logits; export it again",
            code="golden-missing",
        )
    if contents.manifest.quantization is not None:  # its golden set allows what float32 may never be off by
        kind = contents.manifest.quantization.kind
        raise UsageError(
            f"{path} is an {kind} bundle, and files of other runtimes are float32; name the run, or its float32 bundle",
            code="format-quantized",
            path=str(path),
            quantized=kind,
        )
    return contents


def _make_bundle(run: RunFolder, form: Format, place: Path, **asked: Any) -> Contents:
    """The run's ONNX bundle: proven, with the golden set that the new file is held to."""
    from zoo.workflow.export import export

    done = export(
        run.path,
        bundle=True,
        seen=False,
        portable=form.takes == "onnx",
        out=place / "model.zoo",
        **asked,
    )
    return _open_bundle(Path(done.path))


def _fit(manifest: Manifest, form: Format) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest of a file with the outputs that the format gives, and what is lost.

    From torch there are probabilities and logits. OpenVINO also keeps the score of images unlike training.
    """
    kept = ("probabilities", "logits", *((NOVELTY,) if form.takes == "onnx" else ()))
    outputs = tuple(name for name in manifest.outputs if name in kept)
    lost = [f"without the output {name}" for name in manifest.outputs if name not in kept]
    abstention = manifest.abstention
    if abstention is not None and abstention.novelty is not None and NOVELTY not in outputs:
        lost.append("an image unlike training is answered as any other: the file gives no score of it")
        abstention = msgspec.structs.replace(abstention, novelty=None)
    return msgspec.structs.replace(manifest, outputs=outputs, abstention=abstention), tuple(lost)


def _network_of(form: Format, run: RunFolder | None) -> nn.Module | None:
    """The run's network, where the format starts from one.

    Raises:
        UsageError: the run is not of one network in torch.
    """
    if form.takes == "onnx" or run is None:
        return None
    from zoo import registry

    record = run.record
    network: nn.Module | None = getattr(
        registry.load(record.plugin.name).plugin.load(record.card, run), "network", None
    )
    if network is None:
        raise UsageError(
            f"--format {form.name} starts from one network in torch, and {record.card.name} is none; take --format "
            "openvino, or the ONNX file",
            code="format-network",
            format=form.name,
            model=record.card.name,
        )
    return network


def _source_of(
    network: nn.Module | None, run: RunFolder | None, contents: Contents, manifest: Manifest, preprocess: Stage | None
) -> tuple[ConverterInput, InputSpec]:
    """What the converter starts from, and the input of the file that it makes."""
    from zoo.artefact.formats import ConverterInput
    from zoo.preprocess import channels_of

    if network is None or run is None:
        return ConverterInput(contents.model, manifest.outputs), manifest.input
    from zoo.artefact.formats._network import CalibratedNetwork

    spec = manifest.preprocess
    stage: Literal["resized", "tensor"] = "resized"
    if preprocess == "none" or isinstance(spec.intensity, Percentile):
        stage = "tensor"
    whole = CalibratedNetwork(
        network,
        spec,
        stage=stage,
        temperature=manifest.temperature,
        task=manifest.task,
        shift=run.record.shift or None,
    )
    kind = run.record.kind
    given = InputSpec(name="image", dtype="float32", channels=channels_of(spec), stage=stage, kind=kind)
    return ConverterInput(contents.model, manifest.outputs, whole, whole.shape), given


def _refuse_resize(form: Format, manifest: Manifest) -> None:
    """Golden images may all be too small to show it, so the file itself is asked.

    Raises:
        GateError: the file resizes by an operator that OpenVINO computes otherwise.
    """
    if form.takes == "onnx" and manifest.input.stage == "raw" and not manifest.portable:
        raise GateError(
            f"--format {form.name}: this file resizes by an operator whose antialiasing OpenVINO leaves out; nothing "
            "was written, name the run, or export the bundle with --portable",
            code="format-resize",
            format=form.name,
        )
