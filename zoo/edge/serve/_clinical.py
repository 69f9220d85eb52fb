"""Answers of `POST /predict` as FHIR resources and DICOM reports, where `Accept` asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.responses import Response

from zoo.edge._results import Failure
from zoo.edge.clinical._author import Author
from zoo.edge.clinical._fhir import FHIR, FHIR_BUNDLE, entry, write_resource
from zoo.edge.clinical._source import find_source, read_source
from zoo.edge.clinical._sr import write_report
from zoo.edge.serve._accept import DICOM, RELATED
from zoo.edge.serve._related import write_related
from zoo.edge.serve._work import JSON
from zoo.errors import ImageError

if TYPE_CHECKING:
    from zoo.edge.serve._images import Images
    from zoo.edge.serve._work import Columns, Sent, Work

__all__ = ["FORMS", "Clinical"]

FORMS = (JSON, FHIR, DICOM, RELATED)
"""What `POST /predict` can answer with; the last two need highdicom."""


class Clinical:
    """The jobs of one server that make documents; they raise as those of `Work`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def answer(self, sent: Sent, columns: Columns, frame: int | None, form: str) -> Response:
        """The answer in one of `FORMS` but the first."""
        found = self._work.unpack(sent)
        if form == FHIR:
            return self._resources(found, sent, columns, frame)
        return self._reports(found, sent, columns, frame, form)

    def _resources(self, found: Images, sent: Sent, columns: Columns, frame: int | None) -> Response:
        """A DiagnosticReport; of several images a Bundle, in which an image without answer has an OperationOutcome."""
        author, resources = Author.of(sent.model.runtime), []
        for data, result in self._work.results(found, sent, columns, frame):
            source = find_source(data, "image") if isinstance(data, bytes) else data
            study = None if isinstance(source, ImageError) else source.study
            resources.append(write_resource(result, author, study=study))
        if not found.several:
            return sent.answer(msgspec.json.encode(resources[0]), FHIR)
        before, behind = FHIR_BUNDLE
        return sent.answer(before + b",".join(map(entry, resources)) + behind, FHIR)

    def _reports(self, found: Images, sent: Sent, columns: Columns, frame: int | None, form: str) -> Response:
        """DICOM reports. They have no place for an image without one, so the first ends the request."""
        author, reports = Author.of(sent.model.runtime), []
        for at, (data, result) in enumerate(self._work.results(found, sent, columns, frame)):
            name = found.name(at)
            try:
                if isinstance(data, ImageError):
                    raise data
                if isinstance(result, Failure):
                    raise ImageError(name, result.error, code=result.code)
                report = write_report(read_source(data, name), result, author, frame)
            except ImageError as problem:
                reason = f"{name}: {problem.reason}" if found.several else problem.reason
                raise ImageError(name, reason, code=problem.code) from None
            reports.append(report.content)
        if form == DICOM:
            if len(reports) > 1:
                raise ImageError(
                    None, "several images have a report each; ask for multipart/related, or send one image"
                )
            return sent.answer(reports[0], DICOM)
        body, kind = write_related(reports)
        return sent.answer(body, kind)
