"""Operating points: from which probability on a label is called, chosen on validation images by a rule.

A threshold lies between two scores of validation images, never inside a tie (see zoo.evaluation._ranked). Its own
sensitivity and specificity are optimistic, because the same images chose it; the report has those of test. How far
chance moved the choice is said by the thresholds that resamples of the images, or of their patients, would have chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.labels import find_label
from zoo.errors import DataError, UsageError
from zoo.evaluation._cases import Cases
from zoo.evaluation._ranked import EXACT, Ranked
from zoo.evaluation.intervals import RESAMPLES, bound_share, draws, percentiles
from zoo.evaluation.metrics import ones
from zoo.spec import OperatingPoint, read_rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.evaluation._scores import Array
    from zoo.spec import Rule

__all__ = ["check_rules", "choose_points", "read_rules"]

_DEAREST = 1e9
"""False alarms: a miss that costs more than all false alarms together chooses alike, and sums stay exact."""


def read_rules(texts: Sequence[str]) -> list[Rule]:
    """What `--operating` says, before anything is known of the labels.

    Raises:
        UsageError: one is not a rule.
    """
    found = []
    for text in texts:
        try:
            found.append(read_rule(text))
        except ValueError as problem:
            raise UsageError(
                f"--{str(problem).replace(' is ', ' ', 1)}", code="option-value", option="--operating", value=text
            ) from None
    return found


def check_rules(
    rules: Sequence[str], labels: Sequence[str], targets: NDArray[Any] | None = None
) -> tuple[tuple[int, Rule], ...]:
    """The place of each rule's label and the rule, or the error that speaks against it, before anything is trained.

    Args:
        rules: spellings that `zoo.spec.read_rule` takes.
        labels: K names.
        targets: (n,) or (n, K), truth of the validation images; None: they are not asked.

    Raises:
        UsageError: one is not a rule, names a class that there is not, or names one twice.
        DataError: no validation image has the label, or all have.
    """
    found: dict[int, Rule] = {}
    for text, rule in zip(rules, read_rules(rules), strict=True):
        k = find_label(rule.label, labels, f"--operating {text}")
        if k in found:
            raise UsageError(
                f"--operating {text}: {labels[k]} has the rule {found[k].text} already; give one for each class",
                code="option-conflict",
                options=[f"--operating {found[k].text}:{labels[k]}", f"--operating {text}"],
            )
        found[k] = rule
        if targets is not None:
            several = np.ndim(targets) == 2
            positives = int((targets[:, k] == 1).sum() if several else (targets == k).sum())
            negatives = int((targets[:, k] == 0).sum()) if several else len(targets) - positives
            if not (positives and negatives):
                raise DataError(
                    f"--operating {text}: {positives} validation images are known to have {labels[k]} and {negatives} "
                    "not to have it, expected some of both; give the rule up, or divide the data anew "
                    "('zoo data split')",
                    code="operating-images",
                    label=labels[k],
                    positives=positives,
                    negatives=negatives,
                )
    return tuple(found.items())


def choose_points(
    rules: Sequence[str],
    logits: NDArray[Any],
    targets: NDArray[Any],
    labels: Sequence[str],
    *,
    temperature: float = 1.0,
    groups: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[OperatingPoint, ...]:
    """The operating points that rules choose, one class against the rest, in the order of the rules.

    Args:
        rules: spellings that `zoo.spec.read_rule` takes.
        logits: (n, K), of validation images, before the temperature.
        targets: (n,) int in [0, K), or (n, K) of zeros, ones and UNKNOWN, which is left out.
        labels: K names.
        temperature: number that divides the logits.
        groups: (n,) int, equal for images of one patient.
        resamples: number of resamples, which say how uncertain the choice is.
        seed: seed of the resamples.

    Raises:
        UsageError: one is not a rule, names a class that there is not, or names one twice.
        DataError: no image has the label, or all have; or no threshold that tells images apart follows the rule.
        ModelError: a logit is not finite.
    """
    asked = check_rules(rules, labels, np.asarray(targets))
    if not asked:
        return ()
    cases = Cases.of(logits, targets, temperature, groups)
    ranked = [Ranked.of(cases.probabilities[:, k], np.flatnonzero(cases.known[:, k])) for k, _ in asked]
    chosen = [_pick(rule, cases, k, one, ones(cases.n)) for (k, rule), one in zip(asked, ranked, strict=True)]
    drawn: list[list[Array]] = [[] for _ in asked]
    for weights in draws(cases.n, resamples, seed, cases.groups):
        for (k, rule), one, kept in zip(asked, ranked, drawn, strict=True):
            kept.append(_pick(rule, cases, k, one, weights))
    points = []
    for (k, rule), one, first, kept in zip(asked, ranked, chosen, drawn, strict=True):
        threshold = float(first[0])
        if threshold in {one.thresholds[0], one.thresholds[-1]}:
            which = "no image" if threshold == one.thresholds[0] else "every image"
            raise DataError(
                f"--operating {rule.text}:{labels[k]}: the threshold that follows the rule would call {which} of the "
                f"{len(one.order)} validation images; give a rule that the model can follow",
                code="operating-unreachable",
                label=labels[k],
                rule=rule.text,
                images=len(one.order),
            )
        low, high = percentiles(np.concatenate(kept), cases.clusters or cases.n) or (0.0, 1.0)
        of, known = cases.truth[:, k], cases.known[:, k]
        called = cases.probabilities[:, k] >= threshold
        sensitivity = bound_share(called, of, cases.groups)
        specificity = bound_share(~called, ~of & known, cases.groups)
        assert sensitivity is not None and specificity is not None  # noqa: S101, PT018 - check_rules saw some of both
        points.append(
            OperatingPoint(
                label=labels[k],
                rule=rule.text,
                threshold=threshold,
                low=min(low, threshold),
                high=max(high, threshold),
                sensitivity=sensitivity,
                specificity=specificity,
                n=int(cases.asked[k]),
                positives=int(cases.counts[k]),
            )
        )
    return tuple(points)


def _pick(rule: Rule, cases: Cases, k: int, ranked: Ranked, weights: Array) -> Array:
    """(B,) the threshold that each resample chooses; nan where it holds no image of the class, or no other."""
    found = ranked.sum_above(weights, cases.truth[:, k])  # (B, G + 1)
    false = ranked.sum_above(weights, ~cases.truth[:, k])  # `ranked` holds images of which the label is known
    positives, negatives = found[:, -1:], false[:, -1:]
    defined = ((positives > 0) & (negatives > 0))[:, 0]
    positives, negatives = np.maximum(positives, EXACT), np.maximum(negatives, EXACT)
    if rule.kind == "sensitivity":
        place = (found / positives >= rule.value - EXACT).argmax(axis=1)
    elif rule.kind == "specificity":
        fits = 1 - false / negatives >= rule.value - EXACT
        place = fits.shape[1] - 1 - fits[:, ::-1].argmax(axis=1)
    elif rule.kind == "youden":  # Youden 1950, Cancer 3:32; of equals the highest threshold, and so below
        place = (found * negatives - false * positives).argmax(axis=1)
    else:
        place = (min(rule.value, _DEAREST) * (positives - found) + false).argmin(axis=1)
    return np.where(defined, ranked.thresholds[place], np.nan)
