"""Entry points of other distributions: which readers there are, what may be loaded, and how their code is run."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from zoo._support.text import join_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from importlib.metadata import EntryPoint

__all__ = [
    "CALLBACKS",
    "READERS",
    "ReaderEntry",
    "callback_entries",
    "describe_cause",
    "describe_clash",
    "describe_forbidden",
    "foreign_code",
    "is_allowed",
    "one_line",
    "reader_entries",
]

READERS = "zoo.readers"
"""The group of readers of image formats."""
CALLBACKS = "zoo.callbacks"
"""The group of what `--log` names: something that is called without arguments and gives a `zoo.runs.Callback`."""
_LONGEST = 400
"""Characters of what a stranger's code says of its failure."""


@dataclass(frozen=True, slots=True)
class ReaderEntry:
    """An entry point of the group, not loaded.

    Attributes:
        name: of the reader.
        distribution: who brings it.
        version: of the distribution.
        point: the entry point.
        kind: what it is, for messages.
    """

    name: str
    distribution: str
    version: str
    point: EntryPoint
    kind: str = "reader"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.distribution} {self.version}"


def is_allowed(plugin: str) -> bool:
    """Whether ZOO_PLUGINS, a comma list, lets `plugin` be loaded. Unset allows all, empty allows none."""
    listed = os.environ.get("ZOO_PLUGINS")
    return listed is None or plugin in {name.strip() for name in listed.split(",")}


def reader_entries() -> dict[str, tuple[ReaderEntry, ...]]:
    """Every reader's name with everyone who claims it, by name. Metadata only: nothing is imported."""
    return _entries(READERS, "reader")


def callback_entries() -> dict[str, tuple[ReaderEntry, ...]]:
    """As `reader_entries`, of callbacks."""
    return _entries(CALLBACKS, "callback")


def _entries(group: str, kind: str) -> dict[str, tuple[ReaderEntry, ...]]:
    from importlib.metadata import entry_points  # 30 ms that a folder of ordinary pictures never pays

    found: dict[str, tuple[ReaderEntry, ...]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        told = None if point.dist is None else point.dist.metadata  # a half-removed distribution has none
        name, version = (told[key] if told is not None and key in told else None for key in ("Name", "Version"))
        entry = ReaderEntry(point.name, name or "an unknown distribution", version or "(no version)", point, kind)
        found[point.name] = (*found.get(point.name, ()), entry)
    return found


def describe_forbidden(what: str, name: str) -> str:
    """What to say of a plugin or a reader that may not be loaded."""
    return f"{what} {name!r} is not allowed by ZOO_PLUGINS"


def describe_clash(what: str, name: str, claims: Sequence[str]) -> str:
    """What to say of a plugin or a reader that several distributions define."""
    return f"clash: {what} {name!r} is defined by {' and '.join(claims)}; uninstall all but one"


@contextlib.contextmanager
def foreign_code(make_error: Callable[[BaseException], Exception], stdout: TextIO | None = None) -> Iterator[None]:
    """Run a stranger's code; afterwards the working directory is what it was.

    Args:
        make_error: turns whatever the code raises into what is raised instead.
        stdout: where what it prints goes; by default stderr, because stdout belongs to results.
    """
    with contextlib.redirect_stdout(stdout or sys.stderr), _same_folder():
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # SystemExit too
            raise make_error(problem) from problem


def describe_cause(problem: BaseException) -> str:
    """What a stranger's code raised, on one line."""
    if isinstance(problem, SystemExit):
        return f"it ended the program (exit {one_line(problem.code)})"
    text = one_line(problem)
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__


def one_line(said: object) -> str:
    """A stranger's words on one line, and not too many of them."""
    try:
        text = join_lines(said)
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
