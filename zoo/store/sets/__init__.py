"""Sets of images that go by a name: from the local store, fetched once or imported from a file, offline first.

A file is what its publisher's checksum says before a byte of it is used. This module does not know how
images are read: `zoo.data` opens what is here.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from zoo._support.files import atomic_path, put_in_place, refuse_unwritable
from zoo._support.text import quote_path
from zoo.errors import DataError, OutputError
from zoo.store._download import TransferError, first_answer, offline, transfer
from zoo.store.sets import _store
from zoo.store.sets._catalogue import NamedSet, SetFile, Variant, catalogue, find, find_in, lookup
from zoo.store.sets._store import folder, is_here, path_of

__all__ = [
    "NamedSet",
    "SetFile",
    "Variant",
    "catalogue",
    "fetch",
    "find",
    "find_file",
    "find_in",
    "folder",
    "import_file",
    "is_here",
    "lookup",
    "path_of",
    "resolve",
    "sizes_here",
    "warn_of_licence",
]

log = logging.getLogger("zoo")

MIRROR = "ZOO_DATA_MIRROR"
"""Environment: the address of a folder that holds the files under their publishers' names, inside a hospital, say."""

HASHED_MOST = 256 * 2**20
"""Bytes of a file of unknown name that is hashed to know it: .5 s; to open it takes ten times that."""


def sizes_here(about: NamedSet, name: str) -> tuple[int, ...]:
    """The sizes of a set that the store holds."""
    if about.format == "embedded":
        return about.sizes
    return tuple(px for px in about.sizes if is_here(Variant(set_name=name, about=about, px=px)))


def resolve(variant: Variant) -> Path:
    """The stored file or folder of a set.

    Raises:
        DataError: not here (with the two ways to bring it), or not what the catalogue says.
    """
    if path := _store.take(variant):
        return path
    raise DataError(
        f"{variant.name} is not here; bring it with 'zoo data fetch {variant.name}' ({_amount(variant)}), or get "
        f"{variant.file.url} elsewhere and run 'zoo data import {variant.name} FILE'",
        code="set-not-fetched",
        name=variant.name,
        url=variant.file.url,
    )


def fetch(variant: Variant) -> Path:
    """Bring a set into the store unless it is there; an interrupted transfer resumes where it stopped.

    Raises:
        DataError: no network is there or wanted (with the way out), the server refused, or the file is not
            what its publisher states.
        OutputError: the store cannot be written, or is too small.
    """
    url = _url(variant)
    warn_of_licence(variant)
    if path := _store.take(variant):
        return path
    if reason := offline():
        _offline(variant, url, reason)
    with _store.guard(variant):
        if path := _store.take(variant):  # another process was at it
            return path
        part = _store.part_of(variant)
        _check_room(variant, part)
        status = first_answer(url)
        if status is None:
            _offline(variant, url, f"{urlsplit(url).netloc or url} cannot be reached")
        if status in {401, 403, 404, 410}:
            _offline(variant, url, f"{url} is not given out any more (HTTP {status})")
        log.info("%s: fetching %s from %s", variant.name, _amount(variant), url)
        _transfer(url, part, variant)
        actual = _store.checksum(part, variant.file.algorithm)
        if actual != variant.file.checksum:
            part.unlink()
            raise DataError(
                f"{_differs(variant, actual)}; nothing was kept, {url} is not what it was",
                code="set-hash",
                name=variant.name,
                found=actual,
                expected=variant.file.checksum,
            )
        return _keep(part, variant)


def import_file(variant: Variant, file: Path) -> Path:
    """Put a file that was carried here into the store, as what `fetch` would have brought.

    Raises:
        DataError: it is not the file that its publisher states.
        OutputError: the store cannot be written.
    """
    warn_of_licence(variant)
    if not file.is_file():
        raise DataError(
            f"{file}: no such file; expected what {variant.file.url} gives", code="file-missing", path=str(file)
        )
    with _store.guard(variant):
        if variant.about.format == "zip":
            _check_carried(file, file, variant)
            return path_of(variant) if is_here(variant) else _store.keep_archive(file, variant)
        target = path_of(variant)
        with atomic_path(target) as temporary:
            shutil.copyfile(file, temporary)
            _check_carried(temporary, file, variant)  # the copy: a bad medium may have changed it on the way
        return target


def find_file(path: Path) -> str | None:
    """The set of MedMNIST whose published file this is; None: it is none of them, or too large to be hashed here."""
    if not path.is_file() or path.stat().st_size > HASHED_MOST:
        return None
    found = _with_checksum(_store.checksum(path, "md5"))
    return None if found is None else found.set_name


def warn_of_licence(variant: Variant) -> None:
    """Say to the log that a set is not for commercial use, where it is not."""
    if variant.about.non_commercial:
        log.warning("%s: licence %s: not for commercial use", variant.name, variant.about.licence)


# --- inside -----------------------------------------------------------------------------------------


def _transfer(url: str, part: Path, variant: Variant) -> None:
    try:
        transfer(url, part, variant.name, most=variant.file.size or 2 * variant.at_most)
    except TransferError as problem:
        size = part.stat().st_size if part.exists() else 0
        kept = f"{size / 1e6:.1f} MB are kept" if size else "nothing was kept"
        if not size:
            part.unlink(missing_ok=True)
        raise DataError(
            f"{variant.name}: the transfer from {url} broke ({problem}); {kept}, "
            f"run 'zoo data fetch {variant.name}' again to resume",
            code="transfer-broken",
            name=variant.name,
            url=url,
        ) from None


def _keep(part: Path, variant: Variant) -> Path:
    """Take the checked file at `part` into the store."""
    target = path_of(variant)
    if variant.about.format == "zip":
        _store.keep_archive(part, variant)
        part.unlink()
        return target
    try:
        put_in_place(part, target)
    except OSError as problem:
        raise refuse_unwritable(target, problem, "check its rights") from None
    return target


def _check_carried(path: Path, file: Path, variant: Variant) -> None:
    """Refuse what is not the file of the catalogue; `file` is what the user called it."""
    actual = _store.checksum(path, variant.file.algorithm)
    if actual == variant.file.checksum:
        return
    if twin := _with_checksum(actual):
        raise DataError(
            f"{file.name} is {twin.name}, not {variant.name}; run 'zoo data import {twin.name} {quote_path(file)}'",
            code="set-hash",
            name=variant.name,
            twin=twin.name,
        )
    way = f"get {variant.file.url} again"
    if variant.about.format == "npz":
        way += f", or use this file for what it is with --data {quote_path(file)}"
    raise DataError(
        f"{file.name}: {_differs(variant, actual)}; {way}",
        code="set-hash",
        name=variant.name,
        found=actual,
        expected=variant.file.checksum,
    )


def _with_checksum(checksum: str) -> Variant | None:
    for name, about in catalogue().items():
        for px, file in about.files.items():
            if file and file.checksum == checksum:
                return Variant(set_name=name, about=about, px=int(px))
    return None


def _differs(variant: Variant, actual: str) -> str:
    algorithm, _, found = actual.partition(":")
    return f"{algorithm} is {found}, the publisher of {variant.name} states {variant.file.checksum.partition(':')[2]}"


def _url(variant: Variant) -> str:
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    return f"{mirror}/{variant.file_name}" if mirror else variant.file.url


def _amount(variant: Variant) -> str:
    size = variant.at_most / 1e6
    return ("" if variant.file.size else "at most ") + (f"{size:.1f} MB" if size < 10 else f"{size:.0f} MB")


def _check_room(variant: Variant, part: Path) -> None:
    """Before hours of transfer; only where the size was stated."""
    held = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if variant.file.size and variant.file.size - held > free:
        raise OutputError(
            f"{variant.name} needs {variant.file.size / 1e6:.0f} MB, {part.parent} has {free / 1e6:.0f} MB left; "
            "free space there or set ZOO_HOME",
            code="output-full",
            name=variant.name,
            needed=variant.file.size,
            free=free,
        )


def _offline(variant: Variant, url: str, reason: str) -> NoReturn:
    raise DataError(
        f"{variant.name} is not here and {reason}; get {url} elsewhere and run 'zoo data import {variant.name} FILE'",
        code="set-not-fetched",
        name=variant.name,
        url=url,
    )
