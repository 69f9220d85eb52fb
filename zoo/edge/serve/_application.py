"""The paths of a server and what each answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from zoo._support.labels import find_label
from zoo.edge.clinical._author import version
from zoo.edge.serve._accept import choose_form
from zoo.edge.serve._bodies import Bodies, Refused
from zoo.edge.serve._clinical import FORMS, Clinical, has_highdicom
from zoo.edge.serve._described import describe_clinical
from zoo.edge.serve._dicomweb import INSTANCE, STUDIES, STUDY, DicomWeb, name_study
from zoo.edge.serve._guard import Guard, refusal
from zoo.edge.serve._images import Unreadable, media_kind
from zoo.edge.serve._inference import ModelReady, ServerFacts, describe
from zoo.edge.serve._metrics import CONTENT_TYPE_LATEST, Metrics
from zoo.edge.serve._openapi import MOST, document
from zoo.edge.serve._page import media_type, pages
from zoo.edge.serve._queue import Full, Late, WorkQueue
from zoo.edge.serve._shapes import INFERENCE, Health
from zoo.edge.serve._work import JSON, Columns, Sent, Work
from zoo.errors import DataError, ImageError, UsageError
from zoo.spec import encode
from zoo.tabular import parse_cells

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp

    from zoo.edge._runtime import Runtime
    from zoo.edge.serve._access import AccessLog
    from zoo.edge.serve._settings import Settings

__all__ = ["Service"]

_EXPLAINING = 2
"""Heat maps that may wait. One is made at a time, so that they never keep answers from their workers."""
_EXPLAINING_TIME = 4
"""Its time limit in those of an answer; it takes about 120 answers."""

_MODEL = f"{INFERENCE}/models/NAME"
"""Of the Open Inference Protocol, as metrics and log name it; NAME is any name."""
_UPPER = re.compile(r"\{(\w+)\}")


def _show(path: str) -> str:
    """A route as metrics and log name it: what a client chooses in capitals."""
    return _UPPER.sub(lambda found: found[1].upper(), path)


_PRIVATE = frozenset(
    {
        *("/predict", "/explain", "/model", "/card", "/metrics", _MODEL, f"{_MODEL}/ready", f"{_MODEL}/infer"),
        *map(_show, (STUDIES, STUDY, INSTANCE)),
    }
)

_Job = Callable[[Sent], Response]
_Answer = Callable[[Request], Awaitable[Response]]

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class _Line:
    queue: WorkQueue
    seconds: float


class Service:
    """One model and the requests for it.

    Attributes:
        bodies: of all requests.
        metrics: what is counted.
        draining: set it, and no image is taken any more.
        working: requests whose image was taken, from their head to their answer.
    """

    def __init__(self, runtime: Runtime, settings: Settings, card: bytes | None, hosts: frozenset[str] | None) -> None:
        self.bodies = Bodies(settings)
        self.metrics = Metrics()
        self._jobs = Work(runtime, settings, self.metrics)
        self._clinical = Clinical(self._jobs, runtime)
        self.draining = False
        self.working = 0
        self._runtime = runtime
        self._settings = settings
        self._card = card
        self._hosts = hosts
        self._answering = _Line(WorkQueue(settings.at_work, settings.waiting), settings.seconds)
        self._explaining = _Line(WorkQueue(1, _EXPLAINING), _EXPLAINING_TIME * settings.seconds)
        self._dicomweb = DicomWeb(
            self._jobs, runtime, settings, lambda request, job: self._work(request, self._answering, job, files=False)
        )
        self._manifest = encode(runtime.manifest)
        self.metrics.gauge("zoo_queue_depth", "Requests that wait for a worker.", lambda: self._answering.queue.depth)
        self.metrics.gauge("zoo_buffered_bytes", "Bytes of bodies held.", lambda: self.bodies.buffered)
        self.metrics.model(name=runtime.manifest.name, provider=runtime.provider, task=runtime.manifest.task)

    def application(self, access: AccessLog) -> ASGIApp:
        """What uvicorn runs; `access` gets a line for each answer."""
        facts, server = describe(self._runtime), ServerFacts(name="zoo", version=version())
        model = f"{INFERENCE}/models/{{name}}"
        described = document(self._settings, self._runtime.manifest)
        describe_clinical(described["paths"], self._settings, self._runtime.manifest)
        routes = [
            Route("/predict", self._predict, methods=["POST"]),
            Route("/explain", self._explain, methods=["POST"]),
            Route("/healthz", self._ready),
            Route("/metrics", self._metrics),
            Route("/model", partial(_serve_fixed, self._manifest, JSON)),
            Route("/card", self._tell_card),
            Route("/openapi.json", partial(_serve_fixed, encode(described), JSON)),
            Route(INFERENCE, partial(_serve_fixed, msgspec.json.encode(server), JSON)),
            Route(f"{INFERENCE}/health/live", self._live),
            Route(f"{INFERENCE}/health/ready", self._ready),
            Route(model, self._of_model(partial(_serve_fixed, msgspec.json.encode(facts), JSON))),
            Route(f"{model}/ready", self._of_model(self._model_ready)),
            Route(f"{model}/infer", self._of_model(self._infer), methods=["POST"]),
        ]
        routes += self._dicomweb.routes()
        routes += [Route(path, partial(_serve_fixed, content, media_type(path))) for path, content in pages().items()]
        paths = frozenset(_show(route.path) for route in routes)
        inner = Starlette(routes=routes, exception_handlers={HTTPException: _http, Exception: _http})
        inner.router.redirect_slashes = False
        return Guard(
            inner,
            self.metrics,
            access,
            name_route=partial(_name_route, paths),
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
        form = choose_form(request.headers.get("accept", ""), FORMS if has_highdicom() else FORMS[:2])
        if form is None:
            return refusal(406)
        if form != JSON:
            if asked.pop("top") is not None:
                return refusal(400, "top shortens the rows of JSON, and reports hold every class; leave it out")
            job = partial(self._clinical.answer, columns=columns, form=form, **asked)
            return await self._work(request, self._answering, job)
        return await self._work(request, self._answering, lambda sent: self._jobs.rows(sent, columns, **asked))

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
        return await self._work(request, self._explaining, lambda sent: self._jobs.map(sent, columns, **asked))

    async def _infer(self, request: Request) -> Response:
        return await self._work(request, self._answering, self._jobs.infer, files=False)

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

    async def _work(self, request: Request, line: _Line, job: _Job, *, files: bool = True) -> Response:
        """Read the body within all limits, let a worker do the job, and answer whatever comes of it."""
        if self.draining:
            return self._turn_away(Refused("draining", 503))
        self.working += 1
        try:
            self._check_head(request, line, files)
            async with self.bodies.hold(request.stream()) as body:
                return await self._finish(request, line, job, body)
        except Refused as no:
            return self._turn_away(no)
        except ClientDisconnect:
            return Response(status_code=408)  # to nobody
        finally:
            self.working -= 1

    async def _finish(self, request: Request, line: _Line, job: _Job, body: bytes) -> Response:
        sent = Sent(request, body)
        work = asyncio.ensure_future(line.queue.run(partial(job, sent), line.seconds))
        gone = asyncio.ensure_future(_wait_for_hang_up(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.metrics.refused.labels("client gone").inc()
                raise ClientDisconnect
            return await work
        except Unreadable as wrong:
            self.metrics.refused.labels("malformed").inc()
            return refusal(400, str(wrong))
        except ImageError as problem:
            self.metrics.refused.labels("image").inc()
            return refusal(422, problem.reason)
        except Full:
            raise Refused("queue", 503) from None
        except Late as late:
            raise Refused("time", 504 if late.begun else 503) from None
        finally:
            sent.gone.set()
            for task in (work, gone):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    def _check_head(self, request: Request, line: _Line, files: bool) -> None:
        """What the head alone tells of a body, of `files` or not; raises Refused, and nothing of it is read then."""
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refused("content encoding", 415)
        if files and media_kind(request.headers.get("content-type", "")) is None:
            raise Refused("content type", 415)
        declared = request.headers.get("content-length", "0")
        if len(declared) > 18 or int(declared) > self._settings.max_body:  # h11 let only digits pass
            raise Refused("body size", 413)
        if line.queue.full:
            raise Refused("queue", 503)

    def _turn_away(self, no: Refused) -> Response:
        self.metrics.refused.labels(no.reason).inc()
        return refusal(no.status)

    async def _live(self, _request: Request) -> Response:
        return self._tell_health(200)

    async def _ready(self, _request: Request) -> Response:
        return self._tell_health(503 if self.draining else 200)

    def _tell_health(self, status: int) -> Response:
        health = Health(status="draining" if self.draining else "ok", live=True, ready=not self.draining)
        return Response(msgspec.json.encode(health), status, media_type=JSON)

    async def _model_ready(self, _request: Request) -> Response:
        facts = ModelReady(name=self._runtime.manifest.name, ready=not self.draining)
        return Response(msgspec.json.encode(facts), 503 if self.draining else 200, media_type=JSON)

    def _of_model(self, answer: _Answer) -> _Answer:
        """`answer` for this model's name, and a 404 for any other."""

        async def check(request: Request) -> Response:
            if request.path_params["name"] != self._runtime.manifest.name:
                return refusal(404, "a model of this name is not here; GET /model tells which one is served")
            return await answer(request)

        return check

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.text(), media_type=None, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _tell_card(self, _request: Request) -> Response:
        if self._card is None:
            return refusal(404, "this model has no card; a bundle of 'zoo export --bundle' brings one")
        return Response(self._card, media_type="text/markdown")


def _name_route(paths: Collection[str], path: str) -> str | None:
    """A path as metrics and log call it; None: there is nothing."""
    if path.startswith(f"{INFERENCE}/models/"):
        path = "/".join([*path.split("/")[:3], "NAME", *path.split("/")[4:]])
    if path.startswith(f"{STUDIES}/"):
        return name_study(path)
    return None if path not in paths else "assets" if path.startswith("/assets/") else path


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
