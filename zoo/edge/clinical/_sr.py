"""An answer as a DICOM structured report: TID 1500, Measurement Report (PS3.16), in a Comprehensive SR document.

highdicom (the extra `dicom-sr`) writes the templates. Standard codes are taken where one fits. Labels are a model's own
words, and no standard scheme has a decision such as "uncertain"; these are codes of the private scheme `SCHEME`.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from zoo._support.imports import import_together, needing
from zoo._support.text import printable
from zoo._support.versions import TOOL
from zoo.edge._decision_words import describe_decision, describe_decisions
from zoo.edge.clinical._author import is_answer
from zoo.errors import ImageError, UsageError
from zoo.readers._dicom_elements import quiet

if TYPE_CHECKING:
    from zoo.edge._results import Prediction
    from zoo.edge.clinical._author import Author
    from zoo.edge.clinical._source import DicomSource

__all__ = ["SCHEME", "Report", "check_highdicom", "code_label", "has_highdicom", "write_report"]

SCHEME = "99ZOO"
"""Designator of the private coding scheme; PS3.3 section 8.2 keeps those that begin with 99 for such."""

_MODULES = ("pydicom.uid", "pydicom.sr.codedict", "highdicom", "highdicom.sr")
_MEANING_MOST = 64
_PARTS = {"label": "L", "probability": "P", "point": "T"}
_DECISIONS = {"label": "LABEL", "uncertain": "UNCERTAIN", "unlike training": "UNLIKE"}


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report and where it belongs.

    Attributes:
        content: the DICOM file.
        study: UID of the study, which is that of the image.
        series: UID of its own series, fresh.
        instance: UID of the report, fresh.
    """

    content: bytes
    study: str
    series: str
    instance: str


def check_highdicom() -> None:
    """Raise `UsageError` where highdicom is not installed."""
    with needing("a DICOM report", "dicom-sr"):
        import_together(*_MODULES)


@cache
def has_highdicom() -> bool:
    """Whether reports can be written here; the first call imports highdicom, which takes 0.1 s."""
    try:
        check_highdicom()
    except UsageError:
        return False
    return True


def code_label(label: str, part: str = "label") -> str:
    """The code of a label, of its probability or of its operating point, in the private scheme.

    Sixteen characters, which every reader takes: a letter and the first 15 digits of the sha256 of the label in UTF-8.
    """
    return _PARTS[part] + hashlib.sha256(label.encode()).hexdigest()[:15]


def write_report(source: DicomSource, prediction: Prediction, author: Author, frame: int | None = None) -> Report:
    """Write the report of one answer; its UIDs are fresh, patient and study are those of the source.

    It is complete, preliminary and not verified.

    Args:
        source: the image that was answered.
        prediction: the answer.
        author: the model that gave it.
        frame: which picture of the source, counted from 1; None: the whole of it.

    Raises:
        UsageError: highdicom is not installed.
        ImageError: the source is of a class that highdicom does not know, such as a retired one.
    """
    check_highdicom()
    with quiet():
        from highdicom.sr import ComprehensiveSR
        from pydicom.uid import generate_uid

        content = _write_content(source, prediction, author, frame)
        name = _cut(author.manifest.name)
        try:
            document = ComprehensiveSR(
                evidence=[_evidence(source)],
                content=content[0],
                series_instance_uid=generate_uid(),
                series_number=1,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer=TOOL,
                manufacturer_model_name=name,
                software_versions=(author.tool, author.sha256),
                device_serial_number=author.sha256,
                series_description=_cut(f"Classified by {author.manifest.name}"),
                is_complete=True,
                is_final=False,
                is_verified=False,
                specific_character_set="ISO_IR 192",
            )
        except KeyError:  # highdicom's table of the modules of each class
            raise ImageError(
                None,
                "of a SOP class that a report cannot refer to, such as a retired one; write the image as another class",
                code="report-source-class",
                found=source.sop_class,
            ) from None
        for keyword, value in source.elements.items():
            setattr(document, keyword, value)
        if source.procedures:
            document.ProcedureCodeSequence = [_concept(*code) for code in source.procedures]
        document.CodingSchemeIdentificationSequence = [_describe_scheme()]
        stream = io.BytesIO()
        document.save_as(stream, enforce_file_format=True)
        return Report(
            stream.getvalue(),
            source.study,
            str(document.SeriesInstanceUID),
            str(document.SOPInstanceUID),
        )


def _write_content(source: DicomSource, prediction: Prediction, author: Author, frame: int | None) -> Any:
    """The document's tree, its root in a sequence of one."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    manifest = author.manifest
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{int(author.sha256[:32], 16)}",  # PS3.5 annex B.2; the same for the same file
        name=printable(manifest.name),
        manufacturer_name=TOOL,
        model_name=printable(manifest.provenance.model),
        serial_number=author.sha256,
    )
    observer = sr.ObserverContext(codes.DCM.Device, observer_identifying_attributes=device)
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(identifier=f"{TOOL} answer"),
        finding_type=_label(prediction.label) if prediction.labels is None and is_answer(prediction) else None,
        algorithm_id=sr.AlgorithmIdentification(
            name=printable(manifest.name),
            version=author.sha256,
            manufacturer=TOOL,
            parameters=[f"{key}: {text}" for key, text in describe_decisions(manifest).items()] or None,
        ),
        measurements=_measure(prediction, author),
        qualitative_evaluations=[sr.QualitativeEvaluation(name, value) for name, value in _evaluate(prediction)],
        source_images=[
            sr.SourceImageForMeasurementGroup(
                source.sop_class, source.instance, [frame] if frame is not None and source.frames > 1 else None
            )
        ],
    )
    said = [author.statement(), describe_decision(prediction, manifest.abstention)]
    group[0].ContentSequence.extend(
        sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS) for text in said if text
    )
    procedures = [_concept(*code) for code in source.procedures]
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=procedures or codes.SCT.ImagingProcedure,
        imaging_measurements=[group],
    )


def _measure(prediction: Prediction, author: Author) -> list[Any]:
    """Probability of each class, its operating point, the novelty score; all without unit."""
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    unit = codes.UCUM.NoUnits
    found = [
        Measurement(
            _concept(code_label(label, "probability"), SCHEME, f"Probability of {label}"),
            value,
            unit,
            derivation=codes.DCM.Probability,
        )
        for label, value in prediction.probabilities.items()
    ]
    found += [
        Measurement(
            _concept(code_label(point.label, "point"), SCHEME, f"Operating point of {point.label}"),
            float(point.threshold),
            unit,
        )
        for point in author.manifest.operating
    ]
    if prediction.novelty is not None:
        found.append(Measurement(_concept("NOVELTY", SCHEME, "Novelty score"), prediction.novelty, unit))
        limit = author.manifest.novelty
        if limit is not None:
            name = _concept("NOVELTY-LIMIT", SCHEME, "Novelty score from which on an image is unlike training")
            found.append(Measurement(name, float(limit.threshold), unit))
    return found


def _evaluate(prediction: Prediction) -> list[tuple[Any, Any]]:
    """Name and value of what is not a number: the label, the decision, labels given, in the set, at their point."""
    answered = _concept("ANSWER", SCHEME, "Label answered")
    found = [(answered, _label(prediction.label))]
    if prediction.decision is not None:
        decision = _concept(_DECISIONS[prediction.decision], SCHEME, prediction.decision)
        found.append((_concept("DECISION", SCHEME, "Decision of the model"), decision))
    lists = {
        ("GIVEN", "Label given"): prediction.labels,
        ("SET", "Label in the set"): prediction.set,
        ("REACHED", "Operating point reached"): _list_called(prediction, reached=True),
        ("MISSED", "Operating point not reached"): _list_called(prediction, reached=False),
    }
    for (value, meaning), labels in lists.items():
        found += [(_concept(value, SCHEME, meaning), _label(label)) for label in labels or ()]
    return found


def _list_called(prediction: Prediction, *, reached: bool) -> list[str]:
    return [label for label, called in (prediction.operating or {}).items() if called is reached]


def _label(label: str) -> Any:
    return _concept(code_label(label), SCHEME, label)


def _concept(value: str, scheme: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, scheme, _cut(meaning))


def _cut(text: str) -> str:
    """As the value representation LO takes it: at most 64 characters, no backslash and no control character."""
    text = printable(text).replace("\\", "/").strip() or "?"
    return text if len(text) <= _MEANING_MOST else f"{text[: _MEANING_MOST - 1]}…"


def _evidence(source: DicomSource) -> Any:
    """What highdicom takes from an image, but for the patient: it would log a name that it finds odd."""
    from pydicom.dataset import Dataset

    found = Dataset()
    found.StudyInstanceUID, found.SeriesInstanceUID = source.study, source.series
    found.SOPClassUID, found.SOPInstanceUID = source.sop_class, source.instance
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(found, keyword, "")
    found.StudyDate = found.StudyTime = found.ReferringPhysicianName = ""
    return found


def _describe_scheme() -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = f"{TOOL}: labels and decisions of image classifiers"
    item.CodingSchemeResponsibleOrganization = TOOL
    return item
