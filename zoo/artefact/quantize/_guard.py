"""Whether a quantised file may replace the float32 file: shown to be worse, shown to be as good, or neither.

    macro AUROC      falls by at most 0.01 (paired difference)
    sensitivity      of no label falls by more than 0.02 (at the largest logit, multilabel: at 0.5)
    agreement        at least 99 in 100 images on which float32 is sure keep their label
    probabilities    on average at most 0.05 of an image's probability goes to other labels (half the sum of the
                     differences: total variation; multilabel: the mean); fp16: none moves by more than 5e-3
    speed            the lower end of the ratio lies above 1, where it can be measured

A bar is broken where the whole 95 % interval lies beyond it: the file is worse. It is as good where none is broken, the
interval of agreement lies within its bar, and macro AUROC does not fall by more than its own. Else nobody can tell.
Agreement needs no labels, so it is asked of all images that may choose: of 1000 sure ones three may change. Where these
are few it is asked of mirrored copies, too, which may show more changes. They make no interval narrower, because a copy
answers much as its original does. The paired difference of AUROC of few labelled images has a wide interval though
nothing was lost, and one image of a class of 20 is 0.05 of its sensitivity: such numbers refuse by their interval
alone.

An image on which float32 is not sure changes its label by rounding, as in the parity gate. A label changes across a gap
of 0.1 only where probabilities move by 0.05 at least, which is what they may do on average.

Where every resample gives the same difference the interval is Wilson's, of n images. Macro AUROC is a mean over images
in which each of a class's n_k images weighs 1 / (K n_k), so n is Kish's effective number, K^2 / sum of 1 / n_k (Kish
1965, Survey Sampling, section 11.7): all images where classes are of one size, few where one class is rare.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo.artefact._card import format_signed
from zoo.edge._last_step import probabilities_of
from zoo.evaluation import Cases, bootstrap, bound_share, draws, measure, ones
from zoo.evaluation.intervals import bound_difference
from zoo.spec import Alike, Bars, Guard, Interval, QuantizedKind, Speed, Task, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.evaluation import Values

__all__ = ["compare", "compare_labelled", "find_broken_bars", "find_doubts", "find_missed_speed", "judge"]

SURE = 0.1
"""Least gap between the two largest probabilities of an image on which float32 is sure."""
_FEWEST = 6
"""Independent images with the label, and without it: a sign test on fewer cannot reach p < 0.05 (see zoo.compare)."""


def compare(
    float32: NDArray[Any],
    quantised: NDArray[Any],
    *,
    temperature: float,
    task: Task,
    copies: int = 0,
    groups: NDArray[np.int64] | None = None,
) -> Alike:
    """Measure how alike both files answer the same images.

    Args:
        float32: (n, K) logits of the float32 file.
        quantised: (n, K) logits of the other.
        temperature: number that divides the logits of both files.
        task: kind of the labels.
        copies: how many of the images are mirrored copies of others.
        groups: (n,) int, equal for images of one patient, and for an image and its copies; None: all are independent.
    """
    before, after = (probabilities_of(np.asarray(one, np.float64), temperature, task) for one in (float32, quantised))
    moved = np.abs(before - after)
    if task == "multilabel":
        same = ((before >= 0.5) == (after >= 0.5)).ravel()
        sure = (np.abs(before - 0.5) >= SURE / 2).ravel()
        groups = np.repeat(np.arange(len(before)) if groups is None else groups, before.shape[1])
    else:
        same = before.argmax(axis=1) == after.argmax(axis=1)
        best = np.sort(before, axis=1)[:, -2:]
        sure = best[:, 1] - best[:, 0] >= SURE
    agreement = bound_share(same, None, groups)
    assert agreement is not None  # noqa: S101 - there is an image
    return Alike(
        n=len(before),
        copies=copies,
        agreement=agreement,
        sure=int(sure.sum()),
        kept=bound_share(same, sure, groups),
        mean_shift=float(moved.mean() if task == "multilabel" else moved.sum(axis=1).mean() / 2),
        max_abs_probability=float(moved.max()),
    )


def compare_labelled(
    float32: NDArray[Any],
    quantised: NDArray[Any],
    targets: NDArray[np.int64],
    labels: Sequence[str],
    *,
    split: str,
    temperature: float,
    groups: NDArray[np.int64] | None = None,
) -> Guard:
    """Measure how well both files answer the same images.

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
    alike = compare(float32, quantised, temperature=temperature, task=before.task, groups=groups)
    return Guard(
        **msgspec.structs.asdict(alike),
        split=split,
        clusters=before.clusters,
        macro_auroc=auroc,
        undefined=undefined,
        sensitivity=sensitivity,
        sensitivity_label=label,
        sensitivity_n=int(before.counts[labels.index(label)]) if label is not None else 0,
    )


def judge(guard: Guard, alike: Alike, kind: QuantizedKind, bars: Bars) -> tuple[Verdict, tuple[str, ...]]:
    """What the images that may choose show of a rung, and each bar that is broken or not shown to hold, in words.

    Args:
        guard: what the labelled images say.
        alike: what all images and their copies say.
        kind: int8 or fp16.
        bars: how much may be lost.
    """
    if broken := (*find_broken_bars(guard, kind, bars), *_find_unlike(alike, kind, bars)):
        return "worse", tuple(dict.fromkeys(broken))
    doubts = _doubt_auroc(guard, bars)
    if alike.kept is None:
        doubts.append(f"float32 is sure on none of {alike.n} images, so no label that it keeps says anything")
    elif alike.kept.low < bars.agreement:
        doubts.append(
            f"{alike.kept.value:.1%} of {alike.sure} images on which float32 is sure keep their label, "
            f"{alike.kept.low:.1%} or more by its interval, which must lie above {bars.agreement:.0%}"
        )
    return ("cannot tell", tuple(doubts)) if doubts else ("as good", ())


def find_doubts(guard: Guard, bars: Bars) -> tuple[str, ...]:
    """Each bar that these labelled images miss, and are too few to show broken, in words; empty: none."""
    found = _doubt_auroc(guard, bars)
    if guard.sensitivity is not None and guard.sensitivity.value < -bars.sensitivity <= guard.sensitivity.high:
        found.append(
            f"sensitivity of {guard.sensitivity_label} changes by {format_signed(guard.sensitivity)} on "
            f"{guard.sensitivity_n} images of it, and {bars.sensitivity:g} may be lost"
        )
    if guard.kept is not None and guard.kept.value < bars.agreement <= guard.kept.high:
        found.append(f"{guard.kept.value:.1%} of {guard.sure} sure labels stay, expected {bars.agreement:.0%}")
    return tuple(found)


def _doubt_auroc(guard: Guard, bars: Bars) -> list[str]:
    change = guard.macro_auroc
    if change is None or not change.value <= -bars.auroc < change.high:
        return []
    return [f"macro AUROC changes by {format_signed(change)}, and {bars.auroc:g} may be lost"]


def find_broken_bars(guard: Guard, kind: QuantizedKind, bars: Bars) -> tuple[str, ...]:
    """Each bar that these images show to be broken: the whole interval lies beyond it; empty: none is."""
    found = []
    if guard.macro_auroc is not None and guard.macro_auroc.high <= -bars.auroc:
        found.append(f"macro AUROC changes by {format_signed(guard.macro_auroc)}, all of it below -{bars.auroc:g}")
    if guard.sensitivity is not None and guard.sensitivity.high < -bars.sensitivity:
        found.append(
            f"sensitivity of {guard.sensitivity_label} changes by {format_signed(guard.sensitivity)}, "
            f"all of it below -{bars.sensitivity:g}"
        )
    return (*found, *_find_unlike(guard, kind, bars))


def _find_unlike(alike: Alike, kind: QuantizedKind, bars: Bars) -> list[str]:
    """Broken bars that no label is needed for; probabilities are measured without sampling."""
    found = []
    if alike.kept is not None and alike.kept.high < bars.agreement:
        found.append(
            f"{alike.kept.value:.1%} of {alike.sure} labels of which float32 is sure stay, at most "
            f"{alike.kept.high:.1%} by its interval"
        )
    if alike.mean_shift > bars.shift:
        found.append(f"probabilities move by {alike.mean_shift:.2g} on average, at most {bars.shift:g} is allowed")
    if kind == "fp16" and alike.max_abs_probability > bars.probability:
        found.append(f"a probability moves by {alike.max_abs_probability:.2g}, at most {bars.probability:g} is allowed")
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
    """The label whose sensitivity most surely falls, or falls most where none surely does, and its difference."""
    change = points[1]["sensitivity"][:, 0] - points[0]["sensitivity"][:, 0]
    found = {}
    for k in np.flatnonzero(~np.isnan(change)).tolist():
        difference = resampled[1]["sensitivity"][k] - resampled[0]["sensitivity"][k]
        interval = bound_difference(float(change[k]), difference, cases.units(cases.truth[:, k]))
        if interval is not None:
            found[labels[k]] = interval
    if not found:
        return None, None
    label = min(found, key=lambda name: (min(found[name].high, 0), found[name].value))
    return label, found[label]
