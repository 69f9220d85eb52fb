"""A name after `--log`, or an object from Python, to the callback that a training calls."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from zoo._support.entries import (
    CALLBACKS,
    Distribution,
    Entry,
    describe_cause,
    describe_clash,
    describe_forbidden,
    foreign_code,
    is_allowed,
    read_declared,
)
from zoo._support.versions import TOOL, tool_version
from zoo.errors import PluginError, UsageError
from zoo.runs import Callback, guard

__all__ = ["BUILT_IN", "claims_of", "find_callbacks", "load_maker"]


@dataclass(frozen=True, slots=True)
class _Built:
    """A logger of this package, not imported.

    Attributes:
        module: where its class is.
        name: of the class.
        package: whose module it imports, and the name of the extra that brings it.
    """

    module: str
    name: str
    package: str


BUILT_IN = {
    "mlflow": _Built("zoo.loggers._mlflow", "MLflow", "mlflow"),
    "tensorboard": _Built("zoo.loggers._tensorboard", "TensorBoard", "tensorboard"),
    "wandb": _Built("zoo.loggers._wandb", "WeightsAndBiases", "wandb"),
}
"""What `--log` takes without another package's help."""


def find_callbacks(given: Iterable[str | Callback]) -> tuple[Callback, ...]:
    """Each as an object that costs no training (see `zoo.runs.Callback`), before anything begins.

    Args:
        given: callbacks, and names of loggers, also several with commas between them; a name counts once.

    Raises:
        UsageError: no logger has this name, or its package is not installed.
        PluginError: one of another package cannot be had, or is not a callback.
    """
    if isinstance(given, str):
        given = (given,)
    found: dict[str | int, Callback] = {}
    for one in given:
        if not isinstance(one, str):
            found[id(one)] = guard(one)
            continue
        for name in map(str.strip, one.split(",")):
            if name not in found:
                found[name] = guard(load_maker(name)())
    return tuple(found.values())


def claims_of(name: str, owners: Sequence[Entry]) -> list[str]:
    """Every distribution that defines the callback `name`: ours, and the `owners` of entry points."""
    own = [Distribution(TOOL, tool_version())] if name in BUILT_IN else []
    return [str(one) for one in (*own, *(owner.distribution for owner in owners))]


def load_maker(name: str) -> Callable[[], Callback]:
    """What makes the callback `name`, imported and not called.

    Raises:
        UsageError: no logger has this name, or its package is not installed.
        PluginError: another package defines it, and it is not allowed, clashes, or cannot be imported.
    """
    declared = read_declared()
    owners = declared.entries[CALLBACKS].get(name, ())
    if name in BUILT_IN and not (owners and is_allowed(name)):
        return _load_built_in(name)
    if not owners:
        known = sorted({*BUILT_IN, *declared.entries[CALLBACKS]})
        unread = "".join(f"; {one.error}" for one in declared.unread_of(CALLBACKS))
        raise UsageError(
            f"--log {name} is unknown, expected {', '.join(known)}{unread}",
            code="logger-unknown",
            logger=name,
            known=known,
        )
    if not is_allowed(name):
        raise PluginError(describe_forbidden("callback", name), code="callback-forbidden", callback=name)
    if len(claims := claims_of(name, owners)) > 1:
        raise PluginError(describe_clash("callback", name, claims), code="callback-clash", callback=name, owners=claims)
    entry = owners[0]

    def broken(problem: BaseException) -> PluginError:
        said = f"{entry}: cannot be made: {describe_cause(problem)}"
        return PluginError(said, code="callback-broken", callback=name)

    with foreign_code(broken):
        kind: Callable[[], Callback] = entry.point.load()

    def make() -> Callback:
        with foreign_code(broken):
            return kind()

    return make


def _load_built_in(name: str) -> Callable[[], Callback]:
    built = BUILT_IN[name]
    if importlib.util.find_spec(built.package) is None:
        raise UsageError(
            f"--log {name} needs {built.package}, which is not installed: pip install 'edgezoo[{name}]'",
            code="logger-missing",
            logger=name,
            package=built.package,
        )
    made: Callable[[], Callback] = getattr(importlib.import_module(built.module), built.name)
    return made
