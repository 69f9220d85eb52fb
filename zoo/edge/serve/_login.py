"""The paths by which a browser logs in and out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from zoo.edge.serve._bodies import Bodies, Refused
from zoo.edge.serve._gate import COOKIE, LIFETIME, Locked
from zoo.edge.serve._guard import refusal, single
from zoo.edge.serve._shapes import Login, Token

if TYPE_CHECKING:
    from starlette.requests import Request

    from zoo.edge.serve._gate import Gate

__all__ = ["login_routes"]

_MOST = 4096  # bytes of a body that holds a token


def login_routes(gate: Gate, bodies: Bodies) -> list[Route]:
    """/login and /logout."""

    async def tell(request: Request) -> Response:
        name = gate.recognize("GET", single(request.scope["headers"])) if gate.needed else None
        return _answer(Login(needed=gate.needed, key=name))

    async def enter(request: Request) -> Response:
        try:
            async with bodies.hold(request.stream(), _MOST) as body:
                token = msgspec.json.decode(body, type=Token).token
        except Refused as no:
            return refusal(no.status)
        except ClientDisconnect:
            return Response(status_code=408)  # to nobody
        except (msgspec.DecodeError, UnicodeDecodeError):
            return refusal(400, 'the body is not {"token": TOKEN}')
        if not gate.needed:
            return _answer(Login(needed=False, key=None))
        address = request.client.host if request.client else ""
        try:
            found = gate.log_in(token, address)
        except Locked as locked:
            return refusal(429, headers={"retry-after": str(math.ceil(locked.seconds))})
        if found is None:
            return refusal(401, "this token is not one of this server's; ask whoever runs it")
        name, value = found
        return _answer(Login(needed=True, key=name), request, value, LIFETIME)

    async def leave(request: Request) -> Response:
        gate.log_out(single(request.scope["headers"]))
        return _answer(Login(needed=gate.needed, key=None), request, "", 0)

    async def log_in(request: Request) -> Response:
        return await (enter if request.method == "POST" else tell)(request)

    return [Route("/login", log_in, methods=["GET", "POST"]), Route("/logout", leave, methods=["POST"])]


def _answer(login: Login, request: Request | None = None, value: str = "", seconds: int = 0) -> Response:
    answer = Response(msgspec.json.encode(login), media_type="application/json")
    if request is not None:  # a browser says by Origin how it came, also through a proxy that speaks TLS
        secure = request.headers.get("origin", "").startswith("https://")
        answer.set_cookie(COOKIE, value, max_age=seconds, httponly=True, samesite="strict", secure=secure)
    return answer
