"""The proof itself, in this process: a bundle's files are those that were exported, and they answer as they did there.

What this module does not know: limits on time and memory (`zoo.edge._isolation`), and who asks (`zoo.edge._verify`).
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.text import format_count, join_lines
from zoo._support.versions import is_older
from zoo.edge._decision_words import describe_decisions, describe_open
from zoo.edge._last_step import LAST_STEP, find_changed_labels, find_open_labels, measure_last_step
from zoo.edge._runtime import Runtime
from zoo.edge.bundle import GOLDEN, Contents, Signed, is_archive, open_model
from zoo.errors import GateError, ImageError, ModelError, SignatureError
from zoo.spec import COLUMNS, EVIDENCE, FEATURES, NOVELTY, Display, GoldenKind, OldestRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from zoo.spec import Task

__all__ = ["Golden", "Verification", "prove", "read_golden", "replay"]

_MAX_BYTES = 2 * 2**30  # what the golden images may unpack to
_SMALL = 2**26  # bytes that any machine with a model has


class Verification(Display, msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that passed."""

    path: str
    name: str
    """Name of the model."""
    provider: str
    onnxruntime: str
    """Version that answered."""
    runtime: OldestRuntime | None = None
    """From which version on the file was shown to answer alike; null: it does not say, an older release wrote it."""
    older: bool = False
    """The version that answered is older than that: only the golden images were tried on it."""
    isolated: bool = False
    """Proven in a process of its own, with limits on time and memory."""
    files: int
    """Files whose sha256 was compared, the manifest not counted."""
    images: int
    """Golden images that were answered."""
    golden: GoldenKind | None = None
    """Whose they are; null: the bundle does not say, an older release wrote it."""
    max_abs_logit: float
    """Largest |difference| / max(1, |expected logit|)."""
    tolerance: float
    """What it may be."""
    open_labels: int = 0
    """Labels of golden images that may come or go within the tolerance. Their logits are compared, they are not."""
    max_abs_evidence: float | None = None
    """The same of the evidence maps that the golden set holds; null: none."""
    max_abs_features: float | None = None
    """Largest |difference| / max(1, largest |feature| of the image) of the features that it holds; null: none."""
    max_abs_novelty: float | None = None
    """Largest |difference| / max(1, |expected score|) of the novelty scores that it holds; null: none."""
    doubt: str | None = None
    """That the file was made smaller without proof that it is as good as float32; null: nothing of that kind."""
    decisions: dict[str, str] = {}
    """In words, how the model decides by those numbers; empty: the most probable label is the answer."""
    signed: Signed
    """valid: by the key that was given. not checked: there is a signature, and no key was given."""
    signer: str | None
    """Fingerprint of the key that the signature names."""

    def headline(self) -> str:
        """How far the golden answers were from those expected, and whether the bundle is signed."""
        within = f"logits of {format_count(self.images, 'golden image')} within {self.max_abs_logit:.1e}"
        signed = "not signed" if self.signed == "none" else f"signature {self.signed}"
        left = describe_open(self.open_labels)
        return f"{self.name} in {self.path}: {within}, allowed {self.tolerance:.1e}{left}; {signed}"

    def warning(self) -> str | None:
        """What the golden images leave open on this device; None: nothing."""
        if not (self.older and self.runtime):
            return None
        return (
            f"{self.path}: onnxruntime {self.onnxruntime} is here, and the file is proven from "
            f"{self.runtime.onnxruntime} on; the golden images hold here, nothing else was tried on a version so old; "
            f"install onnxruntime {self.runtime.onnxruntime} or newer"
        )


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden set, read."""

    names: list[str]
    images: list[NDArray[Any]]
    """(H, W, C) each, raw."""
    logits: NDArray[np.float32]
    """(n, K)."""
    evidence: NDArray[np.float32]
    """(m, K, h, w) of the first m images; m is 0 where the set has no maps."""
    features: NDArray[np.float32]
    """(m, D) of the first m images; m is 0 where the set has no features."""
    novelty: NDArray[np.float32]
    """(m,) of the first m images; m is 0 where the set has no scores."""
    tolerance: float
    columns: NDArray[np.float32] | None
    """(n, C) beside the images, as the graph takes them; None: the model takes none."""

    def beside(self, image: int) -> NDArray[np.float32] | None:
        """(1, C) of one image."""
        return None if self.columns is None else self.columns[image : image + 1]

    def count_open(self, image: int, task: Task) -> int:
        """Labels of one image that the tolerance leaves open; of a model that gives one label at most 1."""
        found = len(find_open_labels(self.logits[image], task, self.tolerance))
        return found if task == "multilabel" else min(1, found)


def prove(
    path: Path,
    *,
    provider: str = "cpu",
    threads: int | None = None,
    key: Path | str | None = None,
    require_signature: bool = False,
    allow_fallback: bool = False,
) -> Verification:
    """Compare every hash, then `replay`; arguments and errors as `zoo.edge.verify`, without its limits."""
    if path.is_file() and not is_archive(path):
        raise ModelError(
            f"{path}: a lone file has no golden set; verify needs a bundle, 'zoo export --onnx --bundle'",
            code="bundle-expected",
        )
    trusted = None if key is None else Path(key)
    contents = open_model(path, keep=(GOLDEN,), key=trusted)
    if require_signature and contents.signed == "none":
        raise SignatureError(
            f"{path}: not signed, expected a signature; get the signed bundle from its maker", code="signature-missing"
        )
    if GOLDEN not in contents.files:
        raise ModelError(
            f"{path}: no {GOLDEN} in the bundle, expected raw images with their logits; export it again",
            code="golden-missing",
        )
    runtime = Runtime.from_contents(path, contents, provider=provider, threads=threads, allow_fallback=allow_fallback)
    return replay(runtime, contents)


def replay(runtime: Runtime, contents: Contents) -> Verification:
    """Run the golden images of a bundle that was read, its hashes compared, on the runtime made from it.

    Raises:
        GateError: an answer differs; the line lists every mismatch with its name, expected and actual value.
        ModelError: the golden set cannot be read.
    """
    import onnxruntime

    path, oldest = runtime.path, contents.manifest.runtime
    size = runtime.manifest.preprocess.size if runtime.has_evidence else None
    beside = 0 if runtime.manifest.table is None else len(runtime.manifest.table.columns)
    golden = read_golden(
        contents.files[GOLDEN],
        f"{path}/{GOLDEN}",
        len(runtime.labels),
        size,
        features=runtime.feature_count,
        novelty=NOVELTY in runtime.manifest.outputs,
        beside=beside,
    )
    worst, mismatches = _replay(runtime, golden)
    worst_map, of_maps = _replay_more(golden, golden.evidence, runtime.evidence, "evidence map", _beside_each)
    worst_row, of_rows = _replay_more(golden, golden.features, runtime.features, "features", _beside_largest)
    worst_score, of_scores = _replay_more(golden, golden.novelty, runtime.novelty, "novelty", _beside_each)
    mismatches += of_maps + of_rows + of_scores
    if mismatches:
        raise GateError(
            f"{path}: {len(mismatches)} golden mismatches on {runtime.provider}: {'; '.join(mismatches)}; "
            "do not use this model on this device",
            code="golden-mismatch",
            mismatches=len(mismatches),
            provider=runtime.provider,
        )
    return Verification(
        path=str(path),
        name=contents.manifest.name,
        provider=runtime.provider,
        onnxruntime=onnxruntime.__version__,
        runtime=oldest,
        older=oldest is not None and is_older(onnxruntime.__version__, oldest.onnxruntime),
        files=len(contents.checked),
        images=len(golden.images),
        golden=contents.manifest.golden,
        max_abs_logit=worst,
        tolerance=golden.tolerance,
        open_labels=sum(golden.count_open(at, runtime.manifest.task) for at in range(len(golden.images))),
        max_abs_evidence=worst_map,
        max_abs_features=worst_row,
        max_abs_novelty=worst_score,
        doubt=contents.manifest.doubt,
        decisions=describe_decisions(contents.manifest),
        signed=contents.signed,
        signer=contents.signer,
    )


def _replay(runtime: Runtime, golden: Golden) -> tuple[float, list[str]]:
    worst, mismatches, manifest = 0.0, [], runtime.manifest
    for at_image, (name, image, expected) in enumerate(zip(golden.names, golden.images, golden.logits, strict=True)):
        try:
            logits, probabilities = runtime.logits_and_probabilities(image[None], golden.beside(at_image))
        except ImageError as problem:
            mismatches.append(f"{name}: expected an answer, actual {problem}")
            continue
        except ModelError as problem:
            if problem.code != "model-answer-range":
                raise
            mismatches.append(f"{name}: expected probabilities, actual none")
            continue
        actual = logits[0]
        relative = np.abs(actual.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
        at = int(np.argmax(np.where(np.isnan(relative), np.inf, relative)))
        if not relative[at] <= golden.tolerance:  # so that not-a-number fails
            mismatches.append(
                f"{name}: logit of {runtime.labels[at]!r} expected {expected[at]:.6g}, actual {actual[at]:.6g}"
            )
        else:
            worst = max(worst, float(relative[at]))
            off = measure_last_step(logits, probabilities, manifest.temperature, manifest.task)
            if not off <= LAST_STEP:
                mismatches.append(
                    f"{name}: probabilities expected of its logits at temperature {manifest.temperature:.4g} within "
                    f"{LAST_STEP:g}, actual off by {off:.2g}"
                )
        for changed in find_changed_labels(actual, expected, manifest.task, golden.tolerance):
            was, now = f"{runtime.labels[int(expected.argmax())]!r}", f"{runtime.labels[changed]!r}"
            if manifest.task == "multilabel":
                was, now = (f"{now} {'given' if one[changed] > 0 else 'not given'}" for one in (expected, actual))
            mismatches.append(f"{name}: label expected {was}, actual {now}")
    return worst, mismatches


def _replay_more(
    golden: Golden,
    rows: NDArray[np.float32],
    ask: Callable[[NDArray[Any], NDArray[np.float32] | None], NDArray[np.float32]],
    what: str,
    measure: Callable[[NDArray[np.float64], NDArray[np.float32]], NDArray[np.float64]],
) -> tuple[float | None, list[str]]:
    """Compare what the first golden images are answered with beside logits."""
    worst, mismatches = None, []
    for at, (name, image, expected) in enumerate(zip(golden.names, golden.images, rows, strict=False)):
        try:
            actual = ask(image[None], golden.beside(at))[0]
        except ImageError:  # its logits have been missed already
            continue
        except ModelError as problem:
            if problem.code not in {"model-answer-range", "model-answer-not-finite"}:
                raise
            if problem.code == "model-answer-not-finite":
                mismatches.append(f"{name}: {what} expected a number, actual none")
            continue
        found = float(np.nan_to_num(measure(actual.astype(np.float64), expected), nan=np.inf).max())
        if not found <= golden.tolerance:
            mismatches.append(f"{name}: {what} expected within {golden.tolerance:g}, actual {found:.3g}")
        worst = max(worst or 0.0, found)
    return worst, mismatches


def _beside_each(actual: NDArray[np.float64], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.abs(actual - expected) / np.maximum(1.0, np.abs(expected)))


def _beside_largest(actual: NDArray[np.float64], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.abs(actual - expected) / max(1.0, float(np.abs(expected).max())))


def read_golden(
    data: bytes,
    shown: str,
    classes: int,
    size: tuple[int, int] | None = None,
    *,
    features: int = 0,
    novelty: bool = False,
    beside: int = 0,
) -> Golden:
    """The golden set, read without pickle and within bounds.

    Args:
        data: bytes of the file.
        shown: how errors name it.
        classes: K.
        size: (h, w) of evidence maps; None: there are none.
        features: D; 0: there are none.
        novelty: whether there are scores.
        beside: columns that the model takes beside an image.
    """
    unpacked = 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MAX_BYTES:
            raise ModelError(
                f"{shown}: unpacks to {unpacked} bytes, expected at most {_MAX_BYTES}",
                code="golden-damaged",
                bytes=unpacked,
            )
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names = sorted(name for name in arrays.files if name.startswith("image_"))
            images = [_numbers(arrays, name, 3) for name in names]
            logits = np.asarray(_numbers(arrays, "logits", 2), np.float32)
            expected = (classes, *(size or (0, 0)))
            evidence = np.zeros((0, *expected), np.float32)
            if size is not None and EVIDENCE in arrays:
                evidence = np.asarray(_numbers(arrays, EVIDENCE, 4), np.float32)
            rows = np.zeros((0, features), np.float32)
            if features and FEATURES in arrays:
                rows = np.asarray(_numbers(arrays, FEATURES, 2), np.float32)
            scores = np.zeros(0, np.float32)
            if novelty and NOVELTY in arrays:
                scores = np.asarray(_numbers(arrays, NOVELTY, 1), np.float32)
            tolerance = float(_numbers(arrays, "tolerance", 0))
            columns = np.asarray(_numbers(arrays, COLUMNS, 2), np.float32) if beside else None
    except ModelError:
        raise
    except MemoryError:
        if unpacked > _SMALL:
            raise
        raise ModelError(  # an array says that it is larger than the set which holds it
            f"{shown}: not a golden set (an array states an impossible size); export the bundle again",
            code="golden-damaged",
        ) from None
    except Exception as problem:  # on damaged bytes numpy, tokenize, zipfile and zlib raise what they like
        reason = join_lines(problem) or type(problem).__name__
        raise ModelError(
            f"{shown}: not a golden set ({reason[:200]}); export the bundle again", code="golden-damaged"
        ) from None
    if not images or logits.shape != (len(images), classes):
        raise ModelError(
            f"{shown}: {len(images)} images with logits {'x'.join(map(str, logits.shape))}, "
            f"expected {len(images)}x{classes} and at least one (H, W, C) image; export the bundle again",
            code="golden-damaged",
            images=len(images),
            shape=list(logits.shape),
        )
    n = len(images)
    more = (
        (COLUMNS, columns, (beside,), n),
        (EVIDENCE, evidence, expected, 0),
        (FEATURES, rows, (features,), 0),
        (NOVELTY, scores, (), 0),
    )
    for what, found, row, fewest in more:
        if found is not None and (found.shape[1:] != row or not fewest <= len(found) <= n):
            raise ModelError(
                f"{shown}: {what} of shape {'x'.join(map(str, found.shape))}, expected {'' if fewest else 'at most '}"
                f"{n} rows of {'x'.join(map(str, row)) or 'one number'}; export the bundle again",
                code="golden-damaged",
                shape=list(found.shape),
            )
    if not 0 <= tolerance < 1:
        raise ModelError(
            f"{shown}: tolerance {tolerance}, expected a number in [0, 1); export the bundle again",
            code="golden-damaged",
        )
    return Golden(names, images, logits, evidence, rows, scores, tolerance, columns)


def _numbers(arrays: Any, name: str, sides: int) -> NDArray[Any]:
    """One array of the set.

    Raises:
        KeyError: it is not there.
        ValueError: it is not an array of real numbers with `sides` sides.
    """
    found = arrays[name]
    if not isinstance(found, np.ndarray) or found.ndim != sides or found.dtype.kind not in "uif":
        raise ValueError(f"{name} is not an array of numbers with {sides} sides")
    return found
