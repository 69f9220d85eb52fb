"""Cards that were checked before, found again by the bytes they were read from.

Parsing and checking YAML is most of what `zoo list` would do; a catalogue that has not changed by a byte, read by
the same code, gives the same cards. What can not be read or written here costs time and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from zoo import catalogue
from zoo.catalogue import Parse
from zoo.errors import OutputError
from zoo.files import atomic_write, sha256_bytes
from zoo.places import cache_folder
from zoo.spec import ModelCard

__all__ = ["remembering"]

_FILE = "cards.json"
_CODE = ("catalogue.py", "strict_yaml.py", "spec/_catalogue.py", "spec/_preprocessing.py", "spec/_value.py")
"""What decides which cards a file gives."""

MOST = 200
"""Catalogues; several environments on one machine share them, and old ones go when there are more."""

MOST_BYTES = 100_000_000
"""So many catalogues of this project's size, with room to spare; a larger file is none of ours."""

_Known = dict[str, dict[str, ModelCard]]
"""Key of a catalogue to its cards by name."""


@contextlib.contextmanager
def remembering() -> Iterator[Parse]:
    """A `parse` that knows what it gave before; when done, what it had to find out is kept."""
    path = cache_folder("catalogue") / _FILE
    known = _read(path)
    rules = _rules()
    used: _Known = {}

    def parse(data: bytes, what: str) -> dict[str, ModelCard]:
        key = sha256_bytes(rules + data)
        used[key] = known[key] if key in known else catalogue.parse(data, what)
        return used[key]

    yield parse
    if not used.keys() <= known.keys():
        every = known | used
        with contextlib.suppress(OutputError, OSError):
            atomic_write(path, msgspec.json.encode(every if len(every) <= MOST else used))


def _read(path: Path) -> _Known:
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:  # a pipe would be waited for
            return {}
        return msgspec.json.decode(path.read_bytes(), type=_Known)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):  # another release's, or not ours
        return {}


def _rules() -> bytes:
    here = Path(catalogue.__file__).parent
    return b"".join(sha256_bytes((here / name).read_bytes()).encode() for name in _CODE)
