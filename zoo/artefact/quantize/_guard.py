"""Whether a quantised file may replace the float32 file. Both answer the same images, and these are the bars.

    macro AUROC      the paired difference's lower end (95 %) lies above -0.01
    sensitivity      no label loses more than 0.02 (at the largest logit, multilabel: at 0.5)
    agreement        at least 99 in 100 images keep their label
    probabilities    on average at most 0.05 of an image's probability goes to other labels (half the sum of the
                     differences: total variation; multilabel: the mean); fp16: none moves by more than 5e-3
    speed            the lower end of the ratio lies above 1, where it can be measured

The first is a proof of no harm, so few images fail it even when nothing was lost; the line then says that they are
too few. Where every resample gives the same difference the interval is Wilson's: n images without a change prove a
difference below 3.84 / (n + 3.84), so n must be 381 for 0.01. Macro AUROC is a mean over images in which each of a
class's n_k images weighs 1 / (K n_k), so n is Kish's effective number, K^2 / sum of 1 / n_k (Kish 1965, Survey
Sampling, section 11.7): all images where classes are of one size, few where one class is rare.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.artefact._card import format_signed
from zoo.evaluation import Cases, bootstrap, draws, measure, ones
from zoo.evaluation.intervals import bound_difference
from zoo.spec import Guard, Interval, QuantizedKind, Speed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.evaluation import Values

__all__ = [
    "AGREEMENT",
    "AUROC_LOSS",
    "SENSITIVITY_LOSS",
    "compare",
    "find_broken_bars",
    "find_missed",
    "find_missed_speed",
]

AUROC_LOSS = 0.01
SENSITIVITY_LOSS = 0.02
AGREEMENT = 0.99
HALF_PROBABILITY = 5e-3
MEAN_SHIFT = 0.05
"""Labels, ranks and sensitivity do not see logits that shrink as one; probabilities people read do."""
_FEWEST = 6
"""Independent images with the label, and without it: a sign test on fewer cannot reach p < 0.05 (see zoo.compare)."""
_ROUNDING = 1e-9


def compare(
    float32: NDArray[Any],
    quantised: NDArray[Any],
    targets: NDArray[np.int64],
    labels: Sequence[str],
    *,
    split: str,
    temperature: float,
    groups: NDArray[np.int64] | None = None,
) -> Guard:
    """Measure both files' answers to the same images.

    Args:
        float32: (n, K) logits of the float32 file.
        quantised: (n, K) logits of the other.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN.
        labels: K names.
        split: which images these are.
        temperature: number that divides the logits of both files.
        groups: (n,) int, equal for images of one patient, where known; resamples are then of patients.

    Raises:
        ModelError: a logit is not finite.
    """
    before, after = (Cases.of(logits, targets, temperature, groups) for logits in (float32, quantised))
    points = [measure(cases, ones(cases.n)) for cases in (before, after)]
    resampled = [bootstrap(partial(measure, cases), draws(cases.n, groups=cases.groups)) for cases in (before, after)]
    auroc, undefined = _auroc(before, points, resampled, labels)
    label, sensitivity = _sensitivity(before, points, resampled, labels)
    same = before.predicted == after.predicted
    moved = np.abs(before.probabilities - after.probabilities)
    return Guard(
        split=split,
        n=before.n,
        clusters=before.clusters,
        macro_auroc=auroc,
        undefined=undefined,
        agreement=Interval.of_share(float(same.mean()), before.clusters or before.n),
        sensitivity=sensitivity,
        sensitivity_label=label,
        sensitivity_n=int(before.counts[labels.index(label)]) if label is not None else 0,
        mean_shift=float(moved.mean() if before.task == "multilabel" else moved.sum(axis=1).mean() / 2),
        max_abs_probability=float(moved.max()),
    )


def find_missed(guard: Guard, kind: QuantizedKind) -> tuple[str, ...]:
    """Each bar on the answers that was missed, in words; empty: all hold."""
    found = []
    if guard.macro_auroc is None:
        found.append(f"macro AUROC cannot be compared: {guard.undefined}")
    elif guard.macro_auroc.low <= -AUROC_LOSS:
        found.append(
            f"macro AUROC changes by {format_signed(guard.macro_auroc)}, its lower end must lie above -{AUROC_LOSS:g}"
            + (f": {guard.n} images are too few to prove that" if guard.macro_auroc.value > -AUROC_LOSS else "")
        )
    if guard.sensitivity is not None and guard.sensitivity.value < -SENSITIVITY_LOSS - _ROUNDING:
        n = guard.sensitivity_n
        one = f", and one of its {n} images is more" if n * SENSITIVITY_LOSS < 1 else ""
        found.append(
            f"sensitivity of {guard.sensitivity_label} falls by {-guard.sensitivity.value:.3f}, "
            f"at most {SENSITIVITY_LOSS:g} is allowed{one}"
        )
    if guard.agreement.value < AGREEMENT - _ROUNDING:
        found.append(f"labels agree on {guard.agreement.value:.1%}, expected {AGREEMENT:.0%}")
    return (*found, *_judge_probabilities(guard, kind))


def find_broken_bars(guard: Guard, kind: QuantizedKind) -> tuple[str, ...]:
    """Each bar that these images show to be broken: the whole interval lies beyond it; empty: none is."""
    found = []
    if guard.macro_auroc is not None and guard.macro_auroc.high <= -AUROC_LOSS:
        found.append(f"macro AUROC changes by {format_signed(guard.macro_auroc)}, all of it below -{AUROC_LOSS:g}")
    if guard.sensitivity is not None and guard.sensitivity.high < -SENSITIVITY_LOSS:
        found.append(
            f"sensitivity of {guard.sensitivity_label} changes by {format_signed(guard.sensitivity)}, "
            f"all of it below -{SENSITIVITY_LOSS:g}"
        )
    if guard.agreement.high < AGREEMENT:
        found.append(f"labels agree on {guard.agreement.value:.1%}, at most {guard.agreement.high:.1%} by its interval")
    return (*found, *_judge_probabilities(guard, kind))


def _judge_probabilities(guard: Guard, kind: QuantizedKind) -> list[str]:
    """The bars on probabilities; they are measured without sampling, so both questions have one answer."""
    found = []
    if guard.mean_shift > MEAN_SHIFT:
        found.append(f"probabilities move by {guard.mean_shift:.2g} on average, at most {MEAN_SHIFT:g} is allowed")
    if kind == "fp16" and guard.max_abs_probability > HALF_PROBABILITY:
        found.append(f"a probability moves by {guard.max_abs_probability:.2g}, at most {HALF_PROBABILITY:g} is allowed")
    return found


def find_missed_speed(speed: Speed | None) -> tuple[str, ...]:
    """The bar on speed, where it was measured."""
    if speed is None or speed.ratio.low > 1:
        return ()
    ratio = f"{speed.ratio.value:.2f} times the speed of float32 ({speed.ratio.low:.2f} to {speed.ratio.high:.2f})"
    return (f"not faster here: {ratio}, {speed.float32_ms:.1f} and {speed.ms:.1f} ms",)


def _auroc(
    cases: Cases, points: Sequence[Values], resampled: Sequence[Values], labels: Sequence[str]
) -> tuple[Interval | None, str | None]:
    """The paired difference of macro AUROC, or why there is none."""
    asked = np.flatnonzero(cases.asked).tolist()
    smaller = [cases.smaller_side(k) for k in asked]
    if min(smaller) == 0:
        lacking = labels[asked[smaller.index(0)]]
        return None, f"all of the {cases.n} images, or none, are of {lacking}"
    what = "groups" if cases.groups is not None else "images"
    if max(smaller) < _FEWEST:
        return None, f"no label has {_FEWEST} {what} with it and {_FEWEST} without it among the {cases.n} images"
    delta = float(points[1]["macro_auroc"][0] - points[0]["macro_auroc"][0])
    units = np.array([cases.units(cases.truth[:, k]) for k in asked])
    effective = len(units) ** 2 / float((1 / units).sum())
    found = bound_difference(delta, resampled[1]["macro_auroc"] - resampled[0]["macro_auroc"], effective)
    return found, None if found else f"some label is missing in half of the resamples of {cases.n} images"


def _sensitivity(
    cases: Cases, points: Sequence[Values], resampled: Sequence[Values], labels: Sequence[str]
) -> tuple[str | None, Interval | None]:
    """The label whose sensitivity falls most, and its difference."""
    change = points[1]["sensitivity"][:, 0] - points[0]["sensitivity"][:, 0]
    if np.isnan(change).all():
        return None, None
    k = int(np.nanargmin(change))
    difference = resampled[1]["sensitivity"][k] - resampled[0]["sensitivity"][k]
    return labels[k], bound_difference(float(change[k]), difference, cases.units(cases.truth[:, k]))
