"""Installed plugins as rows: by their metadata alone, or each really loaded, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from zoo.registry._code import changed_files
from zoo.registry._installed import PluginEntry, plugin_entries
from zoo.registry._loading import refusal
from zoo.text import brief, printable

__all__ = ["PRINTS", "PluginRow", "check_plugins", "plugins"]

PRINTS = "works, but prints while it is imported"
"""How the status of such a plugin begins: a flaw, and not broken."""

_MOST_PRINTED = 2000
"""Bytes of what a plugin prints that are looked at."""

HANG_LIMIT = 60.0
"""Seconds. torch and timm alone take about 10 to import from a cold disk on two cores."""


_REMEDY = "tell its author, or uninstall it"


class PluginRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `zoo plugin list` and of `zoo doctor`."""

    name: str
    distribution: str
    version: str
    target: str
    """module:class, as the entry point says."""
    status: str
    """"ok", or why it will not load."""


def plugins() -> list[PluginRow]:
    """Every installed plugin by its metadata, sorted by name. Nothing is imported: "ok" is "may be tried"."""
    return [_row(entry, refusal(name, owners) or "ok") for name, owners in plugin_entries().items() for entry in owners]


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


# The parent's sys.path is handed over whole, so that the child finds exactly what the parent lists. The
# answer goes through a file, because a plugin may print anything, or close the streams. Its own stdout is a file, too,
# into which also goes what is written past Python.
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pathlib import Path
from zoo.errors import ZooError
from zoo.registry import load
try:
    load(sys.argv[2], stdout=sys.stdout)
    answer = "ok"
except ZooError as problem:
    answer = str(problem)
Path(sys.argv[3]).write_text(answer, encoding="utf-8", errors="backslashreplace")
"""


def _checked(row: PluginRow, limit_s: float) -> PluginRow:
    if row.status != "ok":
        return row
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer, printed = Path(folder) / "answer", Path(folder) / "printed"
        command = [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path), row.name, str(answer)]
        what = f"plugin {row.name!r} of {row.distribution} {row.version}"
        try:
            # Files, no pipes: a process the plugin leaves behind would hold a pipe open and we would wait for it.
            with printed.open("wb") as stream:
                ended = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.DEVNULL,
                    timeout=limit_s,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            status = f"{what} was still being imported after {limit_s:g} s; {_REMEDY}"
        else:
            written = answer.read_text(encoding="utf-8") if answer.is_file() else ""
            status = written or f"{what} ended the process while it was imported (exit {ended.returncode}); {_REMEDY}"
        if status == "ok":
            status = _remarks(row, printed)
    return msgspec.structs.replace(row, status=status)


def _remarks(row: PluginRow, printed: Path) -> str:
    """What is to be said of a plugin that can be loaded; "ok" when that is nothing."""
    what = f"plugin {row.name!r} of {row.distribution} {row.version}"
    changed = changed_files(plugin_entries()[row.name][0].point)
    if changed:
        return (
            f"{what} is not what was installed: {brief(changed, most=2)} differ; "
            f"run 'pip install --force-reinstall {row.distribution}'"
        )
    with printed.open("rb") as stream:
        said = stream.read(_MOST_PRINTED).decode("utf-8", "replace")
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    if first:
        return f"{PRINTS}: {printable(first)[:60]!r}"
    return "ok"
