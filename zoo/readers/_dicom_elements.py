"""The elements of a DICOM header, each checked, and none of them quoted.

pydicom's warnings, logs and exceptions quote the file, a patient's name among them. None of them leaves this package
(`quiet`), and every error is worded here from names of elements, never from their values.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any

from zoo.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KEYWORDS", "PERSONAL", "Elements", "is_uid", "quiet", "sop_class"]

PERSONAL = (
    "AccessionNumber",
    "AdditionalPatientHistory",
    "ConsultingPhysicianName",
    "ContentCreatorName",
    "CurrentPatientLocation",
    "DeviceSerialNumber",
    "InstitutionAddress",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "IssuerOfPatientID",
    "MedicalRecordLocator",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientAddress",
    "PatientBirthDate",
    "PatientBirthName",
    "PatientComments",
    "PatientID",
    "PatientInstitutionResidence",
    "PatientMotherBirthName",
    "PatientName",
    "PatientTelephoneNumbers",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "ReferringPhysicianAddress",
    "ReferringPhysicianName",
    "ReferringPhysicianTelephoneNumbers",
    "RequestingPhysician",
    "ResponsibleOrganization",
    "ResponsiblePerson",
    "StationName",
    "StudyDate",
    "StudyID",
)
"""Elements of the basic de-identification profile (PS3.15 table E.1-1) that say who, when or where. UIDs are left
out: every file has them."""

_IMAGE = (
    "AnatomicRegionSequence",
    "BitsAllocated",
    "BitsStored",
    "BluePaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "Columns",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelPaddingRangeLimit",
    "FloatPixelPaddingValue",
    "GreenPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor",
    "HighBit",
    "ImagerPixelSpacing",
    "Modality",
    "ModalityLUTSequence",
    "NominalScannedPixelSpacing",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelAspectRatio",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PlanarConfiguration",
    "PresentationLUTShape",
    "RedPaletteColorLookupTableData",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "SegmentedBluePaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence",
    "StudyInstanceUID",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)

KEYWORDS = (*_IMAGE, *PERSONAL)
"""All elements that are read; the others are skipped."""

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_LONGEST_UID = 64


class Elements:
    """The elements of one dataset; an error names the element and never its value.

    Attributes:
        name: how errors name the file.
        little_endian: byte order of values that pydicom hands over as bytes.
    """

    def __init__(self, dataset: Any, name: str, *, little_endian: bool) -> None:
        self._dataset = dataset
        self.name = name
        self.little_endian = little_endian

    def value(self, keyword: str) -> Any:
        """As pydicom reads it; None where the element is absent or empty."""
        try:
            found = self._dataset.get(keyword)
            empty = found is None or (hasattr(found, "__len__") and len(found) == 0)
        except Exception:  # pydicom's converters raise what they like, with the value in the text
            raise ImageError(
                self.name, f"the element {keyword} is damaged; restore the file", code="image-element", element=keyword
            ) from None
        return None if empty else found

    def holds(self, keyword: str) -> bool:
        """Whether the element is there and not blank; its value is not interpreted."""
        found = self._read_stored(keyword)
        return bool(found.strip(b" \0") if isinstance(found, bytes) else found)

    def raw(self, keyword: str) -> bytes:
        """The bytes of a text as the file holds them, without padding."""
        found = self._read_stored(keyword)
        return found.strip(b" \0") if isinstance(found, bytes) else str(found or "").strip().encode()

    def uid(self, keyword: str) -> str:
        """A unique identifier; "" where there is none."""
        return self.raw(keyword).decode("ascii", "replace")

    def whole(self, keyword: str, default: int | None = None) -> int:
        """A whole number; `default` where there is none, and without a default a refusal."""
        number = self.number(keyword, default)
        if number != int(number):
            raise ImageError(
                self.name,
                f"the element {keyword} is not a whole number; restore the file",
                code="image-element",
                element=keyword,
            )
        return int(number)

    def number(self, keyword: str, default: float | None = None) -> float:
        """A finite number, the first where there are several; as `whole`."""
        found = self.value(keyword)
        if found is None:
            if default is None:
                raise ImageError(
                    self.name,
                    f"the element {keyword} is missing, expected a number; write the file anew with a DICOM tool",
                    code="image-element",
                    element=keyword,
                )
            return default
        try:
            number = float(found if isinstance(found, int | float | str) else next(iter(found)))
        except Exception:  # as in `value`
            number = math.nan
        if not math.isfinite(number):
            raise ImageError(
                self.name,
                f"the element {keyword} is not a number; restore the file",
                code="image-element",
                element=keyword,
            )
        return number

    def text(self, keyword: str) -> str:
        """In capitals; "" where there is none."""
        found = self.value(keyword)
        return found.strip(" \0").upper() if isinstance(found, str) else ""

    def items(self, keyword: str) -> list[Elements]:
        """The items of a sequence; [] where there is none."""
        found = self.value(keyword)
        if found is None:
            return []
        try:
            return [Elements(item, self.name, little_endian=self.little_endian) for item in found]
        except Exception:  # as in `value`
            raise ImageError(
                self.name, f"the element {keyword} is damaged; restore the file", code="image-element", element=keyword
            ) from None

    def _read_stored(self, keyword: str) -> Any:
        """The value as the file holds it; None where the element is absent or empty."""
        from pydicom.datadict import tag_for_keyword

        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._dataset:
            return None
        # else pydicom takes an empty value for one it has not read yet, and interprets it
        return self._dataset.get_item(tag, keep_deferred=True).value


def is_uid(text: str) -> bool:
    """Whether this is a unique identifier (PS3.5 section 9.1): numbers without leading zeros, and dots between them.

    A UID has two numbers at least: a root that somebody was given, and what they made of it.
    """
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def sop_class(elements: Elements, media: str = "") -> str:
    """What kind of object this is, in the words of PS3.6; an unlisted kind is not quoted."""
    from pydicom.uid import UID

    uid = UID(elements.uid("SOPClassUID") or media)
    return f"DICOM {uid.name.removesuffix(' Storage')}" if uid.type == "SOP Class" else "DICOM of no known kind"


class _Quiet:
    """How many are silencing pydicom, and what to restore after the last of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.restore = contextlib.ExitStack()


_QUIET = _Quiet()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warning and no log line of pydicom, its decoders and highdicom inside: they quote the file.

    Their lines end at the logger of the package. A level would do the same, and each change of one makes Python look at
    every logger of the process: thousands where torch is.
    """
    with _QUIET.lock:
        _QUIET.users += 1
        if _QUIET.users == 1:
            _QUIET.restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            for package in ("pydicom", "pylibjpeg", "openjpeg", "rle", "jpeg_ls", "highdicom"):
                logger = logging.getLogger(package)
                _QUIET.restore.callback(vars(logger).update, handlers=logger.handlers, propagate=logger.propagate)
                logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        with _QUIET.lock:
            _QUIET.users -= 1
            if not _QUIET.users:
                _QUIET.restore.close()
