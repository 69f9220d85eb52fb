"""Writing NAME.zoo/ or NAME.zoo.zip: the model, its manifest, golden inputs and answers, report, card, parts list.

The same run gives the same bytes: no clock, no host, no path and no order of a hash table goes into a file.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.files import atomic_path, replace_folder, sha256_bytes
from zoo.artefact._card import model_card
from zoo.artefact._sbom import SBOM, sbom
from zoo.data import SEEN
from zoo.edge.bundle import GOLDEN, MANIFEST, MAX_MANIFEST_BYTES, MODEL, is_archive
from zoo.edge.bundle._archive import Archive, write_archive
from zoo.edge.bundle._signature import SIGNATURE
from zoo.errors import OutputError, ZooError
from zoo.spec import COLUMNS, NOVELTY, Manifest, decode, encode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.edge.bundle import Contents
    from zoo.evaluation import Predict
    from zoo.spec import GoldenKind

__all__ = ["GOLDEN_IMAGES", "check_bundle_place", "golden_tolerance", "without_seen", "write_bundle"]

GOLDEN_IMAGES = 32
CARD = "CARD.md"

_MAPS = 4
"""Golden images whose evidence map and features are kept, of a file that gives them."""
_MAPS_BYTES = 4 * 2**20
"""That those may take each, unpacked; of very many labels fewer are kept, or none."""

_TOLERANCE = 1e-3
"""Of a golden logit, relative to max(1, |logit|): other CPUs and builds sum float32 in other orders."""


def write_bundle(
    target: Path,
    model: bytes,
    manifest: Manifest,
    *,
    images: Sequence[NDArray[Any]],
    golden: GoldenKind,
    predict: Predict,
    more: Mapping[str, Predict] | None = None,
    seen: bytes | None = None,
    columns: NDArray[np.float32] | None = None,
) -> Manifest:
    """Write the bundle, whole or not at all. It replaces an earlier bundle at that place, and its signature.

    Args:
        target: the folder NAME.zoo, or the file NAME.zoo.zip.
        model: bytes of the ONNX file, proven.
        manifest: its manifest, files still empty.
        images: raw (H, W, C) images for the golden set, at least `GOLDEN_IMAGES`.
        golden: whose they are.
        predict: the file itself, raw images to logits: its own answers are what a device must reproduce.
        more: the file itself, raw images to what it gives beside logits, by the name of the output.
        seen: `zoo.data.format_seen` of the run; None: the bundle tells nobody what the model has seen.
        columns: (images, C) beside the images, as `zoo.tabular.parse_cells` gives them; None: the model takes none.

    Returns:
        The manifest as written, with every file's hash and size.

    Raises:
        OutputError: the target exists and is not a bundle, or it cannot be written.
    """
    check_bundle_place(target)
    manifest = msgspec.structs.replace(manifest, golden=golden)
    files = {
        MODEL: model,
        GOLDEN: _golden(images, predict, golden_tolerance(manifest), more or {}, columns),
        "report.json": encode(manifest.report),
    }
    if seen is not None:
        files[SEEN] = seen
    files[SBOM] = sbom(manifest, sha256_bytes(model))
    manifest = _describe(manifest, files)
    # the manifest first, so that a reader of the zip meets it first; see zoo.edge.bundle._signing for the order
    files = {MANIFEST: encode(manifest)} | dict(sorted(files.items()))
    if is_archive(target):
        with atomic_path(target) as fresh:
            write_archive(fresh, files.items())
    else:
        replace_folder(target, files)
    return manifest


def check_bundle_place(target: Path) -> None:
    """Refuse a place that holds something else than a bundle, or more.

    Raises:
        OutputError: so it is.
    """
    if target.exists() and not _is_bundle(target):
        raise OutputError(
            f"{target} exists and is not a bundle; choose another place with --out",
            code="out-occupied",
            path=str(target),
        )


def without_seen(contents: Contents) -> dict[str, bytes]:
    """Name to bytes of a bundle's files, all of them read, without what tells which images the model has seen."""
    files = {MODEL: contents.model, **contents.files}
    del files[SEEN], files[CARD]
    manifest = _describe(contents.manifest, files)
    return {MANIFEST: encode(manifest), **files}


def _describe(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    """Add the card to `files`, and list them all."""
    files[CARD] = model_card(_listing(manifest, files)).encode()
    return _listing(manifest, files)


def _listing(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    """The manifest with hash and size of `files`, by name."""
    return msgspec.structs.replace(
        manifest,
        files={name: sha256_bytes(data) for name, data in sorted(files.items())},
        sizes={name: len(data) for name, data in sorted(files.items())},
    )


def _is_bundle(target: Path) -> bool:
    """Whether the target is a bundle and holds nothing else, so that replacing it loses no file of the user."""
    try:
        if is_archive(target):
            with Archive(target) as archive:
                names, document = archive.names, archive.read(MANIFEST, MAX_MANIFEST_BYTES)
        else:
            names = frozenset(entry.name for entry in target.iterdir())
            document = (target / MANIFEST).read_bytes()
        old = decode(document, Manifest, MANIFEST, OutputError)
    except (OSError, KeyError, ZooError):
        return False
    return names <= {MANIFEST, SIGNATURE, *old.files}


def golden_tolerance(manifest: Manifest) -> float:
    """Of a golden logit, relative to max(1, |logit|); of a quantised file its own.

    A sum that is rounded to the next integer elsewhere moves logits further.
    """
    found = manifest.quantization
    return _TOLERANCE if found is None or found.tolerance is None else found.tolerance


def _golden(
    images: Sequence[NDArray[Any]],
    predict: Predict,
    tolerance: float,
    more: Mapping[str, Predict],
    columns: NDArray[np.float32] | None,
) -> bytes:
    beside = [() if columns is None else (columns[at : at + 1],) for at in range(len(images))]

    def ask(one: Predict, at: int) -> NDArray[Any]:
        return one(images[at][None], *beside[at])

    logits = np.concatenate([ask(predict, at) for at in range(len(images))])
    stream = io.BytesIO()
    arrays: dict[str, Any] = {f"image_{index:04d}": image for index, image in enumerate(images)}
    if columns is not None:
        arrays[COLUMNS] = columns
    for name, one in more.items():
        first = ask(one, 0)
        count = len(images) if name == NOVELTY else min(_MAPS, _MAPS_BYTES // first.nbytes, len(images))
        if count:
            arrays[name] = np.concatenate([first, *(ask(one, at) for at in range(1, count))])
    np.savez_compressed(stream, logits=logits, tolerance=np.float32(tolerance), **arrays)
    return stream.getvalue()
