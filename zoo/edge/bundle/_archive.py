"""NAME.zoo.zip: a bundle in one file, read in memory and written byte for byte the same each time.

Only the plainest form of a zip is opened (APPNOTE 6.3.10): members stored, one after the other without a gap, nothing
before, between or after them, every local header saying what the directory says. Readers of zip files disagree about
all else, and what two readers see differently cannot be vouched for. Nothing is unpacked to a disk. We never wrote
deflated members; those of other tools are read until release 0.2, see `_inflate`.

What this module does not know: manifests, hashes, models.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import struct
import unicodedata
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from zoo.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

__all__ = ["SUFFIX", "Archive", "write_archive"]

SUFFIX = ".zip"

MAX_MEMBERS = 64
MAX_BYTES = 2**32 - 2**16
"""Bytes of all members together, unpacked: a plain zip, without zip64, cannot point further."""
MAX_RATIO = 100
"""Unpacked to packed size of one member. Deflate reaches 1032 on zeros; JSON and weights stay below 20."""

_END = struct.Struct("<4sHHHHIIH")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_STORED, _DEFLATED = 0, 8
_FLAGS = 0x0806  # how well it was deflated, and a name in UTF-8; not: encrypted, sizes that follow the data
_TOLD_TWICE = {0x0001, 0x7075}  # extra fields: zip64 sizes, a second name in UTF-8
_SMALL = 2**20  # below, a ratio says nothing
_FOLDER = 0x10  # DOS attribute
_EPOCH = (0, 0x21)  # 1980-01-01 00:00, the first moment of DOS
_DRIVE = re.compile(r"[A-Za-z]:")

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class _Member:
    raw: bytes
    """Its name, as the file spells it."""
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    start: int
    """Position of its local header."""


class Archive:
    """An open zip; use it in a `with`.

    Attributes:
        names: names of all members.
    """

    KIND = "a zip"

    def __init__(self, path: Path) -> None:
        """Open the file and judge its directory; no member is unpacked.

        Raises:
            ModelError: not a file, not a zip, or one of a form that is not opened; the line names the member.
        """
        self._shown = str(path)
        self._data: dict[str, int] = {}
        self._stream = _open(path)
        try:
            self._members = self._directory()
        except BaseException:
            self._stream.close()
            raise
        self.names = frozenset(self._members)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def problems(self) -> list[tuple[str, str]]:
        """Always empty: a zip that holds anything but plain files is refused in `__init__`."""
        return []

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a member, never more than the size that it states.

        Raises:
            ModelError: it states more than `limit`, or is not what its header says: another size or another checksum.
        """
        member = self._members[name]
        if member.size > limit:
            raise self._make_error(
                f"member {name!r} has {member.size} bytes, expected at most {limit}", code="zip-size", member=name
            )
        self._stream.seek(self._data[name])
        data = self._stream.read(member.packed)
        if member.method == _DEFLATED:
            data = _inflate(data, member.size)
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise self._make_error(
                f"member {name!r} is damaged (its size or checksum is another than stated)",
                code="zip-damaged",
                member=name,
            )
        return data

    def _directory(self) -> dict[str, _Member]:
        """Every member by name, after the whole layout was found plain."""
        count, size, start, length = self._end()
        self._stream.seek(start)
        data = self._stream.read(size)
        members: dict[str, _Member] = {}
        folded: dict[str, str] = {}
        position = 0
        for _ in range(count):
            name, member, used = self._entry(data[position:])
            key = unicodedata.normalize("NFC", name).casefold()
            if key in folded:
                raise self._make_error(
                    f"members {folded[key]!r} and {name!r} are one name on other systems",
                    code="zip-names",
                    member=name,
                )
            members[name], folded[key] = member, name
            position += used
        if position != size or start + size + _END.size != length:
            raise self._make_error("its directory is not where it says", code="zip-directory")
        if (total := sum(member.size for member in members.values())) > MAX_BYTES:
            raise self._make_error(
                f"it unpacks to {total} bytes, expected at most {MAX_BYTES}", code="zip-size", total=total
            )
        expected = 0
        if any(member.method == _DEFLATED for member in members.values()):
            log.warning(
                "%s is deflated, which release 0.2 will not read; export it again, or pack it with 'zip -0'",
                self._shown,
            )
        for name, member in members.items():
            if member.start != expected:
                raise self._make_error(
                    f"there is data before member {name!r} that belongs to none, or two overlap",
                    code="zip-gap",
                    member=name,
                )
            self._data[name] = self._check_local(name, member)
            expected = self._data[name] + member.packed
        if expected != start:
            raise self._make_error("there is data after the last member that belongs to none", code="zip-gap")
        return members

    def _end(self) -> tuple[int, int, int, int]:
        """How many members, bytes of the directory, where it begins, and the length of the file."""
        length = self._stream.seek(0, io.SEEK_END)
        self._stream.seek(max(0, length - _END.size))
        tail = self._stream.read(_END.size)
        if len(tail) < _END.size or not tail.startswith(b"PK\5\6"):
            raise self._make_error(
                "no zip that ends with its directory: cut off, or with something behind it", code="zip-end"
            )
        _, disk, first, here, count, size, start, comment = _END.unpack(tail)
        if disk or first or here != count or comment or 0xFFFF in (here, count) or 0xFFFFFFFF in (size, start):
            raise self._make_error(
                "a zip in several parts, with a comment, or in the zip64 form, expected a plain one",
                code="zip-form",
            )
        if count > MAX_MEMBERS or size > MAX_MEMBERS * 1024:
            raise self._make_error(
                f"{count} members and a directory of {size} bytes, expected at most {MAX_MEMBERS}",
                code="zip-size",
                members=count,
            )
        return count, size, start, length

    def _entry(self, data: bytes) -> tuple[str, _Member, int]:
        """One entry of the directory: name, member, and its length in bytes."""
        if len(data) < _ENTRY.size or not data.startswith(b"PK\1\2"):
            raise self._make_error("its directory is cut off", code="zip-directory")
        fields = _ENTRY.unpack_from(data)
        _, _, _, flags, method, _, _, crc, packed, size, name_size, extra, comment, disk, _, outside, start = fields
        used = _ENTRY.size + name_size + extra + comment
        raw = data[_ENTRY.size : _ENTRY.size + name_size]
        name = self._name(raw, flags)
        if used > len(data) or disk or comment or 0xFFFFFFFF in (packed, size, start):
            raise self._make_error(
                f"member {name!r} is of the zip64 form, has a comment, or lies in another part",
                code="zip-form",
                member=name,
            )
        if _tells_twice(data[_ENTRY.size + name_size : used]):
            raise self._make_error(
                f"member {name!r} states its size or name twice (zip64, Unicode path)",
                code="zip-told-twice",
                member=name,
            )
        if flags & 1:
            raise self._make_error(f"member {name!r} is encrypted", code="zip-packing", member=name)
        if flags & ~_FLAGS or method not in (_STORED, _DEFLATED):
            raise self._make_error(
                f"member {name!r} is packed in a way that is not opened (method {method})",
                code="zip-packing",
                member=name,
            )
        mode = outside >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or outside & _FOLDER:
            what = "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"
            raise self._make_error(f"member {name!r} is {what}", code="zip-member", member=name)
        if method == _STORED and packed != size:
            raise self._make_error(
                f"member {name!r} states {size} bytes and has {packed}", code="zip-size", member=name
            )
        if size > _SMALL and size > MAX_RATIO * packed:
            raise self._make_error(
                f"member {name!r} unpacks to {size} bytes from {packed}, over {MAX_RATIO} to 1",
                code="zip-size",
                member=name,
            )
        return name, _Member(raw, flags, method, crc, packed, size, start), used

    def _name(self, raw: bytes, flags: int) -> str:
        try:
            name = raw.decode("utf-8" if flags & 0x800 else "ascii")
        except UnicodeDecodeError:
            raise self._make_error(f"a member's name {raw[:60]!r} is not UTF-8", code="zip-names") from None
        plain = name and name not in {".", ".."} and name.isprintable() and not set(name) & set('/\\:*?"<>|')
        if not plain:
            path = "an absolute path" if name.startswith(("/", "\\")) or _DRIVE.match(name) else "no plain file name"
            raise self._make_error(
                f"member {name[:80]!r} is {path}, expected files at the top of the zip and no folders",
                code="zip-path",
                member=name,
            )
        return name

    def _check_local(self, name: str, member: _Member) -> int:
        """Where the member's data begins, after its own header was found to say what the directory says."""
        self._stream.seek(member.start)
        head = self._stream.read(_LOCAL.size)
        if len(head) < _LOCAL.size:
            raise self._make_error(f"member {name!r} lies beyond the end", code="zip-directory", member=name)
        magic, _, flags, method, _, _, crc, packed, size, name_size, extra = _LOCAL.unpack(head)
        told = (flags, method, crc, packed, size)
        listed = (member.flags, member.method, member.crc, member.packed, member.size)
        if magic != b"PK\3\4" or told != listed or self._stream.read(name_size) != member.raw:
            raise self._make_error(
                f"member {name!r} says something else of itself than the directory",
                code="zip-directory",
                member=name,
            )
        if _tells_twice(self._stream.read(extra)):
            raise self._make_error(
                f"member {name!r} states its size or name twice (zip64, Unicode path)",
                code="zip-told-twice",
                member=name,
            )
        return self._stream.tell()

    def _make_error(self, what: str, /, *, code: str, **fields: Any) -> ModelError:
        return ModelError(
            f"{self._shown}: {what}; expected a bundle as 'zoo export --bundle --out NAME.zoo.zip' writes",
            code=code,
            **fields,
        )


def write_archive(target: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip whose bytes depend on nothing but names, order and contents: stored, no times, no owner.

    Nothing is deflated: weights gain under a tenth, the golden set is packed already, and two versions of zlib
    write different bytes.

    Args:
        target: overwritten; give a temporary path.
        files: name and content, taken one after the other, so that only one need be held.

    Raises:
        ModelError: more than a plain zip can hold.
        OSError: it cannot be written.
    """
    entries = []
    with target.open("wb") as stream:
        for name, data in files:
            raw, start = name.encode(), stream.tell()
            if start + len(data) > MAX_BYTES:
                raise ModelError(
                    f"{target}: over {MAX_BYTES} bytes, more than one zip holds; write a folder NAME.zoo",
                    code="zip-size",
                    path=str(target),
                )
            flags = 0 if name.isascii() else 0x800
            told = (20, flags, _STORED, *_EPOCH, zlib.crc32(data), len(data), len(data), len(raw), 0)
            stream.write(_LOCAL.pack(b"PK\3\4", *told) + raw)
            stream.write(data)
            made_on_unix = 3 << 8 | 20
            outside = (stat.S_IFREG | 0o644) << 16
            entries.append(_ENTRY.pack(b"PK\1\2", made_on_unix, *told, 0, 0, 0, outside, start) + raw)
        start, directory = stream.tell(), b"".join(entries)
        stream.write(directory)
        stream.write(_END.pack(b"PK\5\6", 0, 0, len(entries), len(entries), len(directory), start, 0))


def _open(path: Path) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        stream = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115 - a handle, closed by Archive
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            stream.close()
            raise ModelError(f"{path}: not a regular file; expected a bundle NAME.zoo.zip", code="model-not-file")
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = (getattr(problem, "strerror", None) or str(problem)).lower()
        raise ModelError(
            f"{path}: cannot be opened ({reason}); expected a bundle NAME.zoo.zip",
            code="file-unreadable",
            cause=reason,
        ) from None
    return stream


def _inflate(packed: bytes, size: int) -> bytes:
    """What a deflated member holds, at most `size` + 2 bytes; empty for a stream that is not whole.

    To be removed in release 0.2 with `MAX_RATIO`: a decompressor before the signature is checked is not worth it.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(packed, size + 1)
        data += stream.decompress(stream.unconsumed_tail, 1)  # the end may still be to be read
    except zlib.error:
        return b""
    return data if stream.eof and not stream.unused_data else b""


def _tells_twice(extra: bytes) -> bool:
    """Whether an extra field holds what the header has said already, or cannot be walked."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind in _TOLD_TWICE:
            return True
        position += 4 + length
    return position != len(extra)
