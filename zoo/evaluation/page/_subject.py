"""What a page is written from: documents, answers, and what is known of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """

    report: EvalReport
    manifest: Manifest | None = None
    record: RunRecord | None = None
    cases: Cases | None = None
    splits: Splits | None = None
    gallery: Gallery | None = None
    robustness: Robustness | None = None
    external: bool = False
