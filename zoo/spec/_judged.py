"""What the images under evaluation say of decisions: parts of a report."""

from __future__ import annotations

from typing import Literal

import msgspec

from zoo.spec._display import Table
from zoo.spec._value import Interval, Value

__all__ = [
    "AbstentionReport",
    "AtPrevalence",
    "ConformalReport",
    "DecisionCurve",
    "OperatingReport",
    "PointReport",
    "RiskCoverage",
]


class AtPrevalence(Value, frozen=True):
    """What a call and its absence are worth where the label is as frequent as stated."""

    prevalence: float
    """Share of images that have the label, in (0, 1), stated by whoever asked."""
    ppv: Interval | None
    npv: Interval | None
    """Both by Bayes' formula of sensitivity and specificity, whose uncertainties both are in the interval; null: no
    image is called, or every image."""


class PointReport(Value, frozen=True):
    """One operating point on the images under evaluation; its threshold was chosen on validation images."""

    label: str
    rule: str
    threshold: float
    n: int
    """Images of which the label is known."""
    tp: int
    fp: int
    tn: int
    fn: int
    sensitivity: Interval | None
    """Null, as those below: no image defines it."""
    specificity: Interval | None
    ppv: Interval | None
    """Holds for the share of the label among these images."""
    npv: Interval | None
    at: AtPrevalence | None = None
    """Null: no prevalence was stated, or sensitivity or specificity is not defined."""


class DecisionCurve(Value, frozen=True):
    """Net benefit of calling a label from a threshold on (Vickers and Elkin 2006, Med. Decis. Making 26:565).

    TP/n - FP/n · t/(1 - t), for whom t is the probability from which calling is worth it. Calling nobody has 0.
    """

    label: str
    n: int
    thresholds: tuple[float, ...]
    model: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Of `model`, 95 % at each threshold: percentiles of resamples of images, or of groups."""
    all: tuple[float, ...]
    """Net benefit of calling everybody."""


class OperatingReport(Value, frozen=True):
    """How the operating points do, and what decisions at other thresholds are worth."""

    points: tuple[PointReport, ...]
    curves: tuple[DecisionCurve, ...]
    """Of the labels with a point; without any, of both labels of two classes."""

    def table(self) -> Table:
        """One row for each point."""
        rows = []
        for point in self.points:
            row = msgspec.structs.asdict(point)
            at = row.pop("at")
            stated = (None, None, None) if at is None else (at.prevalence, at.ppv, at.npv)
            rows.append(row | dict(zip(("prevalence", "ppv_stated", "npv_stated"), stated, strict=True)))
        return Table(rows)


class ConformalReport(Value, frozen=True):
    """Whether the sets of labels hold the truth as often as they were made for."""

    method: Literal["lac", "aps"]
    per_class: bool
    wanted: float
    """Share of images whose set was to hold the truth."""
    reached: Interval
    """Share of these images whose set holds it."""
    classes: dict[str, Interval]
    """The same among the images of each class; a class without an image is not there."""
    size: Interval
    """Mean number of labels in a set."""
    sizes: tuple[int, ...]
    """Images whose set has 0, 1, 2 … labels."""
    single: Interval
    """Share of images whose set has exactly one label."""
    single_right: Interval | None
    """Share of those whose one label is the truth; null: there are none."""
    empty: Interval
    """Share of images whose set has no label."""


class RiskCoverage(Value, frozen=True):
    """Error among the images that the model is surest of (El-Yaniv and Wiener 2010, JMLR 11:1605)."""

    answered: tuple[float, ...]
    """Share of images that are answered, those of the largest top probability, rising to 1."""
    error: tuple[float, ...]
    """Share of them whose answer is wrong."""
    threshold: tuple[float, ...]
    """Smallest top probability among them."""
    area: Interval
    """Area under the curve: the mean error over all shares (AURC; Geifman and El-Yaniv 2017, arXiv 1705.08500)."""


class AbstentionReport(Value, frozen=True):
    """How many images are answered, and how well."""

    answered: Interval
    """Share of images that get a label, neither "uncertain" nor "unlike training"."""
    error: Interval | None
    """Share of those whose label is wrong; null: none is answered."""
    uncertain: int
    unlike: int
    """Images that were called uncertain, and unlike training."""
    wanted: float | None
    """Largest error that was to be let through; null: none was stated."""
    curve: RiskCoverage
