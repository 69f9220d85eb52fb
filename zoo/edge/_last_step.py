"""The last step of a model, from logits to probabilities and labels, and whether a device takes it rightly.

`zoo/edge/page/golden.js` holds the same rules.

What this module does not know: images, files, how a model came to its logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.spec import Task

__all__ = [
    "LAST_STEP",
    "NEAR_ZERO",
    "find_changed_labels",
    "find_open_labels",
    "measure_last_step",
    "probabilities_of",
]

LAST_STEP = 1e-5
"""What `measure_last_step` may say. float32 rounds a logit over the temperature by 1.2e-7 of its size, an exponential
is off by a few parts in 1e7, and the sum of a thousand of them by some parts in 1e6. A quantised file takes this step
in float32 as well. A temperature that is off by one part in a thousand shows wherever a label is in doubt."""

NEAR_ZERO = 1e-3
"""A logit of several labels that is nearer to 0 has the sign that rounding gives: float32 sums in other orders may move
a golden logit by as much."""


def probabilities_of(logits: NDArray[Any], temperature: float, task: Task) -> NDArray[Any]:
    """The last step, by numpy: softmax(logits / temperature), or multilabel the sigmoid of each; (N, K) both."""
    scaled = logits / np.float32(temperature)
    if task == "multilabel":
        return np.asarray(np.exp(-np.logaddexp(np.float32(0), -scaled)))
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def measure_last_step(logits: NDArray[Any], probabilities: NDArray[Any], temperature: float, task: Task) -> float:
    """How far a device's probabilities are from those of its own logits, (N, K) both.

    So a device whose logits are off, within what they may be, is not blamed twice.

    Returns:
        The largest |difference| / max(1, |logit / temperature|), the logit the largest of the image; infinite where a
        number is not finite.
    """
    exact = np.asarray(logits, np.float64)
    if not (np.isfinite(exact).all() and np.isfinite(probabilities).all()):
        return float("inf")
    apart = np.abs(probabilities - probabilities_of(exact, temperature, task)).max(axis=1)
    return float((apart / np.maximum(1.0, np.abs(exact).max(axis=1) / temperature)).max())


def find_open_labels(expected: NDArray[Any], task: Task, tolerance: float) -> list[int]:
    """Places of labels that may come or go where each logit moves by the tolerance, relative to max(1, |logit|).

    Args:
        expected: (K,) logits.
        task: its rule: of several labels each is given where its logit is above 0; else the first of the largest is.
        tolerance: how far a right device may be off.

    Returns:
        Of several labels those that may change; else those that may take the place of the first of the largest.
    """
    exact = np.asarray(expected, np.float64)
    room = tolerance * np.maximum(1.0, np.abs(exact))
    if task == "multilabel":
        return [int(at) for at in np.flatnonzero(np.abs(exact) <= np.maximum(room, NEAR_ZERO))]
    best = int(exact.argmax())
    near = exact[best] - exact <= room[best] + room
    near[best] = False
    return [int(at) for at in np.flatnonzero(near)]


def find_changed_labels(found: NDArray[Any], expected: NDArray[Any], task: Task, tolerance: float) -> list[int]:
    """Places of labels that an answer has and the expected one has not, or the other way round; arguments as above.

    A label that the tolerance leaves open does not count: a right device may give it or not.

    Returns:
        Of several labels those that changed; else the label found where it is another, or nothing.
    """
    if task == "multilabel":
        changed = np.flatnonzero((found > 0) != (expected > 0)).tolist()
    else:
        best = int(found.argmax())
        changed = [] if best == int(expected.argmax()) else [best]
    still = find_open_labels(expected, task, tolerance) if changed else []
    return [at for at in changed if at not in still]
