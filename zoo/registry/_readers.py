"""Readers of image formats as rows: by their metadata alone, or each really loaded, in a process of its own."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Literal

import msgspec

from zoo._support.entries import ReaderEntry, is_allowed, reader_entries
from zoo._support.processes import command
from zoo.errors import ZooError

__all__ = ["ReaderRow", "check_readers", "readers"]

PATIENCE = 60.0
"""Seconds."""
_AT_A_TIME = 4  # processes


class ReaderRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `zoo plugin list` and of `zoo doctor`."""

    name: str
    distribution: str
    version: str
    target: str
    """module:object, as the entry point says."""
    state: Literal["ok", "forbidden", "slow", "broken"]
    """slow: not imported in the time that was given."""
    status: str
    """"ok", or why it will not be used."""
    group: Literal["zoo.readers"] = "zoo.readers"
    suffixes: tuple[str, ...] = ()
    """Of its files; known only where it was loaded."""


class _Answer(msgspec.Struct):
    """What the process says that loads a reader."""

    status: str
    suffixes: tuple[str, ...] = ()


def readers() -> list[ReaderRow]:
    """Every reader of another package by its metadata, by name. Nothing is imported: "ok" is "may be tried"."""
    return [_row(entry, owners) for owners in reader_entries().values() for entry in owners]


def check_readers(limit_s: float = PATIENCE) -> list[ReaderRow]:
    """Every reader of another package, each one really loaded in a process of its own.

    Args:
        limit_s: seconds for all of them together; one that has not answered then is "slow".
    """
    from concurrent.futures import ThreadPoolExecutor

    deadline = time.monotonic() + limit_s
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        rows = list(pool.map(lambda row: _check(row, deadline, limit_s) if row.state == "ok" else row, readers()))
    owners: dict[str, list[ReaderRow]] = defaultdict(list)
    for row in rows:
        for suffix in row.suffixes if row.state == "ok" else ():
            owners[suffix].append(row)
    clashes: dict[str, str] = {}
    for suffix, claims in sorted(owners.items()):
        if len(claims) > 1:
            said = " and ".join(f"reader {one.name!r} of {one.distribution} {one.version}" for one in claims)
            line = f"clash: suffix {suffix} is claimed by {said}; uninstall one, or leave it out of ZOO_PLUGINS"
            clashes.update((one.name, line) for one in claims)
    return [
        msgspec.structs.replace(row, state="broken", status=clashes[row.name]) if row.name in clashes else row
        for row in rows
    ]


def _row(entry: ReaderEntry, owners: tuple[ReaderEntry, ...]) -> ReaderRow:
    state: Literal["ok", "forbidden", "broken"] = "ok"
    status = "ok"
    if not is_allowed(entry.name):
        state, status = "forbidden", f"reader {entry.name!r} is not allowed by ZOO_PLUGINS"
    elif len(owners) > 1:
        claims = " and ".join(f"{one.distribution} {one.version}" for one in owners)
        state, status = "broken", f"clash: reader {entry.name!r} is defined by {claims}; uninstall all but one"
    return ReaderRow(
        name=entry.name,
        distribution=entry.distribution,
        version=entry.version,
        target=entry.point.value,
        state=state,
        status=status,
    )


def _check(row: ReaderRow, deadline: float, limit_s: float) -> ReaderRow:
    what = f"reader {row.name!r} of {row.distribution} {row.version}"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder) / "answer"
        try:
            ended = subprocess.run(
                command("zoo.registry._readers:answer", row.name, str(place)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=max(0.0, deadline - time.monotonic()),
                check=False,
            )
        except subprocess.TimeoutExpired:
            late = f"not checked: its import took longer than {limit_s:g} s; 'zoo doctor --wait 300' waits"
            return msgspec.structs.replace(row, state="slow", status=late)
        else:
            found = (
                msgspec.json.decode(place.read_bytes(), type=_Answer)
                if place.is_file()
                else _Answer(f"{what} ended the process while it was imported (exit {ended.returncode})")
            )
    state: Literal["ok", "broken"] = "ok" if found.suffixes else "broken"
    return msgspec.structs.replace(row, state=state, status=found.status, suffixes=found.suffixes)


def answer(name: str, place: str) -> None:
    """In the process that loads a reader: write what became of it to `place`."""
    from zoo.readers._others import load_reader

    try:
        found = _Answer("ok", tuple(sorted(load_reader(name).suffixes)))
    except ZooError as problem:
        found = _Answer(str(problem))
    Path(place).write_bytes(msgspec.json.encode(found))
