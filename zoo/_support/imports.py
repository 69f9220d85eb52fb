"""Imports that functions make when they are first called, one at a time; what to do about a missing one.

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

__all__ = ["OURS", "find_importer", "import_together", "needing", "needs_remedy"]

_TRAIN_EXTRA = frozenset(
    (
        "matplotlib",
        "onnx",
        "onnxscript",
        "requests",
        "safetensors",
        "segmentation_models_pytorch",
        "skl2onnx",
        "sklearn",
        "timm",
        "torch",
        "torchvision",
    )
)
"""Import names of what `pip install 'edgezoo[train]'` brings."""
OURS = frozenset(("edgezoo", "zoo", "zoo_cli", "zoo_plugins"))
"""Our distribution and its packages. What they lack comes with our extra `train`; that they are missing is a defect."""

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
        if str(problem.name).partition(".")[0] in OURS:
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


def needs_remedy(packages: tuple[str, ...], owner: str) -> str:
    """One line that says what is missing and how to get it.

    Args:
        packages: names to import, of packages that are not installed.
        owner: the distribution or the package that needs them.
    """
    line = f"needs {', '.join(packages)}"
    if owner in OURS or _TRAIN_EXTRA.issuperset(packages):
        return f"{line}: pip install 'edgezoo[train]'"
    # The name on an index may differ from the import name; a wrong guess installs a stranger's code.
    return f"{line}: not installed; see the documentation of {owner}"


def find_importer(problem: BaseException) -> str:
    """The package whose code made the import that failed."""
    found, trace = "", problem.__traceback__
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0]
        found, trace = found if name in {"importlib", "_frozen_importlib"} else name, trace.tb_next
    return found
