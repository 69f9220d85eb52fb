"""What a browser is shown, held in memory: no path of a request ever meets the file system."""

from __future__ import annotations

from zoo.edge.page import INDEX, assets

__all__ = ["media_type", "pages"]

_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "ico": "image/x-icon",
    "js": "text/javascript",
    "json": "application/json",
    "mjs": "text/javascript",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "wasm": "application/wasm",
}


def pages() -> dict[str, bytes]:
    """Path → content: "/" and what it loads from "/assets/"."""
    return {"/" if name == INDEX else f"/assets/{name}": content for name, content in assets().items()}


def media_type(path: str) -> str:
    """By its suffix; the index has none."""
    return _TYPES.get(path.rpartition(".")[2], "application/octet-stream") if path != "/" else _TYPES["html"]
