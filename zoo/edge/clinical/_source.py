"""What a report takes from the DICOM image that it is about: patient, study, and which image it was.

This is the one place outside the reader that sees elements of a patient. They go into the report, which belongs to the
same patient, and nowhere else: no error and no log holds one.
"""

from __future__ import annotations

import io
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from zoo.errors import ImageError
from zoo.readers import HEAD_BYTES
from zoo.readers._dicom_elements import is_uid, quiet
from zoo.readers._dicom_header import read_header
from zoo.readers._dicom_start import find_start

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DicomSource", "find_source", "name_instance", "read_source"]

_NAMES = ("PatientName", "ReferringPhysicianName")
_LENGTHS = {
    "PatientID": 64, "IssuerOfPatientID": 64, "AccessionNumber": 16, "StudyID": 16,
    "StudyDescription": 64, "DeidentificationMethod": 64,
}  # fmt: skip
"""Elements of text to the most characters that their value representation allows (PS3.5 section 6.2)."""
_FORMS = {
    "PatientAge": r"\d{3}[DWMY]",
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "PatientSex": r"[MFO]",
    "PatientIdentityRemoved": r"YES|NO",
}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
_PROCEDURE = "ProcedureCodeSequence"
_CODE = {"CodeValue": 16, "CodingSchemeDesignator": 16, "CodeMeaning": 64}
_KEYWORDS = ("SpecificCharacterSet", "NumberOfFrames", _PROCEDURE, *_NAMES, *_LENGTHS, *_FORMS, *_UIDS)


@dataclass(frozen=True, slots=True, repr=False)
class DicomSource:
    """One DICOM image, without its pixels.

    Attributes:
        study: Study Instance UID.
        series: Series Instance UID.
        sop_class: SOP Class UID.
        instance: SOP Instance UID.
        frames: how many pictures it holds.
        elements: keyword to text of what a report copies; an element that is not there, or is not valid, is missing.
        procedures: value, scheme and meaning of each coded procedure.
    """

    study: str
    series: str
    sop_class: str
    instance: str
    frames: int
    elements: dict[str, str]
    procedures: tuple[tuple[str, str, str], ...]


def read_source(data: bytes | Path, name: str) -> DicomSource:
    """Read the header of an image that a model has answered.

    Args:
        data: a file's bytes, or its path.
        name: how to name the image to the user.

    Raises:
        ImageError: it is not DICOM, or damaged, or lacks a UID without which no report can say what it is about.
    """
    with quiet(), _open(data, name) as stream:
        if find_start(stream.read(HEAD_BYTES)) is None:
            raise ImageError(
                name,
                "not a DICOM file, and a DICOM report is about one; give the DICOM file, or ask for FHIR",
                code="report-source-format",
            )
        header = read_header(stream, name, _KEYWORDS).dataset
        uids = {keyword: _text(header, keyword) for keyword in _UIDS}
        for keyword, value in uids.items():
            if not is_uid(value):
                raise ImageError(
                    name,
                    f"its header has no valid {keyword}, so no report can refer to it; restore the element",
                    code="report-source-uid",
                    element=keyword,
                )
        study, series, sop_class, instance = uids.values()
        return DicomSource(study, series, sop_class, instance, _frames(header), _elements(header), _procedures(header))


def find_source(data: bytes | Path, name: str) -> DicomSource | ImageError:
    """As `read_source`, and why there is none."""
    try:
        return read_source(data, name)
    except ImageError as problem:
        return problem


def name_instance(data: bytes) -> tuple[str, str] | None:
    """SOP Class UID and SOP Instance UID of a file that could not be answered; None: it does not tell them."""
    try:
        with quiet(), io.BytesIO(data) as stream:
            if find_start(stream.read(HEAD_BYTES)) is None:
                return None
            header = read_header(stream, "image", _UIDS).dataset
            sop_class, instance = (_text(header, keyword) for keyword in _UIDS[2:])
    except ImageError:
        return None
    return (sop_class, instance) if is_uid(sop_class) and is_uid(instance) else None


def _open(data: bytes | Path, name: str) -> IO[bytes]:
    if isinstance(data, bytes):
        return io.BytesIO(data)
    try:
        return data.open("rb")
    except OSError:  # it was answered a moment ago
        raise ImageError(name, "cannot be opened any more; restore the file", code="image-unopened") from None


def _elements(header: Any) -> dict[str, str]:
    found = {keyword: _text(header, keyword) for keyword in (*_NAMES, *_LENGTHS, *_FORMS)}
    wrong = {keyword for keyword, form in _FORMS.items() if not re.fullmatch(form, found[keyword])}
    wrong |= {keyword for keyword, most in _LENGTHS.items() if len(found[keyword]) > most}
    wrong |= {keyword for keyword in _NAMES if any(len(one) > 64 for one in found[keyword].split("="))}
    kept = {keyword: value for keyword, value in found.items() if value and keyword not in wrong}
    if kept.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in kept:
        del kept["PatientIdentityRemoved"]  # PS3.3 table C.7-1: it must say how
    return kept


def _text(item: Any, keyword: str) -> str:
    """One element as text; empty where it is not there, has several values or cannot be read."""
    with suppress(Exception):  # pydicom reads a value when it is asked for
        value = item.get(keyword)
        text = "" if value is None or isinstance(value, list | tuple) else str(value).strip(" \0")
        return text if text.isprintable() and "\\" not in text else ""
    return ""


def _frames(header: Any) -> int:
    text = _text(header, "NumberOfFrames")
    return int(text) if text.isdecimal() and len(text) < 10 else 1


def _procedures(header: Any) -> tuple[tuple[str, str, str], ...]:
    found = []
    with suppress(Exception):
        for item in header.get(_PROCEDURE) or ():
            value, scheme, meaning = code = tuple(_text(item, keyword) for keyword in _CODE)
            if all(0 < len(text) <= most for text, most in zip(code, _CODE.values(), strict=True)):
                found.append((value, scheme, meaning))
    return tuple(found)
