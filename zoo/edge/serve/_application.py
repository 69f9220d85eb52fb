"""The paths of a server and what each answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from zoo._support.versions import tool_version
from zoo.edge.clinical._sr import has_highdicom
from zoo.edge.serve._accept import choose_form
from zoo.edge.serve._bodies import Bodies, Refused
from zoo.edge.serve._clinical import FORMS, Clinical
from zoo.edge.serve._described import describe_clinical
from zoo.edge.serve._dicomweb import INSTANCE, STUDIES, STUDY, DicomWeb, name_study
from zoo.edge.serve._gate import Gate
from zoo.edge.serve._guard import Declined, Guard, refusal
from zoo.edge.serve._images import media_kind
from zoo.edge.serve._inference import ModelReady, ServerFacts, describe
from zoo.edge.serve._login import login_routes
from zoo.edge.serve._metrics import CONTENT_TYPE_LATEST, Metrics
from zoo.edge.serve._multipart import Unreadable
from zoo.edge.serve._openapi import document
from zoo.edge.serve._page import media_type, pages
from zoo.edge.serve._queries import choose, read_query
from zoo.edge.serve._queue import Full, Gone, Late, WorkQueue
from zoo.edge.serve._shapes import INFERENCE, Health, ServedModel
from zoo.edge.serve._work import JSON, VERSION, Sent, Work, name_blamed
from zoo.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp

    from zoo.edge.serve._access import AccessLog
    from zoo.edge.serve._models import Model, Models
    from zoo.edge.serve._settings import Settings

__all__ = ["Service"]

_EXPLAINING = 2
"""Heat maps that may wait. One is made at a time, so that they never keep answers from their workers."""
_EXPLAINING_TIME = 4
"""Its time limit in those of an answer; it takes about 120 answers."""

_UPPER = re.compile(r"\{(\w+)\}")


def _general(path: str) -> str:
    """A route's path as metrics and log call it: what a client chooses in capitals."""
    return _UPPER.sub(lambda found: found[1].upper(), path)


_OF_MODEL = tuple(f"{INFERENCE}/models/NAME{of}" for of in ("", "/versions/VERSION"))
"""Of the Open Inference Protocol, as metrics and log name them; NAME and VERSION are any."""
_PRIVATE = frozenset(
    {
        *("/predict", "/explain", "/models", "/model", "/card", "/metrics"),
        *(f"{path}{part}" for path in _OF_MODEL for part in ("", "/ready", "/infer")),
        *map(_general, (STUDIES, STUDY, INSTANCE)),
    }
)
_Job = Callable[[Sent], Response]

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class _Line:
    queue: WorkQueue
    seconds: float


class Service:
    """Some models and the requests for them.

    Attributes:
        models: what is served.
        gate: who may ask.
        bodies: of all requests.
        metrics: what is counted.
        draining: set it, and no image is taken any more.
        working: requests whose image was taken, from their head to their answer.
    """

    def __init__(self, models: Models, settings: Settings, hosts: frozenset[str] | None) -> None:
        self.models = models
        self.gate = Gate(settings.keys)
        self.bodies = Bodies(settings)
        self.metrics = Metrics()
        self._jobs = Work(settings, self.metrics)
        self._clinical = Clinical(self._jobs)
        self.draining = False
        self.working = 0
        self._settings = settings
        self._hosts = hosts
        self._answering = _Line(WorkQueue(settings.at_work, settings.waiting), settings.seconds)
        self._explaining = _Line(WorkQueue(1, _EXPLAINING), _EXPLAINING_TIME * settings.seconds)
        self._dicomweb = DicomWeb(self._jobs, models, settings, self._work_related)
        self.metrics.gauge("zoo_queue_depth", "Requests that wait for a worker.", lambda: self._answering.queue.depth)
        self.metrics.gauge("zoo_buffered_bytes", "Bytes of bodies held.", lambda: self.bodies.buffered)
        self.metrics.models(lambda: self.models.all)

    def application(self, access: AccessLog) -> ASGIApp:
        """What uvicorn runs; `access` gets a line for each answer."""
        routes = self._routes()
        paths = frozenset(_general(route.path) for route in routes)
        handlers: dict[Any, Any] = {Declined: _decline, HTTPException: _http, Exception: _http}
        inner = Starlette(routes=routes, exception_handlers=handlers)
        inner.router.redirect_slashes = False
        return Guard(
            inner,
            self.metrics,
            access,
            name_route=partial(_name_route, paths),
            hosts=self._hosts,
            names=self._settings.hosts,
            gate=self.gate,
            private=_PRIVATE,
            say=log.error,
        )

    def _routes(self) -> list[Route]:
        server = ServerFacts(name="zoo", version=tool_version())
        routes = [
            Route("/predict", self._predict, methods=["POST"]),
            Route("/explain", self._explain, methods=["POST"]),
            Route("/healthz", self._ready),
            Route("/metrics", self._metrics),
            Route("/models", self._tell_models),
            Route("/model", self._tell_manifest),
            Route("/card", self._tell_card),
            Route("/openapi.json", self._describe),
            Route(INFERENCE, partial(_serve_fixed, msgspec.json.encode(server), JSON)),
            Route(f"{INFERENCE}/health/live", self._live),
            Route(f"{INFERENCE}/health/ready", self._ready),
            *login_routes(self.gate, self.bodies),
        ]
        for model in (f"{INFERENCE}/models/{{name}}", f"{INFERENCE}/models/{{name}}/versions/{{version}}"):
            routes += [
                Route(model, self._tell_facts),
                Route(f"{model}/ready", self._model_ready),
                Route(f"{model}/infer", self._infer, methods=["POST"]),
            ]
        routes += self._dicomweb.routes()
        routes += [Route(path, partial(_serve_fixed, content, media_type(path))) for path, content in pages().items()]
        return routes

    def close(self) -> None:
        """Let the workers end."""
        self._answering.queue.close()
        self._explaining.queue.close()

    async def _predict(self, request: Request) -> Response:
        model = choose(self.models, request)
        asked, columns = read_query(model, request, "frame", "top")
        accept = request.headers.get("accept", "")
        form = choose_form(accept, FORMS)
        if form not in {None, *FORMS[:2]} and not has_highdicom():
            form = choose_form(accept, FORMS[:2])
        if form is None:
            return refusal(406)
        if form != JSON:
            if asked.pop("top") is not None:
                return refusal(400, "top shortens the rows of JSON, and reports hold every class; leave it out")
            job = partial(self._clinical.answer, columns=columns, form=form, **asked)
            return await self._work(request, model, self._answering, job)
        return await self._work(request, model, self._answering, lambda sent: self._jobs.rows(sent, columns, **asked))

    async def _explain(self, request: Request) -> Response:
        model = choose(self.models, request)
        asked, columns = read_query(model, request, "frame", "label")
        return await self._work(request, model, self._explaining, lambda sent: self._jobs.map(sent, columns, **asked))

    async def _infer(self, request: Request) -> Response:
        model = choose(self.models, request)
        return await self._work(request, model, self._answering, self._jobs.infer, files=False)

    async def _work_related(self, request: Request, model: Model, job: _Job) -> Response:
        """For DICOMweb, which looks at the kind of body itself."""
        return await self._work(request, model, self._answering, job, files=False)

    async def _work(self, request: Request, model: Model, line: _Line, job: _Job, *, files: bool = True) -> Response:
        """Read the body within all limits, let a worker do the job, and answer whatever comes of it."""
        if self.draining:
            return self._turn_away(Refused("draining", 503))
        self.working += 1
        try:
            self._check_head(request, line, files)
            async with self.bodies.hold(request.stream()) as body:
                return await self._finish(Sent(request, body, model), line, job)
        except Refused as no:
            return self._turn_away(no)
        except ClientDisconnect:
            return Response(status_code=408)  # to nobody
        finally:
            self.working -= 1

    async def _finish(self, sent: Sent, line: _Line, job: _Job) -> Response:
        gone = asyncio.ensure_future(_wait_for_hang_up(sent.request))
        try:
            return await line.queue.run(partial(job, sent), line.seconds, gone)
        except Gone:
            self.metrics.refused.labels("client gone").inc()
            raise ClientDisconnect from None
        except Unreadable as wrong:
            self.metrics.refused.labels("malformed").inc()
            return refusal(400, str(wrong))
        except ImageError as problem:
            if (blamed := name_blamed(problem)) != "image":
                raise Refused(blamed, 503, problem.reason) from None
            self.metrics.refused.labels(blamed).inc()
            return refusal(422, problem.reason)
        except Full:
            raise Refused("queue", 503) from None
        except Late as late:
            raise Refused("time", 504 if late.begun else 503) from None
        finally:
            sent.gone.set()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    def _check_head(self, request: Request, line: _Line, files: bool) -> None:
        """What the head alone tells of a body, of `files` or not; raises Refused, and nothing of it is read then."""
        if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refused("content encoding", 415, "no Content-Encoding is taken; send the body without one")
        if files and media_kind(request.headers.get("content-type", "")) is None:
            raise Refused("content type", 415)
        declared = request.headers.get("content-length", "0")
        if len(declared) > 18 or int(declared) > self._settings.max_body:  # h11 let only digits pass
            raise Refused("body size", 413)
        if line.queue.full:
            raise Refused("queue", 503)

    def _turn_away(self, no: Refused) -> Response:
        self.metrics.refused.labels(no.reason).inc()
        return refusal(no.status, no.message)

    async def _live(self, _request: Request) -> Response:
        return self._tell_health(200)

    async def _ready(self, _request: Request) -> Response:
        return self._tell_health(503 if self.draining else 200)

    def _tell_health(self, status: int) -> Response:
        health = Health(status="draining" if self.draining else "ok", live=True, ready=not self.draining)
        return Response(msgspec.json.encode(health), status, media_type=JSON)

    async def _model_ready(self, request: Request) -> Response:
        facts = ModelReady(name=choose(self.models, request).name, ready=not self.draining)
        return Response(msgspec.json.encode(facts), 503 if self.draining else 200, media_type=JSON)

    async def _tell_facts(self, request: Request) -> Response:
        model = choose(self.models, request)
        facts = describe(model.name, self.models.versions(model.name), model.runtime)
        return Response(msgspec.json.encode(facts), media_type=JSON)

    async def _tell_models(self, _request: Request) -> Response:
        return Response(msgspec.json.encode([_show(model) for model in self.models.all]), media_type=JSON)

    async def _tell_manifest(self, request: Request) -> Response:
        model = choose(self.models, request)
        return Response(model.document, media_type=JSON, headers={VERSION: model.version})

    async def _describe(self, _request: Request) -> Response:
        described = document(self._settings, self.models)
        describe_clinical(described["paths"], self._settings, self.models)
        return Response(msgspec.json.encode(described), media_type=JSON)

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.metrics.text(), media_type=None, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _tell_card(self, request: Request) -> Response:
        card = choose(self.models, request).card
        if card is None:
            return refusal(404, "this model has no card; a bundle of 'zoo export --bundle' brings one")
        return Response(card, media_type="text/markdown")


def _name_route(paths: Collection[str], path: str) -> str | None:
    """A path as metrics and log call it; None: there is nothing."""
    if path.startswith(f"{INFERENCE}/models/"):
        parts = path.split("/")
        parts[3] = "NAME"
        if len(parts) > 5 and parts[4] == "versions":
            parts[5] = "VERSION"
        path = "/".join(parts)
    if path.startswith(f"{STUDIES}/"):
        return name_study(path)
    return None if path not in paths else "assets" if path.startswith("/assets/") else path


def _show(model: Model) -> ServedModel:
    return ServedModel(
        name=model.name,
        version=model.version,
        task=model.runtime.manifest.task,
        labels=model.runtime.labels,
        provider=model.runtime.provider,
        verified=model.verified,
        signed=model.signed,
        doubt=model.runtime.manifest.doubt,
    )


async def _decline(_request: Request, no: Declined) -> Response:
    return no.response


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
