"""What becomes of a request: memory goes to bodies that come, and an answer that is late is a 504."""

from __future__ import annotations

import asyncio
import threading
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from zoo.edge.serve import Settings, _bodies, _work
from zoo.edge.serve._access import AccessLog
from zoo.edge.serve._application import Service
from zoo.edge.serve._models import Models, open_served
from zoo.edge.serve._sources import ServedPath

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

ROOM = 60_000
BLOCK = bytes(50_000)


def noise() -> bytes:
    """A picture of about 20 kB."""
    stream = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    assert 15_000 < len(stream.getvalue()) < 30_000
    return stream.getvalue()


async def post(
    service: Service, pieces: Callable[[], AsyncIterator[tuple[bytes, bool]]], path: str = "/predict"
) -> int:
    """The status of a request whose body comes as `pieces` says: bytes, and whether more follow."""
    given, found = pieces(), []

    async def receive() -> dict[str, Any]:
        async for data, more in given:
            return {"type": "http.request", "body": data, "more_body": more}
        await asyncio.Event().wait()  # the client stays, and sends nothing more
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        found.append(message.get("status"))

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    scope |= {"http_version": "1.1", "root_path": "", "raw_path": path.encode(), "scheme": "http"}
    await service.application(AccessLog(None))(scope, receive, send)
    return int(found[0])


def _service(model: Path, settings: Settings) -> Service:
    return Service(Models([open_served(ServedPath(model), settings)]), settings, None)


@pytest.fixture
def service(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(_bodies, "BUFFERED", ROOM)
    return _service(model_file, Settings(max_body=ROOM))


def test_a_body_that_stalls_gives_its_room_to_one_that_comes(service: Service) -> None:
    async def stalled() -> AsyncIterator[tuple[bytes, bool]]:
        yield BLOCK, True

    async def whole() -> AsyncIterator[tuple[bytes, bool]]:
        yield noise(), False

    async def both() -> tuple[int, list[int]]:
        waiting = asyncio.ensure_future(post(service, stalled))
        await asyncio.sleep(0.05)
        answered = [await post(service, whole) for _ in range(3)]
        return await waiting, answered

    assert asyncio.run(both()) == (408, [200, 200, 200])
    assert service.bodies.buffered == 0


def test_a_body_that_came_more_slowly_than_all_others_finds_no_room(service: Service) -> None:
    go = asyncio.Event()

    async def late() -> AsyncIterator[tuple[bytes, bool]]:
        yield b"\x89", True
        await go.wait()
        yield noise(), False

    async def quick() -> AsyncIterator[tuple[bytes, bool]]:
        yield BLOCK, True

    async def both() -> int:
        slow = asyncio.ensure_future(post(service, late))
        await asyncio.sleep(0.05)
        holding = asyncio.ensure_future(post(service, quick))
        await asyncio.sleep(0)
        go.set()
        status = await slow
        holding.cancel()
        return status

    assert asyncio.run(both()) == 503


def test_a_map_that_takes_longer_than_four_answers_may_is_a_504(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(_work, "explain_image", lambda *_: done.wait(30))
    service = _service(model_file, Settings(seconds=0.05))

    async def whole() -> AsyncIterator[tuple[bytes, bool]]:
        yield noise(), False

    try:
        assert asyncio.run(post(service, whole, "/explain")) == 504
    finally:
        done.set()
