"""A store of its own for every test, no network by chance, and a hub on the loopback interface."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save

from zoo.spec import ModelCard, PreprocessSpec, Weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = "hf-hub:acme/net"


@dataclass
class Hub:
    """What the next answers are, and what was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    missing: int = 0
    """Bytes by which a body is shorter than its Content-Length."""
    delay: float = 0.0
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_OFFLINE", "ZOO_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody answers
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            state.asked.append(f"{self.command} {self.path}")
            time.sleep(state.delay)
            if self.path in state.redirects:
                self.send_response(302)
                self.send_header("Location", state.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = state.files.get(self.path)
            self.send_response(404 if data is None else state.status)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if body and data:
                self.wfile.write(data[: len(data) - state.missing])

        def log_message(self, *args: object) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="net",
        plugin="p",
        arch="net",
        family="p",
        summary="A model",
        preprocess=PreprocessSpec(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1)),
        weights=Weights(source=SOURCE, licence="mit"),
    )


@pytest.fixture
def blob() -> bytes:
    """A sound safetensors file of three tensors."""
    rng = np.random.default_rng(0)
    return save({f"layer{i}.weight": rng.normal(size=(4, 3)).astype(np.float32) for i in range(3)})
