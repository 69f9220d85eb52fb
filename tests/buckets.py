"""A real S3-compatible server on loopback, and the ways in which it misbehaves."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Bucket", "Wire", "refuse_all", "serve", "serve_files"]


class Bucket:
    """One bucket of the server."""

    def __init__(self, client: Any, name: str, server: _Server) -> None:
        self.client, self.name, self.server, self.address = client, name, server, server.address

    def put(self, key: str, data: bytes) -> None:
        """Write one object."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Write all files below a folder; their address."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"s3://{self.name}/{prefix}"

    def keys(self) -> list[str]:
        """All objects."""
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]


class _Server:
    """moto's server, which may be away for a while; what it holds stays."""

    def __init__(self) -> None:
        self._kind = pytest.importorskip("moto.server").ThreadedMotoServer
        self._port = 0
        self.start()
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = self._kind(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()


@contextlib.contextmanager
def serve(name: str = "zoo") -> Iterator[Bucket]:
    """moto's server over HTTP, with one empty bucket; s3fs finds it by the environment."""
    boto = pytest.importorskip("botocore.session")
    clients = pytest.importorskip("s3fs").S3FileSystem
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = _Server()
    # what moto holds is the process's, not the server's
    pytest.importorskip("requests").post(f"{server.address}/moto-api/reset", timeout=60)
    said = {
        "AWS_ENDPOINT_URL": server.address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in said.items():
            patch.setenv(variable, value)
        patch.delenv("AWS_PROFILE", raising=False)
        client = boto.get_session().create_client("s3", endpoint_url=server.address)
        client.create_bucket(Bucket=name)
        clients.clear_instance_cache()  # they would ask the server before this one
        try:
            yield Bucket(client, name, server)
        finally:
            clients.clear_instance_cache()
            client.close()
            server.stop()


class Wire:
    """A connection to a server that can be cut after so many bytes of its answers."""

    def __init__(self, address: str) -> None:
        host, _, port = address.partition("://")[2].rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.left: int | None = None
        """Bytes that may still pass; None: any number."""
        self.passed = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.left is not None and self.left <= 0:
                    near.close()
                    continue
                far = socket.create_connection(self._server)
                for one, other, counted in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._copy, args=(one, other, counted), daemon=True).start()

    def _copy(self, one: socket.socket, other: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(4096):
                if counted:
                    with self._lock:
                        self.passed += len(data)
                        if self.left is not None:
                            self.left -= len(data)
                    if self.left is not None and self.left <= 0:
                        break
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextlib.contextmanager
def serve_files(folder: Path, handler: type[SimpleHTTPRequestHandler] = SimpleHTTPRequestHandler) -> Iterator[str]:
    """A plain web server of a folder; its address."""
    quiet = type("Quiet", (handler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class refuse_all(SimpleHTTPRequestHandler):  # noqa: N801 - reads as an argument of serve_files
    """Answers everything with 403, as S3 does."""

    def do_GET(self) -> None:
        """Refuse."""
        body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - named by http.server
