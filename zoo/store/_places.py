"""Where the zoo keeps what it keeps: one folder for what was fetched, one for what can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder", "data_folder"]


def data_folder(kind: str) -> Path:
    """The folder for `kind` ("weights", "data"), there or not: things that a person chose to fetch.

    $ZOO_HOME/KIND, or below the platform's folder for application data.
    """
    if home := os.environ.get("ZOO_HOME"):
        return Path(home) / kind
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "zoo" / kind


def cache_folder(kind: str) -> Path:
    """The folder for `kind` ("index", "decoded"), there or not: things that may be deleted at any time.

    $ZOO_HOME/cache/KIND, or below the platform's folder for caches.
    """
    if home := os.environ.get("ZOO_HOME"):
        return Path(home) / "cache" / kind
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "zoo" / "cache" / kind
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "zoo" / kind
