"""Header and sha256 of many files, in arrays: no Python object is kept for a file that can be read."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo._support.text import format_count
from zoo.data._index import EVERY
from zoo.data._names import Names
from zoo.data._scanning.crew import over_files
from zoo.data._scanning.examine import ROW, SETTLED, Part
from zoo.data._scanning.index_cache import recall, remember
from zoo.data._sources.group_columns import (
    FILE,
    PATIENT_ID,
    STUDY_UID,
)
from zoo.data._unusable import Unusable
from zoo.errors import DataError
from zoo.readers import KINDS
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.readers import Kind

__all__ = ["Scanned", "frame_digest", "one_form", "renumber", "scan", "split_columns"]

_PIECE = 65_536  # rows that are gathered at once
_KEPT = (
    "digests",
    "width",
    "height",
    "kind",
    "gray",
    "voi",
    "bits",
    "frames",
    "group",
    "study",
    "personal",
    "padding",
    "channels",
    "shows",
)


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """What headers and bytes say of n files. A row of a file that cannot be read holds zeros; `bad` names the file.

    Attributes:
        digests: (n, 32) uint8, sha256 of the file; of a frame of a file that holds several: see `frame_digest`.
        width: (n,) int32, pixels, after EXIF orientation.
        height: (n,) int32, pixels, after EXIF orientation.
        kind: (n,) uint8, positions in `KINDS`.
        gray: (n,) bool, one channel is stored.
        voi: (n,) bool, the file brings its own VOI LUT or window.
        bits: (n,) uint8, stored for each sample.
        frames: (n,) int32, pictures in the file.
        group: (n,) int64, a number for the patient that the file names; -1: it names none.
        study: (n,) int64, a number for the examination, as `group`.
        file: (n,) int64, a number for the file where one picture of several was chosen; else -1.
        personal: (n,) uint16, positions in `fields`.
        channels: (n,) uint8, of a stack; 0: colours or gray.
        shows: (n,) uint8, positions in `zoo.readers.SHOWN`.
        padding: (n, 2) float32, smallest and largest value of padding; NaN: the file names none.
        fields: the different lists of fields with personal data that were met: names, never values.
        bad: position: the file and why it cannot be used.
    """

    digests: NDArray[np.uint8]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    kind: NDArray[np.uint8]
    gray: NDArray[np.bool_]
    voi: NDArray[np.bool_]
    bits: NDArray[np.uint8]
    frames: NDArray[np.int32]
    group: NDArray[np.int64]
    study: NDArray[np.int64]
    file: NDArray[np.int64]
    personal: NDArray[np.uint16]
    padding: NDArray[np.float32]
    channels: NDArray[np.uint8]
    shows: NDArray[np.uint8]
    fields: tuple[tuple[str, ...], ...]
    bad: dict[int, Unusable]

    def good(self) -> NDArray[np.int64]:
        """Positions of the files that can be read, ascending."""
        return np.delete(np.arange(len(self.kind), dtype=np.int64), sorted(self.bad))

    def hashes(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """What files at `rows` say of groups, for `zoo.data._sources.group_columns.group_images`."""
        return {PATIENT_ID: self.group[rows], STUDY_UID: self.study[rows], FILE: self.file[rows]}

    def paddings(self, rows: NDArray[np.int64]) -> dict[tuple[float, float], int]:
        """The different ranges of padding that the files at `rows` name: how many of them do."""
        found = self.padding[rows]
        ranges, n = np.unique(found[~np.isnan(found[:, 0])], axis=0, return_counts=True)
        return {(low, high): count for (low, high), count in zip(ranges.tolist(), n.tolist(), strict=True)}


def one_form(
    kinds: NDArray[np.uint8], channels: NDArray[np.uint8], ids: Sequence[str], name: str, *, as_is: bool
) -> tuple[Kind, int | None]:
    """The pixel type of images, and the number of their channels; None: they are colours or gray.

    Args:
        kinds: (m,) positions in `KINDS`, at least one.
        channels: (m,) as in `Scanned`.
        ids: (m,) what the images are called.
        name: name of the data set.
        as_is: for an audit: where there are several types, that of the first image; so with channels.

    Raises:
        DataError: there are several types, or several numbers of channels; an example of each is named.
    """
    codes, first = np.unique(kinds, return_index=True)
    if len(codes) > 1 and not as_is:
        found = sorted((KINDS[code], ids[at]) for code, at in zip(codes.tolist(), first.tolist(), strict=True))
        examples = " and ".join(f"{kind} ({identity})" for kind, identity in found)
        raise DataError(
            f"{name}: images of different pixel types, {examples}; convert them to one type",
            code="pixel-types",
            kinds=[kind for kind, _ in found],
        )
    numbers, first = np.unique(channels, return_index=True)
    if len(numbers) > 1 and not as_is:
        said = {0: "colours or gray"}
        examples = " and ".join(
            f"{said.get(number, f'{number} channels')} ({ids[at]})"
            for number, at in zip(numbers.tolist(), first.tolist(), strict=True)
        )
        raise DataError(
            f"{name}: images of different channels, {examples}; give every image the same channels",
            code="pixel-types",
            channels=numbers.tolist(),
        )
    return KINDS[int(kinds[0])], int(channels[0]) or None


def scan(root: Path, ids: Sequence[str], *, frames: NDArray[np.int64] | None = None) -> Scanned:
    """Read header and bytes of every file; no pixel is decoded.

    Args:
        root: the folder that `ids` are relative to.
        ids: paths with forward slashes.
        frames: (n,) int64, which picture of the file is meant, counted from 1; 0: it holds one; `EVERY`: all.
    """
    names = Names.of(ids)
    table = np.zeros(len(names), ROW)
    fields: dict[tuple[str, ...], int] = {(): 0}
    bad: dict[int, Unusable] = {}

    def put(rows: NDArray[np.int64], found: NDArray[np.void], lists: Iterable[tuple[str, ...]]) -> None:
        table[rows] = found
        table["personal"][rows] = renumber(found, lists, fields)

    recalled = recall(root, names)
    todo = np.arange(len(names)) if recalled is None else np.flatnonzero(recalled.at < 0)
    others = np.empty(0, ROW)
    if recalled is not None:
        known = np.flatnonzero(recalled.at >= 0)
        for start in range(0, len(known), _PIECE):
            rows = known[start : start + _PIECE]
            put(rows, recalled.rows[recalled.at[rows]], recalled.fields)
        if len(todo):
            others = recalled.others(len(names))
            others["personal"] = renumber(others, recalled.fields, fields)

    def take(chunk: range, part: Part) -> None:
        rows = todo[chunk.start : chunk.stop]
        put(rows, np.frombuffer(part.rows, ROW), part.fields)
        for at, reason in part.bad.items():
            row = int(rows[at])
            bad[row] = Unusable(names[row], os.fsdecode(reason))

    over_files(str(root), names.subset(todo), time.time_ns() - SETTLED, take)
    if (table["identity"][todo] != 0).any():
        remember(root, np.concatenate([table, others]) if len(others) else table, tuple(fields))
    return split_columns(table, tuple(fields), bad, names=names, frames=frames)


def renumber(
    found: NDArray[np.void], lists: Iterable[tuple[str, ...]], fields: dict[tuple[str, ...], int]
) -> NDArray[np.uint16]:
    """The column "personal" of `found`, counting in `fields` instead of `lists`; `fields` gets what it lacks."""
    numbers = np.array([fields.setdefault(one, len(fields)) for one in lists], np.uint16)
    return np.asarray(numbers[found["personal"]])


def split_columns(
    table: NDArray[np.void],
    fields: tuple[tuple[str, ...], ...],
    bad: dict[int, Unusable],
    *,
    names: Sequence[str],
    frames: NDArray[np.int64] | None = None,
) -> Scanned:
    """A table of `ROW` by its columns; what is wrong with the choice of frames is added to `bad`."""
    file = _choose_frames(table, names, frames, bad)
    columns = {name: table[name] for name in _KEPT}  # views: copies would double the memory
    return Scanned(**columns, file=file, fields=fields, bad=dict(sorted(bad.items())))


def frame_digest(digest: bytes, frame: int) -> bytes:
    """What tells one picture of a file from the others: sha256 of the frame's number and the file's sha256."""
    return hashlib.sha256(b"frame %d of " % frame + digest).digest()


def _choose_frames(
    table: NDArray[np.void],
    ids: Sequence[str],
    frames: NDArray[np.int64] | None,
    bad: dict[int, Unusable],
) -> NDArray[np.int64]:
    """Give each picture its own digest where files hold several; a choice is neither guessed nor passed over.

    Returns:
        `Scanned.file`. It is of the file's bytes, so a link or a copy is the same file.
    """
    file = np.broadcast_to(np.int64(-1), len(table)) if frames is None else np.full(len(table), -1, np.int64)
    digests, held = table["digests"], table["frames"]
    wanted = np.zeros(len(held), np.int64) if frames is None else frames
    for i in np.flatnonzero((held > 1) | (wanted > 1) | (wanted == EVERY)).tolist():
        if i in bad:
            continue
        there, frame = int(held[i]), int(wanted[i])
        if frame == EVERY:
            _stack_frames(table, i, ids[i], bad)
        elif frame == 0:
            bad[i] = Unusable(
                ids[i],
                f"holds {there} frames, expected one image; choose one in the frame column of a table, save it as a "
                "file, or take them for channels with --frames channels",
            )
        elif frame > there:
            bad[i] = Unusable(ids[i], f"holds {format_count(there, 'frame')}, frame {frame} was asked for")
        else:
            whole = digests[i].tobytes()
            file[i] = int.from_bytes(whole[:8], "big") >> 1
            digests[i] = np.frombuffer(frame_digest(whole, frame), np.uint8)
    return file


def _stack_frames(table: NDArray[np.void], i: int, name: str, bad: dict[int, Unusable]) -> None:
    """Make the pictures of one file the channels of one image; a file that is a stack already stays."""
    row = table[i]
    there = int(row["frames"])
    if there == 1 and row["channels"]:
        return
    if not 2 <= there <= MOST_CHANNELS:
        bad[i] = Unusable(name, f"holds {format_count(there, 'frame')}, expected 2 to {MOST_CHANNELS} for channels")
    elif not row["gray"]:
        bad[i] = Unusable(name, "holds frames of colours or channels, expected gray ones to stack")
    else:
        row["channels"], row["gray"] = there, False
