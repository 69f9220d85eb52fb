"""Entry points of installed distributions: what they declare, what may be loaded, and how their code is run."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from zoo._support.text import join_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib import metadata
    from importlib.metadata import EntryPoint

__all__ = [
    "CALLBACKS",
    "CATALOGUES",
    "PLUGINS",
    "READERS",
    "Declared",
    "Distribution",
    "Entry",
    "Unread",
    "describe_cause",
    "describe_clash",
    "describe_forbidden",
    "find_suffix_clashes",
    "foreign_code",
    "is_allowed",
    "one_line",
    "read_declared",
]

PLUGINS = "zoo.plugins"
"""The group of model families."""
CATALOGUES = "zoo.catalogues"
"""The group of packages that hold a registry.yaml."""
READERS = "zoo.readers"
"""The group of readers of image formats."""
CALLBACKS = "zoo.callbacks"
"""The group of what `--log` names: something that is called without arguments and gives a `zoo.runs.Callback`."""
_KINDS = {PLUGINS: "plugin", CATALOGUES: "catalogue", READERS: "reader", CALLBACKS: "callback"}
"""Each of our groups, and what messages call an entry of it."""
_LONGEST = 400
"""Characters of what a stranger's code says of its failure."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution, as pip knows it."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry point of one of our groups, not loaded.

    Attributes:
        name: of the plugin, the reader, …
        distribution: who brings it.
        point: the entry point.
        kind: what it is, for messages.
    """

    name: str
    distribution: Distribution
    point: EntryPoint
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.distribution}"


@dataclass(frozen=True, slots=True)
class Unread:
    """A distribution whose entry points cannot be read.

    Attributes:
        distribution: whose they are.
        groups: ours, that its file mentions.
        error: why not, and what to do, on one line.
    """

    distribution: Distribution
    groups: tuple[str, ...]
    error: str

    @property
    def row(self) -> str:
        """Its name where a row is shown for it, which no plugin, model or reader can have."""
        return f"({self.distribution.name})"


@dataclass(frozen=True, slots=True)
class Declared:
    """What all installed distributions declare.

    Attributes:
        entries: group to its entries by name, each with everyone who claims it.
        unread: the distributions that cannot be asked.
    """

    entries: dict[str, dict[str, tuple[Entry, ...]]]
    unread: tuple[Unread, ...]

    def unread_of(self, *groups: str) -> tuple[Unread, ...]:
        """The distributions that would have declared something in one of these groups."""
        return tuple(one for one in self.unread if not set(groups).isdisjoint(one.groups))


def read_declared() -> Declared:
    """The entry points of our groups, sorted by name. Metadata only: nothing is imported.

    `importlib.metadata.entry_points` parses what every installed distribution declares, of which a zoo has hundreds,
    and fails over one bad line of any of them. Here only those are parsed that mention one of our groups, in a third
    of the time, and a bad one costs its own entries and nobody else's.
    """
    from importlib.metadata import distributions  # 30 ms that a folder of ordinary pictures never pays

    entries: dict[str, list[Entry]] = {group: [] for group in _KINDS}
    unread: list[Unread] = []
    taken: set[str] = set()
    for installed in distributions():
        text = _text_of(installed, "entry_points.txt")
        groups = tuple(group for group in _KINDS if f"[{group}]" in text)
        if not groups:
            continue
        name, version = _name_and_version(installed)
        if name is not None and _place(next(iter(distributions(name=name)), installed)) != _place(installed):
            continue  # it is hidden by another of its name, earlier on sys.path
        if name is not None:
            if (plain := re.sub(r"[-_.]+", "-", name).casefold()) in taken:
                continue  # its folder is on sys.path twice, or pip left a second dist-info
            taken.add(plain)
        owner = Distribution(name or "an unknown distribution", version or "(no version)")
        try:
            points = tuple(installed.entry_points)
        except (TypeError, ValueError) as problem:  # what Python's parser makes of a line that it does not know
            why = _find_defect(text) or describe_cause(problem)
            unread.append(Unread(owner, groups, f"entry_points.txt of {owner}: {why}; reinstall {owner.name}"))
            continue
        for point in points:
            if point.group in entries:
                entries[point.group].append(Entry(point.name, owner, point, _KINDS[point.group]))
    return Declared({group: _by_name(found) for group, found in entries.items()}, tuple(unread))


def _by_name(found: list[Entry]) -> dict[str, tuple[Entry, ...]]:
    owners: dict[str, tuple[Entry, ...]] = {}
    for one in sorted(found, key=lambda entry: entry.name):
        owners[one.name] = (*owners.get(one.name, ()), one)
    return owners


def _text_of(installed: metadata.Distribution, file: str) -> str:
    """One file of its metadata, "" where there is none; a byte that is not UTF-8 is shown as �."""
    try:
        return installed.read_text(file) or ""
    except UnicodeDecodeError as problem:
        return bytes(problem.object).decode("utf-8", "replace")


def _name_and_version(installed: metadata.Distribution) -> tuple[str | None, str | None]:
    """As its metadata says; a half-removed distribution has entry points and no metadata."""
    head, _, _ = (_text_of(installed, "METADATA") or _text_of(installed, "PKG-INFO")).partition("\n\n")
    fields = dict(reversed([line.partition(":")[::2] for line in head.splitlines()]))  # the first of each counts
    return fields.get("Name", "").strip() or None, fields.get("Version", "").strip() or None


def _place(installed: metadata.Distribution) -> tuple[str, str]:
    """What tells two distributions of one name apart."""
    return str(installed.locate_file("")), _text_of(installed, "entry_points.txt")


def _find_defect(text: str) -> str | None:
    """The first line of an entry_points.txt that is none of its form; None: each is of it."""
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if "\N{REPLACEMENT CHARACTER}" in line:
            return f"line {number} is not UTF-8 text"
        if line and "=" not in line and not line.startswith("#") and not (line[0] == "[" and line[-1] == "]"):
            return f"line {number} is {one_line(repr(line))}, expected NAME = MODULE:OBJECT"
    return None


def is_allowed(plugin: str) -> bool:
    """Whether ZOO_PLUGINS, a comma list, lets `plugin` be loaded. Unset allows all, empty allows none."""
    listed = os.environ.get("ZOO_PLUGINS")
    return listed is None or plugin in {name.strip() for name in listed.split(",")}


def describe_forbidden(what: str, name: str) -> str:
    """What to say of a plugin or a reader that may not be loaded."""
    return f"{what} {name!r} is not allowed by ZOO_PLUGINS"


def describe_clash(what: str, name: str, claims: Iterable[object]) -> str:
    """What to say of a model, a plugin or a reader that several distributions define."""
    return f"clash: {what} {name!r} is defined by {' and '.join(map(str, claims))}; uninstall all but one"


def find_suffix_clashes(claims: Iterable[tuple[str, str, Iterable[str]]]) -> dict[str, str]:
    """Names of readers that claim a suffix of another, each with what to say of it.

    Args:
        claims: readers, each with its name, how messages name it, and its suffixes.
    """
    owners: dict[str, list[tuple[str, str]]] = {}
    for name, called, suffixes in claims:
        for suffix in suffixes:
            owners.setdefault(suffix, []).append((name, called))
    clashes: dict[str, str] = {}
    for suffix, ones in sorted(owners.items()):
        if len(ones) > 1:
            said = " and ".join(called for _, called in ones)
            line = f"clash: suffix {suffix} is claimed by {said}; uninstall one, or leave it out of ZOO_PLUGINS"
            clashes.update((name, line) for name, _ in ones)
    return clashes


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
