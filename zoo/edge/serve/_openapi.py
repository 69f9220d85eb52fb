"""The OpenAPI document of a server, its schemas made from the types that answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from zoo._support.versions import tool_version
from zoo.edge._explain import HeatMap
from zoo.edge.serve._gate import COOKIE
from zoo.edge.serve._inference import HEADER, Asked, ModelFacts, ModelReady, ServerFacts, Told
from zoo.edge.serve._shapes import (
    FAULTS,
    INFERENCE,
    Health,
    InferenceProblem,
    Login,
    Problem,
    Row,
    ServedModel,
    Token,
    Unanswered,
)
from zoo.spec import Manifest, Numeric

if TYPE_CHECKING:
    from zoo.edge.serve._models import Models
    from zoo.edge.serve._settings import Settings
    from zoo.spec import ColumnSpec

__all__ = ["MOST", "describe_responses", "describe_security", "document"]

MOST = 9_999_999
"""The largest number a query may hold."""

_EVERYWHERE = (400, 403, 405, 408, 413, 421, 431, 501, 503)
"""Statuses that depend on the connection, the name in `Host`, or the page that asked."""
_IMAGE = (401, 404, 415, 422, 500, 504)
_IMAGE_TYPES = ("application/octet-stream", "application/dicom", "image/*")


def document(settings: Settings, models: Models) -> dict[str, Any]:
    """OpenAPI 3.1 as dicts and lists.

    Args:
        settings: for the limits that are told.
        models: for their names, and the columns that the query must hold.
    """
    types = [Row, Unanswered, HeatMap, Problem, InferenceProblem, Health, Manifest, ServedModel, Login, Token]
    types += [Asked, Told, ModelFacts, ModelReady, ServerFacts]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schemes = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": _SESSION},
    }
    protected = bool(settings.keys)
    frame, top = _number("frame", _FRAME), _number("top", _TOP)
    label = _parameter("label", _LABEL, {"type": "string"})
    columns = _columns(models)
    choice = _choice(models, protected)
    paths: dict[str, Any] = {
        "/predict": {
            "post": _image(_ROWS, "Label an image, or several.", [*choice, frame, top, *columns], settings, _IMAGES),
        },
        "/explain": {
            "post": _image(
                _json(HeatMap),
                "Map what a label's probability depends on.",
                [*choice, frame, label, *columns],
                settings,
            )
        },
        "/healthz": {
            "get": _get("Whether the server lives and takes images.", {200: _json(Health), 503: _json(Health)}),
        },
        "/metrics": {"get": _get("Counts and times for Prometheus.", {200: _text("text/plain")}, protected)},
        "/models": {"get": _get("The models that answer.", {200: _list(ServedModel)}, protected)},
        "/model": {
            "get": _get("A model's manifest.", {200: _json(Manifest)}, protected, extra=(404,)) | {"parameters": choice}
        },
        "/card": {
            "get": _get("A model's card, in Markdown.", {200: _text("text/markdown")}, protected, extra=(404,))
            | {"parameters": choice}
        },
        "/login": {
            "get": _get("Whether a token is asked for, and who has logged in.", {200: _json(Login)}),
            "post": _get("Log in with a token; sets a cookie.", {200: _json(Login)}, extra=(401, 429))
            | {"requestBody": {"required": True, "content": _json(Token)}},
        },
        "/logout": {"post": _get("End the session of a cookie.", {200: _json(Login)})},
        "/openapi.json": {"get": _get("This document.", {200: {"application/json": {"schema": {"type": "object"}}}})},
        "/": {"get": _get("A page for people.", {200: _text("text/html")})},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "zoo serve",
            "version": tool_version(),
            "description": "Image classifiers. Images are neither kept nor logged; every error is a Problem, "
            "below /v2 an InferenceProblem.",
        },
        "paths": paths | _inference(models, protected),
        "components": {"schemas": components, **({"securitySchemes": schemes} if protected else {})},
    }


def _columns(models: Models) -> list[dict[str, Any]]:
    """Those that the query holds beside the image; of several models each has its own, so none is needed by all."""
    found: dict[str, dict[str, Any]] = {}
    for model in models.all:
        table = model.runtime.manifest.table
        for column in () if table is None else table.columns:
            found.setdefault(column.name, _column(column, required=len(models.all) == 1))
    return list(found.values())


def _choice(models: Models, protected: bool) -> list[dict[str, Any]]:
    """The query's choice of a model; whoever has no token reads this too, and learns no name."""
    taken = {column["name"] for column in _columns(models)}
    known = {"model": sorted({one.name for one in models.all}), "version": [one.version for one in models.all]}
    return [
        _parameter(name, _CHOICE[name], {"type": "string"} if protected else {"type": "string", "enum": values})
        for name, values in known.items()
        if name not in taken
    ]


def _inference(models: Models, protected: bool) -> dict[str, Any]:
    """The paths of the Open Inference Protocol."""
    found: dict[str, Any] = {}
    for path, said in (("", "this server"), ("/health/live", "it lives"), ("/health/ready", "it takes images")):
        kind = Health if path else ServerFacts
        contents = {200: _json(kind), **({503: _json(kind)} if path.endswith("/ready") else {})}
        found[INFERENCE + path] = {"get": _get(f"{_OIP}: {said}.", contents, extra=(404,), fault=_EITHER)}
    names = {one.name for one in models.all} if not protected else {"{name}"}
    versions = {(one.name, one.version) for one in models.all} if not protected else {("{name}", "{version}")}
    for name in sorted(names):
        found |= _of_model(f"{INFERENCE}/models/{quote(name, safe='{}')}", protected)
    for name, number in sorted(versions):
        found |= _of_model(f"{INFERENCE}/models/{quote(name, safe='{}')}/versions/{number}", protected)
    return found


def _of_model(path: str, protected: bool) -> dict[str, Any]:
    answer = {200: {**_json(Told), "application/octet-stream": {}}}
    faults = tuple(status for status in _IMAGE if status != 401 or protected)
    length = {"name": HEADER, "in": "header", "schema": {"type": "integer"}, "description": _LENGTH}
    infer = {
        "summary": f"{_OIP}: label raw images, or files as BYTES.",
        "parameters": [length],
        "requestBody": {"required": True, "content": {**_json(Asked), "application/octet-stream": {}}},
        "responses": describe_responses(answer, faults, _EITHER),
        **describe_security(protected),
    }
    ready = {200: _json(ModelReady), 503: _json(ModelReady)}
    found: dict[str, Any] = {
        path: {"get": _get(f"{_OIP}: the model.", {200: _json(ModelFacts)}, protected, extra=(404,), fault=_EITHER)},
        f"{path}/ready": {"get": _get(f"{_OIP}: it takes images.", ready, protected, extra=(404,), fault=_EITHER)},
        f"{path}/infer": {"post": infer},
    }
    which = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("name", "version")
        if f"{{{name}}}" in path
    ]
    for methods in found.values() if which else ():
        for operation in methods.values():
            operation["parameters"] = [*which, *operation.get("parameters", [])]
    return found


_SESSION = "Set by POST /login; whatever is not a GET needs an Origin beside it."
_OIP = "Open Inference Protocol"
_CHOICE = {
    "model": "Which model answers, by its name; not given: the first of GET /models.",
    "version": "Which version of it; not given: the first of GET /models.",
}
_ROW: dict[str, Any] = {"$ref": "#/components/schemas/Row"}
_PLACE = {"anyOf": [_ROW, {"$ref": "#/components/schemas/Unanswered"}]}
_ROWS = {"application/json": {"schema": {"anyOf": [_ROW, {"type": "array", "items": _PLACE}]}}}
"""A row; of several images a list, in the order sent."""
_EITHER = {
    "application/json": {
        "schema": {"anyOf": [{"$ref": f"#/components/schemas/{kind.__name__}"} for kind in (InferenceProblem, Problem)]}
    }
}
"""A fault below /v2: before its head is read, no request has a path."""
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_IMAGES = {
    "type": "object",
    "properties": {"images": {"type": "array", "items": _BASE64, "minItems": 1}},
    "required": ["images"],
    "additionalProperties": False,
}

_LENGTH = "Bytes of JSON at the body's begin; the tensor follows them."
_FRAME = "Which picture of a file that holds several, from 1; none is guessed."
_LABEL = "One of the model's; not given: the one answered."
_TOP = "Only this many classes, the most probable first."


def _image(
    answer: dict[str, Any],
    summary: str,
    parameters: list[dict[str, Any]],
    settings: Settings,
    several: dict[str, Any] | None = None,
) -> dict[str, Any]:
    protected = bool(settings.keys)
    limits = f"At most {settings.max_body} bytes, and {settings.max_pixels} pixels an image."
    one = {"image": _BASE64}
    form = {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
    sent = {"type": "object", "properties": one, "required": ["image"], "additionalProperties": False}
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "description": "One image file as it is: JPEG, PNG, TIFF, WebP, GIF, BMP, PPM, AVIF, JPEG 2000, HEIC or "
            f"DICOM, told by its first bytes. Or a form with files, or base64 in JSON. {limits}"
            + (f" At most {settings.images} images." if several else ""),
            "content": {name: {} for name in _IMAGE_TYPES}
            | {"multipart/form-data": {"schema": form}}
            | {"application/json": {"schema": {"oneOf": [sent, several]} if several else sent}},
        },
        "responses": describe_responses({200: answer}, tuple(s for s in _IMAGE if protected or s != 401)),
        **describe_security(protected),
    }


def _get(
    summary: str,
    contents: dict[int, dict[str, Any]],
    protected: bool = False,
    *,
    extra: tuple[int, ...] = (),
    fault: dict[str, Any] | None = None,
) -> dict[str, Any]:
    faults = (*extra, *((401,) if protected else ()), 500)
    return {
        "summary": summary,
        "responses": describe_responses(contents, faults, fault),
        **describe_security(protected),
    }


def describe_security(protected: bool) -> dict[str, Any]:
    """Whether an operation asks for a token, or a session."""
    return {"security": [{"token": []}, {"session": []}]} if protected else {}


def describe_responses(
    contents: dict[int, dict[str, Any]], faults: tuple[int, ...], fault: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Status → description and content, in order; `fault`, else a `Problem`, where nothing else is said."""
    found = dict.fromkeys((*_EVERYWHERE, *faults), fault or _json(Problem)) | contents
    return {
        str(status): {"description": FAULTS[status][1] if status in FAULTS else "The answer.", "content": content}
        for status, content in sorted(found.items())
    }


def _json(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": _schema(kind)}}


def _list(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "array", "items": _schema(kind)}}}


def _schema(kind: type) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _text(kind: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string"}}}


def _number(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": MOST}
    return _parameter(name, description, schema)


def _column(column: ColumnSpec, *, required: bool) -> dict[str, Any]:
    """A column that a model takes beside the image; it is always to be named, empty where there is nothing."""
    known = "" if isinstance(column, Numeric) else f" One of {', '.join(column.values)}; others are taken for unknown."
    empty = "" if column.missing == "refuse" else " Empty: not known."
    text = f"Given beside the image.{known}{empty}"
    return _parameter(column.name, text, {"type": "string"}, required=required)


def _parameter(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}
