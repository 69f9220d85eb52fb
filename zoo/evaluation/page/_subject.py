"""What a page is written from: documents, answers, and what is known of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.edge._decision_words import name_settling
from zoo.evaluation.page._words import describe_splits

if TYPE_CHECKING:
    from zoo.data import Splits
    from zoo.evaluation._cases import Cases
    from zoo.evaluation.page._gallery import Gallery
    from zoo.runs import RunRecord
    from zoo.spec import EvalReport, Manifest, Robustness

__all__ = ["Subject"]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One model on one set of images. What is None is left out of the page.

    Attributes:
        report: what the file did.
        manifest: what the file says of itself; None: several files answered, one for each fold.
        record: run.json; None: only a file or bundle is there.
        cases: the answers behind the report; None: they were not kept.
        splits: the images, indexed; None: they are not at hand.
        robustness: what corrupted copies do; None: nobody asked.
        gallery: images to look at; None: none are shown, because they are not at hand, or nobody is to see them.
        external: the images are not of the data that the model was trained with.
        expected: models of folds gave the figures, each on images that it had not seen; no image was held out to judge
            the file itself, if there is one.
    """

    report: EvalReport
    manifest: Manifest | None = None
    record: RunRecord | None = None
    cases: Cases | None = None
    splits: Splits | None = None
    gallery: Gallery | None = None
    robustness: Robustness | None = None
    external: bool = False
    expected: bool = False

    @property
    def parts(self) -> str:
        """How the images were divided: 'train 80, val 10, test 10'."""
        return "each in the test part of one fold" if self.expected else describe_splits(self.report.data.splits)

    @property
    def settling(self) -> str:
        """Which images have settled operating points and sets of labels."""
        return name_settling(self.manifest)

    @property
    def origin_of_temperature(self) -> str:
        """Where it comes from: 'fitted on validation images'."""
        if self.manifest is not None and self.manifest.keeps_temperature:
            return "that of the file before it was recalibrated"
        return f"fitted on {self.settling}"

    @property
    def recalibrated(self) -> bool:
        """Whether those were images of another site."""
        return self.manifest is not None and self.manifest.recalibrated

    @property
    def holds_none(self) -> bool:
        """Whether the model, or the members together, learnt from all images, those of validation too."""
        return self.manifest is not None and self.manifest.provenance.config.fold == "none"
