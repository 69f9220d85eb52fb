"""The rule by which an operating point is chosen, as `--operating` spells it."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

__all__ = ["RULE_EXAMPLES", "Rule", "read_rule"]

RULE_EXAMPLES = ("sensitivity=0.9:LABEL", "specificity=0.95:LABEL", "youden:LABEL", "cost=5:LABEL")
"""What `--operating` takes; numbers and labels are the user's."""


class Rule(NamedTuple):
    """How the threshold of one label is chosen.

    Attributes:
        kind: sensitivity: the highest threshold that reaches the value. specificity: the lowest that reaches it.
            youden: the largest sensitivity + specificity - 1. cost: the smallest cost, a miss costs as much as `value`
            false alarms.
        value: share in (0, 1], or a ratio above 0; of youden 0.
        label: as the user spelt it.
    """

    kind: str
    value: float
    label: str

    @property
    def text(self) -> str:
        """The rule without its label, such as "sensitivity=0.9"."""
        return self.kind if self.kind == "youden" else f"{self.kind}={self.value:.15g}"


def read_rule(text: str) -> Rule:
    """What `text` says, such as "sensitivity=0.9:melanoma"; a label may hold blanks, ":" and "=".

    Raises:
        ValueError: it is not a rule; the message begins with "operating is".
    """
    said, *rest = re.split("[:：]", text, maxsplit=1)  # the second as Chinese keyboards write it, "＝" too
    kind, equals, number = (part.strip() for part in said.replace("＝", "=").partition("="))
    label = "".join(rest).strip()
    value = _read_number(number) if equals else 0.0
    good = {
        "sensitivity": 0 < value <= 1,
        "specificity": 0 < value <= 1,
        "cost": 0 < value < math.inf,
        "youden": not equals,
    }
    if not (label and good.get(kind, False)):
        raise ValueError(
            f"operating is {text!r}, expected {', '.join(RULE_EXAMPLES[:-1])} or {RULE_EXAMPLES[-1]}: a share above 0 "
            "and up to 1, or how many false alarms a miss costs, and the name of a class"
        )
    return Rule(kind, value, label)


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
