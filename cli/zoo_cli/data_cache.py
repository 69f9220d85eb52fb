"""`zoo data cache`: what was kept to save time, and how to be rid of it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from zoo_cli.options import Json
from zoo_cli.output import document, format_count, format_table, megabytes, put

__all__ = ["cache"]

_SHOWN = {
    "index": "what a folder holds",
    "decoded": "decoded images",
    "remote": "data of a store",
    "shards": "shards of a store",
}


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it; it comes again when needed.")] = False,
    as_json: Json = False,
) -> None:
    """Show what is kept to save time: indexes of folders, decoded images, and what was fetched from stores.

    ZOO_CACHE_GB says how large all of it may get (20 when unset, 0 keeps nothing).
    """
    from zoo.store import _cachedir as cachedir

    kept = cachedir.clear() if clear else cachedir.entries()
    size = sum(one.size for one in kept)
    limit = f"{cachedir.limit() / 1e9:g} GB"
    if as_json:
        rows = [{"kind": one.kind, "path": str(one.path), "size_bytes": one.size, "used": one.used} for one in kept]
        document({"cleared": clear, "size_bytes": size, "limit_bytes": cachedir.limit(), "entries": rows})
        return
    if clear:
        put(f"removed {format_count(len(kept), 'file')}, {megabytes(size)}")
        return
    if not kept:
        put(f"nothing is kept; the limit is {limit}")
        return
    table = [
        (_SHOWN[one.kind], megabytes(one.size), _minute(one.used), cachedir.name_of(one)) for one in reversed(kept)
    ]
    put(format_table(("what", "size", "used", "file or address"), table, right=(1,)))
    for folder in sorted({one.path.parent for one in kept}):
        put(f"in {folder}")
    put(f"{megabytes(size)} of at most {limit}; 'zoo data cache --clear' removes it")


def _minute(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
