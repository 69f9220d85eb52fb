"""What `zoo predict --sr FOLDER --fhir FILE` writes beside the answers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec

from zoo._support.files import atomic_path, atomic_write, refuse_occupied, refuse_unwritable, remove_leftovers
from zoo._support.text import format_count
from zoo.edge._results import Failure
from zoo.edge.clinical._author import Author
from zoo.edge.clinical._fhir import FHIR_BUNDLE, check_subject, entry, write_resource
from zoo.edge.clinical._source import find_source
from zoo.edge.clinical._sr import check_highdicom, write_report
from zoo.errors import ImageError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from zoo.edge._results import Result
    from zoo.edge._runtime import Runtime
    from zoo.edge.clinical._source import DicomSource

__all__ = ["Documents"]


class Documents:
    """Reports of the answers of one call.

    Args:
        sr: folder that gets a DICOM report of each image, named by its UID; absent, or empty. None: none are made.
        fhir: file that gets a DiagnosticReport, or of several images a Bundle of them. None: it is not made.
        subject: whom all images are of, as a FHIR reference; None: it is not known.
        frame: which picture of files that hold several, counted from 1.
        overwrite: replace the file `fhir`.

    Attributes:
        refused: answered images that have no DICOM report, and why.

    Raises:
        UsageError: highdicom is not installed, or `subject` is not a reference, or comes without `fhir`.
        OutputError: something is there already.
    """

    def __init__(
        self,
        *,
        sr: Path | None = None,
        fhir: Path | None = None,
        subject: str | None = None,
        frame: int | None = None,
        overwrite: bool = False,
    ) -> None:
        self.refused: list[ImageError] = []
        self._sr, self._fhir, self._subject, self._frame = sr, fhir, subject, frame
        self._written = 0
        if sr is not None:
            check_highdicom()
            _check_folder(sr)
        if fhir is not None:
            if fhir.is_dir():
                raise refuse_unwritable(fhir, "it is a folder", "choose another place")
            refuse_occupied(fhir, overwrite=overwrite)
        if subject is not None:
            if fhir is None:
                raise UsageError(
                    "--subject is of a FHIR report, expected --fhir FILE with it",
                    code="option-missing",
                    options=["--fhir"],
                )
            check_subject(subject)

    def pass_on(self, results: Iterable[Result], runtime: Runtime) -> Iterator[Result]:
        """The results as they are; behind the last of them all documents are written.

        Raises:
            ImageError: there are answers, and no image can have a DICOM report; the first reason, and in the field
                `answers` how many there are.
            OutputError: a document cannot be written.
        """
        author = Author.of(runtime)
        with ExitStack() as stack:
            resources = None if self._fhir is None else stack.enter_context(_Resources(self._fhir))
            for result in results:
                source = find_source(Path(result.image), result.image)
                if self._sr is not None and not isinstance(result, Failure):
                    self._write_report(self._sr, source, result, author)
                if resources is not None:
                    study = None if isinstance(source, ImageError) else source.study
                    resources.add(write_resource(result, author, study=study, subject=self._subject))
                yield result
            if self.refused and not self._written:
                first, count = self.refused[0], len(self.refused)
                said = f"{first.reason}; {count} of {format_count(count, 'answer')} got no DICOM report"
                raise ImageError(first.name, said, code=first.code, **first.fields, answers=count)

    def _write_report(self, folder: Path, source: DicomSource | ImageError, result: Any, author: Author) -> None:
        try:
            if isinstance(source, ImageError):
                raise source
            report = write_report(source, result, author, self._frame)
        except ImageError as problem:
            self.refused.append(problem.rename(result.image))
            return
        atomic_write(folder / f"{report.instance}.dcm", report.content)
        self._written += 1


class _Resources:
    """One resource as a file of JSON, or several in a Bundle; written as they come, for a folder may be long."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._stack = ExitStack()
        self._first: dict[str, Any] | None = None
        self._several = False
        self._file: IO[bytes]

    def __enter__(self) -> Self:
        remove_leftovers(self._target)
        fresh = self._stack.enter_context(atomic_path(self._target))
        self._file = self._stack.enter_context(fresh.open("wb"))
        return self

    def __exit__(self, *problem: Any) -> bool | None:
        if problem[0] is None:
            before, behind = FHIR_BUNDLE
            if self._first is not None:
                self._file.write(msgspec.json.encode(self._first))
            else:
                self._file.write(behind if self._several else before + behind)
        return self._stack.__exit__(*problem)

    def add(self, resource: dict[str, Any]) -> None:
        if not self._several and self._first is None:
            self._first = resource
            return
        if self._first is not None:
            self._file.write(FHIR_BUNDLE[0] + entry(self._first))
            self._first, self._several = None, True
        self._file.write(b"," + entry(resource))


def _check_folder(folder: Path) -> None:
    try:
        if folder.is_dir() and not any(folder.iterdir()):
            return
        if not folder.exists():
            return
    except OSError as problem:
        raise refuse_unwritable(folder, problem) from None
    raise OutputError(
        f"{folder} is there already, expected a new folder or an empty one for the reports; choose another place",
        code="out-occupied",
        path=str(folder),
    )
