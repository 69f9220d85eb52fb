"""Around the application: who may ask, what every answer carries, what is counted, and what a defect looks like."""

from __future__ import annotations

import contextlib
import time
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.responses import Response

from zoo.edge.serve._access import OTHER
from zoo.edge.serve._gate import COOKIE
from zoo.edge.serve._protocol import REFUSED, SECURITY_HEADERS
from zoo.edge.serve._shapes import IMAGES, KEY, MODEL, MODEL_VERSION, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from zoo.edge.serve._access import AccessLog
    from zoo.edge.serve._gate import Gate
    from zoo.edge.serve._metrics import Metrics

__all__ = ["RETRY", "Declined", "Guard", "refusal", "single", "where"]

RETRY = {"retry-after": "1"}
"""Header of an answer that may be another a second later."""

_EXTRA: dict[int, dict[str, str]] = {
    401: {"www-authenticate": "Bearer"},
    415: {"accept-encoding": "identity"},  # RFC 9110, section 15.5.16
    503: RETRY,
}


def refusal(status: int, message: str | None = None, headers: dict[str, str] | None = None, **more: Any) -> Response:
    """A `Problem` as an answer, in the form of the protocol that is spoken at the path asked for.

    Args:
        status: HTTP status of the answer.
        message: one line; None: the usual one of this status.
        headers: further ones.
        more: fields of the `Fault`: kind, models.
    """
    return _Refusal(status, message, {**_EXTRA.get(status, {}), **(headers or {})}, more)


class Declined(Exception):  # noqa: N818 - a state, which the application answers
    """A request that is answered by `response`, which is a refusal."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class _Refusal(Response):
    def __init__(self, status: int, message: str | None, headers: dict[str, str], more: dict[str, Any]) -> None:
        super().__init__(status_code=status)
        self._message, self._given, self._more = message, headers, more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = problem(self.status_code, self._message, scope["path"], **self._more)
        await Response(body, self.status_code, self._given, "application/json")(scope, receive, send)


class Guard:
    """ASGI middleware, the outermost.

    Args:
        application: what answers when nothing is wrong.
        metrics: where it is counted.
        access: gets a line for each answer.
        name_route: a path's name in metrics and log; None: there is nothing, which is answered here: the application
            matches paths by patterns, which take "/model" followed by a line break for "/model", and `private` does
            not.
        hosts: names by which this server may be asked; None: any.
        names: those of them that were given by the user: a proxy may put its own in `Host`. Beside a session only the
            whole of `Host` counts.
        gate: who may ask for `private` paths.
        private: names of the routes that tell of the model or work for the caller.
        say: takes one line for the operator.
    """

    def __init__(
        self,
        application: ASGIApp,
        metrics: Metrics,
        access: AccessLog,
        *,
        name_route: Callable[[str], str | None],
        hosts: Collection[str] | None,
        names: Collection[str],
        gate: Gate,
        private: Collection[str],
        say: Callable[[str], None],
    ) -> None:
        self._application = application
        self._metrics = metrics
        self._access = access
        self._name_route = name_route
        self._hosts = hosts
        self._names = names
        self._gate = gate
        self._private = private
        self._say = say

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # lifespan is off, and WebSockets are not spoken
            return
        route = self._name_route(scope["path"])
        shown = route or OTHER
        status = received = sent = 0
        began = time.perf_counter()

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def seal(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                usual = [(b"cache-control", b"no-store"), *SECURITY_HEADERS]
                message["headers"] = [*message["headers"], *(pair for pair in usual if pair[0] not in given)]
            sent += len(message.get("body", b""))
            await send(message)

        self._metrics.in_flight.inc()
        try:
            refused = self._refuse(scope, route)
            await (refused or self._application)(scope, count, seal)
        except Exception as defect:  # the one place where a defect becomes a line
            self._say(f"a request of {shown} failed: {where(defect)}")
            if not status:
                await refusal(500)(scope, receive, seal)
        finally:
            self._metrics.in_flight.dec()
            status, seconds = scope.get(REFUSED, status), time.perf_counter() - began
            if status:  # else the client was gone
                images, model = scope.get(IMAGES, 0), scope.get(MODEL, "")
                self._metrics.requests.labels(shown, model, str(status)).inc()
                if status == 200 and scope["method"] == "POST":
                    self._metrics.seconds.labels(shown, model).observe(seconds)
                self._access.write(
                    scope["method"],
                    shown,
                    status,
                    seconds,
                    model=model,
                    version=scope.get(MODEL_VERSION, ""),
                    key=scope.get(KEY, ""),
                    received=received,
                    sent=sent,
                    images=images,
                )

    def _refuse(self, scope: Scope, route: str | None) -> Response | None:
        headers = single(scope["headers"])
        reason, status = "", 0
        if self._hosts is not None and _name(headers.get(b"host", b"")) not in self._hosts:
            reason, status = "host", 421
        elif not self._same_site(headers):
            reason, status = "origin", 403
        elif b"transfer-encoding" in headers and (b"content-length" in headers or scope["http_version"] < "1.1"):
            reason, status = "malformed", 400  # a proxy may see other requests in these bytes (RFC 9112, section 6.1)
        elif route is None:
            reason, status = "path", 404
        elif self._gate.needed and route in self._private:
            known = self._gate.recognize(scope["method"], headers)
            reason, status = ("", 0) if known else ("token", 401)
            scope[KEY] = known or ""
        if not status:
            return None
        self._metrics.refused.labels(reason).inc()
        return refusal(status, headers={"connection": "close"} if status == 400 else None)

    def _same_site(self, headers: dict[bytes, bytes]) -> bool:
        """Whether no other site's page asks: it could not read the answer, but it could keep the model busy."""
        origin = headers.get(b"origin")
        if origin is None:
            cross = headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}
            return not cross or headers.get(b"sec-fetch-mode") == b"navigate"
        with contextlib.suppress(ValueError):
            asking = urlsplit(origin.decode("latin-1"))
            # A browser sends the session to every port of a name, so beside it a name alone is not enough.
            named = asking.hostname in self._names and COOKIE.encode() not in headers.get(b"cookie", b"")
            return asking.netloc.encode("latin-1") == headers.get(b"host", b"") or named
        return False


def single(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Header names to values; one that is given twice has none that can be trusted."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b"" if name in found else value
    return found


def _name(host: bytes) -> str:
    """The host in a `Host` header without its port, lower case; empty where it is none."""
    try:
        return (urlsplit(f"//{host.decode('ascii')}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def where(defect: BaseException) -> str:
    """Type and place of an error; its text may quote what it met, and stays here."""
    frames = traceback.extract_tb(defect.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"{type(defect).__name__}{place}"
