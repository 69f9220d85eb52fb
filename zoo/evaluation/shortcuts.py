"""What predicts the label without the model: one property at a time, and whether the model's errors follow it.

A property is cut into ten ranges with as many images each, a column into its values. In each range the shares of
classes are counted on four fifths of the images, and predict the other fifth; patients stay whole. So no property is
praised for what it learnt by heart, and no shape of dependence is assumed. Without information its AUROC is about .5.

`reaches` is said where the property is shown to tell the classes apart and the model is not shown to be better by more
than MARGIN. It says that the label can be had without what the model was made for, not that the model does so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.shares import Z95
from zoo.evaluation._cases import Cases
from zoo.evaluation._grouping import codes_of_cells, names_images, numbers_of
from zoo.evaluation._holm import ALPHA, correct
from zoo.evaluation._influence import Estimate, accuracy_of, auroc_of, balanced_accuracy_of, bound, estimate_variance
from zoo.spec import Interval, Shortcut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._scores import Array

__all__ = ["MARGIN", "find_shortcuts", "judge_baselines", "say_shortcuts"]

MARGIN = 0.05
"""AUROC by which a model must be shown to be better than one property, or the property counts as a shortcut."""
_RANGES = 10
_FOLDS = 5
_INFLATION = 1 + _FOLDS / (_FOLDS - 1)
"""Of the variance of a cross-validated number: parts that share images vary together (Nadeau and Bengio 2003, Mach.
Learn. 52:239, with k n_test / n_train). Without it errors were said to follow pure noise 9 times in 100."""
_LEAST_ERRORS = 10


def find_shortcuts(
    cases: Cases, properties: Mapping[str, Array], columns: Mapping[str, Sequence[str]]
) -> tuple[Shortcut, ...]:
    """One row for each property and column that varies.

    Args:
        cases: targets and answers of n images.
        properties: name to (n,) numbers.
        columns: name to n cells; a column that names the images is left out.

    Returns:
        The strongest first; empty where a class has fewer than five images, for which no AUROC is given.
    """
    model = auroc_of(cases, np.ones(cases.n, np.bool_))
    ranges = _ranges_of(properties, columns)
    if isinstance(model, str) or not ranges:
        return ()
    fold = _folds(cases)
    wrong = _errors_of(cases)
    tells: dict[str, Estimate] = {}
    errors: dict[str, tuple[Cases, Estimate]] = {}
    for name, part in ranges.items():
        found = _tell(cases, part, fold)
        if isinstance(found, Estimate):
            tells[name] = found
        if wrong is not None:
            one = _tell(wrong, part, fold)
            if isinstance(one, Estimate):
                errors[name] = wrong, one
    told = correct({name: _p_above_half(cases, found) for name, found in tells.items()})
    followed = correct({name: _p_above_half(*found) for name, found in errors.items()})
    rows = []
    for name, found in tells.items():
        behind = model.value - found.value
        width = estimate_variance(cases, model.influence - found.influence, found.images) ** 0.5
        rows.append(
            Shortcut(
                feature=name,
                auroc=bound(cases, found),
                p_holm=told[name],
                behind=behind,
                reaches=told[name] < ALPHA and behind - Z95 * width <= MARGIN,
                error=bound(*errors[name]) if name in errors else None,
                error_p_holm=followed.get(name),
                follows=followed.get(name, 1.0) < ALPHA,
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.auroc.value))


def judge_baselines(cases: Cases, brightness: Array | None) -> dict[str, dict[str, Interval]]:
    """Metrics of the most frequent class, and of brightness alone; the latter cross-validated, absent where unknown."""
    shares = np.where(cases.known, cases.truth, 0).sum(axis=0) / np.maximum(cases.known.sum(axis=0), 1)
    everything, fold = np.ones(cases.n, np.bool_), _folds(cases)
    majority = np.repeat(shares[None], cases.n, axis=0)
    found = {"majority class": _judge(cases, majority, auroc_of(cases, everything, majority * 0))}
    part = None if brightness is None else _ranges_of({"brightness": brightness}, {}).get("brightness")
    if part is not None:
        found["brightness"] = _judge(cases, _predict(cases, part, fold)[0], _tell(cases, part, fold))
    return found


def _judge(cases: Cases, rates: Array, auroc: Estimate | str) -> dict[str, Interval]:
    """Metrics of a model that gives these probabilities, (n, K)."""
    everything = np.ones(cases.n, np.bool_)
    logits = _log_odds(rates) if cases.task == "multilabel" else np.log(np.clip(rates, 1e-6, None))
    one = Cases.of(logits, cases.targets, groups=cases.groups)
    estimates = {
        "accuracy": accuracy_of(one, everything),
        "balanced_accuracy": balanced_accuracy_of(one, everything),
        "macro_auroc": auroc,
    }
    return {metric: bound(one, value) for metric, value in estimates.items() if isinstance(value, Estimate)}


def say_shortcuts(shortcuts: Sequence[Shortcut]) -> tuple[str, ...]:
    """A sentence for each finding."""
    said = [
        f"{one.feature} alone tells the classes apart (AUROC {one.auroc}), the model has "
        f"{one.auroc.value + one.behind:.3f}: it may have learnt {one.feature}"
        for one in shortcuts
        if one.reaches
    ]
    said += [
        f"the model's errors follow {one.feature} (AUROC {one.error} for an error)" for one in shortcuts if one.follows
    ]
    return tuple(said)


def _ranges_of(properties: Mapping[str, Array], columns: Mapping[str, Sequence[str]]) -> dict[str, NDArray[np.int64]]:
    """(n,) which range or value, of each that varies; images without a value are a range of their own."""
    numbers = dict(properties)
    found: dict[str, NDArray[np.int64]] = {}
    for name, cells in columns.items():
        values = numbers_of(cells)
        if values is not None:
            numbers[name] = values
        elif not names_images(cells):
            found[name] = codes_of_cells(cells)
    for name, values in numbers.items():
        known = values[~np.isnan(values)]
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1)[1:-1]))
        found[name] = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, "right"))
    return {name: part for name, part in found.items() if len(np.unique(part)) > 1}


def _folds(cases: Cases) -> NDArray[np.int64]:
    """(n,) one of five parts, patients whole; drawn with a fixed seed."""
    units = cases.n if cases.clusters is None else cases.clusters
    drawn = np.random.default_rng(0).permutation(units) % _FOLDS
    return np.asarray(drawn if cases.groups is None else drawn[cases.groups], np.int64)


def _tell(cases: Cases, part: NDArray[np.int64], fold: NDArray[np.int64]) -> Estimate | str:
    """AUROC of a range alone.

    Images are ranked by the log-odds of a class in their range minus those in all ranges, both in the other folds. A
    fold with few of a class leaves many to the others. Without the difference that would rank images backwards.
    """
    rates, base = _predict(cases, part, fold)
    found = auroc_of(cases, np.ones(cases.n, np.bool_), _log_odds(rates) - _log_odds(base))
    return found if isinstance(found, str) else replace(found, influence=found.influence * _INFLATION**0.5)


def _predict(cases: Cases, part: NDArray[np.int64], fold: NDArray[np.int64]) -> tuple[Array, Array]:
    """(n, K) the share of each class in an image's range, in the other folds, and that in all ranges.

    The former is drawn to the latter by the weight of one image.
    """
    size = int(part.max()) + 1
    cell = fold * size + part
    held, asked = (
        np.stack([np.bincount(cell, column, _FOLDS * size) for column in table.T], axis=1).reshape(_FOLDS, size, -1)
        for table in ((cases.truth & cases.known).astype(float), cases.known.astype(float))
    )
    held, asked = held.sum(axis=0) - held, asked.sum(axis=0) - asked  # in the other folds: (folds, ranges, K)
    base = held.sum(axis=1, keepdims=True) / np.maximum(asked.sum(axis=1, keepdims=True), 1)
    return np.asarray(((held + base) / (asked + 1))[fold, part]), base[fold, 0]


def _log_odds(rates: Array) -> Array:
    clipped = np.clip(rates, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _errors_of(cases: Cases) -> Cases | None:
    """The same images with two classes, right and wrong; of several labels wrong is any wrong one. None: too few."""
    wrong = (cases.right < cases.share).astype(np.int64)
    if not _LEAST_ERRORS <= wrong.sum() <= cases.n - _LEAST_ERRORS:
        return None
    return Cases.of(np.zeros((cases.n, 2)), wrong, groups=cases.groups)


def _p_above_half(cases: Cases, found: Estimate) -> float:
    """One-sided, that a cross-validated AUROC is not above .5."""
    from scipy.special import stdtr

    width = estimate_variance(cases, found.influence, found.images) ** 0.5
    if not width:
        return 0.0 if found.value > 0.5 else 1.0
    return float(stdtr(cases.units(found.images) - 1, -(found.value - 0.5) / width))
