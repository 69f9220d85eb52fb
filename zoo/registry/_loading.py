"""The one place where plugin code is imported: exactly the one asked for, each failure one line."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo.errors import PluginError
from zoo.registry._installed import PluginEntry, allowed, needs_remedy, plugin_entries, record_of
from zoo.spec import PluginOrigin

if TYPE_CHECKING:
    from zoo.plugin import ModelPlugin

__all__ = ["LoadedPlugin", "PluginRow", "check_plugins", "load", "plugins"]

HANG_LIMIT = 60.0
"""Seconds. torch and timm alone take about 10 to import from a cold disk on two cores."""


class PluginRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `zoo plugin list` and of `zoo doctor`."""

    name: str
    distribution: str
    version: str
    target: str
    """module:class, as the entry point says."""
    status: str
    """"ok", or why it will not load."""


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin ready for work, and which installed code it is."""

    plugin: ModelPlugin
    origin: PluginOrigin


def load(name: str) -> LoadedPlugin:
    """Import the plugin called `name`, and no other, and make its one instance.

    What it prints while it is imported goes to stderr, because stdout belongs to results.

    Raises:
        PluginError: not installed, not allowed by ZOO_PLUGINS, claimed by two distributions, failing on
            import, or not a ModelPlugin.
    """
    owners = plugin_entries().get(name, ())
    if refusal := _refusal(name, owners):
        raise PluginError(refusal)
    entry = owners[0]
    what = f"plugin {name!r} of {entry.distribution}"
    from zoo.plugin import ModelPlugin

    with contextlib.redirect_stdout(sys.stderr):
        try:
            kind = entry.point.load()
        except (Exception, SystemExit) as problem:  # whatever a stranger's module does, it is one line
            raise PluginError(f"{what} can not be imported: {_cause(problem, entry)}") from problem
        if not (isinstance(kind, type) and issubclass(kind, ModelPlugin)):
            raise PluginError(f"{what}: {entry.point.value} is not a subclass of zoo.plugin.ModelPlugin")
        try:
            plugin = kind()
        except (Exception, SystemExit) as problem:
            raise PluginError(f"{what} can not be built: {_cause(problem, entry)}") from problem
    origin = PluginOrigin(
        name=name,
        distribution=entry.distribution.name,
        version=entry.distribution.version,
        record=record_of(entry.point),
    )
    return LoadedPlugin(plugin, origin)


def plugins() -> list[PluginRow]:
    """Every installed plugin by its metadata, sorted by name. Nothing is imported: "ok" is "may be tried"."""
    return [
        _row(entry, _refusal(name, owners) or "ok") for name, owners in plugin_entries().items() for entry in owners
    ]


def check_plugins(limit_s: float = HANG_LIMIT) -> list[PluginRow]:
    """Every installed plugin, each one really loaded in a process of its own.

    A plugin that raises, exits, prints or hangs is one row with its reason; the others are checked too.

    Args:
        limit_s: seconds after which a plugin counts as hanging.
    """
    rows = plugins()
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda row: _checked(row, limit_s), rows))


def _row(entry: PluginEntry, status: str) -> PluginRow:
    return PluginRow(
        name=entry.name,
        distribution=entry.distribution.name,
        version=entry.distribution.version,
        target=entry.point.value,
        status=status,
    )


def _refusal(name: str, owners: tuple[PluginEntry, ...]) -> str | None:
    """Why `name` is not even tried."""
    if not allowed(name):
        return f"plugin {name!r} is not allowed by ZOO_PLUGINS"
    if not owners:
        return f"no plugin {name!r} is installed; 'zoo plugin list' shows what is"
    if len(owners) > 1:
        claims = " and ".join(str(owner.distribution) for owner in owners)
        return f"clash: plugin {name!r} is defined by {claims}; uninstall all but one"
    return None


def _cause(problem: BaseException, entry: PluginEntry) -> str:
    if isinstance(problem, SystemExit):
        return f"it ended the program (exit {problem.code})"
    text = " ".join(str(problem).split())
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        package = problem.name.partition(".")[0]
        if package != entry.point.module.partition(".")[0]:
            return needs_remedy((package,), entry.distribution.name)
        return f"{text}; reinstall {entry.distribution.name}"
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


# The parent's sys.path is handed over whole, so that the child finds exactly what the parent lists. The
# answer goes through a file, because a plugin may print anything, or close the streams.
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from zoo.errors import ZooError
from zoo.registry import load
try:
    load(sys.argv[2])
    answer = "ok"
except ZooError as problem:
    answer = str(problem)
Path(sys.argv[3]).write_text(answer, encoding="utf-8")
"""


def _checked(row: PluginRow, limit_s: float) -> PluginRow:
    if row.status != "ok":
        return row
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer = Path(folder) / "answer"
        command = [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path), row.name, str(answer)]
        what = f"plugin {row.name!r} of {row.distribution} {row.version}"
        try:
            # No pipes: a process the plugin leaves behind would hold them open and we would wait for it.
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            status = f"{what} was still being imported after {limit_s:g} s"
        else:
            written = answer.read_text(encoding="utf-8") if answer.is_file() else ""
            status = written or f"{what} ended the process while it was imported (exit {ended.returncode})"
    return msgspec.structs.replace(row, status=status)
