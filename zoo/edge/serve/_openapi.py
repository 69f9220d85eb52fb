"""The OpenAPI document of a server, its schemas made from the types that answer."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.edge._explain import HeatMap
from zoo.edge.serve._shapes import FAULTS, Health, Problem, Row
from zoo.spec import Manifest, Numeric

if TYPE_CHECKING:
    from zoo.edge.serve._settings import Settings
    from zoo.spec import ColumnSpec, TableSpec

__all__ = ["MOST", "document"]

MOST = 9_999_999
"""The largest number a query may hold."""

_EVERYWHERE = (400, 403, 405, 408, 413, 421, 431, 501, 503)
"""Statuses that depend on the connection, the name in `Host`, or the page that asked."""
_IMAGE = (401, 415, 422, 500, 504)
_IMAGE_TYPES = ("application/octet-stream", "application/dicom", "image/*")


def document(settings: Settings, table: TableSpec | None = None) -> dict[str, Any]:
    """OpenAPI 3.1 as dicts and lists.

    Args:
        settings: for the limits that are told.
        table: columns that the query must hold.
    """
    types = (Row, HeatMap, Problem, Health, Manifest)
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemes = {"token": {"type": "http", "scheme": "bearer"}}
    protected = settings.token is not None
    frame, top = _number("frame", _FRAME), _number("top", _TOP)
    label = _parameter("label", _LABEL, {"type": "string"})
    columns = [] if table is None else [_column(column) for column in table.columns]
    paths: dict[str, Any] = {
        "/predict": {"post": _image(Row, "Label one image.", [frame, top, *columns], settings)},
        "/explain": {
            "post": _image(HeatMap, "Map what a label's probability depends on.", [frame, label, *columns], settings)
        },
        "/healthz": {
            "get": _get("Whether the server lives and takes images.", {200: _json(Health), 503: _json(Health)}),
        },
        "/metrics": {"get": _get("Counts and times for Prometheus.", {200: _text("text/plain")}, protected)},
        "/model": {"get": _get("The model's manifest.", {200: _json(Manifest)}, protected)},
        "/card": {
            "get": _get("The model's card, in Markdown.", {200: _text("text/markdown")}, protected, extra=(404,))
        },
        "/openapi.json": {"get": _get("This document.", {200: {"application/json": {"schema": {"type": "object"}}}})},
        "/": {"get": _get("A page for people.", {200: _text("text/html")})},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "zoo serve",
            "version": _version(),
            "description": "One image classifier. Images are neither kept nor logged; every error is a Problem.",
        },
        "paths": paths,
        "components": {"schemas": components, **({"securitySchemes": schemes} if protected else {})},
    }


_FRAME = "Which picture of a file that holds several, from 1; none is guessed."
_LABEL = "One of the model's; not given: the one answered."
_TOP = "Only this many classes, the most probable first."


def _image(kind: type, summary: str, parameters: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    protected = settings.token is not None
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": "One image file as it is: JPEG, PNG, TIFF, WebP, GIF, BMP, PPM, AVIF, JPEG 2000, HEIC or "
            f"DICOM, told by its first bytes. At most {settings.max_body} bytes and {settings.max_pixels} pixels.",
            "content": {name: {} for name in _IMAGE_TYPES},
        },
        "responses": _responses({200: _json(kind)}, tuple(s for s in _IMAGE if protected or s != 401)),
        **({"security": [{"token": []}]} if protected else {}),
    }


def _get(
    summary: str, contents: dict[int, dict[str, Any]], protected: bool = False, *, extra: tuple[int, ...] = ()
) -> dict[str, Any]:
    faults = (*extra, *((401,) if protected else ()), 500)
    security: dict[str, Any] = {"security": [{"token": []}]} if protected else {}
    return {"summary": summary, "responses": _responses(contents, faults), **security}


def _responses(contents: dict[int, dict[str, Any]], faults: tuple[int, ...]) -> dict[str, Any]:
    """Status → description and content, in order; a `Problem` where nothing else is said."""
    found = {status: _json(Problem) for status in (*_EVERYWHERE, *faults)} | contents
    return {
        str(status): {"description": FAULTS[status][1] if status in FAULTS else "The answer.", "content": content}
        for status, content in sorted(found.items())
    }


def _json(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}}


def _text(kind: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string"}}}


def _number(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": MOST}
    return _parameter(name, description, schema)


def _column(column: ColumnSpec) -> dict[str, Any]:
    """A column that the model takes beside the image; it is always to be named, empty where there is nothing."""
    known = "" if isinstance(column, Numeric) else f" One of {', '.join(column.values)}; others are taken for unknown."
    empty = "" if column.missing == "refuse" else " Empty: not known."
    text = f"Given beside the image.{known}{empty}"
    return _parameter(column.name, text, {"type": "string"}, required=True)


def _parameter(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


def _version() -> str:
    try:
        return version("edgezoo")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0"
