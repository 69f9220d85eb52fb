"""What other packages bring, as rows: one line of `zoo plugin list` and of `zoo doctor` for each entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from zoo.registry._installed import State

if TYPE_CHECKING:
    from zoo._support.entries import Entry, Unread

__all__ = ["EntryRow", "Group", "row_of", "row_of_unread"]

Group: TypeAlias = Literal["zoo.plugins", "zoo.readers", "zoo.callbacks"]


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin, a reader or a callback."""

    name: str
    distribution: str
    version: str
    target: str
    """module:object, as the entry point says."""
    state: State
    """What to make of it; "missing": a package that it needs is not installed; "slow": not known in time."""
    status: str
    """The state as a sentence: "ok", or why it will not be used."""
    group: Group
    suffixes: tuple[str, ...] = ()
    """Of the files of a reader; known only where it was loaded."""


def row_of(group: Group, entry: Entry, state: State = "ok", status: str = "ok") -> EntryRow:
    """The row of an entry point, by its metadata."""
    return EntryRow(
        name=entry.name,
        distribution=entry.distribution.name,
        version=entry.distribution.version,
        target=entry.point.value,
        state=state,
        status=status,
        group=group,
    )


def row_of_unread(group: Group, unread: Unread) -> EntryRow:
    """The row of a distribution whose entry points cannot be read."""
    return EntryRow(
        name=unread.row,
        distribution=unread.distribution.name,
        version=unread.distribution.version,
        target="",
        state="broken",
        status=unread.error,
        group=group,
    )
