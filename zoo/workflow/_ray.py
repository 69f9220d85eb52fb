"""A connection to Ray: a cluster that is there, or one on this machine for as long as it is needed.

What this module does not know: trainings, images. `zoo.workflow` hands out tasks by it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo._support.imports import needing
from zoo._support.machine import cores
from zoo._support.text import join_lines
from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["connect", "find_nodes", "refuse_size"]

_PATIENCE = 10.0
"""Seconds that the head of a cluster may take to answer."""

_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Ray reports to its makers unless the first says no, before it is imported. The second is how later releases treat a
task without a GPU; unset, Ray warns of it."""
_GUARDED = {"RAY_AUTH_MODE": "token"}
"""Of a Ray of our own: its servers listen on every interface, so that nobody without its token (~/.ray/auth_token) may
ask them. It is read when Ray is imported. Of a cluster, whoever started it has decided; this machine shows the token
that it has."""


@contextlib.contextmanager
def connect(address: str | None = None) -> Iterator[Any]:
    """The module `ray`, connected; a connection that was there before is used, and stays.

    Args:
        address: address of a cluster, HOST:PORT, "auto" or ray://HOST:PORT; None: RAY_ADDRESS where it is set, else
            this machine, with as many CPUs as this process may use.

    Raises:
        UsageError: Ray is not installed, or the cluster does not answer.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    _set(_QUIET)
    if "ray" not in sys.modules and (address is None or _has_token()):
        _set(_GUARDED)
    with needing("--engine ray", "scale"):
        import ray
    if ray.is_initialized():
        yield ray
        return
    try:
        _start(ray) if address is None else _join(ray, address)
    except Exception as problem:  # Ray raises plain ones where a server of its own is late
        what = f"the cluster at {address} cannot be reached" if address else "Ray does not start on this machine"
        remedy = (
            "start it with 'ray start --head', bring its token to ~/.ray/auth_token here, or leave out --address to "
            "use this machine alone"
        )
        if not address:
            remedy = "leave --engine ray out, or repeat the command when other programs leave it time and memory"
        raise UsageError(
            f"{what} ({join_lines(problem, 200)}); {remedy}", code="ray-unreachable", address=address
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def find_nodes(ray: Any) -> list[dict[str, float]]:
    """Resources of each node that works."""
    return [one["Resources"] for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU")]


def refuse_size(nodes: list[dict[str, float]], what: str, cpus: float, gpus: float, remedy: str) -> UsageError:
    """The error of work that no node has room for: Ray itself would wait for one for ever."""
    most = [max((one.get(kind, 0) for one in nodes), default=0) for kind in ("CPU", "GPU")]
    return UsageError(
        f"{what} is to have {cpus:g} CPUs and {gpus:g} GPUs, and no node of the cluster has so many (at most "
        f"{most[0]:g} and {most[1]:g}); {remedy}",
        code="engine-resources",
        cpus=cpus,
        gpus=gpus,
        most_cpus=most[0],
        most_gpus=most[1],
    )


def _has_token() -> bool:
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


def _start(ray: Any) -> None:
    """Start Ray on this machine; a busy one may need a second try, because Ray waits 30 s for its own servers."""
    for last in (False, True):
        try:
            ray.init(address="local", num_cpus=cores(), include_dashboard=False, **_SILENT)
        except Exception:  # a plain one
            if last:
                raise
        else:
            return


def _join(ray: Any, address: str) -> None:
    _knock(address)
    ray.init(address=address, **_SILENT)


def _set(variables: dict[str, str]) -> None:
    """Set what the user has not set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT; Ray itself would wait for minutes and then end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
