"""Metrics of groups of images, their differences from all other images, and the groups in which a model is worst.

Groups with fewer than LEAST_IMAGES images, or LEAST_PATIENTS patients where patients are known, are named and not
measured: numbers of few are noise, and may tell who somebody is.

Accuracy and further shares, such as sensitivity at an operating point, are tested by Fisher's exact test where images
are independent. AUROC, and shares where patients are known, are tested by the influences of images
(`zoo.evaluation._influence`) against Student's t with the units of the smaller side. A side of few images whose answers
are all right has no spread of its own; it then counts with that of the other side. Holm's correction is taken over all
groups and metrics of a table. A column of two groups is one test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from zoo._support.shares import Z95
from zoo.evaluation._grouping import cut_cells, cut_numbers, names_images
from zoo.evaluation._holm import ALPHA, correct
from zoo.evaluation._influence import (
    Estimate,
    accuracy_of,
    auroc_of,
    balanced_accuracy_of,
    bound,
    estimate_variance,
    share_of,
)
from zoo.evaluation.intervals import bound_share
from zoo.spec import Difference, Interval, Subgroup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._cases import Cases
    from zoo.evaluation._scores import Array

__all__ = ["LEAST_IMAGES", "LEAST_PATIENTS", "Share", "find_segments", "is_enough", "measure_groups", "say_groups"]

LEAST_IMAGES = 20
LEAST_PATIENTS = 10
"""Below either a group is named and not measured."""

MOST_SEGMENTS = 5

_METRICS = {"accuracy": accuracy_of, "balanced_accuracy": balanced_accuracy_of, "macro_auroc": auroc_of}
_TESTED = ("macro_auroc", "accuracy")


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """A share of some images that says what answers are worth, such as a sensitivity.

    Attributes:
        hits: (n,) what is counted.
        trials: (n,) what it is a share of.
        tested: whether groups are compared by it.
    """

    hits: NDArray[np.bool_]
    trials: NDArray[np.bool_]
    tested: bool = True


def measure_groups(
    cases: Cases, columns: Mapping[str, Sequence[str]], shares: Mapping[str, Share] | None = None
) -> tuple[Subgroup, ...]:
    """One row for each group of each column.

    Args:
        cases: targets and answers of n images.
        columns: name to n cells; a column that names the images is left out.
        shares: more to measure of each group that is large enough; those that are tested count among the tests.
    """
    shares = shares or {}
    masks = {
        (name, group): mask
        for name, cells in columns.items()
        if not names_images(cells)
        for group, mask in cut_cells(name, cells).items()
    }
    rows = {key: _measure(cases, *key, mask, shares) for key, mask in masks.items()}
    tested = (*_TESTED, *(name for name, share in shares.items() if share.tested))
    pairs = {
        (*key, name): _difference(cases, mask, name, shares.get(name))
        for key, mask in masks.items()
        for name in tested
        if rows[key].n is not None and not mask.all()
    }
    found = {key: pair for key, pair in pairs.items() if isinstance(pair, Difference)}
    why = {key: pair for key, pair in pairs.items() if isinstance(pair, str)}
    once = {key: (key[2], *sorted((masks[key[:2]].tobytes(), (~masks[key[:2]]).tobytes()))) for key in found}
    corrected = correct({once[key]: pair.p for key, pair in found.items()})
    return tuple(
        msgspec.structs.replace(
            row,
            differences={
                name: msgspec.structs.replace(found[*key, name], p_holm=corrected[once[*key, name]])
                for name in tested
                if (*key, name) in found
            },
            undefined={f"{name} difference": why[*key, name] for name in tested if (*key, name) in why} | row.undefined,
        )
        for key, row in rows.items()
    )


def find_segments(
    cases: Cases, columns: Mapping[str, Sequence[str]], properties: Mapping[str, Array]
) -> tuple[Subgroup, ...]:
    """The groups whose accuracy is shown to be lower than that of all other images, the lowest first, at most five.

    Args:
        cases: targets and answers of n images.
        columns: name to n cells, see `measure_groups`.
        properties: numbers of each image, (n,), cut at their quartiles.

    Returns:
        Rows whose intervals hold together 95 times in 100 (Bonferroni), and whose p are corrected by Holm.
    """
    cut = {name: cut_cells(name, cells) for name, cells in columns.items() if not names_images(cells)}
    cut |= {name: cut_numbers(numbers) for name, numbers in properties.items()}
    masks = {(name, group): mask for name, groups in cut.items() for group, mask in groups.items()}
    masks = {key: mask for key, mask in masks.items() if _is_enough(cases, mask) and not mask.all()}
    pairs = {key: _difference(cases, mask, "accuracy") for key, mask in masks.items()}
    found = {key: pair for key, pair in pairs.items() if isinstance(pair, Difference)}
    corrected = correct({key: pair.p for key, pair in found.items()})
    rows = []
    for key, pair in found.items():
        estimate = accuracy_of(cases, masks[key], labels=_find_labels(cases, masks[key]))
        if corrected[key] >= ALPHA or pair.value >= 0 or isinstance(estimate, str):
            continue
        rows.append(
            Subgroup(
                column=key[0],
                group=key[1],
                n=int(masks[key].sum()),
                patients=_patients(cases, masks[key]),
                metrics={"accuracy": _widen(cases, estimate, len(found))},
                differences={"accuracy": msgspec.structs.replace(pair, p_holm=corrected[key])},
                undefined={},
            )
        )
    return tuple(sorted(rows, key=lambda row: row.metrics["accuracy"].low)[:MOST_SEGMENTS])


def say_groups(segments: Sequence[Subgroup]) -> tuple[str, ...]:
    """A sentence for each group in which the model is worse."""
    return tuple(
        f"{row.column} {row.group} ({row.n} images): accuracy {row.metrics['accuracy']}, in all others "
        f"{row.metrics['accuracy'].value - row.differences['accuracy'].value:.3f}"
        for row in segments
    )


def is_enough(n: int, patients: int | None) -> bool:
    """Whether so many images, of so many patients (None: not known), are enough to say more of than their name."""
    return n >= LEAST_IMAGES and (patients is None or patients >= LEAST_PATIENTS)


def _is_enough(cases: Cases, mask: NDArray[np.bool_]) -> bool:
    return is_enough(int(mask.sum()), _patients(cases, mask))


def _patients(cases: Cases, mask: NDArray[np.bool_]) -> int | None:
    return None if cases.groups is None else cases.units(mask)


def _measure(cases: Cases, column: str, group: str, mask: NDArray[np.bool_], shares: Mapping[str, Share]) -> Subgroup:
    if not _is_enough(cases, mask):
        few = f"fewer than {LEAST_IMAGES} images"
        why = f"too few: {few}" + ("" if cases.groups is None else f", or than {LEAST_PATIENTS} patients or groups")
        return Subgroup(
            column=column, group=group, n=None, patients=None, metrics={}, differences={}, undefined={"all": why}
        )
    found = {name: metric(cases, mask) for name, metric in _METRICS.items()}
    metrics = {name: bound(cases, one) for name, one in found.items() if isinstance(one, Estimate)}
    more = {name: bound_share(one.hits, one.trials & mask, cases.groups) for name, one in shares.items()}
    return Subgroup(
        column=column,
        group=group,
        n=int(mask.sum()),
        patients=_patients(cases, mask),
        metrics=metrics | {name: value for name, value in more.items() if value is not None},
        differences={},
        undefined={name: one for name, one in found.items() if isinstance(one, str)},
    )


def _find_labels(cases: Cases, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(K,) classes, or labels of which something is known both in the images of `mask` and in all others."""
    return np.asarray(cases.known[mask].any(axis=0) & cases.known[~mask].any(axis=0))


def _difference(cases: Cases, mask: NDArray[np.bool_], name: str, share: Share | None = None) -> Difference | str:
    """In the images of `mask` minus in all others, p not yet corrected; or why there is none.

    Both sides are means over the same labels. One that is known on one side only would compare an easy label with a
    hard one.
    """
    if not _is_enough(cases, ~mask):
        return "too few other images"
    if name == "accuracy" and cases.task == "multiclass":
        share = Share(cases.right > 0, np.ones(cases.n, np.bool_))
    if share is None:
        labels = _find_labels(cases, mask)
        if not labels.any():
            return "no label is known both of these images and of the others"
        inside, outside = (_METRICS[name](cases, side, labels=labels) for side in (mask, ~mask))
    else:
        inside, outside = (share_of(cases, share.hits, share.trials & side) for side in (mask, ~mask))
    if isinstance(inside, str):
        return inside
    if isinstance(outside, str):
        return f"of the others: {outside}"
    a, b = bound(cases, inside), bound(cases, outside)
    value = inside.value - outside.value
    if share is not None and cases.groups is None:
        p = _fisher(share.hits[share.trials], mask[share.trials])
    else:
        p = _t_test(cases, inside, outside)
    # Newcombe 1998, Stat. Med. 17:873, method 10, from the intervals of both sides
    low = value - float(np.hypot(a.value - a.low, b.high - b.value))
    high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return Difference(value=value, low=max(low, -1.0), high=min(high, 1.0), p=p, p_holm=p)


def _fisher(right: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    """Fisher's exact test, two-sided: the tables at most as likely as this one (scipy.stats takes 2 s to import)."""
    from scipy.special import gammaln

    n, inside, of_all, found = len(right), int(mask.sum()), int(right.sum()), int((right & mask).sum())
    tables = np.arange(max(0, inside + of_all - n), min(inside, of_all) + 1)

    def log_choose(whole: int, part: NDArray[np.int64]) -> Array:
        return np.asarray(gammaln(whole + 1) - gammaln(part + 1) - gammaln(whole - part + 1))

    logs = log_choose(of_all, tables) + log_choose(n - of_all, inside - tables)
    likely = np.exp(logs - logs.max())
    return float(min(1.0, likely[likely <= likely[found - tables[0]] * (1 + 1e-7)].sum() / likely.sum()))


def _t_test(cases: Cases, inside: Estimate, outside: Estimate) -> float:
    from scipy.special import stdtr

    (few, smaller), (many, larger) = sorted(
        ((cases.units(one.images), one) for one in (inside, outside)), key=lambda pair: pair[0]
    )
    variance = estimate_variance(cases, inside.influence - outside.influence, inside.images | outside.images)
    own, other = (estimate_variance(cases, one.influence, one.images) for one in (smaller, larger))
    variance += max(0.0, other * many / few - own)
    gap = abs(inside.value - outside.value)
    if not variance:
        return 1.0 if not gap else 0.0
    return float(2 * stdtr(few - 1, -gap / variance**0.5))


def _widen(cases: Cases, found: Estimate, looked_at: int) -> Interval:
    """Wilson's interval of an accuracy that holds for all groups that were looked at (Bonferroni)."""
    from scipy.special import ndtri

    z = float(ndtri(1 - ALPHA / (2 * looked_at)))
    variance, value = estimate_variance(cases, found.influence, found.images), found.value
    trials = value * (1 - value) / variance if variance else found.trials
    return Interval.of_share(value, trials * (Z95 / z) ** 2)  # the interval depends on z² / trials alone
