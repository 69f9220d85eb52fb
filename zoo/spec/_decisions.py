"""How an answer becomes a decision: operating points, sets of labels, images unlike training.

All of it is fixed on validation images and is part of the manifest, so every runtime decides alike. What test images
say of it is in `EvalReport`.
"""

from __future__ import annotations

from typing import Literal

from zoo.spec._value import Interval, Value

__all__ = ["Abstention", "ConformalSets", "ErrorControl", "Novelty", "OperatingPoint"]


class OperatingPoint(Value, frozen=True):
    """The probability from which one label is called, chosen on validation images."""

    label: str
    rule: str
    """What was asked for, such as "sensitivity=0.9"."""
    threshold: float
    """The label is called where its probability is at least this."""
    low: float
    high: float
    """2.5 and 97.5 percentile of the thresholds that resamples of the validation images choose, further out of few."""
    sensitivity: Interval
    specificity: Interval
    """Both on the validation images that chose the threshold, so optimistic; the report has those of test."""
    n: int
    """Validation images of which the label is known."""
    positives: int
    """How many of them have the label."""

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold of {self.label!r} is {self.threshold}, expected a probability")


class ConformalSets(Value, frozen=True):
    """Sets of labels that hold the truth of a stated share of images like those of validation (split conformal).

    lac: a label is in the set where 1 - p <= its quantile (Sadinle et al. 2019). aps: where the probabilities of the
    labels ranked before it, its own included, sum to at most its quantile; the first label is always in (Romano et
    al. 2020, without randomisation).
    """

    method: Literal["lac", "aps"]
    coverage: float
    """Share of images whose set is to hold the truth, such as 0.9."""
    per_class: bool
    """Each label has a quantile of its own, from validation images of its class, and so the coverage for each class."""
    quantiles: tuple[float, ...]
    """One, or one for each label; in [0, 1]. 1: every label is in, because too few images were there to say less."""
    n: tuple[int, ...]
    """Independent validation images behind each quantile; where groups are known, groups."""

    def __post_init__(self) -> None:
        if not 0 < self.coverage < 1:
            raise ValueError(f"coverage is {self.coverage}, expected a share above 0 and below 1")
        if len(self.quantiles) != len(self.n) or not self.quantiles:
            raise ValueError(f"{len(self.quantiles)} quantiles from {len(self.n)} numbers of images, expected as many")
        if not all(0 <= one <= 1 for one in self.quantiles):
            raise ValueError(f"quantiles are {self.quantiles}, expected numbers in [0, 1]")


class Novelty(Value, frozen=True):
    """From which value of the output "novelty" an image counts as unlike those of training."""

    kind: Literal["features"]
    """What the score is made of: the features of the last layer. A score of the logits alone, their energy, was worse
    than chance on most networks."""
    threshold: float
    """An image whose score is larger is unlike training."""
    share: float
    """Largest share of images like those of validation that is to lie above it, such as 0.02."""
    n: int
    """Validation images that chose the threshold, or groups of them where groups are known."""
    grouped: bool = False
    """`n` counts groups (patients, lesions, studies)."""

    @property
    def passing(self) -> float:
        """Share of images like those of validation that lies above it at most, on average.

        Of few images the threshold is their largest score, which 1 in n + 1 passes.
        """
        return max(self.share, 1 / (self.n + 1))


class ErrorControl(Value, frozen=True):
    """From which top probability an answer is given, so that few of the given answers are wrong.

    Learn then Test (Angelopoulos et al. 2021): with probability 1 - delta over validation sets like this one, at most
    `error` of the images that are answered are answered wrongly.
    """

    error: float
    delta: float
    threshold: float
    """Images whose top probability is lower are not answered; 1.01: none is, because no threshold could be shown."""
    n: int


class Abstention(Value, frozen=True):
    """When the model says that it does not know."""

    sets: ConformalSets | None = None
    """An image is uncertain where its set is not the label answered alone."""
    novelty: Novelty | None = None
    error: ErrorControl | None = None
