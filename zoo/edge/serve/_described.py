"""What the OpenAPI document says of the forms of an answer beside rows, and of the DICOMweb paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.edge.clinical._fhir import FHIR
from zoo.edge.clinical._sr import has_highdicom
from zoo.edge.serve._accept import DICOM, DICOM_JSON
from zoo.edge.serve._dicomweb import INSTANCE, STUDIES, STUDY, explain_absence
from zoo.edge.serve._openapi import describe_responses, describe_security

if TYPE_CHECKING:
    from zoo.edge.serve._models import Models
    from zoo.edge.serve._settings import Settings

__all__ = ["describe_clinical"]

_OBJECT: dict[str, Any] = {"schema": {"type": "object"}}
_FILES: dict[str, Any] = {"multipart/related": {}, DICOM: {}}
_STORED = {DICOM_JSON: _OBJECT}
_STATUSES = {200: "all", 202: "some", 409: "none"}


def describe_clinical(paths: dict[str, Any], settings: Settings, models: Models) -> None:
    """Add to the paths of a document what this server has."""
    protected = bool(settings.keys)
    predict = paths["/predict"]["post"]
    predict["description"] = (
        "Accept chooses the form: rows of JSON, FHIR R4 (a DiagnosticReport, of several images a Bundle), or a DICOM "
        "structured report of each image where highdicom is installed."
    )
    predict["responses"]["200"]["content"] |= {FHIR: _OBJECT} | (_FILES if has_highdicom() else {})
    predict["responses"]["406"] = describe_responses({}, (406,))["406"]
    if all(explain_absence(model.runtime.manifest) is not None for model in models.all):
        return
    paths |= {
        STUDIES: {"post": _store(settings, protected)},
        STUDY: {"post": _store(settings, protected, "study"), "get": _retrieve(protected, "study")},
        INSTANCE: {"get": _retrieve(protected, "study", "series", "instance")},
    }


def _store(settings: Settings, protected: bool, *names: str) -> dict[str, Any]:
    faults = (*((404,) if names else ()), 406, 415, 500, 504, *((401,) if protected else ()))
    responses = describe_responses(dict.fromkeys(_STATUSES, _STORED), faults)
    for status, which in _STATUSES.items():
        responses[str(status)]["description"] = f"Store Instances Response: {which} of the instances have a report."
    late = responses["503"]
    responses["503"] = {
        "description": f"{late['description']}; or a Store Instances Response: none has one yet, all may later.",
        "content": late["content"] | _STORED,
    }
    return {
        "summary": "STOW-RS: label DICOM images; their reports are retrieved from their study.",
        "parameters": [_uid(name) for name in names],
        "requestBody": {
            "required": True,
            "description": f'multipart/related; type="{DICOM}" (PS3.18 section 10.5). At most {settings.max_body} '
            f"bytes, {settings.images} images, and {settings.max_pixels} pixels an image. No image is kept.",
            "content": {"multipart/related": {}},
        },
        "responses": responses,
        **describe_security(protected),
    }


def _retrieve(protected: bool, *names: str) -> dict[str, Any]:
    faults = (404, 406, 500, *((401,) if protected else ()))
    return {
        "summary": "WADO-RS: retrieve DICOM reports, which are kept in memory for a while.",
        "parameters": [_uid(name) for name in names],
        "responses": describe_responses({200: _FILES}, faults),
        **describe_security(protected),
    }


def _uid(name: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": "^[0-9.]{1,64}$"}
    return {"name": name, "in": "path", "required": True, "schema": schema}
