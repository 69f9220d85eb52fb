"""A folder here that holds what a prefix of an object store holds, each object checked.

    HASH/about.json      address and size: what `zoo data cache` shows, and when it was used last
    HASH/manifest.jsonl  key, size, mark of the store, sha256 and time of each object that is here
    HASH/parts/          what came of objects that are not whole yet
    HASH/tree/NAME       the objects
    HASH/whole           where all that was wanted is here

An object is first a part, then compared with what the store promised, then renamed into the tree, then written into
the manifest. So a kill at any moment leaves nothing under its name that is not whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
import unicodedata
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.files import atomic_write, refuse_unwritable
from zoo._urls import show_url
from zoo.errors import DataError, OutputError
from zoo.store._cachedir import ABOUT, limit
from zoo.store._download import TooLongError, TransferError, transfer
from zoo.store._urls import HTTP, asking, refuse_change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Copy", "Remote", "bring", "check_keys", "get", "read_manifest", "refuse_size", "write_about"]

_MANIFEST = "manifest.jsonl"
_AT_ONCE = 16
"""Objects on their way; more bring nothing over one connection to the internet."""
_PIECE = 1 << 23
"""Bytes asked for at a time; so much is lost where a connection breaks."""
_SLICE = 1024  # objects handed to the threads at once
_MARKS = (
    "ETag", "etag", "LastModified", "last_modified", "Last-Modified", "updated", "created", "mtime",
    "modify", "sha", "modificationTime", "last_write_time",  # FTP, GitHub, HDFS, SMB
)  # fmt: skip
"""Where stores say what changes with an object."""
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Remote:
    """One object as the store lists it.

    Attributes:
        system: its fsspec file system.
        path: its path there.
        url: the address that was asked for, as errors name it.
        scheme: its protocol.
        size: bytes; None: the store does not say.
        mark: what the store changes with the object: its ETag, or its time; "": it says nothing, so nobody knows
            whether the object is still the same.
        md5: of its bytes, where the store promises one; else "".
        sha256: of its bytes, where an index promises one; else "".
    """

    system: Any
    path: str
    url: str
    scheme: str
    size: int | None
    mark: str
    md5: str = ""
    sha256: str = ""

    @classmethod
    def of(cls, system: Any, info: Mapping[str, Any], url: str, scheme: str) -> Remote:
        """As a listing says it."""
        mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
        size = info.get("size")
        return cls(system, info["name"], url, scheme, None if size is None else int(size), mark, _md5(info, scheme))

    @property
    def is_told(self) -> bool:
        """Whether it can be told without its bytes, or by their hash, that the object is still the same."""
        return bool(self.mark or self.sha256)

    def again(self) -> str:
        """The mark of the object as it is now."""
        return Remote.of(self.system, self.system.info(self.path), self.url, self.scheme).mark


class Copy(msgspec.Struct, frozen=True):
    """One object that is here: a line of the manifest."""

    key: str
    size: int
    mark: str
    sha256: str
    time: int
    """Of the file's last change, in nanoseconds since 1970."""


def _md5(info: Mapping[str, Any], scheme: str) -> str:
    """S3: the ETag of an object that came in one part; the others say what it is."""
    if scheme.startswith("s3"):
        tag = str(info.get("ETag", "")).strip('"')
        return tag if _MD5.fullmatch(tag) else ""
    settings = info.get("content_settings") or {}
    found = info.get("md5Hash") or (settings.get("content_md5") if isinstance(settings, dict) else None)
    if isinstance(found, bytes | bytearray):
        return found.hex()
    with contextlib.suppress(ValueError):
        return b64decode(found, validate=True).hex() if found else ""
    return ""


def check_keys(keys: Iterable[str], url: str, home: Path) -> None:
    """Refuse keys that cannot be names of files below a folder of this file system.

    Raises:
        DataError: names the first of them.
    """
    folds = (home / ABOUT).exists() and (home / ABOUT.upper()).exists()
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for key in keys:
        parts = key.split("/")
        drive = os.name == "nt" and ":" in key
        if any(part in {"", ".", ".."} for part in parts) or "\\" in key or not key.isprintable() or drive:
            raise _bad_name(url, key, "cannot be the name of a file below a folder")
        if max(len(part.encode()) for part in parts) > 255:
            raise _bad_name(url, key, "has a part of more than 255 bytes")
        same = unicodedata.normalize("NFC", key).casefold() if folds else key
        if same in seen:
            raise _bad_name(url, key, f"differs from {seen[same]!a} only in case")
        seen[same] = key
        while (same := same.rpartition("/")[0]) and same not in folders:
            folders.add(same)
    if both := next((key for same, key in seen.items() if same in folders), None):
        raise _bad_name(url, both, "is an object and a folder at once")


def _bad_name(url: str, key: str, why: str) -> DataError:
    return DataError(
        f"{show_url(url)}: {key!a} {why}, so it cannot lie here; rename it in the store",
        code="remote-name",
        url=show_url(url),
        object=ascii(key),
    )


def write_about(home: Path, url: str, size: int) -> None:
    """Say what a folder of the cache holds; its time is when it was used last."""
    atomic_write(home / ABOUT, msgspec.json.encode({"url": show_url(url), "size": size}))


def read_manifest(home: Path) -> dict[str, Copy]:
    """What is here, by key; a last line that a kill cut off is passed over."""
    found: dict[str, Copy] = {}
    with contextlib.suppress(OSError):
        for line in (home / _MANIFEST).read_bytes().splitlines():
            with contextlib.suppress(msgspec.DecodeError):
                one = msgspec.json.decode(line, type=Copy)
                found[one.key] = one
    return found


def bring(home: Path, wanted: Mapping[str, Remote], *, verify: bool = False) -> None:
    """Make the tree of a folder hold exactly these objects.

    Args:
        home: the folder.
        wanted: where each object is, by its path below the tree.
        verify: hash every file that is here, also one of the size and time that it had.

    Raises:
        DataError: an object cannot be had, or is not what the store promised.
        OutputError: the disk is full, or the folder cannot be written.
    """
    known, tree = read_manifest(home), home / "tree"
    writing = threading.Lock()
    here = {key: one for key, one in known.items() if key in wanted}

    def one_object(key: str) -> None:
        remote, copy = wanted[key], here.get(key)
        same = copy is not None and (copy.mark, remote.size in {None, copy.size}) == (remote.mark, True)
        if copy is not None and same and remote.is_told:
            copy = _check_copy(tree / key, copy, verify=verify)
            if copy is not None and not (remote.sha256 and remote.sha256 != copy.sha256):
                here[key] = copy
                return
        (tree / key).parent.mkdir(parents=True, exist_ok=True)
        size, digest = get(remote, home / "parts", tree / key, key)
        fresh = Copy(key, size, remote.mark, digest, (tree / key).stat().st_mtime_ns)
        with writing:
            here[key] = fresh
            with (home / _MANIFEST).open("ab") as stream:
                stream.write(msgspec.json.encode(fresh) + b"\n")

    try:
        for key in known.keys() - wanted.keys():
            (tree / key).unlink(missing_ok=True)
        if (home / _MANIFEST).exists():
            _write_manifest(home, known)  # whole lines only, before more are added
        _in_parallel(one_object, list(wanted))
        if list(here.values()) != list(known.values()):
            _write_manifest(home, here)
        shutil.rmtree(home / "parts", ignore_errors=True)
    except OSError as problem:
        raise refuse_unwritable(home, problem) from None


def _in_parallel(work: Callable[[str], None], keys: list[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(keys), _SLICE):
            jobs = [pool.submit(work, key) for key in keys[start : start + _SLICE]]
            try:
                for job in jobs:
                    job.result()
            finally:
                for job in jobs:
                    job.cancel()


def _write_manifest(home: Path, copies: Mapping[str, Copy]) -> None:
    atomic_write(home / _MANIFEST, b"".join(msgspec.json.encode(one) + b"\n" for one in copies.values()))


def _check_copy(path: Path, copy: Copy, *, verify: bool) -> Copy | None:
    """The copy, where the file is the one that was fetched; None: fetch it again."""
    try:
        status = path.stat()
        if status.st_size != copy.size:
            return None
        if not verify and status.st_mtime_ns == copy.time:
            return copy
        same = _digests(path)[0] == copy.sha256
    except OSError:
        return None
    return msgspec.structs.replace(copy, time=status.st_mtime_ns) if same else None


def get(remote: Remote, parts: Path, target: Path, name: str) -> tuple[int, str]:
    """Bring one object to `target`, or leave `target` as it is; what came is kept as a part.

    Returns:
        Its size and its sha256.

    Raises:
        DataError: it cannot be had, or is not what was promised.
        OutputError: the disk is full, or `target` cannot be written.
    """
    called = hashlib.sha256(f"{remote.url}\n{remote.path}\n{remote.mark}\n{remote.size}".encode()).hexdigest()[:32]
    part = parts / f"{called}.part"
    try:
        parts.mkdir(parents=True, exist_ok=True)
        if not remote.is_told:
            part.unlink(missing_ok=True)  # it may be the beginning of another one
        if remote.scheme in HTTP:
            _get_http(remote, part, name)
        else:
            _get_ranges(remote, part, name)
        size = part.stat().st_size
        sha256, md5 = _digests(part)
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None
    try:
        _compare(remote, name, size, sha256, md5)
    except DataError:
        part.unlink(missing_ok=True)
        raise
    try:
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None
    return size, sha256


def _get_ranges(remote: Remote, part: Path, name: str) -> None:
    with part.open("ab") as stream:
        if remote.size is None:
            stream.truncate(0)
            with asking(remote.url):
                data = remote.system.cat_file(remote.path)
            stream.write(data)
            return
        while (held := stream.tell()) < remote.size:
            wanted = min(_PIECE, remote.size - held)
            try:
                with asking(remote.url):
                    data = remote.system.cat_file(remote.path, start=held, end=held + wanted)
            except DataError:
                if _is_another(remote):  # a shorter one has no such range
                    raise refuse_change(remote.url, name, "changed while it was fetched") from None
                raise
            if len(data) != wanted:
                stream.close()
                part.unlink(missing_ok=True)
                raise refuse_change(remote.url, name, f"ends after {held + len(data)} bytes, {remote.size} were listed")
            stream.write(data)


def _is_another(remote: Remote) -> bool:
    with contextlib.suppress(DataError), asking(remote.url):
        return remote.again() != remote.mark
    return False


def _get_http(remote: Remote, part: Path, name: str) -> None:
    most = limit() if remote.size is None else remote.size
    try:
        if remote.size is None or not part.exists() or part.stat().st_size != remote.size:
            transfer(remote.path, part, name, most=most)
    except TooLongError as problem:
        if remote.size is None:
            raise _refuse_size(remote.url, None, most) from None
        raise refuse_change(remote.url, name, f"has {problem}") from None
    except TransferError as problem:
        with asking(remote.url):
            raise ConnectionError(str(problem)) from None


def _digests(path: Path) -> tuple[str, str]:
    """Sha256 and MD5 of a file, hexadecimal."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            sha256.update(piece)
            md5.update(piece)
    return sha256.hexdigest(), md5.hexdigest()


def _compare(remote: Remote, name: str, size: int, sha256: str, md5: str) -> None:
    """Raise DataError where an object that came is not what was promised."""
    if remote.size is not None and size != remote.size:
        raise refuse_change(remote.url, name, f"has {size} bytes, {remote.size} were listed")
    if remote.sha256:
        if sha256 != remote.sha256:
            raise DataError(
                f"{show_url(remote.url)}: {name} has the sha256 {sha256[:12]}…, the index says {remote.sha256[:12]}…; "
                "write it anew with 'zoo data shard'",
                code="shard-changed",
                object=name,
                expected=remote.sha256,
                found=sha256,
            )
        return
    if remote.md5 and md5 == remote.md5:
        return
    if remote.scheme in HTTP or not remote.mark:
        return
    with asking(remote.url):
        now = remote.again()
    if now != remote.mark:
        raise refuse_change(remote.url, name, "changed while it was fetched")
    if remote.md5 and not _is_encrypted(remote):
        raise refuse_change(remote.url, name, f"has the MD5 {md5[:12]}…, the store says {remote.md5[:12]}…")


def _is_encrypted(remote: Remote) -> bool:
    """Whether the ETag is not an MD5, as of an object which S3 encrypts by a key of KMS or of the client."""
    bucket, _, key = remote.path.partition("/")
    try:
        with asking(remote.url):
            head = remote.system.call_s3("head_object", Bucket=bucket, Key=key)
    except DataError:
        return False
    return str(head.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in head


def refuse_size(url: str, size: int) -> None:
    """Raise OutputError where a mirror would be larger than the cache may get."""
    if size > limit():
        raise _refuse_size(url, size, limit())


def _refuse_size(url: str, size: int | None, most: int) -> OutputError:
    """The error of a mirror that is larger than `most` bytes; None: its server did not say how large."""
    holds = "more than that" if size is None else f"{size / 1e9:.1f} GB"
    return OutputError(
        f"{show_url(url)} holds {holds}, and ZOO_CACHE_GB allows {most / 1e9:g} here; raise it, or write shards with "
        "'zoo data shard', which are fetched one by one",
        code="remote-too-large",
        url=show_url(url),
        size=size,
        limit=most,
    )
