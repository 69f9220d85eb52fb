"""One call of ONNX Runtime, and whether what it gives is an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.edge._graph import answer_shape, count_features
from zoo.edge._session import check_memory, one_line
from zoo.errors import ModelError, UsageError
from zoo.spec import EVIDENCE, FEATURES, NOVELTY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from zoo.spec import Manifest

__all__ = ["ask", "check_output", "decisive_outputs", "make_feed"]

_ROUNDING = 1e-3
"""By which probabilities of a sound file may leave [0, 1] or miss the sum 1; a thousand of float16 miss it by 5e-4."""


def make_feed(manifest: Manifest, images: NDArray[Any], given: NDArray[np.float32] | None) -> dict[str, NDArray[Any]]:
    """The name of each input to its values: of images as the graph takes them, and (N, C) numbers of columns."""
    feed = {manifest.input.name: np.ascontiguousarray(images, dtype=manifest.input.dtype)}
    if manifest.table is not None and given is not None:
        feed |= {name: np.ascontiguousarray(x) for name, x in zip(manifest.table.inputs, given.T, strict=True)}
    return feed


def check_output(path: str, manifest: Manifest, output: str) -> None:
    """Whether a file gives something beside probabilities and logits.

    Raises:
        UsageError: it does not.
    """
    if output in manifest.outputs:
        return
    outputs = list(manifest.outputs)
    said = f"{path}: its outputs are {', '.join(outputs)}, no {output} among them; export it"
    if output == EVIDENCE:
        how = "with --evidence from a run of a model that makes such maps"
        raise UsageError(f"{said} {how}", code="evidence-missing", outputs=outputs)
    if output == FEATURES:
        raise UsageError(f"{said} with --features", code="features-missing", outputs=outputs)
    raise UsageError(f"{said} from a run that made such a score", code="novelty-missing", outputs=outputs)


def ask(
    session: Any, path: str, manifest: Manifest, outputs: tuple[str, ...], feed: Mapping[str, NDArray[Any]]
) -> list[NDArray[np.float32]]:
    """These outputs and no other: what is not asked for is not handed out.

    Args:
        session: opened file.
        path: how errors name it.
        manifest: what the file says of itself.
        outputs: names of outputs.
        feed: name of each input to its values.

    Raises:
        ModelError: ONNX Runtime failed, or the graph gave another shape, or probabilities or scores that are none.
    """
    try:
        found = session.run(list(outputs), feed)
    except Exception as problem:  # onnxruntime's errors have no common base below Exception
        check_memory(problem, path)
        raise ModelError(f"{path}: onnxruntime failed while running: {one_line(problem)}", code="model-run") from None
    for output, rows in zip(outputs, found, strict=True):
        one = (count_features(session),) if output == FEATURES else answer_shape(manifest, output)
        expected = (len(feed[manifest.input.name]), *one)
        if rows.shape != expected or rows.dtype != np.float32:
            raise ModelError(
                f"{path}: {output} came as {'x'.join(map(str, rows.shape))} {rows.dtype}, "
                f"expected {'x'.join(map(str, expected))} float32 for its labels; export the model again",
                code="model-answer-shape",
                found=list(rows.shape),
                expected=list(expected),
            )
        if output == NOVELTY and not np.isfinite(rows).all():
            raise ModelError(
                f"{path}: {NOVELTY} is NaN or an infinity, expected a score; do not use this model, export it again",
                code="model-answer-not-finite",
                output=NOVELTY,
            )
        if output == "probabilities":
            # who asks for logits tells which image had one that is not a number
            known = rows[np.isfinite(rows).all(axis=1)] if "logits" in outputs else rows
            _check_probabilities(known, path, add_up=manifest.task != "multilabel")
    return [np.asarray(rows, np.float32) for rows in found]


def decisive_outputs(manifest: Manifest) -> tuple[str, ...]:
    """Outputs that an answer is made of."""
    return ("probabilities",) if manifest.novelty is None else ("probabilities", NOVELTY)


def _check_probabilities(rows: NDArray[np.float32], path: str, *, add_up: bool) -> None:
    """Refuse what cannot be a probability, as of a file whose outputs were swapped."""
    fits = bool(np.all((rows >= -_ROUNDING) & (rows <= 1 + _ROUNDING)))  # not-a-number is neither
    if fits and add_up:
        fits = bool(np.all(np.abs(rows.sum(axis=1) - 1) <= _ROUNDING))
    if not fits:
        worst = rows[int(np.argmax(np.nan_to_num(np.abs(rows.sum(axis=1) - 1), nan=np.inf)))]
        sums = " that add up to 1" if add_up else ""
        raise ModelError(
            f"{path}: probabilities from {worst.min():.3g} to {worst.max():.3g} with the sum "
            f"{worst.sum():.3g}, expected numbers from 0 to 1{sums}; do not use this model, export it again",
            code="model-answer-range",
            low=float(rows.min()),
            high=float(rows.max()),
        )
