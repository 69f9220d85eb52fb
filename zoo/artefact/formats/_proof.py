"""A file in another format held to the golden set of its ONNX file, by the format's own runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.text import join_lines
from zoo.artefact._differences import relative
from zoo.edge._last_step import LAST_STEP, find_changed_labels, measure_last_step, probabilities_of
from zoo.errors import GateError
from zoo.preprocess import normalize_batch, resize_image
from zoo.spec import NOVELTY, GoldenProof

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact.formats._protocol import Answer
    from zoo.edge._replay import Golden
    from zoo.spec import InputSpec, PreprocessSpec, TableSpec, Task

__all__ = ["prepare", "replay_golden"]


def prepare(image: NDArray[Any], spec: PreprocessSpec, given: InputSpec) -> NDArray[Any]:
    """A batch of one raw (H, W, C) image as the file takes it; what the client does is done by the reference."""
    if given.stage == "raw":
        return image[None]
    resized = resize_image(image, spec)[None]
    return normalize_batch(resized, spec) if given.stage == "tensor" else resized


def replay_golden(
    answer: Answer,
    golden: Golden,
    *,
    what: str,
    runtime: str,
    labels: tuple[str, ...],
    spec: PreprocessSpec,
    given: InputSpec,
    temperature: float,
    task: Task,
    outputs: tuple[str, ...],
    table: TableSpec | None = None,
    remedy: str = "",
) -> GoldenProof:
    """Compare every golden answer.

    Args:
        answer: the opened file.
        golden: images with the answers of the ONNX file.
        what: how the error names the file.
        runtime: distribution and version that answers.
        labels: class names in the order of the logits.
        spec: preprocessing of the network.
        given: input of the file.
        temperature: divides the logits before the last step.
        task: that step.
        outputs: what the file gives.
        table: columns that it takes beside the image.
        remedy: what to do where it differs.

    Raises:
        GateError: a logit, a probability or a score is further off than the golden tolerance, a label is another, or
            probabilities are not those of the file's own logits.
    """
    expected = golden.logits
    probabilities = probabilities_of(expected, temperature, task)
    worst = worst_probability = worst_score = 0.0
    flips, wrong = 0, []
    for at, (name, image) in enumerate(zip(golden.names, golden.images, strict=True)):
        feed = {given.name: prepare(image, spec, given)}
        row = golden.beside(at)
        if table is not None and row is not None:
            feed |= dict(zip(table.inputs, row.T, strict=True))
        try:
            found = answer(feed)
            logits, of_name = found["logits"], found["probabilities"]
            novelty = found[NOVELTY] if NOVELTY in outputs else None
        except Exception as problem:  # runtimes' errors have no common base below Exception
            wrong.append(f"{name}: no answer ({join_lines(problem, 120)})")
            continue
        if logits.shape != (1, len(labels)) or of_name.shape != (1, len(labels)):
            wrong.append(f"{name}: {'x'.join(map(str, logits.shape))} logits, expected 1x{len(labels)}")
            continue
        apart = relative(logits, expected[at : at + 1])
        moved = float(np.nan_to_num(np.abs(of_name - probabilities[at]), nan=np.inf).max())
        last = measure_last_step(logits, of_name, temperature, task)
        changed = len(find_changed_labels(logits[0], expected[at], task, golden.tolerance))
        worst, worst_probability, flips = max(worst, apart), max(worst_probability, moved), flips + changed
        if novelty is not None and at < len(golden.novelty):
            score = relative(novelty, golden.novelty[at : at + 1])
            worst_score = max(worst_score, score)
            if not score <= golden.tolerance:
                wrong.append(f"{name}: novelty off by {score:.1e}")
        if changed or not max(apart, moved) <= golden.tolerance:
            wrong.append(f"{name}: logits off by {apart:.1e}, probabilities by {moved:.1e}, {changed} labels changed")
        elif not last <= LAST_STEP:
            wrong.append(f"{name}: probabilities are {last:.1e} from those of its own logits")
    if wrong:
        shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise GateError(
            f"{what} refused: {len(wrong)} of {len(golden.images)} golden images are answered otherwise by {runtime} "
            f"({shown}; allowed {golden.tolerance:.1e}){remedy}",
            code="format-mismatch",
            runtime=runtime,
            mismatches=len(wrong),
            images=len(golden.images),
            max_abs_logit=worst,
            max_abs_probability=worst_probability,
            flips=flips,
            tolerance=golden.tolerance,
        )
    return GoldenProof(
        images=len(golden.images),
        max_abs_logit=worst,
        max_abs_probability=worst_probability,
        max_abs_novelty=worst_score if NOVELTY in outputs and len(golden.novelty) else None,
        flips=flips,
        tolerance=golden.tolerance,
        runtime=runtime,
        open_labels=sum(golden.count_open(at, task) for at in range(len(golden.images))),
    )
