"""Which reader takes a file, and which files are images."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from zoo.errors import ImageError
from zoo.readers import _numpy as arrays
from zoo.readers import _raster as raster
from zoo.readers._built_in import BUILT_IN, NAMES
from zoo.readers._dicom_start import find_start
from zoo.readers._foreign import name_format
from zoo.readers._others import others
from zoo.readers._reader import HEAD_BYTES, Reader

__all__ = ["IMAGE_SUFFIXES", "choose", "image_suffixes", "is_image", "is_image_head", "read_head"]

IMAGE_SUFFIXES: frozenset[str] = frozenset().union(*(reader.suffixes for reader in BUILT_IN))
"""Lower-case suffixes of the files that the built-in readers take."""

# A pipe must not be waited for; O_BINARY is for Windows.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_WEAK = frozenset({"BMP", "PPM"})
"""Formats whose first bytes, "BM" or "P1", may begin any text."""


def image_suffixes() -> frozenset[str]:
    """Lower-case suffixes of the files that any reader takes; imports the readers of other packages."""
    return IMAGE_SUFFIXES | others().suffixes


def choose(head: bytes, name: str) -> Reader:
    """The reader that takes a file.

    Args:
        head: the first `HEAD_BYTES` bytes of the file.
        name: name of the image; its suffix decides only between two readers that both recognise it.

    Raises:
        ImageError: no reader recognises it, or two do.
    """
    for reader in BUILT_IN:
        if reader.recognise(head):
            return reader
    foreign = others()
    found = [reader for reader in foreign.readers if reader.recognise(head)]
    if len(found) > 1:
        found = [one for one in found if name.lower().endswith(tuple(one.suffixes))] or found
    if len(found) == 1:
        return found[0]
    if found:
        claims = " and ".join(str(one.entry) for one in found)
        reason = f"recognised by {claims}; uninstall one, or leave it out of ZOO_PLUGINS"
        raise ImageError(name, reason, code="image-reader-clash", readers=[one.entry.name for one in found])
    form = name_format(head)
    if form is not None:
        reason = f"{form}, a format that is not read; expected {_list_expected()}; convert it"
    else:
        reason = f"not an image by its first bytes; expected {_list_expected()}"
    if foreign.broken:
        reason += f"; reader {' and '.join(map(repr, foreign.broken))} cannot be used, see 'zoo doctor'"
    raise ImageError(name, reason, code="image-format", format=form)


def is_image(path: Path) -> bool:
    """Whether a file begins as one of the formats does, whatever its name; False where it cannot be opened.

    A DICOMDIR is none: it lists files. "BM" or "P1" may begin any text, so there the header must make sense too.
    """
    try:
        head = read_head(os.fspath(path))
        return head is not None and is_image_head(os.fspath(path), head)
    except OSError:
        return False


def is_image_head(path: str, head: bytes) -> bool:
    """As `is_image`, of a file whose first bytes are known.

    Raises:
        OSError: the file cannot be opened.
    """
    if find_start(head) is not None:
        return os.path.basename(path) != "DICOMDIR"  # noqa: PTH119 - asked of very many files
    form = raster.recognise(head)
    if form is None and arrays.recognise(head):
        return True
    if form is None:
        return bool(head) and any(reader.recognise(head) for reader in others().readers)
    if form == "HEIF" and not raster.HAS_HEIF:
        return False
    if form not in _WEAK:
        return True
    with Path(path).open("rb") as stream:
        try:
            raster.probe(stream, form, path)
        except (OSError, ImageError):
            return False
    return True


def read_head(path: str) -> bytes | None:
    """The first `HEAD_BYTES` bytes of a regular file; None for anything else.

    Raises:
        OSError: it cannot be opened or read, so nothing is known of it.
    """
    try:
        handle = os.open(path, _FLAGS)
    except ValueError:  # a null byte in the path
        return None
    except OSError:
        if _is_special(path):
            return None
        raise
    try:
        return os.read(handle, HEAD_BYTES) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    finally:
        os.close(handle)


def _is_special(path: str) -> bool:
    """Whether this is surely another thing than a regular file, such as a socket, which cannot be opened."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - as `os.open`
    except OSError:
        return False


def _list_expected() -> str:
    names = ", ".join(repr(reader.entry.name) for reader in others().readers)
    return f"{NAMES}, or what reader {names} takes" if names else NAMES
