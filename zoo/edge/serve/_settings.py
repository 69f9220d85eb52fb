"""Where a server listens, who may ask, and what is too much. Light: the command line imports it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from zoo._support.machine import cores
from zoo.edge.serve._keys import Key
from zoo.errors import UsageError

__all__ = ["Settings"]

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a server can be told. Sizes in bytes, times in seconds.

    Attributes:
        host: address to listen on; anything but loopback needs keys, or `insecure`.
        port: 0: any free one.
        keys: of which a caller must send one as `Authorization: Bearer TOKEN`, or log in with it; none: nothing.
        token_file: where they were read, to be read again when models are; None: they stay.
        insecure: listen beyond loopback without a key.
        hosts: further names under which browsers reach this server, behind a proxy, say.
        max_body: largest body of a request.
        max_pixels: largest image, width × height, as its header says. A worker needs about 27 bytes for each, for as
            long as it works: the default is beyond any X-ray detector, and 0.7 GB.
        images: most in one request.
        waiting: requests that may wait for a worker; the next one is answered 503.
        workers: images worked on at a time; None: one a CPU.
        threads: threads inside one operator; None: one, because the workers fill the CPUs.
        seconds: longest time from a complete request to its answer; a heat map has four times as long.
        head_seconds: longest time from a connection, or a request's first byte, to the end of its head.
        body_seconds: longest time from the end of the head to the end of the body.
        idle_seconds: longest time between two requests of a connection.
        connections: most at a time. The next one takes the place of the slowest sender; it is answered 503 where all
            others are being answered.
        provider: cpu, cuda, …; never another instead.
        verify: replay a bundle's golden set before the first request.
        key: file of a public key; only a bundle signed by it is served.
        access_log: file that gets a line of JSON for each answer, or "-", which is standard error; None: nothing.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[Key, ...] = ()
    token_file: Path | None = None
    insecure: bool = False
    hosts: tuple[str, ...] = ()
    max_body: int = 20_000_000
    max_pixels: int = 25_000_000
    images: int = 32
    waiting: int = 32
    workers: int | None = None
    threads: int | None = None
    seconds: float = 30.0
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 15.0
    connections: int = 256
    provider: str = "cpu"
    verify: bool = True
    key: Path | None = None
    access_log: Path | None = None

    def __post_init__(self) -> None:
        from zoo.readers import MAX_PIXELS  # not above: 'zoo --help' shows the defaults and needs no reader

        if not 0 <= self.port <= 65535:
            raise UsageError(
                f"port {self.port}, expected 0 to 65535", code="option-value", option="port", value=self.port
            )
        for name in ("max_body", "max_pixels", "images", "connections", "workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(
                    f"{name.replace('_', ' ')} is {value}, expected 1 or more",
                    code="option-value",
                    option=name,
                    value=value,
                )
        for name in ("seconds", "head_seconds", "body_seconds", "idle_seconds"):
            if not 0 < getattr(self, name) <= 86_400:
                raise UsageError(
                    f"{name.replace('_', ' ')} is {getattr(self, name)}, expected more than 0, up to a day",
                    code="option-value",
                    option=name,
                    value=getattr(self, name),
                )
        if self.waiting < 0:
            raise UsageError(
                f"waiting is {self.waiting}, expected 0 or more",
                code="option-value",
                option="waiting",
                value=self.waiting,
            )
        if self.max_pixels > MAX_PIXELS:
            raise UsageError(
                f"max pixels is {self.max_pixels}, expected at most {MAX_PIXELS}, which the readers take",
                code="option-value",
                option="max_pixels",
                value=self.max_pixels,
            )
        for host in self.hosts:
            if not _HOST.fullmatch(host):
                raise UsageError(
                    f"host {host!r} is not a host name, expected one such as zoo.example.org, without a port",
                    code="option-value",
                    option="hosts",
                    value=host,
                )

    @property
    def at_work(self) -> int:
        """Workers, decided."""
        return self.workers or cores()
