"""Small sets in the shape of published ones: pictures and tables where a test wants them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["paint", "write"]


def paint(*paths: Path) -> None:
    """A different picture at each path."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng([*path.name.encode()]).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def write(path: Path, head: str, rows: Iterable[str]) -> Path:
    """A table with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((head, *rows)) + "\n")
    return path
