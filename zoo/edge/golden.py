"""The proof on the device: the files are those that were exported, and they answer as they did there."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.edge.bundle import GOLDEN, Contents, Signed, is_archive, open_model
from zoo.edge.runtime import Runtime
from zoo.errors import GateError, ImageError, ModelError, SignatureMissingError, TamperedError
from zoo.spec import EVIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Verification", "replay", "verify"]

_MAX_BYTES = 2 * 2**30  # what the golden images may unpack to


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that passed."""

    path: str
    name: str
    """Of the model."""
    provider: str
    files: int
    """Files whose sha256 was compared, the manifest not counted."""
    images: int
    """Golden images that were answered."""
    max_abs_logit: float
    """Largest |difference| / max(1, |expected logit|)."""
    tolerance: float
    """What it may be."""
    max_abs_evidence: float | None = None
    """The same of the evidence maps that the golden set holds; null: none."""
    signed: Signed
    """valid: by the key that was given. not checked: there is a signature, and no key was given."""
    signer: str | None
    """Fingerprint of the key that the signature names."""


@dataclass(frozen=True, slots=True)
class _Golden:
    names: list[str]
    images: list[NDArray[Any]]
    """(H, W, C) each, raw."""
    logits: NDArray[np.float32]
    """(n, K)."""
    evidence: NDArray[np.float32]
    """(m, K, h, w) of the first m images; m is 0 where the set has no maps."""
    tolerance: float


def verify(
    path: Path | str,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    key: Path | str | None = None,
    require_signature: bool = False,
    allow_fallback: bool = False,
    isolated: bool = True,
    time_limit: float | None = None,
    memory_limit: int | None = None,
) -> Verification:
    """Compare every hash, then run the golden images from raw pixels and compare every logit and top label.

    What is not signed as was asked is not read further, and a file whose hash is wrong is not run. All of it happens
    in a child process, so that a hostile model harms that one only; see `zoo.edge.isolation`.

    Args:
        path: a bundle NAME.zoo or NAME.zoo.zip.
        provider: what to run on; the proof holds for this one.
        threads: threads inside one operator; None: as many as this process has CPUs.
        key: file of a public key: the bundle must be signed by it.
        require_signature: refuse a bundle without a signature, also where there is no key to check it with.
        allow_fallback: as `Runtime.open` takes it.
        isolated: False: in this process and without limits.
        time_limit: seconds the child process may take; None: `zoo.edge.isolation.TIME_LIMIT`.
        memory_limit: megabytes (10^6 bytes) it may take; None: `zoo.edge.isolation.MEMORY_LIMIT`.

    Raises:
        LimitError: it took more, or crashed.
        TamperedError: files are not the ones the manifest lists; the line names all, with expected and actual hash.
        SignatureError: the bundle is not signed as was asked; the subclass says why.
        GateError: it answers otherwise; the line lists every mismatch with its name, expected and actual value.
        ModelError: not a bundle, no golden set in it, or a model that can not be opened.
        ProviderError: the provider is not there.
    """
    if isolated:
        from zoo.edge.isolation import TIME_LIMIT, verify_apart

        return verify_apart(
            path,
            time_limit=TIME_LIMIT if time_limit is None else time_limit,
            memory_limit=memory_limit,
            provider=provider,
            threads=threads,
            key=None if key is None else str(key),
            require_signature=require_signature,
            allow_fallback=allow_fallback,
        )
    path = Path(path)
    if path.is_file() and not is_archive(path):
        raise ModelError(f"{path}: a lone file has no golden set; verify needs a bundle, 'zoo export --onnx --bundle'")
    trusted = None if key is None else Path(key)
    contents = open_model(path, keep=(GOLDEN,), mismatch=TamperedError, key=trusted)
    if require_signature and contents.signed == "none":
        raise SignatureMissingError(f"{path}: not signed, expected a signature; get the signed bundle from its maker")
    if GOLDEN not in contents.files:
        raise ModelError(f"{path}: no {GOLDEN} in the bundle, expected raw images with their logits; export it again")
    runtime = Runtime.from_contents(path, contents, provider=provider, threads=threads, allow_fallback=allow_fallback)
    return replay(runtime, contents)


def replay(runtime: Runtime, contents: Contents) -> Verification:
    """Run the golden images of a bundle that was read, its hashes compared, on the runtime made from it.

    Raises:
        GateError: as `verify`.
        ModelError: the golden set can not be read.
    """
    path = runtime.path
    size = runtime.manifest.preprocess.size if runtime.has_evidence else None
    golden = _golden(contents.files[GOLDEN], f"{path}/{GOLDEN}", len(runtime.labels), size)
    worst, mismatches = _replay(runtime, golden)
    worst_map, of_maps = _replay_maps(runtime, golden)
    mismatches += of_maps
    if mismatches:
        raise GateError(
            f"{path}: {len(mismatches)} golden mismatches on {runtime.provider}: {'; '.join(mismatches)}; "
            "do not use this model on this device"
        )
    return Verification(
        path=str(path),
        name=contents.manifest.name,
        provider=runtime.provider,
        files=len(contents.checked),
        images=len(golden.images),
        max_abs_logit=worst,
        tolerance=golden.tolerance,
        max_abs_evidence=worst_map,
        signed=contents.signed,
        signer=contents.signer,
    )


def _replay(runtime: Runtime, golden: _Golden) -> tuple[float, list[str]]:
    worst, mismatches = 0.0, []
    for name, image, expected in zip(golden.names, golden.images, golden.logits, strict=True):
        try:
            actual = runtime.logits(image[None])[0]
        except ImageError as problem:
            mismatches.append(f"{name}: expected an answer, actual {problem}")
            continue
        relative = np.abs(actual.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
        at = int(np.argmax(np.where(np.isnan(relative), np.inf, relative)))
        if not relative[at] <= golden.tolerance:  # so that not-a-number fails
            mismatches.append(
                f"{name}: logit of {runtime.labels[at]!r} expected {expected[at]:.6g}, actual {actual[at]:.6g}"
            )
        else:
            worst = max(worst, float(relative[at]))
        if runtime.manifest.task == "multilabel":
            continue  # a label is given where its own logit is above 0, which was just compared
        before, after = runtime.labels[int(expected.argmax())], runtime.labels[int(actual.argmax())]
        if before != after:
            mismatches.append(f"{name}: label expected {before!r}, actual {after!r}")
    return worst, mismatches


def _replay_maps(runtime: Runtime, golden: _Golden) -> tuple[float | None, list[str]]:
    worst, mismatches = None, []
    for name, image, expected in zip(golden.names, golden.images, golden.evidence, strict=False):
        try:
            actual = runtime.evidence(image[None])[0]
        except ImageError:  # its logits have been missed already
            continue
        relative = np.abs(actual.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
        found = float(np.nan_to_num(relative, nan=np.inf).max())
        if not found <= golden.tolerance:
            mismatches.append(f"{name}: evidence map expected within {golden.tolerance:g}, actual {found:.3g}")
        worst = max(worst or 0.0, found)
    return worst, mismatches


def _golden(data: bytes, shown: str, classes: int, size: tuple[int, int] | None = None) -> _Golden:
    """The golden set, read without pickle and within bounds; `size` is that of evidence maps, None: there are none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MAX_BYTES:
            raise ModelError(f"{shown}: unpacks to {unpacked} bytes, expected at most {_MAX_BYTES}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names = sorted(name for name in arrays.files if name.startswith("image_"))
            images = [_numbers(arrays, name, 3) for name in names]
            logits = np.asarray(_numbers(arrays, "logits", 2), np.float32)
            expected = (classes, *(size or (0, 0)))
            evidence = np.zeros((0, *expected), np.float32)
            if size is not None and EVIDENCE in arrays:
                evidence = np.asarray(_numbers(arrays, EVIDENCE, 4), np.float32)
            tolerance = float(_numbers(arrays, "tolerance", 0))
    except ModelError:
        raise
    except Exception as problem:  # on damaged bytes numpy, tokenize, zipfile and zlib raise what they like
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise ModelError(f"{shown}: not a golden set ({reason[:200]}); export the bundle again") from None
    if not images or logits.shape != (len(images), classes):
        raise ModelError(
            f"{shown}: {len(images)} images with logits {'x'.join(map(str, logits.shape))}, "
            f"expected {len(images)}x{classes} and at least one (H, W, C) image; export the bundle again"
        )
    if evidence.shape[1:] != expected or len(evidence) > len(images):
        raise ModelError(
            f"{shown}: evidence of shape {'x'.join(map(str, evidence.shape))}, expected at most {len(images)} maps of "
            f"{'x'.join(map(str, expected))}; export the bundle again"
        )
    if not 0 <= tolerance < 1:
        raise ModelError(f"{shown}: tolerance {tolerance}, expected a number in [0, 1); export the bundle again")
    return _Golden(names, images, logits, evidence, tolerance)


def _numbers(arrays: Any, name: str, sides: int) -> NDArray[Any]:
    """One array of the set.

    Raises:
        KeyError: it is not there.
        ValueError: it is no array of real numbers with so many sides.
    """
    found = arrays[name]
    if not isinstance(found, np.ndarray) or found.ndim != sides or found.dtype.kind not in "uif":
        raise ValueError(f"{name} is no array of numbers with {sides} sides")
    return found
