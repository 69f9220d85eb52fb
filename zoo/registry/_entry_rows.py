"""Readers and callbacks of other packages as rows: by their metadata alone, or each loaded in a process."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Literal

import msgspec

from zoo._support.entries import (
    CALLBACKS,
    READERS,
    Entry,
    describe_clash,
    describe_forbidden,
    find_suffix_clashes,
    is_allowed,
    read_declared,
)
from zoo._support.processes import command
from zoo.errors import ZooError
from zoo.registry._rows import EntryRow, Group, row_of, row_of_unread

__all__ = ["callbacks", "check_callbacks", "check_readers", "readers"]

PATIENCE = 60.0
"""Seconds."""
_AT_A_TIME = 4  # processes


class _Answer(msgspec.Struct):
    """What the process says that loads one."""

    state: Literal["ok", "broken"]
    status: str
    suffixes: tuple[str, ...] = ()


def readers() -> list[EntryRow]:
    """Every reader of another package by its metadata, by name. Nothing is imported: "ok" is "may be tried"."""
    return _rows("zoo.readers")


def callbacks() -> list[EntryRow]:
    """As `readers`, of what other packages offer to `--log`."""
    return _rows("zoo.callbacks")


def check_readers(limit_s: float = PATIENCE) -> list[EntryRow]:
    """Every reader of another package, each one really loaded in a process of its own.

    Args:
        limit_s: seconds for all of them together; one that has not answered then is "slow".
    """
    rows = _check_all(readers(), limit_s)
    sound = [row for row in rows if row.state == "ok"]
    clashes = find_suffix_clashes((row.name, _describe(row), row.suffixes) for row in sound)
    return [
        msgspec.structs.replace(row, state="broken", status=clashes[row.name]) if row.name in clashes else row
        for row in rows
    ]


def check_callbacks(limit_s: float = PATIENCE) -> list[EntryRow]:
    """As `check_readers`, of callbacks; none is made."""
    return _check_all(callbacks(), limit_s)


def _rows(group: Group) -> list[EntryRow]:
    declared = read_declared()
    rows = [_row(group, one, owners) for owners in declared.entries[group].values() for one in owners]
    return [*rows, *(row_of_unread(group, one) for one in declared.unread_of(group))]


def _row(group: Group, entry: Entry, owners: tuple[Entry, ...]) -> EntryRow:
    from zoo.loggers import claims_of  # it knows of runs, which `zoo list` does not need

    state: Literal["ok", "forbidden", "broken"] = "ok"
    status = "ok"
    claims = claims_of(entry.name, owners) if group == CALLBACKS else [str(one.distribution) for one in owners]
    if not is_allowed(entry.name):
        state, status = "forbidden", describe_forbidden(entry.kind, entry.name)
    elif len(claims) > 1:
        state, status = "broken", describe_clash(entry.kind, entry.name, claims)
    return row_of(group, entry, state, status)


def _describe(row: EntryRow) -> str:
    """How messages name it."""
    kind = "reader" if row.group == READERS else "callback"
    return f"{kind} {row.name!r} of {row.distribution} {row.version}"


def _check_all(rows: list[EntryRow], limit_s: float) -> list[EntryRow]:
    from concurrent.futures import ThreadPoolExecutor

    deadline = time.monotonic() + limit_s
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(lambda row: _check(row, deadline, limit_s) if row.state == "ok" else row, rows))


def _check(row: EntryRow, deadline: float, limit_s: float) -> EntryRow:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder) / "answer"
        try:
            ended = subprocess.run(
                command("zoo.registry._entry_rows:answer", row.group, row.name, str(place)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=max(0.0, deadline - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired:
            late = f"not checked: its import took longer than {limit_s:g} s; 'zoo doctor --wait 300' waits"
            return msgspec.structs.replace(row, state="slow", status=late)
        if place.is_file():
            found = msgspec.json.decode(place.read_bytes(), type=_Answer)
        else:
            line = f"{_describe(row)} ended the process while it was imported (exit {ended.returncode})"
            found = _Answer("broken", line)
    return msgspec.structs.replace(row, state=found.state, status=found.status, suffixes=found.suffixes)


def answer(group: str, name: str, place: str) -> None:
    """In the process that loads one: write what became of it to `place`."""
    try:
        if group == READERS:
            from zoo.readers._others import load_reader

            found = _Answer("ok", "ok", tuple(sorted(load_reader(name).suffixes)))
        else:
            from zoo.loggers import load_maker

            load_maker(name)
            found = _Answer("ok", "ok")
    except ZooError as problem:
        found = _Answer("broken", str(problem))
    Path(place).write_bytes(msgspec.json.encode(found))
