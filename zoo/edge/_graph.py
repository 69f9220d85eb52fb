"""Whether a graph takes and gives what its manifest says: names, types and shapes of inputs and outputs.

What this module does not know: what the graph does in between (`zoo.edge.vet`), images.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo import preprocess
from zoo._support.text import brief
from zoo.errors import ModelError
from zoo.spec import EVIDENCE, FEATURES, NOVELTY

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.edge._intake import Array
    from zoo.spec import Manifest

__all__ = ["MOST_EVIDENCE", "MOST_FEATURES", "answer_shape", "check_graph", "count_features"]

MOST_EVIDENCE = 2**28
"""Numbers: a gigabyte, 1000 labels at 512 pixels. A small file can say more, and a device has no room for it."""
MOST_FEATURES = 2**24
"""Numbers for one image: every pixel of a picture of 2300 pixels a side, three times over."""
_TENSOR_TYPES = {"uint8": "tensor(uint8)", "uint16": "tensor(uint16)", "float32": "tensor(float)"}


def check_graph(path: str, manifest: Manifest, session: Any, *, ask: Callable[[str, Array], object]) -> None:
    """Refuse a graph whose inputs or outputs are not those of its manifest.

    Args:
        path: the model's place, for messages.
        manifest: what the model says of itself.
        session: the opened graph.
        ask: answers a batch by the output of that name; it is asked where the graph does not write a width.

    Raises:
        ModelError: they differ, or the manifest contradicts itself.
    """
    try:
        _check_inputs(path, manifest, session)
        _check_outputs(path, manifest, session, ask)
    except UnicodeDecodeError:  # onnxruntime hands over names of axes as the file holds them
        raise ModelError(
            f"{path}: its graph holds names that are not UTF-8; export it again", code="model-text"
        ) from None
    _check_decisions(path, manifest)


def answer_shape(manifest: Manifest, output: str) -> tuple[int, ...]:
    """Get the shape of an output for one image, of features apart, whose number the graph alone says."""
    if output == NOVELTY:
        return ()
    return (len(manifest.labels), *(manifest.preprocess.size if output == EVIDENCE else ()))


def count_features(session: Any) -> int:
    """D of the output "features" (N, D), as the graph writes it; 0: it does not."""
    shape: list[Any] = next((one.shape for one in session.get_outputs() if one.name == FEATURES), [])
    return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0


def _check_inputs(path: str, manifest: Manifest, session: Any) -> None:
    declared, inputs = manifest.input, session.get_inputs()
    wanted = [declared.name, *(() if manifest.table is None else manifest.table.inputs)]
    beside = [(one.type, len(one.shape)) for one in inputs[1:]]
    if [one.name for one in inputs] != wanted or any(one != ("tensor(float)", 1) for one in beside):
        found = ", ".join(repr(one.name) for one in inputs) or "none"
        told = f"{declared.name!r} alone" if len(wanted) == 1 else f"{brief(wanted, 8)}, numbers behind the image"
        raise ModelError(
            f"{path}: inputs {found}, its manifest says {told}; export it again",
            code="model-input",
            expected=declared.name,
        )
    found_type, found_shape = inputs[0].type, inputs[0].shape
    height, width = (None, None) if declared.stage == "raw" else manifest.preprocess.size
    expected: list[int | None] = [None, height, width, declared.channels]
    if declared.stage == "tensor":
        expected = [None, declared.channels, height, width]
    shape_fits = len(found_shape) == 4 and all(
        not isinstance(found, int) or found == wanted for found, wanted in zip(found_shape, expected, strict=True)
    )
    if found_type != _TENSOR_TYPES[declared.dtype] or not shape_fits:
        wanted_shape = ", ".join("any" if side is None else str(side) for side in expected)
        raise ModelError(
            f"{path}: input {declared.name!r} is {found_type} of shape {found_shape}, "
            f"its manifest says {_TENSOR_TYPES[declared.dtype]} ({wanted_shape}); export it again",
            code="model-input",
            expected=declared.name,
        )
    _check_stage(path, manifest)


def _check_stage(path: str, manifest: Manifest) -> None:
    """The manifest against itself: what its stage and preprocessing produce is what its input takes."""
    declared, spec = manifest.input, manifest.preprocess
    of_spec = preprocess.channels_of(spec)
    fits = {
        "raw": all(declared.channels == preprocess.raw_channels(view, declared.dtype) for view in manifest.views),
        "resized": declared.channels == of_spec and declared.dtype == "float32",
        "tensor": declared.channels == of_spec and declared.dtype == "float32",
    }
    if not fits[declared.stage]:
        raise ModelError(
            f"{path}: its manifest says stage '{declared.stage}' with {declared.channels} channels "
            f"of {declared.dtype}, which its preprocessing ({spec.channels}) does not make; "
            "export it again",
            code="model-input",
            stage=declared.stage,
        )


def _check_outputs(path: str, manifest: Manifest, session: Any, ask: Callable[[str, Array], object]) -> None:
    shapes = {one.name: one.shape for one in session.get_outputs()}
    for name in ("probabilities", "logits"):
        if name not in shapes:
            raise ModelError(
                f"{path}: outputs {', '.join(shapes)}, expected probabilities and logits; export it again",
                code="model-outputs",
                outputs=list(shapes),
            )
        shape = shapes[name]
        width = shape[1] if len(shape) == 2 else None
        if len(shape) != 2 or (isinstance(width, int) and width != len(manifest.labels)):
            raise ModelError(
                f"{path}: {name} has shape {shape}, but there are {len(manifest.labels)} labels; export it again",
                code="model-outputs",
                output=name,
                labels=len(manifest.labels),
            )
        if not isinstance(width, int):  # not written in the graph: ask it
            ask(name, _blank(manifest))
    if EVIDENCE in manifest.outputs:
        wanted, shape = list(answer_shape(manifest, EVIDENCE)), shapes.get(EVIDENCE)
        if shape is None or len(shape) != 4 or shape[1:] != wanted:
            found = "is not there" if shape is None else f"has shape {shape}"
            raise ModelError(
                f"{path}: {EVIDENCE} {found}, its manifest says (any, {', '.join(map(str, wanted))}); export it again",
                code="model-outputs",
                output=EVIDENCE,
                expected=list(wanted),
            )
        if math.prod(wanted) > MOST_EVIDENCE:
            raise ModelError(
                f"{path}: {EVIDENCE} of {math.prod(wanted):,} numbers for one image, expected at most "
                f"{MOST_EVIDENCE:,}; export it without --evidence",
                code="evidence-size",
                numbers=math.prod(wanted),
                most=MOST_EVIDENCE,
            )
    if FEATURES in manifest.outputs and not 0 < count_features(session) <= MOST_FEATURES:
        found = f"has shape {shapes[FEATURES]}" if FEATURES in shapes else "is not there"
        raise ModelError(
            f"{path}: {FEATURES} {found}, its manifest says (any, D) with D up to {MOST_FEATURES:,}; export it again",
            code="model-outputs",
            output=FEATURES,
            most=MOST_FEATURES,
        )
    decides = manifest.novelty is not None
    listed = NOVELTY in manifest.outputs
    if (listed or decides) and not (listed and len(shapes.get(NOVELTY, ())) == 1):
        found = f"has shape {shapes[NOVELTY]}" if NOVELTY in shapes else "is not there"
        told = "says (any,)" if listed else "decides by it and does not list it"
        raise ModelError(
            f"{path}: {NOVELTY} {found}, its manifest {told}; export it again",
            code="model-outputs",
            output=NOVELTY,
        )


def _check_decisions(path: str, manifest: Manifest) -> None:
    """The manifest against itself: points and sets are of its labels."""
    labels, sets = manifest.labels, None if manifest.abstention is None else manifest.abstention.sets
    pointed = [point.label for point in manifest.operating]
    wrong = None
    if len(set(pointed)) < len(pointed) or not set(pointed) <= set(labels):
        wrong = f"operating points of {brief(pointed, 8)}, expected at most one for each of {brief(labels, 8)}"
    elif sets is not None and manifest.task == "multilabel":
        wrong = "conformal sets of a multilabel model, expected none"
    elif sets is not None and len(sets.quantiles) != (len(labels) if sets.per_class else 1):
        wrong = f"{len(sets.quantiles)} quantiles, expected {len(labels) if sets.per_class else 1}"
    if wrong:
        raise ModelError(f"{path}: its manifest has {wrong}; export it again", code="model-decisions", reason=wrong)


def _blank(manifest: Manifest) -> Array:
    declared, (height, width) = manifest.input, manifest.preprocess.size
    shape = (1, height, width, declared.channels)
    if declared.stage == "tensor":
        shape = (1, declared.channels, height, width)
    return np.zeros(shape, declared.dtype)
