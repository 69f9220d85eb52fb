"""A real server in a process of its own, and a client that sends exactly the bytes it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from edge_models import LABELS, make_manifest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from zoo.spec import encode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Answer:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def cookie(self) -> str:
        """As a browser would send it back."""
        return self.headers["set-cookie"].partition(";")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server that said it answers."""

    process: subprocess.Popen[str]
    started: dict[str, Any]

    def connect(self) -> socket.socket:
        return socket.create_connection((self.started["host"], self.started["port"]), timeout=60)

    def send(self, data: bytes) -> Answer:
        """One request as raw bytes on a connection of its own."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_answer(connection)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return self.send(request(method, path, body, **headers))

    def leave(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Signal it; exit status, the rest of stdout, stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def metric(self, name: str) -> float:
        """The sum of a series over its labels."""
        text = self.ask("GET", "/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """The bytes of a request; `headers` with _ for -."""
    given = {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None:
        given.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b"")


def read_answer(connection: socket.socket) -> Answer:
    """The next answer on a connection, skipping a 100; status 0 where the server closed without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(1)  # by the byte: what follows belongs to the next answer
        if not part:
            return Answer(0, {}, data)
        data += part
    first, *lines = data.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    status = int(first.split()[1])
    if status == 100:
        return read_answer(connection)
    body = b""
    while (missing := int(headers.get("content-length", 0)) - len(body)) > 0:
        part = connection.recv(missing)
        if not part:
            break
        body += part
    return Answer(status, headers, body)


@contextlib.contextmanager
def serving(
    model: Path | str | tuple[Path | str, ...], *options: str, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """`python -m zoo.edge serve` on a free port; killed at the end where the test did not end it."""
    process = launched(model, *options, environment=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=30)[1]
        yield Server(process, json.loads(line))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def launched(
    model: Path | str | tuple[Path | str, ...], *options: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    models = map(str, model if isinstance(model, tuple) else (model,))
    command = [sys.executable, "-m", "zoo.edge", "serve", *models, "--json", "--port", "0", *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error", **(environment or {})},
    )


def refused(
    model: Path | str | tuple[Path | str, ...],
    *options: str,
    environment: dict[str, str] | None = None,
    of: str = "stderr",
) -> tuple[int, str]:
    """Exit status of a server that must not start, and its stderr, or its stdout, which holds the error as JSON."""
    process = launched(model, *options, environment=environment)
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, err if of == "stderr" else out


def png(colour: tuple[int, int, int] = (200, 10, 10), size: tuple[int, int] = (6, 4)) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def slow_model() -> onnx.ModelProto:
    """The mean colour again, behind products of the image with itself: work grows with the cube of its side."""
    manifest = make_manifest()
    products = [helper.make_node("MatMul", ["planes", "planes"], ["power_1"])]
    products += [helper.make_node("MatMul", [f"power_{i}", "planes"], [f"power_{i + 1}"]) for i in range(1, 8)]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["x", "inner"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["x", "tiny"], ["small"]),
            helper.make_node("Transpose", ["small"], ["planes"], perm=[0, 3, 1, 2]),
            *products,
            helper.make_node("ReduceMean", ["power_8", "outer"], ["nothing"], keepdims=0),
            helper.make_node("Add", ["mean", "nothing"], ["kept"]),
            helper.make_node("MatMul", ["kept", "matrix"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(LABELS)])
            for name in ("probabilities", "logits")
        ],
        initializer=[
            numpy_helper.from_array((8 / 255 * np.eye(3)).astype(np.float32), "matrix"),
            numpy_helper.from_array(np.float32(1e-9), "tiny"),
            numpy_helper.from_array(np.array([1, 2], np.int64), "inner"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "outer"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"zoo": encode(manifest).decode()})
    return model
