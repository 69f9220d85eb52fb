"""Labels that a table calls uncertain (-1): what they are taken for, and what is said of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import count_with_verb, format_count
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from zoo.data._index import Pool
    from zoo.spec import Uncertain

__all__ = ["decide"]

_SHOWN = 5  # labels named in the note


def decide(pool: Pool, rule: Uncertain) -> Pool:
    """The same images, with uncertain labels taken for what `rule` says, and a note that counts them.

    Args:
        pool: data set as its source gives it; uncertain labels are UNKNOWN.
        rule: ignore leaves them unknown; positive makes them 1, negative 0.
    """
    unsure = pool.targets == UNKNOWN
    if pool.targets.ndim == 1 or not unsure.any():
        return pool
    per_label = unsure.sum(axis=0)
    named = [f"{pool.labels[k]!r} {per_label[k]}" for k in np.argsort(-per_label, kind="stable") if per_label[k]]
    shown = ", ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")
    found = (
        f"{count_with_verb(int(unsure.sum()), 'label')} uncertain (-1), of "
        f"{format_count(int(unsure.any(axis=1).sum()), 'image')} ({shown})"
    )
    if rule == "ignore":
        done = "loss and metrics leave them out; --uncertain positive or negative takes them for 1 or 0"
    else:
        done = f"they are taken for {int(rule == 'positive')}, as --uncertain {rule} asks"
    targets = pool.targets if rule == "ignore" else np.where(unsure, int(rule == "positive"), pool.targets)
    return dataclasses.replace(pool, targets=targets, notes=(*pool.notes, f"{found}: {done}"))
