"""Installed plugins as rows: by their metadata alone, or each really loaded, in a process beside this one.

The plugins of one distribution share a process, because torch and timm take seconds to import and most need them.
Where that process ends over one of them, those without an answer are loaded again, each in a process of its own.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from pathlib import Path

import msgspec

from zoo._support.entries import PLUGINS, Entry, read_declared
from zoo._support.processes import command
from zoo._support.text import brief, printable
from zoo.errors import PluginError, ZooError
from zoo.registry._installed import State
from zoo.registry._loading import load, refusal, state_of
from zoo.registry._rows import EntryRow, Group, row_of, row_of_unread

__all__ = ["check_plugins", "plugins"]

_MOST_PRINTED = 2000
"""Bytes of what a plugin prints that are looked at."""

PATIENCE = 60.0
"""Seconds. torch and timm alone take about 10 to import from a cold disk on two cores, and more beside other work."""
_AT_A_TIME = 4  # processes
_ANSWER, _PRINTED = ".answer", ".printed"

_GROUP: Group = "zoo.plugins"
_BROKEN: State = "broken"
_REMEDY = "tell its author, or uninstall it"


def plugins() -> list[EntryRow]:
    """Every installed plugin by its metadata, sorted by name. Nothing is imported: "ok" is "may be tried"."""
    declared = read_declared()
    rows = [_row(one, refusal(name, owners)) for name, owners in declared.entries[PLUGINS].items() for one in owners]
    return [*rows, *(row_of_unread(_GROUP, one) for one in declared.unread_of(PLUGINS))]


def check_plugins(limit_s: float = PATIENCE) -> list[EntryRow]:
    """Every installed plugin, each one really loaded, in a process beside this one.

    A plugin that raises, exits or prints is one row with its reason; the others are checked too. One that has not
    answered in time is "slow": it may hang, or the machine may be busy.

    Args:
        limit_s: seconds for all of them together.
    """
    from concurrent.futures import ThreadPoolExecutor

    deadline = time.monotonic() + limit_s
    rows = plugins()
    groups: dict[str, list[EntryRow]] = defaultdict(list)
    for row in rows:
        if row.state == "ok":
            groups[row.distribution].append(row)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = list(pool.map(lambda group: _check_group(group, deadline), groups.values()))
    checked = {row.name: row for group in found for row in group}
    late = f"not checked: its import took longer than {limit_s:g} s; 'zoo doctor --wait 300' waits"
    return [
        row if row.state != "ok" else checked.get(row.name, msgspec.structs.replace(row, state="slow", status=late))
        for row in rows
    ]


def _row(entry: Entry, why: PluginError | None) -> EntryRow:
    return row_of(_GROUP, entry) if why is None else row_of(_GROUP, entry, state_of(why.code), str(why))


def try_loading(folder: str, *names: str) -> None:
    """What the child does: load plugins and write null, or code and line of the refusal, into a file of each as JSON.

    Into a file, because a plugin may print anything, or close the streams. Its own stdout is a file, too, into which
    also goes what is written past Python.
    """
    import json
    import os

    for number, name in enumerate(names):
        place = Path(folder) / str(number)
        with Path(f"{place}{_PRINTED}").open("wb") as printed:
            os.dup2(printed.fileno(), 1)
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        said = None
        try:
            load(name, stdout=sys.stdout)
        except ZooError as problem:
            said = [problem.code, str(problem).encode("utf-8", "backslashreplace").decode()]
        if not sys.stdout.closed:
            sys.stdout.flush()
        half = Path(f"{place}.half")
        half.write_text(json.dumps(said), encoding="utf-8")
        half.rename(Path(f"{place}{_ANSWER}"))


def _check_group(group: list[EntryRow], deadline: float) -> list[EntryRow]:
    """The rows of plugins that answered before the deadline, loaded one after the other in one process."""
    import tempfile  # these are felt in `zoo list`, which needs none of them

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        ended = _try(group, folder, deadline)
        found = [
            _read(row, folder / str(number))
            for number, row in enumerate(group)
            if (folder / f"{number}{_ANSWER}").is_file()
        ]
    rest = [row for row in group if row.name not in {row.name for row in found}]
    if ended is None or not rest:
        return found
    if len(group) == 1:
        what = f"plugin {rest[0].name!r} of {rest[0].distribution} {rest[0].version}"
        line = f"{what} ended the process while it was imported (exit {ended}); {_REMEDY}"
        return [msgspec.structs.replace(rest[0], state=_BROKEN, status=line)]
    return found + [answer for row in rest for answer in _check_group([row], deadline)]


def _try(group: list[EntryRow], folder: Path, deadline: float) -> int | None:
    """The exit status of a process that loads them; None: it was ended at the deadline."""
    import subprocess

    try:
        # Files, no pipes: a process the plugin leaves behind would hold a pipe open and we would wait for it.
        return subprocess.run(
            command(f"{__name__}:try_loading", str(folder), *(row.name for row in group)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=max(0.0, deadline - time.monotonic()),
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return None


def _read(row: EntryRow, place: Path) -> EntryRow:
    """What the process wrote of a plugin."""
    import json

    refused = json.loads(Path(f"{place}{_ANSWER}").read_bytes())
    if refused is not None:
        return msgspec.structs.replace(row, state=state_of(refused[0]), status=refused[1])
    state, status = _remarks(row, Path(f"{place}{_PRINTED}"))
    return msgspec.structs.replace(row, state=state, status=status)


def _remarks(row: EntryRow, printed: Path) -> tuple[State, str]:
    """State and status of a plugin that can be loaded."""
    from zoo.registry._code import find_changed_files

    what = f"plugin {row.name!r} of {row.distribution} {row.version}"
    changed = find_changed_files(read_declared().entries[PLUGINS][row.name][0].point)
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
