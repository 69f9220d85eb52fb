"""The ledger of a watched folder: which files were answered, with what; one SQLite file in the folder of the answers.

An answer is in the ledger before it is anywhere else. So whatever kills the program, a file is answered once: it is in
the ledger with its answer, or it was not answered. A row is never changed but for two facts: its answer's file was
written; the same content was met with another time stamp. The ledger also counts how often an image was begun and this
program ended over it, so that one image cannot keep all others from their answers.

Each answer is flushed to the disk. SQLite's own lock keeps a second program out, and the system lets go of it when the
process ends, however it ends.

What this module does not know: images, models, how an answer is written elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zoo._support.files import refuse_unwritable
from zoo.errors import OutputError, ResumeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Self

__all__ = ["LEDGER", "Entry", "Ledger"]

LEDGER = "answered.sqlite"
"""Name of the file in the folder of the answers."""

_GLANCE = 0.4
"""Seconds that somebody else's lock is waited for."""
_TABLES = """
CREATE TABLE IF NOT EXISTS begun (what TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL,
    stamp TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    at TEXT NOT NULL,
    answer TEXT NOT NULL,
    written INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS tried (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, times INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_path ON answers (path, id);
CREATE INDEX IF NOT EXISTS answers_unwritten ON answers (id) WHERE NOT written;
"""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_ERROR})
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


@dataclass(frozen=True, slots=True)
class Entry:
    """The last answer to a file of this name.

    Attributes:
        id: number of the answer, in the order of time.
        stamp: what told the file from others, see `zoo.edge._watch.arrivals`.
        sha256: of its content, hexadecimal; "": the file could not be read.
    """

    id: int
    stamp: str
    sha256: str


class Ledger:
    """The open ledger, this program's alone until it is closed.

    Args:
        path: the file; made where it is not there.
        begun: what all answers in it have in common: name of a fact to its value.

    Raises:
        OutputError: another program has it open, or it cannot be written.
        ResumeError: it was begun with something else, or is damaged.
    """

    def __init__(self, path: Path, begun: Mapping[str, str]) -> None:
        self.path = path
        self._written: list[int] = []
        with self._said():
            self._file = sqlite3.connect(path, timeout=_GLANCE, isolation_level=None)
        try:
            with self._said():
                self._file.execute("PRAGMA locking_mode=EXCLUSIVE")  # first: no shared memory, so network shares do
                self._file.execute("PRAGMA journal_mode=WAL")
                self._file.execute("PRAGMA synchronous=FULL")  # a commit is on the disk when it returns
                self._file.executescript(f"BEGIN EXCLUSIVE; {_TABLES} COMMIT;")
            self._compare(begun)
            found = path.stat()
            self._identity = (found.st_dev, found.st_ino)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def is_at_its_place(self) -> bool | None:
        """Whether the open file is the one at its path; None: there is none, as of a folder that was moved away."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino) == self._identity

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(OutputError, ResumeError), self._said():  # else it is only written again
            self._note()
            if kind is None or not issubclass(kind, Exception) or issubclass(kind, OutputError | ResumeError):
                # asked to end, or the disk is full: no image is to blame
                self._file.execute("DELETE FROM tried")
        self._file.close()

    def last(self, path: str) -> Entry | None:
        """The last answer to the file of this name; None: there is none."""
        with self._said():
            found = self._file.execute(
                "SELECT id, stamp, sha256 FROM answers WHERE path = ? ORDER BY id DESC LIMIT 1", (os.fsencode(path),)
            ).fetchone()
        return None if found is None else Entry(*found)

    def tries(self, path: str, stamp: str) -> int:
        """How often this file was begun by programs that ended over it, or beside it."""
        with self._said():
            found = self._file.execute(
                "SELECT times FROM tried WHERE path = ? AND stamp = ?", (os.fsencode(path), stamp)
            ).fetchone()
        return 0 if found is None else int(found[0])

    def begin(self, path: str, stamp: str) -> None:
        """Count that this file is begun. A kill keeps the count, a power cut may lose it: it is not flushed."""
        with self._said():
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.execute(
                "INSERT INTO tried VALUES (?, ?, 1) ON CONFLICT (path) DO UPDATE SET "
                "times = CASE stamp WHEN excluded.stamp THEN times + 1 ELSE 1 END, stamp = excluded.stamp",
                (os.fsencode(path), stamp),
            )
            self._file.execute("PRAGMA synchronous=FULL")

    def drop(self, path: str) -> None:
        """This file was begun, and is another one by now."""
        with self._said():
            self._file.execute("DELETE FROM tried WHERE path = ?", (os.fsencode(path),))

    def add(self, path: str, stamp: str, sha256: str, answer: str) -> int:
        """Take an answer up; it is on the disk when this returns.

        Raises:
            OutputError: the disk is full, say; the ledger is as it was.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._said():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                self._note()
                self._file.execute("DELETE FROM tried WHERE path = ?", (os.fsencode(path),))
                done = self._file.execute(
                    "INSERT INTO answers (path, stamp, sha256, at, answer) VALUES (?, ?, ?, ?, ?)",
                    (os.fsencode(path), stamp, sha256, now, answer),
                )
                self._file.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite rolls back a full disk itself
                    self._file.execute("ROLLBACK")
                raise
            self._written.clear()
        assert done.lastrowid is not None  # noqa: S101 - an INSERT has one
        return done.lastrowid

    def restamp(self, entry: Entry, stamp: str) -> None:
        """The same content has another stamp now."""
        with self._said():
            self._file.execute("UPDATE answers SET stamp = ? WHERE id = ?", (stamp, entry.id))

    def unwritten(self) -> Iterator[tuple[int, str, str]]:
        """Number, path and text of each answer whose file may not have been written.

        Only the last answer to a path has a file: an older one would replace it.
        """
        with self._said():
            rows = self._file.execute(
                "SELECT id, path, answer FROM answers AS one WHERE NOT written AND NOT EXISTS "
                "(SELECT 1 FROM answers WHERE path = one.path AND id > one.id) ORDER BY id"
            ).fetchall()
        return ((one, os.fsdecode(path), answer) for one, path, answer in rows)

    def note_written(self, number: int) -> None:
        """The answer's file was written; it is noted with the next answer, or when the ledger is closed."""
        self._written.append(number)

    def _note(self) -> None:
        self._file.executemany("UPDATE answers SET written = 1 WHERE id = ?", ((one,) for one in self._written))

    def _compare(self, begun: Mapping[str, str]) -> None:
        with self._said():
            before = dict(self._file.execute("SELECT what, value FROM begun").fetchall())
            self._file.executemany("INSERT OR IGNORE INTO begun VALUES (?, ?)", begun.items())
        for what, now in begun.items():
            was = before.get(what, now)
            if was != now:
                raise ResumeError(
                    f"{self.path.parent} holds answers with another {what}: {was}, now {now}; "
                    "watch as it was begun, or choose another folder for the answers",
                    code="resume-differs",
                    path=str(self.path),
                    what=what,
                    begun=was,
                    now=now,
                )

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """What SQLite raises, as an error of this tool."""
        try:
            yield
        except sqlite3.Error as problem:
            code = (getattr(problem, "sqlite_errorcode", None) or 0) & 0xFF
            if code in _HELD:
                raise OutputError(
                    f"cannot write {self.path.parent}: another program watches into it; end it first, or choose "
                    "another folder",
                    code="output-busy",
                    path=str(self.path),
                ) from None
            if code in _DAMAGED:
                raise ResumeError(
                    f"{self.path} is damaged or no ledger of this tool ({problem}); restore it from a copy, or choose "
                    "another folder for the answers",
                    code="ledger-damaged",
                    path=str(self.path),
                ) from None
            raise refuse_unwritable(self.path, str(problem)) from None
