"""The one place where plugin code is imported: exactly the one asked for, each failure one line."""

from __future__ import annotations

import difflib
import sys
from functools import partial
from typing import TYPE_CHECKING, TextIO

import msgspec

from zoo._support.entries import (
    PLUGINS,
    describe_cause,
    describe_clash,
    describe_forbidden,
    foreign_code,
    is_allowed,
    one_line,
    read_declared,
)
from zoo._support.imports import needs_remedy
from zoo.errors import PluginError
from zoo.registry._installed import State, no_plugin
from zoo.spec import PluginOrigin

if TYPE_CHECKING:
    from zoo._support.entries import Entry
    from zoo.plugin import ModelPlugin

__all__ = ["LoadedPlugin", "load", "refusal", "state_of"]


class LoadedPlugin(msgspec.Struct, frozen=True):
    """A plugin ready for work, and which installed code it is."""

    plugin: ModelPlugin
    origin: PluginOrigin


def load(name: str, *, stdout: TextIO | None = None) -> LoadedPlugin:
    """Import the plugin called `name`, and no other, and make its one instance.

    Args:
        name: name of its entry point.
        stdout: where what it prints while it is imported goes; by default stderr, because stdout belongs to results.

    Raises:
        PluginError: not installed, not allowed by ZOO_PLUGINS, claimed by two distributions, failing on import, not a
            ModelPlugin or without a method that each must have, or written for a version of the contract that this
            release does not know.
    """
    owners = read_declared().entries[PLUGINS].get(name, ())
    if (why := refusal(name, owners)) is not None:
        raise why
    entry = owners[0]
    what = str(entry)
    from zoo.plugin import API, OLDEST_API, ModelPlugin
    from zoo.registry._code import contents_of, record_of

    out = stdout or sys.stderr
    with foreign_code(partial(_failure, f"{what} cannot be imported", entry), out):
        kind = entry.point.load()
    if not (isinstance(kind, type) and issubclass(kind, ModelPlugin)):
        raise PluginError(
            f"{what}: {entry.point.value} is not a subclass of zoo.plugin.ModelPlugin",
            code="plugin-contract",
            plugin=name,
            found=entry.point.value,
        )
    if unfit := _unfit(kind.api, entry):
        raise PluginError(
            f"{what}: {unfit}", code="plugin-api", plugin=name, found=_number(kind.api), known=[OLDEST_API, API]
        )
    if absent := sorted(kind.__abstractmethods__):
        methods = " and ".join(f"{method}()" for method in absent)
        own = difflib.get_close_matches(absent[0], vars(kind).keys() - kind.__abstractmethods__, n=1)
        them = f"is {own[0]}() meant to be it?" if own else f"write {'it' if len(absent) == 1 else 'them'} there"
        raise PluginError(
            f"{what}: {entry.point.value} does not define {methods}; {them}",
            code="plugin-contract",
            plugin=name,
            found=entry.point.value,
            missing=absent,
        )
    with foreign_code(partial(_failure, f"{what} cannot be built", entry), out):
        plugin = kind()
    if out.closed:
        raise PluginError(
            f"{what} closes the output of the program while it is imported; tell its author",
            code="plugin-output",
            plugin=name,
        )
    origin = PluginOrigin(
        name=name,
        distribution=entry.distribution.name,
        version=entry.distribution.version,
        record=record_of(entry.point),
        contents=contents_of(entry.point.module),
        api=kind.api,
    )
    return LoadedPlugin(plugin, origin)


def refusal(name: str, owners: tuple[Entry, ...]) -> PluginError | None:
    """Why `name` is not even tried; None: it may be."""
    if not is_allowed(name):
        return PluginError(describe_forbidden("plugin", name), code="plugin-forbidden", plugin=name)
    if not owners:
        return PluginError(no_plugin(name, read_declared().entries[PLUGINS]), code="plugin-unknown", plugin=name)
    if len(owners) > 1:
        claims = [str(owner.distribution) for owner in owners]
        line = describe_clash("plugin", name, claims)
        return PluginError(line, code="plugin-clash", plugin=name, distributions=claims)
    return None


def state_of(code: str) -> State:
    """The state of a plugin that `load` refuses with this code."""
    states: dict[str, State] = {"plugin-needs": "missing", "plugin-forbidden": "forbidden"}
    return states.get(code, "broken")


def _unfit(api: object, entry: Entry) -> str | None:
    """Why a plugin of this version of the contract cannot be used."""
    from zoo.plugin import API, OLDEST_API

    if not isinstance(api, int) or isinstance(api, bool) or api < 1:
        found = one_line(repr(api))
        return f"its 'api' is {found}, expected the version of the plugin contract it was written for, such as {API}"
    if api > API:
        return f"written for version {api} of the plugin contract, this edgezoo knows up to {API}; upgrade edgezoo"
    if api < OLDEST_API:
        newer = f"this edgezoo needs {OLDEST_API} or newer; upgrade {entry.distribution.name}"
        return f"written for version {api} of the plugin contract, {newer}"
    return None


def _failure(what: str, entry: Entry, problem: BaseException) -> PluginError:
    """The error for what a stranger's module raised; a package that it lacks has a code of its own."""
    cause = describe_cause(problem)
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        package = problem.name.partition(".")[0]
        if package != entry.point.module.partition(".")[0]:
            remedy = needs_remedy((package,), entry.distribution.name)
            return PluginError(f"{what}: {remedy}", code="plugin-needs", plugin=entry.name, package=package)
        cause = f"{one_line(problem)}; reinstall {entry.distribution.name}"
    return PluginError(f"{what}: {cause}", code="plugin-import", plugin=entry.name, raised=type(problem).__name__)


def _number(api: object) -> int | None:
    """A version of the contract as one; None: it is not one."""
    return api if isinstance(api, int) and not isinstance(api, bool) else None
