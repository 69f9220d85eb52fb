"""The validation metric that chooses an epoch, as `--metric` spells it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["METRIC_CHOICES", "MetricChoice", "read_metric"]

METRIC_CHOICES = ("macro_auroc", "balanced_accuracy", "accuracy", "f1", "kappa", "nll", "sensitivity@0.9:CLASS")
"""What `--metric` takes; of the last one, number and class are the user's."""

_AT = "sensitivity@"


class MetricChoice(NamedTuple):
    """What was chosen.

    Attributes:
        name: one of METRIC_CHOICES, or "sensitivity".
        specificity: of sensitivity, the least specificity that it is taken at, in (0, 1].
        label: of sensitivity, the class or label.
    """

    name: str
    specificity: float = 0.0
    label: str = ""


def read_metric(text: str) -> MetricChoice:
    """What `text` chooses, such as "kappa" or "sensitivity@0.9:melanoma"; a class may hold blanks, ":" and "@".

    Raises:
        ValueError: it is none of METRIC_CHOICES; the message begins with "metric is".
    """
    if text in METRIC_CHOICES[:-1]:
        return MetricChoice(text)
    if not text.startswith("sensitivity"):
        near = [name for name in METRIC_CHOICES[:-1] if text.lower() in name or name in text.lower()] if text else []
        hint = f"; did you mean {near[0]}?" if near else ""
        expected = f"{', '.join(METRIC_CHOICES[:-1])} or {METRIC_CHOICES[-1]}"
        raise ValueError(f"metric is {text!r}, expected {expected}{hint}")
    number, colon, label = text.removeprefix(_AT).replace("：", ":", 1).partition(":")  # as Chinese keyboards write it
    try:
        specificity = float(number)
    except ValueError:
        specificity = 0.0
    if not (text.startswith(_AT) and colon and label.strip() and 0 < specificity <= 1):
        raise ValueError(
            f"metric is {text!r}, expected a specificity above 0 and up to 1 and the name of a class, such as "
            "sensitivity@0.9:melanoma"
        )
    return MetricChoice("sensitivity", specificity, label.strip())
