"""Header and sha256 of a few files, as packed rows: what one worker of a scan does.

A file is opened once, asked about itself by its handle, and read once. Nothing here knows splits, classes or caches.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import struct
from collections.abc import Iterable

import msgspec
import numpy as np

from zoo.errors import ImageError
from zoo.readers import KINDS, SHOWN, Probe, probe
from zoo.readers import _quick as quick

__all__ = ["NOBODY", "ROW", "SETTLED", "Part", "examine", "identity", "pack_row"]

ROW = np.dtype(
    [
        ("identity", np.uint8, 16),
        ("digests", np.uint8, 32),
        ("group", "<i8"),
        ("study", "<i8"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("frames", "<i4"),
        ("personal", "<u2"),
        ("kind", np.uint8),
        ("bits", np.uint8),
        ("gray", np.bool_),
        ("voi", np.bool_),
        ("channels", np.uint8),
        ("shows", np.uint8),
        ("padding", "<f4", 2),
    ]
)
"""One file. Its identity is `NOBODY` where a later scan must not trust it; the rest is as in `scan.Scanned`."""

NOBODY = bytes(16)
"""The identity of a file that a later scan must not take for known."""

SETTLED = 3 * 10**9
"""Nanoseconds since its last change after which a file counts as settled. A file changed twice within one tick of
the file system's clock (2 s on FAT) would look unchanged; git calls this the racy index."""

_PACKED = struct.Struct("<16s32sqqiiiHBB??BBff")
_UNPADDED = (math.nan, math.nan)
_SMALL = 16 * 1024**2  # bytes; larger files are hashed in pieces
# A pipe must not be waited for; O_BINARY is for Windows.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


class Part(msgspec.Struct, array_like=True):
    """What was found out about consecutive files; it travels between processes."""

    rows: bytes
    """(n,) `ROW`; of zeros where a file cannot be used."""
    fields: list[tuple[str, ...]]
    """What "personal" counts in."""
    bad: dict[int, bytes]
    """Position among these files: why it cannot be used, without its name; as the file system spells it."""


def examine(root: str, names: Iterable[str], settled: int) -> Part:
    """Read header and bytes of some files; no pixel is decoded.

    Args:
        root: the folder that `names` are relative to.
        names: paths with forward slashes.
        settled: a time in nanoseconds; a file that was changed later gets no identity.
    """
    rows = bytearray()
    fields: dict[tuple[str, ...], int] = {(): 0}
    bad: dict[int, bytes] = {}
    for i, name in enumerate(names):
        try:
            rows += _row(root, name, settled, fields)
        except ImageError as problem:
            rows += bytes(ROW.itemsize)
            bad[i] = os.fsencode(problem.reason)
        except OSError as problem:
            rows += bytes(ROW.itemsize)
            bad[i] = os.fsencode(f"cannot be read ({(problem.strerror or 'i/o error').lower()})")
    return Part(bytes(rows), list(fields), bad)


def identity(name: str, status: os.stat_result) -> bytes:
    """16 bytes that change with a file's name, size, times, inode or device, and so whenever its content does."""
    told = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    text = "%d %d %d %d %d " % told + name  # noqa: UP031 - half the time of an f-string's five conversions
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _row(root: str, name: str, settled: int, fields: dict[tuple[str, ...], int]) -> bytes:
    path = f"{root}{os.sep}{name}"
    try:
        handle = os.open(path, _FLAGS)
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ImageError(
            name, f"cannot be opened ({reason.lower()}); check the path", code="image-unopened", cause=reason.lower()
        ) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(name, "not a regular file, expected an image", code="image-not-file")
        if status.st_size <= _SMALL:
            data = _whole(handle, status.st_size)
            header = quick.probe(data) or probe(data, name=name)
            digest = hashlib.sha256(data).digest()
        else:
            header = probe(path, name=name)
            with os.fdopen(handle, "rb", closefd=False) as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
    finally:
        os.close(handle)
    mark = identity(name, status) if max(status.st_mtime_ns, status.st_ctime_ns) < settled else NOBODY
    return pack_row(header, digest, mark, fields)


def pack_row(header: Probe, digest: bytes, mark: bytes, fields: dict[tuple[str, ...], int]) -> bytes:
    """One `ROW`; `fields` numbers the lists of personal fields met so far, and gets this one."""
    return _PACKED.pack(
        mark,
        digest,
        _number(header.group),
        _number(header.study),
        header.width,
        header.height,
        header.frames,
        fields.setdefault(header.personal, len(fields)),
        KINDS.index(header.kind),
        header.bits,
        header.gray,
        header.voi,
        header.channels or 0,
        SHOWN.index(header.shows),
        *(header.padding or _UNPADDED),
    )


def _whole(handle: int, size: int) -> bytes:
    data = os.read(handle, size + 1)
    while len(data) != size and (more := os.read(handle, _SMALL)):  # a network may give less than was asked for
        data += more
    return data


def _number(group: str | None) -> int:
    """63 bits of a name's sha256, the same in every file and every session; -1: no name."""
    return -1 if group is None else int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") >> 1
