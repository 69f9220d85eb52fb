"""Files and folders of object stores, brought here once and checked: `fetch_tree`, and objects one by one.

A second call lists the store and brings only what changed. Copies lie in the cache: `zoo data cache` shows them, and
$ZOO_CACHE_GB limits them. What this module does not know: images, tables, shards.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from zoo._support.files import hold_lock, refuse_unwritable
from zoo._support.text import brief, format_count
from zoo._urls import HERE, show_url, without_user
from zoo.errors import DataError
from zoo.store._cachedir import entries, keep_in_use, sweep
from zoo.store._download import REACH_LIMIT, READ_LIMIT, offline
from zoo.store._mirror import Remote, bring, check_keys, read_manifest, refuse_size, write_about
from zoo.store._places import cache_folder
from zoo.store._urls import HTTP, asking, last_part, open_store, parent_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "Listing",
    "asking",
    "fetch_listed",
    "fetch_tree",
    "is_listed",
    "last_part",
    "list_tree",
    "name_listed",
    "open_store",
    "parent_url",
    "survey",
]

_AT_ONCE = 16
_LISTED = "listed"
"""Marks a mirror of single objects of any stores."""
_WHOLE = "whole"
"""Marks a mirror in which all lies that was wanted: a fetch that was stopped leaves none."""
_hold = functools.cache(keep_in_use)

log = logging.getLogger("zoo")


class Listing:
    """What lies at an address.

    Attributes:
        url: the address.
        is_file: it is one object, not a folder.
        objects: each object by its path below the folder; one object by its name.
    """

    def __init__(self, url: str, *, is_file: bool, objects: dict[str, Remote]) -> None:
        self.url, self.is_file, self.objects = url, is_file, objects


def list_tree(url: str) -> Listing:
    """List a file or a folder of a store.

    Raises:
        DataError: it is not there, access is refused, the store does not answer, or the folder is empty.
        UsageError: no such protocol, or its package is missing.
    """
    system, path, scheme = open_store(url)
    with asking(url):
        if scheme in HTTP and not url.partition("?")[0].endswith("/"):
            return Listing(url, is_file=True, objects={last_part(url): _ask_http(system, url, scheme)})
        info = system.info(path)
        if info["type"] == "file" and scheme not in HTTP:
            return Listing(url, is_file=True, objects={last_part(url): Remote.of(system, info, url, scheme)})
        found = system.find(path, detail=True)
    root = path.rstrip("/") + "/"
    objects: dict[str, Remote] = {}
    for name, one in found.items():
        key = str(name).removeprefix(root) if str(name).startswith(root) else str(name).lstrip("/")
        key = unquote(key) if scheme in HTTP else key
        if key and not key.endswith("/") and one["type"] == "file":  # a key that ends so marks a folder
            objects[key] = Remote.of(system, one, url, scheme)
    if scheme in HTTP:
        with asking(url), ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = pool.map(lambda one: _ask_http(system, one.path, scheme), objects.values())
            objects = dict(zip(objects, asked, strict=True))
    if not objects:
        raise DataError(
            f"{show_url(url)}: no such object, folder or bucket, or nothing in it; check the address",
            code="remote-missing",
            url=show_url(url),
        )
    return Listing(url, is_file=False, objects=objects)


def survey(url: str) -> Listing | None:
    """As `list_tree`; None where the files lie here, or no network may be used: then what is here is all there is."""
    return None if url.startswith(HERE) or offline() is not None else list_tree(url)


def fetch_tree(
    url: str,
    *,
    listing: Listing | None = None,
    choose: Callable[[Iterable[str]], list[str]] | None = None,
    about: str = "",
    verify: bool = False,
) -> Path:
    """Bring the file or folder at an address here; what is here already and unchanged stays.

    An object of which the store tells neither a version nor a time is brought at every call.

    Args:
        url: such as s3://bucket/images; file:// is read where it is.
        listing: objects at this address, where they were listed already.
        choose: which objects of the folder are wanted, by their paths; None: all.
        about: what the choice depends on: another one is kept elsewhere.
        verify: hash every file that is here, instead of comparing size and time.

    Returns:
        The file or folder, which has the name that it has in the store.

    Raises:
        DataError: it cannot be had, or is not what the store promised; codes remote-*.
        OutputError: it is larger than the cache may get, or the disk is full.
    """
    if url.startswith(HERE):
        return Path(open_store(url)[1])
    home = cache_folder("remote") / hashlib.sha256(f"{url.rstrip('/')}\n{about}".encode()).hexdigest()[:32]
    name = last_part(url)
    if listing is None and (why := offline()) is not None and (here := read_manifest(home)):
        _hold(home)
        if not (home / _WHOLE).exists():
            raise DataError(
                f"{show_url(url)}: the fetch was not finished ({format_count(len(here), 'file')} came), and {why}; "
                "unset it, the same command continues",
                code="remote-unreachable",
                url=show_url(url),
            )
        return home / "tree" / name  # what is here is all there is
    listing = listing or list_tree(url)
    keys = list(listing.objects) if choose is None else choose(listing.objects)
    prefix = "" if listing.is_file else f"{name}/"
    wanted = {f"{prefix}{key}": listing.objects[key] for key in sorted(keys)}
    return _mirror(home, wanted, url, verify=verify) / "tree" / name


def name_listed(urls: Iterable[str]) -> dict[str, str]:
    """The name that each of several addresses has here: that of s3://bucket/a/b.png is bucket/a/b.png.

    Addresses that differ in what a name does not show (protocol, what follows a question mark) get a hash of it.

    Raises:
        DataError: two of them differ in nothing but user and password, which no name may tell.
    """
    alike: dict[str, list[str]] = {}
    for url in dict.fromkeys(urls):
        alike.setdefault(without_user(url).partition("?")[0].partition("://")[2], []).append(url)
    named: dict[str, str] = {}
    for shown, same in alike.items():
        for url in same:
            key = shown
            if len(same) > 1:
                folder, _, name = shown.rpartition("/")
                stem, dot, suffix = name.partition(".")
                mark = hashlib.sha256(without_user(url).encode()).hexdigest()[:12]
                key = f"{folder}/{stem}-{mark}{dot}{suffix}"
            if named.setdefault(key, url) != url:
                raise DataError(
                    f"{show_url(url)}: two addresses differ in user or password only, which no name tells; give one",
                    code="remote-name",
                    url=show_url(url),
                    object=ascii(key),
                )
    return {url: key for key, url in named.items()}


def fetch_listed(named: dict[str, str], about: str) -> Path:
    """Bring single objects of any stores here.

    Args:
        named: the name here of each address, see `name_listed`.
        about: where they are named, such as the path of a table.

    Returns:
        A folder in which each lies at its name.

    Raises:
        As `fetch_tree`.
    """
    systems: dict[str, tuple[Any, str]] = {}
    asked = {key: url for url, key in named.items()}
    check_keys(asked, about, cache_folder("remote"))
    for url in asked.values():
        scheme, _, rest = url.partition("://")
        store = f"{scheme}://{rest.partition('/')[0]}"
        if store not in systems:
            systems[store] = open_store(url)[0], scheme.lower()

    def ask(url: str) -> Remote:
        system, scheme = systems["/".join(url.split("/")[:3])]
        with asking(url):
            if scheme in HTTP:
                return _ask_http(system, url, scheme)
            return Remote.of(system, system.info(url), url, scheme)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        wanted = dict(zip(asked, pool.map(ask, asked.values()), strict=True))
    home = cache_folder("remote") / hashlib.sha256(f"listed\n{about}".encode()).hexdigest()[:32]
    tree = _mirror(home, wanted, about, verify=False) / "tree"
    (home / _LISTED).touch()
    return tree


def is_listed(root: Path) -> bool:
    """Whether a folder is one that `fetch_listed` made."""
    return (root.parent / _LISTED).exists()


def _mirror(home: Path, wanted: dict[str, Remote], url: str, *, verify: bool) -> Path:
    """Make the tree of `home` hold the objects, one process at a time."""
    size = sum(one.size or 0 for one in wanted.values())
    refuse_size(url, size)
    try:
        (home / "tree").mkdir(parents=True, exist_ok=True)
        _hold(home)
    except OSError as problem:
        raise refuse_unwritable(home, problem) from None
    with hold_lock(home / "bringing.lock", waiting=f"another process fetches {show_url(url)}; waiting", lenient=True):
        check_keys(wanted, url, home)
        was = sum(one.size for one in entries() if one.path == home)
        sweep(max(0, size - was))
        write_about(home, url, size)
        try:
            (home / _WHOLE).unlink(missing_ok=True)
            untold = [key for key in read_manifest(home) if key in wanted and not wanted[key].is_told]
            if untold:
                log.warning(
                    "%s: the store tells neither ETag nor time of %s (%s), so nobody knows what changed: fetched again",
                    show_url(url),
                    format_count(len(untold), "object"),
                    brief(untold, 1),
                )
            bring(home, wanted, verify=verify)
            (home / _WHOLE).touch()
            write_about(home, url, sum(one.size for one in read_manifest(home).values()))
        except OSError as problem:
            raise refuse_unwritable(home, problem) from None
    return home


def _ask_http(system: Any, url: str, scheme: str) -> Remote:
    """What a server says of one file before its first byte; raises what `asking` explains."""
    import requests

    headers = {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=(REACH_LIMIT, READ_LIMIT)) as answer:
        answer.raise_for_status()
        length = answer.headers.get("Content-Length", "")
        mark = answer.headers.get("ETag", "")
        if not mark and (time := answer.headers.get("Last-Modified")):
            # a time does not tell two addresses apart that have one name here
            mark = f"{time} {hashlib.sha256(url.encode()).hexdigest()[:12]}"
    return Remote(system, url, url, scheme, int(length) if length.isdecimal() else None, mark)
