"""What the user named as models: PATH or NAME=PATH. Light: the command line imports it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ServedPath", "read_sources"]

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ServedPath:
    """Where a model is.

    Attributes:
        path: a .onnx file or a bundle.
        name: by which it is served; None: the name in its manifest.
    """

    path: Path
    name: str | None = None


def read_sources(given: Iterable[str | Path], find: Callable[[Path], Path] = Path) -> tuple[ServedPath, ...]:
    """Sources from PATH or NAME=PATH; a file that is there is a path, whatever it is called.

    Args:
        given: texts as they were typed.
        find: from what the user named to the file or bundle.
    """
    found = []
    for text in map(str, given):
        named = None if Path(text).exists() else _NAMED.fullmatch(text)
        found.append(ServedPath(find(Path(named[2])), named[1]) if named else ServedPath(find(Path(text))))
    return tuple(found)
