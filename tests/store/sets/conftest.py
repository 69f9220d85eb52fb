"""A store of its own for every test, a publisher on the loopback interface, and a set that it publishes."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import numpy as np
import pytest

from zoo.store.sets import NamedSet, SetFile, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class Publisher:
    """What the next answers are, and what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    """It answers 206 to a Range; else it sends everything again."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each of the next bodies ends too early."""
    status: int = 200
    delay: float = 0.0
    endless: bool = False
    """Bodies have no end, and say nothing of their length."""
    asked: list[str] = field(default_factory=list)
    """'HEAD', 'GET', 'GET bytes=100-'."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_OFFLINE", "ZOO_OFFLINE", "ZOO_DATA_MIRROR", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    state = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(f"{self.command} {wanted}".strip())
            time.sleep(state.delay)
            whole = state.files.get(self.path.partition("?")[0])
            if whole is None or state.status != 200:
                self.head(404 if whole is None else state.status, 0)
                return
            if state.endless and body:
                self.head(200, -1)
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(bytes(1 << 20))
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.ranges else 0
            if start and start >= len(whole):
                self.head(416, 0, {"Content-Range": f"bytes */{len(whole)}"})
                return
            span = {"Content-Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"} if start else {}
            self.head(206 if start else 200, len(whole) - start, span)
            if body:
                self.wfile.write(whole[start:][: state.cuts.pop(0) if state.cuts else None])

        def head(self, status: int, length: int, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(length), **(more or {})}.items():
                if value != "-1":
                    self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def content() -> bytes:
    """Of the published file: three chunks, none like another."""
    return np.random.default_rng(0).bytes(2_500_000)


@pytest.fixture
def published(publisher: Publisher, content: bytes) -> Variant:
    """A set of one file, `toys.npz`, that the publisher gives out."""
    publisher.files["/toys.npz"] = content
    return a_set(f"{publisher.url}/toys.npz?download=1", content)


def md5(content: bytes) -> str:
    return hashlib.new("md5", content, usedforsecurity=False).hexdigest()


def a_set(url: str, content: bytes, *, form: str = "npz", licence: str = "CC BY 4.0", root: str = "") -> Variant:
    about = NamedSet(
        title="Toys",
        format=form,
        task="multiclass",
        labels=("ball", "doll"),
        n=4,
        channels=1,
        licence=licence,
        citation=("A. Maker. Toys.",),
        page="https://example.org",
        patients="none",
        files={"8": SetFile(url=url, checksum=f"md5:{md5(content)}", size=len(content))},
        root=root,
    )
    return Variant(set_name="toys", about=about, px=8)


@pytest.fixture
def make_set() -> Callable[..., Variant]:
    return a_set
