"""From logits to an EvalReport: every number with its interval, every missing number with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError
from zoo.evaluation._cases import Cases
from zoo.evaluation.calibration import calibration, losses
from zoo.evaluation.intervals import RESAMPLES, bootstrap, bound_area, bound_share, draws, interval
from zoo.evaluation.metrics import CLASS_METRICS, Values, Weights, measure, metrics_of, ones
from zoo.spec import SCHEMA, Confusion, EvalReport, Fingerprint, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["check_labels", "overall", "report"]

_NOT_KNOWN = "is known of none of the {n} images evaluated"

_OF_CURVES = ("auroc", "auprc", "sensitivity_at_specificity_90", "partial_auroc_90")
FEW_GROUPS = 30
"""From fewer groups than this intervals hold the truth clearly less often than 95 times in 100 (see
zoo.evaluation.intervals), which the report then says."""


def report(
    logits: NDArray[Any],
    targets: NDArray[Any],
    labels: Sequence[str],
    *,
    model: str,
    split: str,
    temperature: float,
    fingerprint: Fingerprint,
    notes: Sequence[str] = (),
    groups: NDArray[np.int64] | None = None,
    ordered: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EvalReport:
    """Judge one model on one set of images.

    Args:
        logits: (n, K), before the temperature.
        targets: (n,) int in [0, K); of a multilabel model (n, K) of zeros, ones and UNKNOWN.
        labels: K names.
        model: how to call the model.
        split: which part of the data this is.
        temperature: logits are divided by it.
        fingerprint: which data this is.
        notes: defects of the data the reader must know.
        groups: (n,) int, equal for images of one patient; resamples are then of patients. None: of images.
        ordered: labels are grades in order, the lowest first; adds GRADE_METRICS.
        resamples: number of resamples of the bootstrap.
        seed: seed of the bootstrap.

    Raises:
        DataError: logits, targets, labels and groups do not belong together.
        ModelError: a logit is not finite.
    """
    cases = Cases.of(logits, targets, temperature, groups, ordered=ordered)
    check_labels(cases, labels)

    def everything(weights: Weights) -> Values:
        return measure(cases, weights) | losses(cases, weights)

    point = measure(cases, ones(cases.n))
    resampled = bootstrap(everything, draws(cases.n, resamples, seed, cases.groups))
    metrics, undefined = overall(cases, labels, point, resampled)
    per_class: dict[str, dict[str, Interval | int]] = {}
    for k, label in enumerate(labels):
        row: dict[str, Interval | int] = {"n": int(cases.counts[k])}
        if not cases.known.all():
            row["known"] = int(cases.asked[k])
        for name in CLASS_METRICS:
            why = _class_reason(cases, label, k, name)
            found = why or _bound_of_class(cases, k, name, point, resampled)
            if isinstance(found, str):
                undefined[f"{label}.{name}"] = found
            else:
                row[name] = found
        per_class[label] = row
    calibrated, not_fitted = calibration(cases, labels, resampled, temperature)
    return EvalReport(
        schema=SCHEMA,
        model=model,
        split=split,
        n=cases.n,
        labels=tuple(labels),
        metrics=metrics,
        per_class=per_class,
        confusion=_confusion(cases, labels),
        calibration=calibrated,
        data=fingerprint,
        undefined=undefined | not_fitted,
        notes=(*notes, *_few(cases.clusters), *_note_unasked(cases, labels)),
        clusters=cases.clusters,
    )


def overall(
    cases: Cases, labels: Sequence[str], point: Values, resampled: Values
) -> tuple[dict[str, Interval], dict[str, str]]:
    """The metrics of `metrics_of` that are defined, and the reasons of those that are not."""
    metrics: dict[str, Interval] = {}
    undefined: dict[str, str] = {}
    why = _missing(cases, labels)
    for name, metric in metrics_of(cases).items():
        if reason := (why if metric.needs_every_class else _constant(cases, labels) if name == "mcc" else None):
            undefined[name] = reason
            continue
        value, units = float(point[name][0]), cases.clusters or cases.n
        found = _bound_exactly(cases, name) or _bound(
            value, resampled[name], metric.trials(cases), units, metric.span(cases)
        )
        if isinstance(found, str):
            undefined[name] = found
        else:
            metrics[name] = found
    return metrics, undefined


def check_labels(cases: Cases, labels: Sequence[str]) -> None:
    """Refuse labels that are not one different name for each class."""
    if len(labels) != cases.classes or len(set(labels)) != len(labels):
        raise DataError(
            f"there are {len(set(labels))} different labels for {cases.classes} classes of the model; "
            "expected one different name for each",
            code="label-count",
            found=len(set(labels)),
            expected=cases.classes,
        )


def _confusion(cases: Cases, labels: Sequence[str]) -> Confusion | None:
    if cases.task == "multilabel":
        return None
    return Confusion(labels=tuple(labels), counts=tuple(tuple(int(cell) for cell in row) for row in cases.confusion))


def _few(clusters: int | None) -> tuple[str, ...]:
    if clusters is None or clusters >= FEW_GROUPS:
        return ()
    return (f"intervals come from {clusters} groups only; from fewer than {FEW_GROUPS} they are somewhat narrow",)


def _note_unasked(cases: Cases, labels: Sequence[str]) -> tuple[str, ...]:
    """A note on labels that macro metrics leave out."""
    without = [label for label, count in zip(labels, cases.asked, strict=True) if count == 0]
    if not without:
        return ()
    return (f"means over labels leave out {_list_labels(without)}, which {_NOT_KNOWN.format(n=cases.n)}",)


def _bound(
    value: float, resampled: NDArray[np.float64], trials: int, units: int, span: tuple[float, float] = (0.0, 1.0)
) -> Interval | str:
    worst, best = span
    found = None
    if not np.isnan(value):
        found = interval(
            value,
            resampled,
            trials,
            units=units,
            to_unit=lambda x: (x - worst) / (best - worst),
            from_unit=lambda u: worst + u * (best - worst),
        )
    if found is not None:
        return found
    return f"too few images: not defined in {int(np.isnan(resampled).sum())} of {resampled.size} resamples"


def _missing(cases: Cases, labels: Sequence[str]) -> str | None:
    """Why the mean over classes is undefined; None: it is defined."""
    counts = [*zip(labels, cases.counts.tolist(), cases.asked.tolist(), strict=True)]
    without = [label for label, count, asked in counts if count == 0 < asked]
    if cases.task == "multiclass":
        return f"no image of class {_list_labels(without)} among the {cases.n} evaluated" if without else None
    always = [label for label, count, asked in counts if count == asked > 0]
    reasons = [f"no image with label {_list_labels(without)}"] if without else []
    reasons += [f"no image without label {_list_labels(always)}"] if always else []
    return f"{' and '.join(reasons)} among the {cases.n} evaluated" if reasons else None


def _constant(cases: Cases, labels: Sequence[str]) -> str | None:
    """Why a correlation of truth and answers is undefined: one of them is the same for all images."""
    if cases.task == "multiclass":
        for counts, verb in ((cases.counts, "are of class"), (cases.called, "were called")):
            if (counts == cases.n).any():
                return f"all of the {cases.n} images {verb} {labels[int(counts.argmax())]}"
        return None
    for counts, verb in ((cases.counts, "have"), (cases.called, "were given")):
        some = (counts > 0) & (counts < cases.asked)
        if alike := [label for label, one in zip(labels, some | (cases.asked == 0), strict=True) if not one]:
            return f"all of the {cases.n} images, or none, {verb} label {_list_labels(alike)}"
    return None


def _class_reason(cases: Cases, label: str, k: int, name: str) -> str | None:
    """Why a metric of a class has no value on these images, or None when it has one."""
    of, called, n = int(cases.counts[k]), int(cases.called[k]), int(cases.asked[k])
    several = cases.task == "multilabel"
    among = f"{'' if n == cases.n else f'{n} known of the '}{cases.n} evaluated"
    if n == 0:
        return f"{label} {_NOT_KNOWN.format(n=cases.n)}"
    if of == 0 and name in {"sensitivity", "f1", *_OF_CURVES}:
        return f"no image {'with label' if several else 'of class'} {label} among the {among}"
    if of == n and name in {"specificity", *_OF_CURVES}:
        return f"no image {'without label' if several else 'of any class but'} {label} among the {among}"
    if called == 0 and name == "ppv":
        return f"none of the {n} images was called {label}"
    if called == n and name == "npv":
        return f"all of the {n} images were called {label}"
    return None


def _bound_exactly(cases: Cases, name: str) -> Interval | None:
    """The interval of a metric of all classes that needs no resamples, where there is one."""
    if name == "accuracy" and cases.task == "multiclass":
        return bound_share(cases.right > 0, groups=cases.groups)
    if name == "macro_auroc":
        asked = cases.asked > 0
        areas, influence = cases.placements
        return bound_area(float(areas[asked].mean()), influence[:, asked].mean(axis=1), cases.groups)
    return None


def _bound_of_class(cases: Cases, k: int, name: str, point: Values, resampled: Values) -> Interval | str:
    """A metric of a class with its interval, or why there is none."""
    of, called, known = cases.truth[:, k], cases.chosen[:, k], cases.known[:, k]
    shares = {
        "sensitivity": (called, of),
        "specificity": (~called, known & ~of),
        "ppv": (of, known & called),
        "npv": (~of, known & ~called),
    }
    found = bound_share(*shares[name], cases.groups) if name in shares else None
    if name == "auroc":
        areas, influence = cases.placements
        found = bound_area(float(areas[k]), influence[:, k], cases.groups)
    trials = cases.smaller_side(k) if "auroc" in name else cases.units(of)
    return found or _bound(float(point[name][k, 0]), resampled[name][k], trials, cases.clusters or cases.n)


def _list_labels(labels: list[str]) -> str:
    shown = ", ".join(labels[:5])
    return shown if len(labels) <= 5 else f"{shown} and {len(labels) - 5} more"
