"""Imports that functions make when they are first called, one at a time.

Where a package's modules import each other, two threads that begin at two ends of the circle each see a half-made
module: an ImportError or AttributeError that comes by chance.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
from typing import TYPE_CHECKING

from zoo._support.text import join_lines
from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["import_together", "needing"]

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


@contextlib.contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """Imports in this block are of packages that an extra brings.

    Args:
        what: what needs them, as the error begins.
        extra: name of the extra.

    Raises:
        UsageError: a package is not installed, or is broken.
        ImportError: a module of this tool cannot be imported, which is a defect.
    """
    try:
        yield
    except ImportError as problem:
        if str(problem.name).partition(".")[0] == "zoo":
            raise
        package = problem.name or extra
        missing = isinstance(problem, ModuleNotFoundError)
        state = "is not installed" if missing else f"cannot be imported ({join_lines(problem, 200)})"
        raise UsageError(
            f"{what} needs {package}, which {state}: pip install 'edgezoo[{extra}]'",
            code="package-missing",
            package=package,
            extra=extra,
        ) from None
