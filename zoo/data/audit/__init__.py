"""Look at a data set before anything is learned from it: copies, leaks, damage, odd depths, wrong labels.

Every image is decoded once. What is kept of it is a few hundred bytes, so a million images fit into memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import format_count
from zoo.data._groups import group_as_asked, names_alike, notes_with
from zoo.data._index import Pool
from zoo.data._named import index
from zoo.data._unusable import note_skipped, refusal
from zoo.data.audit._classes import counts, imbalance, mismatches
from zoo.data.audit._copies import alike, copies
from zoo.data.audit._groups import group_leaks
from zoo.data.audit._look import look_at
from zoo.data.audit._page import page
from zoo.data.audit._pixels import depths, find_saturated, personal, storage, unreadable
from zoo.data.audit._report import KINDS, Audit, Finding, Search, Size, sort_findings, verdict_of
from zoo.data.audit._view import WHOLE, View

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._threads import Progress

__all__ = ["KINDS", "WHOLE", "Audit", "Finding", "Search", "Size", "audit", "page"]


def __dir__() -> list[str]:
    return __all__


_SQUARE = 1.01
"""Longer over shorter side up to which a pixel counts as square: the rest is rounding, and under 3 pixels of 224."""
STEPS = 20
"""Bins of the histogram of mean brightness."""


def audit(source: str | Path | Pool, *, group: str | None = None, progress: Progress | None = None) -> Audit:
    """Examine a data set as it is; nothing is changed and nothing is made.

    Args:
        source: what `zoo.data.open_data` takes, or the pool that `zoo.data._named.index` gives.
        group: which images belong together, see `zoo.data._groups.names_of`; None: the groups that the set brings.
        progress: called as images get decoded.

    Returns:
        Findings, worst first, and a verdict: "leak" when copies, near-duplicates or groups are in two splits.
        A set that brings no splits has no such finding, and a note that says so.

    Raises:
        DataError: the source is not there, is not a data set at all, or holds no image that can be read; or `group`
            fits nothing.
    """
    pool = source if isinstance(source, Pool) else index(source, skip_bad=True, as_is=True, group=group)
    asked = None if group is None else group_as_asked(pool, group, every=False)
    groups = pool.groups if asked is None else asked.numbers
    view = View.of(pool, look_at(pool, progress=progress))
    if not len(view.looks.good):
        raise refusal(view.looks.bad.values(), len(pool.ids), of=pool.name)
    table, stored = counts(view), storage(view)
    same, different = copies(view)
    near, search = alike(view, different)
    found = sort_findings(
        [
            *unreadable(view),
            *same,
            *near,
            *group_leaks(view, groups, names_alike(pool, group)),
            *imbalance(view, table),
            *mismatches(view, table),
            *find_saturated(view),
            *depths(view, stored),
            *personal(view),
        ]
    )
    brightness, brightest = _brightness(view)
    skipped = len(pool.skipped) + len(view.looks.bad)
    good = view.looks.good
    return Audit(
        name=pool.name,
        n=len(good),
        classes=table,
        splits={name: int((view.split[good] == number).sum()) for number, name in enumerate(view.names)},
        findings=found,
        verdict=verdict_of(found),
        sizes=_sizes(view),
        storage=dict(stored.most_common()),
        brightness=brightness,
        brightest=brightest,
        search=search,
        notes=(*note_skipped(skipped), *notes_with(pool, asked), *_remarks(view, groups)),
        skipped=skipped,
        passed_over=dict(pool.passed_over),
    )


def _sizes(view: View) -> tuple[Size, ...]:
    good = view.looks.good
    sizes, n = np.unique(np.stack([view.looks.width[good], view.looks.height[good]]), axis=1, return_counts=True)
    order = np.argsort(-n, kind="stable")
    rows = zip(*sizes[:, order].tolist(), n[order].tolist(), strict=True)
    return tuple(Size(width=width, height=height, n=count) for width, height, count in rows)


def _brightness(view: View) -> tuple[dict[str, tuple[int, ...]], float]:
    good, means = view.looks.good, view.looks.mean
    brightest = 255.0 if not view.looks.dtype[good].any() else float(view.looks.high[good].max(initial=0))
    lowest = min(0.0, float(means[good].min(initial=0)))
    # a curve for each of many folds could not be told apart
    parts = (
        {WHOLE: good}
        if view.folded
        else {name: good[view.split[good] == number] for number, name in enumerate(view.names)}
    )
    counted = {
        name: np.histogram(means[rows], STEPS, (lowest, max(brightest, lowest + 1)))[0] for name, rows in parts.items()
    }
    return {name: tuple(bins.tolist()) for name, bins in counted.items()}, brightest


def _remarks(view: View, groups: NDArray[np.int64] | None) -> list[str]:
    remarks = []
    if not view.divided:
        remarks.append(
            "the set brings no splits, so nothing is said across splits; splits that training makes keep copies "
            "together that are equal byte for byte, near-duplicates may part"
        )
    padded = int(view.looks.padded.sum())
    if padded:
        hold = f"{format_count(padded, 'image')} {'holds' if padded == 1 else 'hold'}"
        remarks.append(f"{hold} padding pixels (PixelPaddingValue), left out of ranges")
    aspect = view.looks.aspect[view.looks.good]
    longer = np.maximum(aspect, 1 / aspect)
    if oblong := int((longer > _SQUARE).sum()):
        remarks.append(
            f"{format_count(oblong, 'image')} of pixels that are not square, by up to {longer.max():.3g} : 1 "
            "(PixelSpacing, PixelAspectRatio); they are taken as stored, so shapes are stretched"
        )
    if groups is not None:
        known = format_count(len(np.unique(groups[groups >= 0])), "group")
        without = int((groups < 0).sum())
        none = f"; {format_count(without, 'image')} belong to none" if without else ""
        remarks.append(f"{known} (patient, lesion, study) known in {format_count(len(groups), 'image')}{none}")
    else:
        remarks.append("no groups are known (patient, lesion, study), so none could be looked for in two splits")
    return remarks
