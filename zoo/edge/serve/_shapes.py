"""The documents a server answers with, as types: the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from zoo.edge.bundle import Signed

__all__ = [
    "FAULTS",
    "IMAGES",
    "INFERENCE",
    "KEY",
    "MODEL",
    "MODEL_VERSION",
    "Fault",
    "Health",
    "InferenceProblem",
    "Login",
    "Problem",
    "Row",
    "ServedModel",
    "Token",
    "Unanswered",
    "problem",
]

IMAGES = "zoo.images"
"""Key of a request's scope: how many images it holds."""
MODEL = "zoo.model"
"""Key of a request's scope: name of the model that is asked."""
MODEL_VERSION = "zoo.version"
"""Key of a request's scope: version of that model."""
KEY = "zoo.key"
"""Key of a request's scope: name of the caller's key."""

INFERENCE = "/v2"
"""Begins the paths of the Open Inference Protocol."""

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer for one image: the row that `zoo predict --json` gives, `image` being no file's name."""

    image: str
    """"image"; of several "image 1" and so on, in the order sent."""
    label: str
    """The class with the highest probability, or the one that the model's operating points call."""
    probability: Probability
    probabilities: dict[str, Probability]
    """Every class, in the order of the model's labels; with ?top=K the K most probable."""
    labels: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """All labels of a multilabel model with a probability of at least their operating point, else 0.5."""
    decision: Literal["label", "uncertain", "unlike training"] | msgspec.UnsetType = msgspec.UNSET
    """Whether `label` is the answer. Not there: the model never abstains."""
    set: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Labels that hold the right one as often as the model's sets were built for; there where it has sets."""
    operating: dict[str, bool] | msgspec.UnsetType = msgspec.UNSET
    """Each label with an operating point to whether its probability reaches it; there where the model has points."""
    novelty: float | msgspec.UnsetType = msgspec.UNSET
    """How unlike the images of training it is; there where the model decides by it."""


class Unanswered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several images that got no answer, in its place, as `zoo predict --json` gives it."""

    image: str
    error: str
    blame: Literal["machine", "either"] | msgspec.UnsetType = msgspec.UNSET
    """There where the image may be sound: a package or memory is missing, or its decoder was killed. Send it again."""


class Health(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the server lives, and whether it takes images."""

    status: Literal["ok", "draining"]
    live: bool
    ready: bool


class ServedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the models that answer; the first answers where none is named."""

    name: str
    version: str
    """The first digits of the sha256 of its ONNX file."""
    task: str
    labels: tuple[str, ...]
    provider: str
    verified: int | None
    """Golden images that were answered as where it was exported; null: not tried."""
    signed: Signed
    """valid: by the key that was given to the server."""
    doubt: str | None
    """That the file was made smaller without proof that it is as good as float32; null: nothing of that kind."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser logs in with."""

    token: str


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether this server asks for a token, and who has logged in."""

    needed: bool
    key: str | None
    """Name of the key that the browser's session was opened with; null: it has none."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found, what was expected, what to do."""

    type: str
    message: str
    models: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """Names and versions that there are, where another was asked for."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request without an answer."""

    error: Fault


class InferenceProblem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same where the Open Inference Protocol is spoken, in its form."""

    error: str


FAULTS: dict[int, tuple[str, str]] = {
    400: ("BadRequest", "not a request of HTTP/1.1, or a query or body that this path does not take"),
    401: ("Unauthorized", "this server asks for 'Authorization: Bearer TOKEN'; a browser logs in on its page"),
    403: ("Forbidden", "a page of another site asked; open this server's own page"),
    404: ("NotFound", "there is nothing at this path; GET /openapi.json lists what there is"),
    405: ("MethodNotAllowed", "this path does not take this method; 'Allow' names those it takes"),
    406: (
        "NotAcceptable",
        "'Accept' excludes all that this server gives here; GET /openapi.json lists the media types of each path",
    ),
    408: ("RequestTimeout", "the request did not arrive in time; send it faster, or a smaller image"),
    413: ("ContentTooLarge", "the body is larger than this server takes; send a smaller file"),
    415: (
        "UnsupportedMediaType",
        "send an image file as it is, a form of files, or JSON with base64; no Content-Encoding",
    ),
    421: ("MisdirectedRequest", "this server does not go by the name in 'Host'; start it with --allow-host NAME"),
    422: ("ImageError", "the body is not an image that this model can answer"),
    429: ("TooManyRequests", "too many wrong tokens came from this address; wait as 'Retry-After' says"),
    431: ("HeadersTooLarge", "the request's head is too large; send fewer headers"),
    500: ("InternalError", "the server failed on this request; its log names where"),
    501: ("NotImplemented", "this transfer coding is not known; send Content-Length or chunked"),
    503: ("Unavailable", "too much to do, no decoder, or shutting down; try again as 'Retry-After' says"),
    504: ("GatewayTimeout", "the answer took longer than this server allows; send a smaller image"),
}
"""Status → type and message of a `Problem`; the message of a 422 is the reader's."""


def problem(
    status: int, message: str | None = None, path: str = "", *, kind: str | None = None, models: tuple[str, ...] = ()
) -> bytes:
    """A `Problem` as JSON; an `InferenceProblem` where `path` is one of that protocol."""
    usual, sentence = FAULTS[status]
    said = message or sentence
    if path == INFERENCE or path.startswith(f"{INFERENCE}/"):
        return msgspec.json.encode(InferenceProblem(error=said))
    return msgspec.json.encode(Problem(error=Fault(type=kind or usual, message=said, models=models or msgspec.UNSET)))
