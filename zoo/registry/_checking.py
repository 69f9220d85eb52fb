"""Installed plugins as rows: by their metadata alone, or each really loaded, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from zoo._support.processes import command
from zoo._support.text import brief, printable
from zoo.errors import PluginError, ZooError
from zoo.registry._installed import PluginEntry, State, plugin_entries
from zoo.registry._loading import load, refusal, state_of

__all__ = ["PluginRow", "check_plugins", "plugins"]

_MOST_PRINTED = 2000
"""Bytes of what a plugin prints that are looked at."""

HANG_LIMIT = 60.0
"""Seconds. torch and timm alone take about 10 to import from a cold disk on two cores."""


_BROKEN: State = "broken"
_REMEDY = "tell its author, or uninstall it"


class PluginRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `zoo plugin list` and of `zoo doctor`."""

    name: str
    distribution: str
    version: str
    target: str
    """module:class, as the entry point says."""
    state: State
    """What to make of it; "missing": a package that it needs is not installed."""
    status: str
    """The state as a sentence: "ok", or why it will not load."""


def plugins() -> list[PluginRow]:
    """Every installed plugin by its metadata, sorted by name. Nothing is imported: "ok" is "may be tried"."""
    return [_row(entry, refusal(name, owners)) for name, owners in plugin_entries().items() for entry in owners]


def check_plugins(limit_s: float = HANG_LIMIT) -> list[PluginRow]:
    """Every installed plugin, each one really loaded in a process of its own.

    A plugin that raises, exits, prints or hangs is one row with its reason; the others are checked too.

    Args:
        limit_s: seconds after which a plugin counts as hanging.
    """
    from concurrent.futures import ThreadPoolExecutor

    rows = plugins()
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda row: _check_row(row, limit_s), rows))


def _row(entry: PluginEntry, why: PluginError | None) -> PluginRow:
    return PluginRow(
        name=entry.name,
        distribution=entry.distribution.name,
        version=entry.distribution.version,
        target=entry.point.value,
        state="ok" if why is None else state_of(why.code),
        status="ok" if why is None else str(why),
    )


def try_loading(name: str, answer: str) -> None:
    """What the child does: load one plugin and write null, or code and line of its refusal, into a file as JSON.

    Into a file, because a plugin may print anything, or close the streams. Its own stdout is a file, too, into which
    also goes what is written past Python.
    """
    import json

    said = None
    try:
        load(name, stdout=sys.stdout)
    except ZooError as problem:
        said = [problem.code, str(problem).encode("utf-8", "backslashreplace").decode()]
    Path(answer).write_text(json.dumps(said), encoding="utf-8")


def _check_row(row: PluginRow, limit_s: float) -> PluginRow:
    import json  # these are felt in `zoo list`, which needs none of them
    import subprocess
    import tempfile

    if row.state != "ok":
        return row
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer, printed = Path(folder) / "answer", Path(folder) / "printed"
        what = f"plugin {row.name!r} of {row.distribution} {row.version}"
        try:
            # Files, no pipes: a process the plugin leaves behind would hold a pipe open and we would wait for it.
            with printed.open("wb") as stream:
                ended = subprocess.run(
                    command(f"{__name__}:try_loading", row.name, str(answer)),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.DEVNULL,
                    timeout=limit_s,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            state, status = _BROKEN, f"{what} was still being imported after {limit_s:g} s; {_REMEDY}"
        else:
            written = answer.read_bytes() if answer.is_file() else b""
            if not written:
                line = f"{what} ended the process while it was imported (exit {ended.returncode}); {_REMEDY}"
                state, status = _BROKEN, line
            elif (refused := json.loads(written)) is not None:
                state, status = state_of(refused[0]), refused[1]
            else:
                state, status = _remarks(row, printed)
    return msgspec.structs.replace(row, state=state, status=status)


def _remarks(row: PluginRow, printed: Path) -> tuple[State, str]:
    """State and status of a plugin that can be loaded."""
    from zoo.registry._code import find_changed_files

    what = f"plugin {row.name!r} of {row.distribution} {row.version}"
    changed = find_changed_files(plugin_entries()[row.name][0].point)
    if changed:
        return _BROKEN, (
            f"{what} is not what was installed: {brief(changed, most=2)} differ; "
            f"run 'pip install --force-reinstall {row.distribution}'"
        )
    with printed.open("rb") as stream:
        said = stream.read(_MOST_PRINTED).decode("utf-8", "replace")
    first = next((line.strip() for line in said.splitlines() if line.strip()), "")
    if first:
        return "prints", f"works, but prints while it is imported: {printable(first)[:60]!r}"
    return "ok", "ok"
