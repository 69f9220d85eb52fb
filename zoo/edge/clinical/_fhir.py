"""An answer as FHIR R4 resources: a DiagnosticReport that contains its observations and the model as a device.

Nothing is invented: there is a subject only where the caller names one, and a study only where the image has one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from zoo._support.text import printable
from zoo._support.versions import TOOL
from zoo.edge._results import Failure
from zoo.edge._tables import describe_answer
from zoo.edge.clinical._author import is_answer
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.edge._results import Prediction
    from zoo.edge.clinical._author import Author

__all__ = ["FHIR", "FHIR_BUNDLE", "check_subject", "entry", "write_outcome", "write_resource"]

FHIR = "application/fhir+json"
FHIR_BUNDLE = (b'{"resourceType":"Bundle","type":"collection","entry":[', b"]}")
"""The bytes before and behind the places of a Bundle, which is a collection; commas part the places."""

_SUBJECT = re.compile(r"(https?://[^\s?#]+/)?(Patient|Group|Device|Location)/[A-Za-z0-9.-]{1,64}")
"""A literal reference (R4, section 2.3.0.1) to what a report may be about."""
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

Resource = dict[str, Any]


def check_subject(subject: str) -> None:
    """Raise `UsageError` for what is not a reference to a resource that a report may be about."""
    if not _SUBJECT.fullmatch(subject):
        raise UsageError(
            "the subject is not a FHIR reference, expected one such as Patient/123",
            code="option-value",
            option="--subject",
            value=subject,
        )


def write_resource(
    result: Prediction | Failure, author: Author, *, study: str | None = None, subject: str | None = None
) -> Resource:
    """The DiagnosticReport of an answer, or the OperationOutcome of an image without one, as JSON's dicts.

    Args:
        result: the answer, or why there is none.
        author: the model that gave it.
        study: Study Instance UID of the image; None: it has none, or it is not known.
        subject: reference to the patient, such as Patient/123; None: it is not known here.
    """
    if isinstance(result, Failure):
        return write_outcome(result)
    observations = _observe(result, author)
    words = "; ".join(describe_answer(result, None, author.manifest.abstention))
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "contained": [_describe_device(author), *observations],
        "identifier": [{"type": {"text": "image"}, "value": printable(result.image)}],
        "status": "preliminary",
        "code": {"text": "Classification of an image by a computer"},
        "issued": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "result": [{"reference": f"#{observation['id']}"} for observation in observations],
        "conclusion": f"{words}. {author.statement()}",
    }
    if study is not None:
        report["imagingStudy"] = [{"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{study}"}}]
    if subject is not None:
        for resource in (report, *observations):
            resource["subject"] = {"reference": subject}
    return report


def write_outcome(failure: Failure) -> Resource:
    """The OperationOutcome of an image that got no answer."""
    issue = {"severity": "error", "code": "processing", "details": {"text": printable(failure.image)}}
    return {"resourceType": "OperationOutcome", "issue": [issue | {"diagnostics": printable(failure.error)}]}


def entry(resource: Resource) -> bytes:
    """One place of a Bundle as JSON."""
    return msgspec.json.encode({"fullUrl": f"urn:uuid:{uuid4()}", "resource": resource})


def _describe_device(author: Author) -> Resource:
    manifest = author.manifest
    return {
        "resourceType": "Device",
        "id": "model",
        "manufacturer": TOOL,
        "deviceName": [{"name": printable(manifest.name), "type": "model-name"}],
        "version": [
            {"type": {"text": "sha256 of the ONNX file"}, "value": author.sha256},
            {"type": {"text": "program that ran it"}, "value": author.tool},
        ],
        "note": [{"text": author.statement()}],
    }


def _observe(result: Prediction, author: Author) -> list[Resource]:
    """The answer, the probability of each class, the novelty score."""
    points = {point.label: point.threshold for point in author.manifest.operating}
    found = [_observe_answer(result)]
    for number, (label, value) in enumerate(result.probabilities.items(), 1):
        parts = []
        if label in points:
            parts.append(_part("Operating point", valueQuantity=_quantity(points[label])))
        if result.operating is not None and label in result.operating:
            parts.append(_part("Operating point reached", valueBoolean=result.operating[label]))
        if result.set is not None:
            parts.append(_part("In the set of labels", valueBoolean=label in result.set))
        if result.labels is not None:
            parts.append(_part("Given", valueBoolean=label in result.labels))
        name = f"Probability of {printable(label)}"
        found.append(_observation(f"class-{number}", name, parts, valueQuantity=_quantity(value)))
    if result.novelty is not None:
        limit = author.manifest.novelty
        parts = [] if limit is None else [_part("Unlike training above", valueQuantity=_quantity(limit.threshold))]
        found.append(_observation("novelty", "Novelty score", parts, valueQuantity=_quantity(result.novelty)))
    return found


def _observe_answer(result: Prediction) -> Resource:
    """The label where it is the answer; else why there is none, and the label beside it."""
    parts = [_part("Label", valueString=printable(result.label))]
    if result.decision is not None:
        parts.append(_part("Decision", valueString=result.decision))
    value: Resource = {"valueCodeableConcept": {"text": printable(result.label)}}
    if not is_answer(result):
        coding = {"system": _ABSENT, "code": "unknown"}
        value = {"dataAbsentReason": {"coding": [coding], "text": result.decision}}
    elif result.labels is not None:
        value = {"valueString": "; ".join(map(printable, result.labels)) or "no label"}
    return _observation("answer", "Answer of the model", parts, **value)


def _observation(name: str, text: str, parts: list[Resource], **value: Any) -> Resource:
    found: Resource = {
        "resourceType": "Observation",
        "id": name,
        "status": "preliminary",
        "code": {"text": text},
        **value,
        "device": {"reference": "#model"},
    }
    return found | ({"component": parts} if parts else {})


def _part(text: str, **value: Any) -> Resource:
    return {"code": {"text": text}, **value}


def _quantity(value: float) -> Resource:
    """A number without unit, in UCUM."""
    return {"value": float(value), "system": "http://unitsofmeasure.org", "code": "1"}
