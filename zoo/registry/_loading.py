"""The one place where plugin code is imported: exactly the one asked for, each failure one line."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from zoo.errors import PluginError
from zoo.registry._code import contents_of, record_of
from zoo.registry._installed import PluginEntry, allowed, needs_remedy, no_plugin, plugin_entries
from zoo.spec import PluginOrigin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.plugin import ModelPlugin

__all__ = ["LoadedPlugin", "load", "refusal"]

_LONGEST = 400
"""Characters of what a plugin says of its failure."""


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin ready for work, and which installed code it is."""

    plugin: ModelPlugin
    origin: PluginOrigin


def load(name: str, *, stdout: TextIO | None = None) -> LoadedPlugin:
    """Import the plugin called `name`, and no other, and make its one instance.

    Args:
        name: of its entry point.
        stdout: where what it prints while it is imported goes; by default stderr, because stdout belongs to results.

    Raises:
        PluginError: not installed, not allowed by ZOO_PLUGINS, claimed by two distributions, failing on import, not a
            ModelPlugin or without a method that each must have, or written for a version of the contract that this
            release does not know.
    """
    owners = plugin_entries().get(name, ())
    if why := refusal(name, owners):
        raise PluginError(why)
    entry = owners[0]
    what = f"plugin {name!r} of {entry.distribution}"
    from zoo.plugin import ModelPlugin

    out = stdout or sys.stderr
    with contextlib.redirect_stdout(out), _same_folder():
        try:
            kind = entry.point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # whatever a stranger's module does, it is one line
            raise PluginError(f"{what} can not be imported: {_cause(problem, entry)}") from problem
        if not (isinstance(kind, type) and issubclass(kind, ModelPlugin)):
            raise PluginError(f"{what}: {entry.point.value} is not a subclass of zoo.plugin.ModelPlugin")
        if unfit := _unfit(kind.api, entry):
            raise PluginError(f"{what}: {unfit}")
        if absent := sorted(kind.__abstractmethods__):
            methods = " and ".join(f"{method}()" for method in absent)
            own = difflib.get_close_matches(absent[0], vars(kind).keys() - kind.__abstractmethods__, n=1)
            them = f"is {own[0]}() meant to be it?" if own else f"write {'it' if len(absent) == 1 else 'them'} there"
            raise PluginError(f"{what}: {entry.point.value} does not define {methods}; {them}")
        try:
            plugin = kind()
        except KeyboardInterrupt:
            raise
        except BaseException as problem:
            raise PluginError(f"{what} can not be built: {_cause(problem, entry)}") from problem
    if out.closed:
        raise PluginError(f"{what} closes the output of the program while it is imported; tell its author")
    origin = PluginOrigin(
        name=name,
        distribution=entry.distribution.name,
        version=entry.distribution.version,
        record=record_of(entry.point),
        contents=contents_of(entry.point.module),
        api=kind.api,
    )
    return LoadedPlugin(plugin, origin)


def refusal(name: str, owners: tuple[PluginEntry, ...]) -> str | None:
    """Why `name` is not even tried; None: it may be."""
    if not allowed(name):
        return f"plugin {name!r} is not allowed by ZOO_PLUGINS"
    if not owners:
        return no_plugin(name, plugin_entries())
    if len(owners) > 1:
        claims = " and ".join(str(owner.distribution) for owner in owners)
        return f"clash: plugin {name!r} is defined by {claims}; uninstall all but one"
    return None


def _unfit(api: object, entry: PluginEntry) -> str | None:
    """Why a plugin of this version of the contract can not be used."""
    from zoo.plugin import API, OLDEST_API

    if not isinstance(api, int) or isinstance(api, bool) or api < 1:
        found = _line(repr(api))
        return f"its 'api' is {found}, expected the version of the plugin contract it was written for, such as {API}"
    if api > API:
        return f"written for version {api} of the plugin contract, this edgezoo knows up to {API}; upgrade edgezoo"
    if api < OLDEST_API:
        newer = f"this edgezoo needs {OLDEST_API} or newer; upgrade {entry.distribution.name}"
        return f"written for version {api} of the plugin contract, {newer}"
    return None


def _cause(problem: BaseException, entry: PluginEntry) -> str:
    if isinstance(problem, SystemExit):
        return f"it ended the program (exit {_line(problem.code)})"
    text = _line(problem)
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        package = problem.name.partition(".")[0]
        if package != entry.point.module.partition(".")[0]:
            return needs_remedy((package,), entry.distribution.name)
        return f"{text}; reinstall {entry.distribution.name}"
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def _line(said: object) -> str:
    """A stranger's words on one line, and not too many of them."""
    try:
        text = " ".join(str(said).split())
    except Exception:  # its own __str__ fails
        return type(said).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@contextlib.contextmanager
def _same_folder() -> Iterator[None]:
    """Go back afterwards to the folder the user is in: relative paths are meant from there."""
    try:
        before = os.getcwd()  # noqa: PTH109  # as chdir takes it
    except OSError:  # it was removed
        yield
        return
    try:
        yield
    finally:
        os.chdir(before)
