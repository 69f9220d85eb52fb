"""How much each choice costs the logits, measured on training images that set no range.

The error of a network is the root mean square of the difference to the float32 logits over the root mean square of
those. Of a softmax only differences between logits count, so each image's mean is taken off first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.artefact.quantize._convert import to_integers
from zoo.artefact.quantize._core import LOGITS
from zoo.artefact.quantize._running import session_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx
    from numpy.typing import NDArray

    from zoo.artefact.quantize._core import Core
    from zoo.artefact.quantize._targets import Scheme
    from zoo.spec import Task

__all__ = ["errors", "wobble", "worst_first"]

_IMAGES = 16
"""Images that each layer is quantised alone on: every layer is a session of its own."""


def errors(
    core: Core,
    candidates: Iterable[tuple[str, onnx.ModelProto]],
    images: Iterable[NDArray[np.float32]],
    *,
    reference: bool,
    task: Task,
) -> dict[str, float]:
    """The error of each candidate network.

    Args:
        core: the float32 network.
        candidates: name and network, asked for one after the other.
        images: (1, C, h, w) each, walked through once for each candidate.
        reference: whether the candidates run on the reference kernels; see `zoo.artefact.quantize._running.session_of`.
        task: kind of the labels; in a multilabel model each logit counts as it is.
    """
    true = _answers(session_of(core.model.SerializeToString(), reference=False), core, images, task)
    power = float((true**2).sum())
    found = {}
    for name, network in candidates:
        got = _answers(session_of(network.SerializeToString(), reference=reference), core, images, task)
        found[name] = float(np.sqrt(((got - true) ** 2).sum() / max(power, 1e-12)))
    return found


def worst_first(
    core: Core,
    ranges: dict[str, tuple[float, float]],
    scheme: Scheme,
    images: Iterable[NDArray[np.float32]],
    *,
    reference: bool,
    task: Task,
) -> tuple[str, ...]:
    """The layers, those first whose quantisation alone costs the logits most."""
    few = [image for _, image in zip(range(_IMAGES), images, strict=False)]
    alone = ((layer, to_integers(core, ranges, scheme, only=layer)) for layer in core.layers)
    cost = errors(core, alone, few, reference=reference, task=task)
    return tuple(sorted(core.layers, key=lambda layer: -cost[layer]))


def wobble(core: Core, network: onnx.ModelProto, images: Iterable[NDArray[np.float32]], *, reference: bool) -> float:
    """How far rounding alone moves a logit of a quantised network: the largest |difference| / max(1, |logit|).

    A sum that another CPU takes in another order rounds to the next integer here and there, and each such step is
    carried on. It is provoked twice: by inputs that are a millionth brighter, and, where this machine's kernels are
    the ones that will run, by those kernels beside reference arithmetic.
    """
    content = network.SerializeToString()
    plain = session_of(content, reference=True)
    kernels = None if reference else session_of(content, reference=False)
    largest = 0.0
    for image in images:
        expected = plain.run([LOGITS], {core.input: image})[0]
        others = [plain.run([LOGITS], {core.input: image * np.float32(1 + 1e-6)})[0]]
        if kernels is not None:
            others.append(kernels.run([LOGITS], {core.input: image})[0])
        for got in others:
            largest = max(largest, float((np.abs(got - expected) / np.maximum(1, np.abs(expected))).max()))
    return largest


def _answers(session: Any, core: Core, images: Iterable[NDArray[np.float32]], task: Task) -> NDArray[np.float64]:
    """(n, K) logits; multiclass: each image's mean taken off."""
    values = np.concatenate([session.run([LOGITS], {core.input: image})[0] for image in images]).astype(np.float64)
    return values if task == "multilabel" else values - values.mean(axis=1, keepdims=True)
