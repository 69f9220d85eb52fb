"""NAME.FORMAT/: the model file, model.json and the golden set, whole or not at all; and the proof anew, elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from zoo._support.files import refuse_unwritable, replace_folder, sha256_bytes, sha256_file
from zoo._support.text import format_count, quote_path
from zoo.artefact.formats._proof import replay_golden
from zoo.artefact.formats._protocol import version_of
from zoo.edge._decision_words import describe_open
from zoo.edge._replay import read_golden
from zoo.edge.bundle import GOLDEN
from zoo.errors import ModelError, OutputError, ProviderError, TamperedError, ZooError
from zoo.spec import MODEL_JSON, NOVELTY, SCHEMA, Display, FormatManifest, GoldenProof, decode, encode

if TYPE_CHECKING:
    from zoo.artefact.formats._protocol import ConverterInput, Format
    from zoo.spec import FormatName, InputSpec, Manifest

__all__ = ["FormatVerification", "check_format_place", "prove_folder", "read_folder", "write_folder"]

_CLIENT = {
    "raw": "give the image as it was read, of any size: all preprocessing is in the file",
    "resized": (
        "do the geometric half of `preprocess` (channels, denoise, resize, crop or padding) as "
        "zoo.preprocess.resize_image does, on float32 without rounding; intensity, mean and std are in the file"
    ),
    "tensor": "do all of `preprocess` as zoo.preprocess.apply does; nothing of it is in the file",
}


class FormatVerification(Display, msgspec.Struct, frozen=True, kw_only=True):
    """A file in another format that gave its golden answers on this machine."""

    path: str
    name: str
    """Name of the model."""
    format: FormatName
    files: int
    """Files whose sha256 was compared."""
    proof: GoldenProof

    def headline(self) -> str:
        """How far the golden answers were from those expected."""
        return f"{self.name} in {self.path}: {summarize_proof(self.proof)}"


def summarize_proof(proof: GoldenProof) -> str:
    """In words, without its date and place."""
    return (
        f"logits of {format_count(proof.images, 'golden image')} within {proof.max_abs_logit:.1e} by {proof.runtime}, "
        f"allowed {proof.tolerance:.1e}{describe_open(proof.open_labels)}; {format_count(proof.flips, 'label')} changed"
    )


def write_folder(
    target: Path,
    form: Format,
    source: ConverterInput,
    manifest: Manifest,
    golden: bytes,
    *,
    given: InputSpec,
    notes: tuple[str, ...],
    remedy: str,
) -> FormatManifest:
    """Convert, hold the file to the golden set by the format's own runtime, and only then write.

    Args:
        target: the folder.
        form: the format.
        source: what the file is made from.
        manifest: what the ONNX file says of itself.
        golden: bytes of its golden set.
        given: input of the new file.
        notes: what it lacks of the ONNX file.
        remedy: what to do where the golden answers differ; it ends the line of the error.

    Raises:
        ModelError: the converter or the runtime refused.
        GateError: a golden answer is another.
        OutputError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        form.convert(source, folder)
        proof = None
        if form.runs_here():
            proof = _replay(form, folder, manifest, golden, given=given, outputs=source.outputs, remedy=remedy)
        files = {
            one.relative_to(folder).as_posix(): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()
        }
    files[GOLDEN] = golden
    said = FormatManifest(
        schema=SCHEMA,
        format=form.name,
        file=form.file,
        name=manifest.name,
        labels=manifest.labels,
        task=manifest.task,
        preprocess=manifest.preprocess,
        input=given,
        shape=source.shape or (None, None, None, given.channels),
        client=_CLIENT[given.stage],
        outputs=source.outputs,
        temperature=manifest.temperature,
        converter=version_of(form.converter),
        proof=proof,
        statement=_state(form, proof, target.name),
        onnx=sha256_bytes(source.model),
        parity=manifest.parity,
        golden=manifest.golden,
        provenance=manifest.provenance,
        licence=manifest.licence,
        intended_use=manifest.intended_use,
        table=manifest.table,
        operating=manifest.operating,
        abstention=manifest.abstention,
        notes=(form.remark, *notes),
        files={name: sha256_bytes(data) for name, data in sorted(files.items())},
        sizes={name: len(data) for name, data in sorted(files.items())},
    )
    replace_folder(target, {MODEL_JSON: encode(said), **files})
    return said


def read_folder(folder: str | Path) -> FormatManifest:
    """What the file in that folder says of itself.

    Raises:
        ModelError: model.json is missing or malformed.
    """
    path = Path(folder) / MODEL_JSON
    try:
        return decode(path.read_bytes(), FormatManifest, str(path), ModelError)
    except OSError as problem:
        raise ModelError(
            f"{path} cannot be read ({(problem.strerror or str(problem)).lower()}); expected a folder that "
            "'zoo export --format' wrote",
            code="file-missing",
            path=str(path),
        ) from None


def prove_folder(folder: Path, form: Format) -> FormatVerification:
    """Compare every hash with all that is there, and replay the golden set by the format's runtime.

    Raises:
        ModelError: model.json is missing or malformed, or the runtime refused the file.
        TamperedError: a file is another than model.json lists, or is not listed.
        GateError: a golden answer is another.
        ProviderError: the runtime does not work on this system.
    """
    said = read_folder(folder)
    if not form.runs_here():
        raise ProviderError(f"{folder}: {said.statement}", code="format-elsewhere", format=form.name, path=str(folder))
    wrong = {name for name, digest in said.files.items() if not _is(folder, name, digest)}
    wrong |= _list_files(folder) ^ {MODEL_JSON, *said.files}
    wrong |= {GOLDEN} - said.files.keys()
    if not any(form.file in {name, *map(str, PurePosixPath(name).parents)} for name in said.files):
        wrong.add(form.file)
    if wrong:
        raise TamperedError(
            f"{folder}: {', '.join(sorted(wrong))} is missing or not what {MODEL_JSON} lists; copy the folder again "
            "from where it was made",
            code="bundle-files",
            files=sorted(wrong),
        )
    golden = (folder / GOLDEN).read_bytes()
    proof = _replay(form, folder, said, golden, given=said.input, outputs=said.outputs, remedy="; do not use it here")
    return FormatVerification(path=str(folder), name=said.name, format=said.format, files=len(said.files), proof=proof)


def check_format_place(target: Path) -> None:
    """Refuse a place that holds something else than such a folder, or more.

    Raises:
        OutputError: so it is.
    """
    if not target.exists():
        return
    try:
        ours = {MODEL_JSON, *read_folder(target).files}
        there = _list_files(target)
    except (OSError, ZooError) as problem:
        if isinstance(problem, OSError):
            raise refuse_unwritable(target, problem) from None
        ours, there = set(), {target.name}
    if not there <= ours:
        raise OutputError(
            f"{target} exists and holds something else than an exported model; choose another place with --out",
            code="out-occupied",
            path=str(target),
        )


def _replay(
    form: Format,
    folder: Path,
    said: Manifest | FormatManifest,
    golden: bytes,
    *,
    given: InputSpec,
    outputs: tuple[str, ...],
    remedy: str,
) -> GoldenProof:
    columns = 0 if said.table is None else len(said.table.columns)
    known = read_golden(golden, GOLDEN, len(said.labels), novelty=NOVELTY in outputs, beside=columns)
    return replay_golden(
        form.open(folder),
        known,
        what=f"--format {form.name}",
        runtime=version_of(form.runtime),
        labels=said.labels,
        spec=said.preprocess,
        given=given,
        temperature=said.temperature,
        task=said.task,
        outputs=outputs,
        table=said.table,
        remedy=remedy,
    )


def _state(form: Format, proof: GoldenProof | None, name: str) -> str:
    anew = f"'zoo verify {quote_path(name)}'"
    if proof is not None:
        return f"{summarize_proof(proof)}; {anew} proves it on another machine"
    return (
        f"not proven here: Core ML runs on macOS; on a Mac run pip install 'edgezoo[{form.name}]', then {anew}, which "
        "holds the file to the golden images beside it"
    )


def _list_files(folder: Path) -> set[str]:
    """Files and links in a folder and below it, by their names there; no link is followed."""
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_symlink() or not one.is_dir()}


def _is(folder: Path, name: str, digest: str) -> bool:
    """Whether that file of the folder has that hash; a name that leads elsewhere has not."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        return False
    path = folder / parts
    return path.is_file() and sha256_file(path) == digest
