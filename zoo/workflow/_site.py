"""The images of a site: some fit a file and others judge it; two files compared on the latter."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from zoo._support.text import format_count
from zoo.errors import DataError
from zoo.spec import Interval, SeenImages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.workflow._judge import Judged
    from zoo.workflow.evaluate import Target

__all__ = ["Part", "compare_losses", "divide"]

LEAST = 20
"""Images, or groups of them, that each part must have."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The images, divided: val fits, test judges."""

    splits: Splits
    seen: SeenImages | None
    how: Literal["validation", "half"]
    notes: tuple[str, ...]


def divide(found: Target, *, seed: int, include_seen: bool) -> Part:
    """Images to fit on and images to judge by, without those that the model has seen; no image is in both."""
    from zoo.evaluation import count_units
    from zoo.workflow._seen import sift
    from zoo.workflow.evaluate import look_up

    splits, seen = found.splits, look_up(found, "test")
    if seen is not None and not isinstance(seen, SeenImages):
        splits, seen = sift(splits, "test", seen, include=include_seen)
    how: Literal["validation", "half"] = "validation" if len(splits.val) else "half"
    if how == "half":
        first = _halve(splits.test, seed)
        fit, judged = splits.test.subset(np.flatnonzero(first)), splits.test.subset(np.flatnonzero(~first))
    else:
        own = look_up(found, "val")
        if own is not None and not isinstance(own, SeenImages):
            splits = sift(splits, "val", own, include=include_seen)[0]
        fit, judged = splits.val, splits.test
    if how == "half" and splits.unread is not None:
        splits = dataclasses.replace(splits, unread={**splits.unread, "val": splits.unread.get("test", 0.0)})
    judged, dropped = _without(judged, fit)
    for images, what in ((fit, "fit on"), (judged, "judge by")):
        units = count_units(len(images), images.groups)
        if units < LEAST:
            unit = "image" if images.groups is None else "group"
            raise DataError(
                f"{format_count(units, unit)} to {what}, expected {LEAST} or more; name more images with --data",
                code="recalibrate-few",
                found=units,
                expected=LEAST,
            )
    notes = []
    if dropped:
        notes.append(f"{format_count(dropped, 'image')} of images or groups that were fitted on left out of the rest")
    return Part(dataclasses.replace(splits, val=fit, test=judged), seen, how, tuple(notes))


def _halve(images: ImageSet, seed: int) -> NDArray[np.bool_]:
    """(n,) the half to fit on: groups whole, else equal images; each class in both halves where it has two of them."""
    of = np.ascontiguousarray(images.digests).view("V32").reshape(-1) if images.groups is None else images.groups
    _, first, unit = np.unique(of, return_index=True, return_inverse=True)
    targets = images.targets if images.targets.ndim == 1 else images.targets.argmax(axis=1)
    order = np.lexsort((np.random.default_rng(seed).random(len(first)), targets[first]))
    chosen = np.zeros(len(first), np.bool_)
    chosen[order[::2]] = True
    return np.asarray(chosen[unit], np.bool_)


def _without(judged: ImageSet, fit: ImageSet) -> tuple[ImageSet, int]:
    """The images that are not fitted on, nor any of their group; and how many are left out."""
    digests = {row.tobytes() for row in fit.digests}
    kept = np.array([row.tobytes() not in digests for row in judged.digests], np.bool_)
    if judged.groups is not None and fit.groups is not None:
        kept &= ~np.isin(judged.groups, fit.groups)
    return judged.subset(np.flatnonzero(kept)), int((~kept).sum())


def compare_losses(before: Judged, after: Judged, old: float, new: float) -> tuple[Interval, Interval]:
    """Change of NLL and Brier score, with the interval of paired resamples of images, or of groups."""
    from zoo.evaluation import Cases, Values, Weights, bootstrap, draws, ones
    from zoo.evaluation.calibration import losses
    from zoo.evaluation.intervals import percentiles

    images = before.images
    cases = [
        Cases.of(judged.logits, images.targets, temperature, images.groups)
        for judged, temperature in ((before, old), (after, new))
    ]
    n = cases[0].n

    def change(weights: Weights) -> Values:
        was, now = (losses(one, weights) for one in cases)
        return {name: now[name] - was[name] for name in ("nll", "brier")}

    point, resampled = change(ones(n)), bootstrap(change, draws(n, groups=images.groups))
    found = []
    for name in ("nll", "brier"):
        value = float(point[name][0])
        low, high = percentiles(resampled[name], cases[0].clusters or n) or (-np.inf, np.inf)
        found.append(Interval(value=value, low=min(low, value), high=max(high, value)))
    return found[0], found[1]
