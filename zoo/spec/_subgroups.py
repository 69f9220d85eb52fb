"""Who a model fails for: groups of images, and properties that predict the label without it."""

from __future__ import annotations

from zoo.spec._display import Table
from zoo.spec._value import Interval, Value

__all__ = ["Difference", "Shortcut", "Subgroup", "table_of_groups"]


class Difference(Value, frozen=True):
    """A metric in one group minus the same in all other images, with its 95 % interval."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided; see `zoo.evaluation.subgroups`."""
    p_holm: float
    """p corrected for all groups and metrics of its table (Holm 1979)."""

    def __str__(self) -> str:
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


class Subgroup(Value, frozen=True):
    """What a model did on the images with one value of a column, or with a property in one range."""

    column: str
    group: str
    """The value; a range of numbers, such as '40 to 49'; or 'missing'."""
    n: int | None
    """Images; null: too few to say anything of them, their number included."""
    patients: int | None
    """Groups of images (patients, lesions, studies) among them; null: none are known, or too few images."""
    metrics: dict[str, Interval]
    """accuracy and others of `zoo.evaluation.METRICS`; of the file's decisions "sensitivity for LABEL" and
    "specificity for LABEL" of each operating point, and "coverage", of its sets of labels."""
    differences: dict[str, Difference]
    """Metric, also "sensitivity for LABEL" and the like, to its difference from all other images of the report. Of
    several labels it is over those that are known in both, and so not always that of two of `metrics`."""
    undefined: dict[str, str]
    """Metric to the reason why it has no value here; "accuracy difference" and the like where only the difference has
    none; 'all' where there are too few images or patients."""

    @property
    def decisions(self) -> dict[str, Interval]:
        """Those of `metrics` that say what the file's decisions are worth here."""
        return {name: value for name, value in self.metrics.items() if name == "coverage" or " for " in name}


class Shortcut(Value, frozen=True):
    """How well one property of an image, without the model, tells the classes apart, and whether errors follow it."""

    feature: str
    """brightness, contrast, size, aspect, file type or mark, measured on the raw image; or a column of the table."""
    auroc: Interval
    """Macro AUROC of the property alone: the shares of classes in ten ranges of it, cross-validated."""
    p_holm: float
    """That it tells nothing (AUROC .5), one-sided, corrected for all properties."""
    behind: float
    """The model's macro AUROC minus this one."""
    reaches: bool
    """It tells the classes apart, and nearly as well as the model does."""
    error: Interval | None
    """AUROC of the property alone for the model's errors; null: too few errors."""
    error_p_holm: float | None
    follows: bool
    """The model's errors depend on it."""


def table_of_groups(groups: tuple[Subgroup, ...]) -> Table:
    """One row for each: counts, metrics, and p of its difference from the others."""
    return Table(
        {"column": one.column, "group": one.group, "n": one.n, "patients": one.patients, **one.metrics}
        | {f"{name} p": gap.p_holm for name, gap in one.differences.items()}
        for one in groups
    )
