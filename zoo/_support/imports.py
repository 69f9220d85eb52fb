"""Imports that functions make when they are first called, one at a time.

Where a package's modules import each other, two threads that begin at two ends of the circle each see a half-made
module: an ImportError or AttributeError that comes by chance.
"""

from __future__ import annotations

import importlib
import threading

__all__ = ["import_together"]

_IMPORTING = threading.RLock()
_DONE: set[tuple[str, ...]] = set()


def import_together(*names: str) -> None:
    """Import modules, while no other thread imports any this way.

    Raises:
        ImportError: one of them is not there.
    """
    if names in _DONE:
        return
    with _IMPORTING:
        for name in names:
            importlib.import_module(name)
        _DONE.add(names)
