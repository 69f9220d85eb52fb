"""One shard of a WebDataset: an uncompressed tar whose members belong together by the start of their names.

A sample is a run of members with one key, the path up to the first dot of its last part: 'cat/17.jpg' and
'cat/17.cls' are the sample 'cat/17'. Nothing is ever unpacked. Members other than regular files (links, devices,
folders) are passed over. A shard is refused when a name in it is absolute or climbs with '..'.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import time
from array import array
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from zoo._support.cells import column_key
from zoo._support.files import atomic_write
from zoo.data._scanning.examine import NOBODY, ROW, SETTLED, identity, pack_row
from zoo.data._sources.columns import NAMES
from zoo.data._sources.tar_headers import members
from zoo.data._unusable import Unusable
from zoo.errors import DataError, ImageError, OutputError
from zoo.readers import IMAGE_SUFFIXES, probe
from zoo.readers import _quick as quick
from zoo.readers._walk import is_hidden
from zoo.store._cachedir import limit, mark_used, open_cached, reader_version, sweep
from zoo.store._places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUPED", "Shard", "read_shard"]

Labels = tuple[str, ...]

GROUPED = "grouped"
"""In KEY.json, true: "group" is what splits keep whole. `zoo data shard` writes it, who was told which groups hold."""

_WORDS = frozenset({"cls", "json", "txt", "caption", "id", "index"})
"""Extensions that are never looked into for an image."""
_PACKED = ((b"\x1f\x8b", "gunzip"), (b"BZh", "bunzip2"), (b"\xfd7zXZ", "unxz"), (b"\x28\xb5\x2f\xfd", "unzstd"))
_MOST_TEXT = 1_000_000  # bytes of a label; a longer one is a mistake


class Shard(msgspec.Struct, array_like=True):
    """What one shard holds, sample by sample (n of them)."""

    keys: list[str]
    rows: bytes
    """(n,) `ROW`; of zeros where a sample cannot be used."""
    offsets: bytes
    """(n,) int64, where the image's bytes begin in the shard."""
    sizes: bytes
    """(n,) int64, how many there are."""
    codes: bytes
    """(n,) int32, positions in `labels`; -1 where a sample cannot be used."""
    labels: list[Labels]
    several: list[bool]
    """Whether each of `labels` was written as a list."""
    fields: list[tuple[str, ...]]
    bad: dict[int, Unusable]
    """Position: what is wrong with the sample."""
    ignored: int
    """Members that are not regular files, and samples without an image."""
    unknown: list[Labels]
    """Of each of `labels`: those that nobody knows of its images."""
    groups: list[str]
    """(n,) the patient or lesion that a sample names, "" for none."""
    grouped: bool
    """All samples say `GROUPED`."""


class _Label(NamedTuple):
    """What a sample says of its image."""

    labels: Labels
    several: bool
    unknown: Labels


class _Stored(msgspec.Struct):
    """A shard's index in the cache."""

    identity: bytes
    readers: str
    sha256: bytes
    shard: msgspec.Raw


class _Part(msgspec.Struct, frozen=True):
    extension: str
    offset: int
    size: int


def read_shard(path: Path, name: str) -> Shard:
    """Index one shard, or recall what was found out about it when it was the same file.

    Args:
        path: the shard.
        name: how errors name it; keys are prefixed with it.

    Raises:
        DataError: no tar, a compressed or a damaged one, or one with names that lead out of it.
    """
    status = path.stat()
    mark = identity(name, status)
    place = cache_folder("index") / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.shard"
    known = _recall(place, mark) if limit() else None
    if known is not None:
        return known
    settled = max(status.st_mtime_ns, status.st_ctime_ns) < time.time_ns() - SETTLED
    shard = _read(path, name)
    if limit() and settled:
        _remember(place, mark, shard)
    return shard


def _recall(place: Path, mark: bytes) -> Shard | None:
    try:
        with open_cached(place) as stream:
            stored = msgspec.msgpack.decode(stream.read(), type=_Stored)
        if (stored.identity, stored.readers) != (mark, reader_version()):
            return None
        if hashlib.sha256(stored.shard).digest() != stored.sha256:
            return None
        shard = msgspec.msgpack.decode(stored.shard, type=Shard)
    except (OSError, msgspec.DecodeError):
        return None
    mark_used(place)
    return shard


def _remember(place: Path, mark: bytes, shard: Shard) -> None:
    try:
        data = msgspec.msgpack.encode(shard)
        stored = _Stored(mark, reader_version(), hashlib.sha256(data).digest(), msgspec.Raw(data))
        sweep(len(data))
        atomic_write(place, msgspec.msgpack.encode(stored))
    except (OutputError, UnicodeEncodeError):  # no place to write to, or names that are not UTF-8
        return


def _read(path: Path, name: str) -> Shard:
    shard = _Growing(name)
    with path.open("rb", buffering=1 << 18) as stream:
        try:
            for key, parts in _samples(stream, name, shard):
                shard.add(stream, key, parts)
        except tarfile.TarError as problem:
            reason = str(problem).lower() or "not a tar"
            raise DataError(f"{name}: cannot be read as a tar ({reason}); restore it", code="shard-damaged") from None
    return shard.finish()


def _samples(stream: IO[bytes], name: str, shard: _Growing) -> Iterator[tuple[str, list[_Part]]]:
    """Keys and their members, in the order of the shard."""
    head = stream.read(6)
    if packer := next((program for magic, program in _PACKED if head.startswith(magic)), None):
        raise DataError(
            f"{name}: compressed, but shards are read in place; unpack it with '{packer} {name}'",
            code="shard-compressed",
            program=packer,
        )
    seen: set[str] = set()
    current, parts = "", list[_Part]()
    for member in members(stream):
        if not member.regular:
            shard.ignored += not member.folder
            continue
        key, extension = _key(member.name, name)
        if not key:
            continue
        if key != current:
            if parts:
                yield current, parts
            if key in seen:
                raise DataError(
                    f"{name}: sample {key} is in two places; members of a sample must lie side by side",
                    code="shard-sample-twice",
                    sample=key,
                )
            seen.add(key)
            current, parts = key, []
        parts.append(_Part(extension, member.offset, member.size))
    place = stream.tell()
    if parts:
        yield current, parts
    _check_end(stream, name, place)


def _key(path: str, name: str) -> tuple[str, str]:
    """Key and extension of a member; no key for hidden files."""
    parts = path.removeprefix("./").split("/")
    if path.startswith(("/", "\\")) or ".." in parts or "\\" in path or (len(path) > 1 and path[1] == ":"):
        raise DataError(
            f"{name}: member {path!a} leads out of the shard; write it with relative names",
            code="shard-member",
            member=ascii(path),
        )
    if not path.isprintable():
        raise DataError(
            f"{name}: member {path!a} holds control characters or is not UTF-8; rename it",
            code="shard-member",
            member=ascii(path),
        )
    stem, _, extension = parts[-1].partition(".")
    if not stem or any(map(is_hidden, parts)):
        return "", ""
    return "/".join((*parts[:-1], stem)), extension.lower()


def _check_end(stream: IO[bytes], name: str, offset: int) -> None:
    """`tarfile` takes a damaged header for the end, and never looks behind it."""
    stream.seek(offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise DataError(f"{name}: ends without tar's end mark, so it may be cut off; restore it", code="shard-damaged")
    if any(block):
        raise DataError(f"{name}: damaged at byte {offset}; restore it", code="shard-damaged", offset=offset)
    while rest := stream.read(1 << 20):
        if any(rest):
            raise DataError(
                f"{name}: has more bytes behind tar's end mark; join shards with 'tar --concatenate', not with cat",
                code="shard-damaged",
            )


class _Growing:
    """A shard as far as it was read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ignored = 0
        self._keys: list[str] = []
        self._rows = bytearray()
        self._places = (array("q"), array("q"))
        self._codes = array("i")
        self._labels: dict[_Label, int] = {}
        self._groups: list[str] = []
        self._grouped = True
        self._fields: dict[tuple[str, ...], int] = {(): 0}
        self._bad: dict[int, Unusable] = {}

    def add(self, stream: IO[bytes], key: str, parts: list[_Part]) -> None:
        """Take up a sample, unless it holds no image."""
        identity = f"{self.name}/{key}"
        code, row, image, group, grouped = -1, bytes(ROW.itemsize), None, "", True
        try:
            found = _image(stream, parts, identity)
            if found is None:
                self.ignored += 1
                return
            image, data = found
            label, group, grouped = _label(stream, parts, identity)
            header = quick.probe(data) or probe(data, name=identity)
            row = pack_row(header, hashlib.sha256(data).digest(), NOBODY, self._fields)
            code = self._labels.setdefault(label, len(self._labels))
        except ImageError as problem:
            self._bad[len(self._keys)] = Unusable.of(problem, identity)
        self._keys.append(key)
        self._rows += row
        self._codes.append(code)
        self._groups.append(group)
        self._grouped &= grouped
        self._places[0].append(0 if image is None else image.offset)
        self._places[1].append(0 if image is None else image.size)

    def finish(self) -> Shard:
        """What was found."""
        return Shard(
            self._keys,
            bytes(self._rows),
            self._places[0].tobytes(),
            self._places[1].tobytes(),
            np.array(self._codes, np.int32).tobytes(),
            [label.labels for label in self._labels],
            [label.several for label in self._labels],
            list(self._fields),
            self._bad,
            self.ignored,
            [label.unknown for label in self._labels],
            self._groups,
            self._grouped,
        )


def _image(stream: IO[bytes], parts: list[_Part], identity: str) -> tuple[_Part, bytes] | None:
    """The image member and its bytes: by extension, a plain one before 'seg.png'; else by content; else None."""
    fitting = [one for one in parts if f".{one.extension.rpartition('.')[2]}" in IMAGE_SUFFIXES]
    plain = [one for one in fitting if "." not in one.extension] or fitting
    if len(plain) > 1:
        found = " and ".join(one.extension for one in plain)
        raise ImageError(
            identity,
            f"holds {found}, expected one image; leave the others out",
            code="sample-images",
            members=[one.extension for one in plain],
        )
    if plain:
        return plain[0], _bytes(stream, plain[0])
    for one in parts:
        if one.extension.rpartition(".")[2] in _WORDS:
            continue
        data = _bytes(stream, one)
        try:
            probe(data)
        except ImageError:
            continue
        return one, data
    return None


def _label(stream: IO[bytes], parts: list[_Part], identity: str) -> tuple[_Label, str, bool]:
    """The labels of a sample as texts, the group that its .json names, "" for none, and whether it says `GROUPED`."""
    texts = {one.extension: one for one in parts if one.extension in ("cls", "json")}
    if not texts:
        raise ImageError(identity, "no label; expected a member .cls or .json beside the image", code="sample-label")
    said = {extension: _text(stream, one, identity) for extension, one in texts.items()}
    about = said.get("json")
    found = said.get("cls", about)
    if isinstance(found, dict):
        found = next((found[key] for key in ("label", "cls", "labels") if key in found), None)
    unknown = about.get("unknown", []) if isinstance(about, dict) and isinstance(found, list) else []
    labels = found if isinstance(found, list) else [found]
    names = [*labels, *(unknown if isinstance(unknown, list) else [None])]
    if not all(isinstance(name, str | int) and not isinstance(name, bool) and str(name) for name in names):
        raise ImageError(
            f"{identity}.{'cls' if 'cls' in texts else 'json'}",
            'no label in it; expected a number or a name, in JSON as "label", "cls" or lists "labels" and "unknown"',
            code="sample-label",
        )
    label = _Label(tuple(map(str, labels)), isinstance(found, list), tuple(map(str, unknown)))
    return (label, _group(about), about.get(GROUPED) is True) if isinstance(about, dict) else (label, "", False)


def _text(stream: IO[bytes], one: _Part, identity: str) -> Any:
    """What a member .cls or .json says; raises ImageError."""
    name = f"{identity}.{one.extension}"
    if one.size > _MOST_TEXT:
        raise ImageError(name, f"{one.size} bytes, expected a label", code="sample-label", bytes=one.size)
    try:
        text = _bytes(stream, one).decode("utf-8").strip()
        return text if one.extension == "cls" else msgspec.json.decode(text)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        raise ImageError(name, "not UTF-8 text or JSON, expected a label", code="sample-label") from None


def _group(about: dict[str, Any]) -> str:
    """The group of an image: as `zoo data shard` writes it, else under a name that a column of groups may have."""
    named = {column_key(key): value for key, value in about.items()}
    value = next((named[key] for key in ("group", *NAMES["group"]) if key in named), "")
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _bytes(stream: IO[bytes], member: _Part) -> bytes:
    stream.seek(member.offset)
    return stream.read(member.size)
