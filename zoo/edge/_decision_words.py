"""Decisions in words: of one answer, of many, and what a manifest says of how it decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.text import format_count, printable

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from zoo.edge._results import Prediction
    from zoo.spec import Abstention, ErrorControl, Manifest, OperatingPoint

__all__ = [
    "SITE",
    "count_decisions",
    "describe_decision",
    "describe_decisions",
    "describe_open",
    "name_settling",
]

SITE = "of the site that recalibrated it"
"""Which images have settled what a recalibrated file decides by."""
NAMED = 6
"""Labels of a set that are named; of a hundred the first say enough."""


def describe_decision(result: Prediction, abstention: Abstention | None = None) -> str | None:
    """Why an image has no answer: 'uncertain: a or b (set built for 90 %)', 'unlike training …'; None: it has one.

    Args:
        result: the answer.
        abstention: for the numbers that the model was built for; None: they are left out.
    """
    nearest = f"{printable(result.label)} {result.probability:.4f}"
    if result.decision == "unlike training":
        limit = "" if abstention is None or abstention.novelty is None else f" above {abstention.novelty.threshold:.4g}"
        return f"unlike training: not answered (score {result.novelty:.4g}{limit}; nearest: {nearest})"
    if result.decision != "uncertain":
        return None
    top, most = max(result.probabilities.items(), key=lambda item: item[1])
    error = None if abstention is None else abstention.error
    low = error is not None and most < error.threshold
    # An operating point may call another label than the one that is alone in the set.
    if result.set is not None and (len(result.set) != 1 or (result.set != (result.label,) and not low)):
        sets = None if abstention is None else abstention.sets
        built = "" if sets is None else f" (set built for {_share(sets.coverage)})"
        names = _either([printable(label) for label in result.set]) or "no label is likely enough"
        return f"uncertain: {names}{built}{_describe_called(result)}"
    limit = "too low" if error is None else f"{_below(error)} (for at most {_share(error.error)} wrong)"
    return f"uncertain: {printable(top)} {most:.4f} is {limit}{_describe_called(result)}"


def count_decisions(decisions: Counter[str | None]) -> str:
    """'of 40 images 3 are uncertain, 2 are unlike training'; empty where all have an answer."""
    said = [
        f"{decisions[kind]} {'is' if decisions[kind] == 1 else 'are'} {kind}"
        for kind in ("uncertain", "unlike training")
        if decisions[kind]
    ]
    return f"of {format_count(decisions.total(), 'image')} {', '.join(said)}" if said else ""


def name_settling(manifest: Manifest | None) -> str:
    """Which images have settled operating points and sets of labels."""
    return f"images {SITE}" if manifest is not None and manifest.recalibrated else "validation images"


def describe_decisions(manifest: Manifest) -> dict[str, str]:
    """How a model decides, a line for each means: 'operating points', 'sets of labels', 'error', 'unlike training'."""
    lines = {}
    if manifest.operating:
        lines["operating points"] = "; ".join(_describe_point(point, manifest) for point in manifest.operating)
    abstention = manifest.abstention
    if abstention is None:
        return lines
    if abstention.sets is not None:
        sets = abstention.sets
        whose = " in each class" if sets.per_class else ""
        lines["sets of labels"] = (
            f"built to hold the right label for {_share(sets.coverage)} of images{whose} ({sets.method}, fixed on "
            f"{_count_settling(sum(sets.n), manifest, 'independent ')}); 'uncertain' where the set is not the label "
            "answered alone"
        )
    if abstention.error is not None:
        error = abstention.error
        what = f"at most {_share(error.error)} of answers wrong, held with probability {1 - error.delta:.4g}"
        lines["error"] = (
            f"{what} (fixed on {_count_settling(error.n, manifest)}); 'uncertain' where the largest probability is "
            f"{_below(error)}"
        )
    if abstention.novelty is not None:
        new = abstention.novelty
        known = f"its {format_count(new.n, 'validation image')}"
        if new.grouped:
            known = f"those of its {format_count(new.n, 'group')} of validation images"
        lines["unlike training"] = (
            f"not answered where a score of the features of the last layer is above {new.threshold:.4g}, as at most "
            f"{_share(new.passing)} are on average of images like {known}"
            f"{' of training' if manifest.recalibrated else ''}"
        )
    return lines


def describe_open(labels: int) -> str:
    """What follows the tolerance of a golden set: how many labels it leaves open; "": none."""
    return f", which leaves {format_count(labels, 'label')} open" if labels else ""


def _describe_called(result: Prediction) -> str:
    """Labels that reach their operating point all the same: whoever looks for them must hear of it."""
    called = [printable(label) for label, reached in (result.operating or {}).items() if reached]
    return (
        f"; {', '.join(called)} {'reaches its operating point' if len(called) == 1 else 'reach their operating points'}"
        if called
        else ""
    )


def _count_settling(n: int, manifest: Manifest, kind: str = "") -> str:
    """'40 validation images', or '40 images of the site …' of a recalibrated file; `kind` comes before the noun."""
    if manifest.recalibrated:
        return f"{format_count(n, f'{kind}image')} {SITE}"
    return format_count(n, f"{kind}validation image")


def _describe_point(point: OperatingPoint, manifest: Manifest) -> str:
    return (
        f"{printable(point.label)} from {point.threshold:.4g} on ({point.rule}; chosen on "
        f"{_count_settling(point.n, manifest)}, {point.positives} of them {printable(point.label)}; resamples choose "
        f"{point.low:.4g} to {point.high:.4g})"
    )


def _either(names: Sequence[str]) -> str:
    """'a', 'a or b', 'a, b or c'; of many the first and how many more."""
    if len(names) > NAMED:
        names = [*names[:NAMED], f"{len(names) - NAMED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}" if names else ""


def _below(error: ErrorControl) -> str:
    """Which probabilities are too low."""
    return "below any threshold that could be shown" if error.threshold > 1 else f"below {error.threshold:.4g}"


def _share(value: float) -> str:
    """'90 %', '0.5 %'."""
    return f"{100 * value:.3g} %"
