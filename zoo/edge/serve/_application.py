"""The paths of a server and what each answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from zoo._support.labels import find_label
from zoo.edge._explain import explain_image
from zoo.edge._results import Failure
from zoo.edge._session import return_memory
from zoo.edge.serve._guard import Guard, refusal
from zoo.edge.serve._metrics import CONTENT_TYPE_LATEST, Metrics
from zoo.edge.serve._openapi import MOST, document
from zoo.edge.serve._page import media_type, pages
from zoo.edge.serve._queue import Full, Late, WorkQueue
from zoo.edge.serve._shapes import Health
from zoo.errors import DataError, ImageError, UsageError
from zoo.readers import probe
from zoo.spec import encode
from zoo.tabular import parse_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from starlette.types import ASGIApp

    from zoo.edge._results import Result
    from zoo.edge._runtime import Runtime
    from zoo.edge.serve._settings import Settings

    Columns = NDArray[np.float32] | None

__all__ = ["NAME", "Service"]

NAME = "image"
"""How answers and errors call an image: who sent it knows which it was, and nobody else may."""

BUFFERED = 256_000_000
"""Bytes of bodies held at a time, over all requests. What would exceed it takes the room of bodies that come more
slowly, which are answered 408; where there is none it is answered 503 itself."""

_EXPLAINING = 2
"""Heat maps that may wait. One is made at a time, so that they never keep answers from their workers."""
_EXPLAINING_TIME = 4
"""Its time limit in those of an answer; it takes about 120 answers."""

_LARGE = 2_000_000
"""Pixels, or bytes, from which the few milliseconds that it takes to return memory are lost in the answer's time."""

_JSON = "application/json"
_NO_IMAGE = ("multipart/", "application/json", "text/")
_PRIVATE = frozenset({"/predict", "/explain", "/model", "/card", "/metrics"})

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class _Line:
    queue: WorkQueue
    seconds: float


@dataclass(eq=False, slots=True)
class _Body:
    """One that is on its way."""

    began: float
    limit: asyncio.Timeout
    data: bytearray = field(default_factory=bytearray)
    dropped: bool = False
    """Whether its room was given to another."""

    def rate(self, now: float) -> float:
        """Bytes a second."""
        return len(self.data) / max(now - self.began, 1e-3)


class Service:
    """One model and the requests for it.

    Attributes:
        metrics: what is counted.
        draining: set it, and no image is taken any more.
        working: requests whose image was taken, from their head to their answer.
    """

    def __init__(self, runtime: Runtime, settings: Settings, card: bytes | None, hosts: frozenset[str] | None) -> None:
        self.metrics = Metrics()
        self.draining = False
        self.working = 0
        self._runtime = runtime
        self._settings = settings
        self._card = card
        self._hosts = hosts
        self._answering = _Line(WorkQueue(settings.at_work, settings.waiting), settings.seconds)
        self._explaining = _Line(WorkQueue(1, _EXPLAINING), _EXPLAINING_TIME * settings.seconds)
        self._buffered = 0
        self._coming: set[_Body] = set()
        self._manifest = encode(runtime.manifest)
        self.metrics.gauge("zoo_queue_depth", "Requests that wait for a worker.", lambda: self._answering.queue.depth)
        self.metrics.gauge("zoo_buffered_bytes", "Bytes of bodies held.", lambda: self._buffered)
        self.metrics.model(name=runtime.manifest.name, provider=runtime.provider, task=runtime.manifest.task)

    def application(self) -> ASGIApp:
        """What uvicorn runs."""
        routes = [
            Route("/predict", self._predict, methods=["POST"]),
            Route("/explain", self._explain, methods=["POST"]),
            Route("/healthz", self._healthz),
            Route("/metrics", self._metrics),
            Route("/model", self._model),
            Route("/card", self._tell_card),
        ]
        described = encode(document(self._settings, self._runtime.manifest.table))
        routes.append(Route("/openapi.json", partial(_serve_fixed, described, _JSON)))
        routes += [Route(path, partial(_serve_fixed, content, media_type(path))) for path, content in pages().items()]
        names = {route.path: "assets" if route.path.startswith("/assets/") else route.path for route in routes}
        inner = Starlette(routes=routes, exception_handlers={HTTPException: _http, Exception: _http})
        inner.router.redirect_slashes = False
        return Guard(
            inner,
            self.metrics,
            routes=names,
            hosts=self._hosts,
            names=self._settings.hosts,
            token=self._settings.token,
            private=_PRIVATE,
            say=log.error,
        )

    def close(self) -> None:
        """Let the workers end."""
        self._answering.queue.close()
        self._explaining.queue.close()

    async def _predict(self, request: Request) -> Response:
        try:
            asked, columns = self._query(request, "frame", "top")
        except ValueError as wrong:
            return refusal(400, str(wrong))
        return await self._work(request, self._answering, lambda data: self._row(data, columns, **asked))

    async def _explain(self, request: Request) -> Response:
        try:
            asked, columns = self._query(request, "frame", "label")
        except ValueError as wrong:
            return refusal(400, str(wrong))
        try:
            if asked["label"] is not None:
                find_label(asked["label"], self._runtime.labels)
        except UsageError:
            return refusal(400, "the model has no such label; GET /model lists those it has")
        return await self._work(request, self._explaining, lambda data: self._map(data, columns, **asked))

    def _query(self, request: Request, *known: str) -> tuple[dict[str, Any], Columns]:
        """What the query says of the answer, and the columns beside the image; raises ValueError."""
        table = self._runtime.manifest.table
        names = () if table is None else tuple(name for name in table.names if name not in known)
        found = _query(request, *known, texts=names)
        if table is None:
            return found, None
        given = {name: found.pop(name) for name in names}
        try:
            return found, parse_cells(table, {name: [cell] for name, cell in given.items() if cell is not None}, 1)
        except DataError as problem:  # its sentence may repeat what was sent
            if problem.code == "inputs-missing":
                lost = " and ".join(problem.fields["columns"])
                raise ValueError(f"the query lacks {lost}, which the model takes beside the image") from None
            said = "is empty and the model needs it" if problem.code == "inputs-cell-missing" else "is not a number"
            raise ValueError(f"{problem.fields['column']} {said}") from None

    def _row(self, data: bytes, columns: Columns, frame: int | None, top: int | None) -> bytes:
        """In a worker's thread: the row as JSON; raises ImageError."""
        with self._measure(data):
            result: Result = self._runtime.answer(data, name=NAME, frame=frame, columns=columns)
        if isinstance(result, Failure):
            raise ImageError(NAME, result.error)
        return msgspec.json.encode(result.row(top))

    def _map(self, data: bytes, columns: Columns, frame: int | None, label: str | None) -> bytes:
        """In a worker's thread: the heat map as JSON; raises ImageError."""
        with self._measure(data):
            heat = explain_image(self._runtime, self._runtime.read(data, name=NAME, frame=frame), label, columns)
        return msgspec.json.encode(heat)

    @contextlib.contextmanager
    def _measure(self, data: bytes) -> Iterator[None]:
        """Refuse too many pixels by the header alone, and hand back what a large image took."""
        size = len(data)
        try:
            try:
                header = probe(data, name=NAME)
            except ImageError as problem:  # the readers have a limit of their own, which is larger
                width, height = problem.fields.get("width"), problem.fields.get("height")
                if problem.code != "image-size" or not (width and height):
                    raise
                raise self._refuse_pixels(width, height) from None
            values = header.width * header.height * (header.channels or 1)
            if self._runtime.manifest.provenance.config.frames == "channels":
                values *= header.frames
            size = max(size, values)
            if values > self._settings.max_pixels:
                raise self._refuse_pixels(header.width, header.height)
            yield
        finally:
            if size >= _LARGE:
                return_memory()

    def _refuse_pixels(self, width: int, height: int) -> ImageError:
        most = self._settings.max_pixels
        return ImageError(
            NAME,
            f"{width}x{height} pixels, expected at most {most}; send the image smaller",
            code="image-size",
            width=width,
            height=height,
            most=most,
        )

    async def _work(self, request: Request, line: _Line, job: Callable[[bytes], bytes]) -> Response:
        """Read the body within all limits, let a worker do the job, and answer whatever comes of it."""
        if (wrong := self._unacceptable(request, line)) is not None:
            return wrong
        limit = asyncio.timeout(self._settings.body_seconds)
        body = _Body(asyncio.get_running_loop().time(), limit)
        self.working += 1
        self._coming.add(body)
        try:
            async with limit:
                async for chunk in request.stream():
                    if body.dropped:
                        break
                    body.data += chunk
                    self._buffered += len(chunk)
                    if len(body.data) > self._settings.max_body:
                        return self._turn_away("body size", 413)
                    if not self._make_room(body):
                        return self._turn_away("memory", 503)
            self._coming.discard(body)  # whole: a slower one cannot take its room any more
            if body.dropped:
                return self._turn_away("too slow", 408)
            return await self._finish(request, line, partial(job, bytes(body.data)))
        except TimeoutError:
            return self._turn_away("too slow" if body.dropped else "body time", 408)
        except ClientDisconnect:
            return Response(status_code=408)  # to nobody
        finally:
            self.working -= 1
            self._coming.discard(body)
            self._buffered -= len(body.data)

    def _make_room(self, body: _Body) -> bool:
        """Drop bodies that come more slowly than this one until all fit; False: this one is the slowest."""
        now = asyncio.get_running_loop().time()
        while self._buffered > max(BUFFERED, self._settings.max_body):
            slowest = min((one for one in self._coming if one.data), key=lambda one: one.rate(now))
            if slowest is body:
                return False
            slowest.dropped = True
            self._coming.discard(slowest)
            self._buffered -= len(slowest.data)
            slowest.data.clear()
            if not slowest.limit.expired():
                slowest.limit.reschedule(now)
        return True

    async def _finish(self, request: Request, line: _Line, call: Callable[[], bytes]) -> Response:
        work = asyncio.ensure_future(line.queue.run(call, line.seconds))
        gone = asyncio.ensure_future(_wait_for_hang_up(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.metrics.refused.labels("client gone").inc()
                raise ClientDisconnect
            return Response(await work, media_type=_JSON)
        except ImageError as problem:
            self.metrics.refused.labels("image").inc()
            return refusal(422, problem.reason)
        except Full:
            return self._turn_away("queue", 503)
        except Late as late:
            return self._turn_away("time", 504 if late.begun else 503)
        finally:
            for task in (work, gone):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    def _unacceptable(self, request: Request, line: _Line) -> Response | None:
        """What the head alone tells; nothing of the body is read then."""
        if self.draining:
            return self._turn_away("draining", 503)
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            return self._turn_away("content encoding", 415)
        if request.headers.get("content-type", "").strip().lower().startswith(_NO_IMAGE):
            return self._turn_away("content type", 415)
        declared = request.headers.get("content-length", "0")
        if len(declared) > 18 or int(declared) > self._settings.max_body:  # h11 let only digits pass
            return self._turn_away("body size", 413)
        return self._turn_away("queue", 503) if line.queue.full else None

    def _turn_away(self, reason: str, status: int) -> Response:
        self.metrics.refused.labels(reason).inc()
        return refusal(status)

    async def _healthz(self, _request: Request) -> Response:
        health = Health(status="draining" if self.draining else "ok", live=True, ready=not self.draining)
        return Response(msgspec.json.encode(health), 503 if self.draining else 200, media_type=_JSON)

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.text(), media_type=None, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _model(self, _request: Request) -> Response:
        return Response(self._manifest, media_type=_JSON)

    async def _tell_card(self, _request: Request) -> Response:
        if self._card is None:
            return refusal(404, "this model has no card; a bundle of 'zoo export --bundle' brings one")
        return Response(self._card, media_type="text/markdown")


async def _serve_fixed(content: bytes, kind: str, _request: Request) -> Response:
    return Response(content, media_type=kind)


async def _http(_request: Request, problem: Exception) -> Response:
    """No such path, no such method; or a defect, which Starlette raises again for `Guard` to name."""
    status = getattr(problem, "status_code", 500)
    return refusal(status, headers=dict(getattr(problem, "headers", None) or {}))


async def _wait_for_hang_up(request: Request) -> None:
    """Return when the client closed the connection; the body was read whole."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _query(request: Request, *known: str, texts: tuple[str, ...] = ()) -> dict[str, Any]:
    """The query by name, None for what is not given: a label and `texts` as they are, all others whole numbers.

    Raises:
        ValueError: a name that is not known or given twice, or no number from 1; what was given is not repeated.
    """
    found: dict[str, Any] = dict.fromkeys((*known, *texts))
    for name, value in request.query_params.multi_items():
        if name not in found:
            raise ValueError(f"the query holds a name that is not known, expected {' or '.join((*known, *texts))}")
        if found[name] is not None:
            raise ValueError(f"{name} is given twice, expected once")
        whole = value.isascii() and value.isdigit() and len(value) < 20
        text = name == "label" or name in texts
        if not text and not (whole and 1 <= int(value) <= MOST):
            raise ValueError(f"{name} is not a number from 1 to {MOST}")
        found[name] = value if text else int(value)
    return found
