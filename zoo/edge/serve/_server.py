"""From a model on disk to a listening socket, and back to nothing in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn

from zoo._support.addresses import is_loopback
from zoo.edge.bundle import Signed
from zoo.edge.serve._access import AccessLog
from zoo.edge.serve._application import Service
from zoo.edge.serve._models import Models, open_served
from zoo.edge.serve._protocol import limit_connections
from zoo.edge.serve._reload import Reload
from zoo.edge.serve._settings import Settings
from zoo.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zoo.edge.serve._models import Model
    from zoo.edge.serve._sources import ServedPath

__all__ = ["Started", "run"]

log = logging.getLogger("zoo")

_BACKLOG = 256
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class StartedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One of the models that answer."""

    model: str
    """Its name."""
    version: str
    labels: int
    verified: int | None
    """Golden images that were answered as where the model was exported; None: it was not tried."""
    signed: Signed
    """valid: by the key that was given."""
    doubt: str | None
    """That the file was made smaller without proof that it is as good as float32; None: nothing of that kind."""


class Started(StartedModel, frozen=True, kw_only=True):
    """A server that answers; what it says of a model is about the first."""

    url: str
    host: str
    port: int
    provider: str
    workers: int
    threads: int
    """Inside one operator."""
    token: bool
    """Whether callers need one."""
    models: tuple[StartedModel, ...]
    """All, in the order given."""


def run(sources: Sequence[ServedPath], settings: Settings, announce: Callable[[Started], None]) -> None:
    """See `zoo.edge.serve.serve`."""
    with _hearing_hangups() as hangups:
        _run(sources, settings, announce, hangups)


def _run(
    sources: Sequence[ServedPath], settings: Settings, announce: Callable[[Started], None], hangups: threading.Event
) -> None:
    family, address = _address(settings)
    if not is_loopback(address[0]) and not settings.keys and not settings.insecure:
        raise UsageError(
            f"{settings.host} is reached from other machines, and no token is given; give one with --token-file, "
            "or say --insecure-no-token where something else guards the port",
            code="token-missing",
            host=settings.host,
        )
    models = Models([open_served(source, settings) for source in sources])
    hosts = None
    if is_loopback(address[0]):
        hosts = frozenset({*_LOOPBACK, settings.host.strip("[]").lower(), address[0], *map(str.lower, settings.hosts)})
    access = AccessLog(settings.access_log)
    service = Service(models, settings, hosts)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # its warnings quote what was sent
    with contextlib.closing(access), _listening(family, address) as listener:
        port = listener.getsockname()[1]
        shown = f"[{address[0]}]" if family == socket.AF_INET6 else address[0]
        started = Started(
            url=f"http://{shown}:{port}/",
            host=address[0],
            port=port,
            provider=settings.provider,
            workers=settings.at_work,
            threads=settings.threads or 1,
            token=bool(settings.keys),
            models=tuple(StartedModel(**_facts(model)) for model in models.all),
            **_facts(models.first),
        )
        config = uvicorn.Config(
            service.application(access),
            http=limit_connections(settings, service.metrics, access),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=settings.idle_seconds,  # type: ignore[arg-type]  # only handed to loop.call_later
            timeout_graceful_shutdown=1,
        )
        reload = Reload(service, sources, settings, hangups)
        _Server(config, service, reload, lambda: announce(started)).run(sockets=[listener])
    service.close()


def _facts(model: Model) -> dict[str, Any]:
    return {
        "model": model.name,
        "version": model.version,
        "labels": len(model.runtime.labels),
        "verified": model.verified,
        "signed": model.signed,
        "doubt": model.runtime.manifest.doubt,
    }


@contextlib.contextmanager
def _hearing_hangups() -> Iterator[threading.Event]:
    """Set where SIGHUP came: to read all again. A closed terminal sends it, too, and it must not end the process."""
    came = threading.Event()
    number = getattr(signal, "SIGHUP", None)  # Windows has none
    if number is None or threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(number, lambda _number, _frame: came.set())
    try:
        yield came
    finally:
        signal.signal(number, before)


class _Server(uvicorn.Server):
    """uvicorn's, which leaves by finishing what was begun, and with exit status 0."""

    def __init__(self, config: uvicorn.Config, service: Service, reload: Reload, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._reload = reload
        self._announce = announce
        service.metrics.gauge("zoo_connections", "Connections.", lambda: len(self.server_state.connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is left when the time for leaving is over."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the transports close in the loop's next round

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second. While it drains, the port stays open to say so on /healthz."""
        if self._service.draining and not self._service.working:
            self.should_exit = True
        if not self._service.draining:
            self._reload.begin()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take them as a wish to leave; uvicorn would raise them again, which a supervisor takes for a failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._leave) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _leave(self, _number: int, _frame: Any) -> None:
        if self._service.draining:  # asked twice: at once
            self.should_exit = self.force_exit = True
        self._service.draining = True


def _address(settings: Settings) -> tuple[socket.AddressFamily, Any]:
    """The first address of the host, numeric."""
    try:
        found = socket.getaddrinfo(
            settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise UsageError(
            f"host {settings.host!r} is not known, expected an address of this machine",
            code="option-value",
            option="--host",
            value=settings.host,
        ) from None
    family, _, _, _, address = found[0]
    return family, address


@contextlib.contextmanager
def _listening(family: socket.AddressFamily, address: Any) -> Iterator[socket.socket]:
    # asyncio sets TCP_NODELAY where it sees this protocol alone; without, an answer's body waits 40 ms for the
    # acknowledgement of its head (Nagle's algorithm and delayed acknowledgements).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as problem:
            raise OutputError(
                f"port {address[1]} of {address[0]} cannot be had ({(problem.strerror or str(problem)).lower()}); "
                "choose another with --port, or 0 for any",
                code="port-taken",
                port=address[1],
                host=address[0],
            ) from None
        yield listener
