"""From logits to an EvalReport: every number with its interval, every missing number with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError
from zoo.evaluate.calibration import calibration, losses
from zoo.evaluate.intervals import RESAMPLES, bootstrap, draws, interval
from zoo.evaluate.metrics import CLASS_METRICS, METRICS, Cases, Values, Weights, measure, ones
from zoo.spec import SCHEMA, Confusion, EvalReport, Fingerprint, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["check_labels", "overall", "report"]


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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> EvalReport:
    """Judge one model on one set of images.

    Args:
        logits: (n, K), before the temperature.
        targets: (n,) int in [0, K).
        labels: K names.
        model: how to call the model.
        split: which part of the data this is.
        temperature: logits are divided by it.
        fingerprint: which data this is.
        notes: defects of the data the reader must know.
        resamples: of the bootstrap over images.
        seed: of the same.

    Raises:
        DataError: logits, targets and labels do not belong together.
        ModelError: a logit is not finite.
    """
    cases = Cases.of(logits, targets, temperature)
    check_labels(cases, labels)

    def everything(weights: Weights) -> Values:
        return measure(cases, weights) | losses(cases, weights)

    point = measure(cases, ones(cases.n))
    resampled = bootstrap(everything, draws(cases.n, resamples, seed))
    metrics, undefined = overall(cases, labels, point, resampled)
    per_class: dict[str, dict[str, Interval | int]] = {}
    for k, label in enumerate(labels):
        row: dict[str, Interval | int] = {"n": int(cases.counts[k])}
        for name in CLASS_METRICS:
            why = _class_reason(cases, label, k, name)
            found = why or _bounded(float(point[name][k, 0]), resampled[name][k], _class_trials(cases, k, name))
            if isinstance(found, str):
                undefined[f"{label}.{name}"] = found
            else:
                row[name] = found
        per_class[label] = row
    return EvalReport(
        schema=SCHEMA,
        model=model,
        split=split,
        n=cases.n,
        labels=tuple(labels),
        metrics=metrics,
        per_class=per_class,
        confusion=Confusion(
            labels=tuple(labels), counts=tuple(tuple(int(cell) for cell in row) for row in cases.confusion)
        ),
        calibration=calibration(cases, resampled, temperature),
        data=fingerprint,
        undefined=undefined,
        notes=tuple(notes),
    )


def overall(
    cases: Cases, labels: Sequence[str], point: Values, resampled: Values
) -> tuple[dict[str, Interval], dict[str, str]]:
    """The metrics of METRICS that are defined, and the reasons of those that are not."""
    metrics: dict[str, Interval] = {}
    undefined: dict[str, str] = {}
    missing = [label for label, count in zip(labels, cases.counts, strict=True) if count == 0]
    for name in METRICS:
        if name != "accuracy" and missing:
            undefined[name] = f"no image of class {_listed(missing)} among the {cases.n} evaluated"
            continue
        trials = cases.n if name == "accuracy" else int(cases.counts.min())
        found = _bounded(float(point[name][0]), resampled[name], trials)
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
            "expected one different name for each"
        )


def _bounded(value: float, resampled: NDArray[np.float64], trials: int) -> Interval | str:
    found = interval(value, resampled, trials)
    if found is not None:
        return found
    return f"too few images: not defined in {int(np.isnan(resampled).sum())} of {resampled.size} resamples"


def _class_reason(cases: Cases, label: str, k: int, name: str) -> str | None:
    """Why a metric of a class has no value on these images, or None when it has one."""
    of, called = int(cases.counts[k]), int(cases.called[k])
    if of == 0 and name in {"sensitivity", "f1", "auroc", "auprc"}:
        return f"no image of class {label} among the {cases.n} evaluated"
    if of == cases.n and name in {"specificity", "auroc", "auprc"}:
        return f"no image of any class but {label} among the {cases.n} evaluated"
    if called == 0 and name == "ppv":
        return f"none of the {cases.n} images was called {label}"
    if called == cases.n and name == "npv":
        return f"all of the {cases.n} images were called {label}"
    return None


def _class_trials(cases: Cases, k: int, name: str) -> int:
    """Independent trials behind a metric of a class (see zoo.evaluate.intervals)."""
    of, called = int(cases.counts[k]), int(cases.called[k])
    rest = cases.n - of
    if name == "auroc":
        return min(of, rest)
    return {"specificity": rest, "ppv": called, "npv": cases.n - called}.get(name, of)


def _listed(labels: list[str]) -> str:
    shown = ", ".join(labels[:5])
    return shown if len(labels) <= 5 else f"{shown} and {len(labels) - 5} more"
