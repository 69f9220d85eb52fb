"""What a model file remembers of its validation images, so that a site can see whether its own are like them."""

from __future__ import annotations

from typing import Literal

from zoo.spec._value import Value

__all__ = ["MEASURED", "Reference"]

MEASURED = ("brightness", "contrast", "colour")
"""What is measured of the pixels of a raw image, see `zoo.edge.measure_pixels`."""


RECALIBRATED = "recalibrated"
"""Begins each note of a file on what images of another site have settled; in the first " on " follows."""
TEMPERATURE_STAYS = "the temperature stays"
"""Begins, after `RECALIBRATED` and ": ", the note of a file whose temperature these images left as it was."""
RECALIBRATION = "recalibration: "
"""Begins the note on what that has changed, measured on other images of the site."""


class Reference(Value, frozen=True):
    """Answers of the file to validation images, as counts and sorted numbers; nothing says which image was which.

    Where groups (patients, lesions, studies) are known, one image of each is taken, so that the images are independent.
    """

    n: int
    """Images."""
    grouped: bool
    """Each is of another group."""
    source: Literal["validation", "recalibration"]
    """Whose images they are: of the data that the model was trained with, or of the site that recalibrated it."""
    labels: dict[str, int]
    """Each label to the number of images that it was answered for; of a multilabel model, given."""
    decisions: dict[str, int]
    """Each decision, such as "uncertain", to the number of images it was made for; empty: the file never abstains."""
    values: dict[str, tuple[float, ...]]
    """Name to n numbers in rising order, to four significant digits: probability, of the label answered; novelty, where
    the file decides by it; brightness, contrast and colour of the raw image."""
    failed: int | None = None
    """How many images that cannot be read come with n that can, by those that were left out (`--skip-bad`); null: it is
    not known, because an older release wrote it, or because nobody knows which split they would be of."""

    def __post_init__(self) -> None:
        if self.n < 1 or any(len(values) != self.n for values in self.values.values()):
            raise ValueError(f"a reference of {self.n} images, expected as many numbers of each kind")
        if any(not 0 <= count <= self.n for count in (*self.labels.values(), *self.decisions.values())):
            raise ValueError(f"counts of a reference exceed its {self.n} images")
        if self.failed is not None and self.failed < 0:
            raise ValueError(f"{self.failed} images without an answer, expected 0 or more")
