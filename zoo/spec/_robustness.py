"""What a model does on corrupted copies of its images."""

from __future__ import annotations

from zoo._support.text import format_count, title_of_metric
from zoo.spec._display import Display, Table
from zoo.spec._origin import Fingerprint
from zoo.spec._value import Interval, Value

__all__ = ["Corrupted", "Robustness"]


class Corrupted(Value, frozen=True):
    """What a model did on copies of the images, all corrupted in one way."""

    kind: str
    severity: int
    """1 (just visible) to 5 (hardly more than recognisable)."""
    accuracy: Interval
    macro_auroc: Interval | None
    """Null: a class has too few images."""
    drop: Interval
    """Accuracy on the same images as they are, minus the one here."""
    withheld: float | None
    """Share of images that the file does not answer: uncertain or unlike training; null: it answers all."""


class Robustness(Display, Value, frozen=True):
    """What a model file does on corrupted copies of its images: ten kinds, five severities, always the same ones."""

    schema: int
    model: str
    split: str
    n: int
    """Images that were corrupted."""
    of: int
    """Images that there are; the n are drawn from them by `seed`."""
    seed: int
    accuracy: Interval
    """On the same images as they are."""
    macro_auroc: Interval | None
    withheld: float | None
    rows: tuple[Corrupted, ...]
    mean: dict[str, Interval]
    """accuracy: mean over all kinds and severities. drop: the same of the drop."""
    data: Fingerprint
    seconds: float
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """Accuracy as the images are, and how much of it corruption costs on average."""
        drop = self.mean["drop"]
        kinds = format_count(len({row.kind for row in self.rows}), "kind")
        return (
            f"{self.model} on {self.split}: accuracy {self.accuracy}, {drop.value:.3f} ({drop.low:.3f} to "
            f"{drop.high:.3f}) less over {kinds} of corruption; {format_count(self.n, 'image')}"
        )

    def tables(self) -> dict[str, Table]:
        """One row for each kind and severity."""
        names = ("kind", "severity", "accuracy", "macro_auroc", "drop", "withheld")
        return {
            "corruptions": Table({title_of_metric(name): getattr(row, name) for name in names} for row in self.rows)
        }
