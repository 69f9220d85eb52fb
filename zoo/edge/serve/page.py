"""What a browser is shown, held in memory: no path of a request ever meets the file system."""

from __future__ import annotations

import importlib
import importlib.util

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
_INDEX = "index.html"

_PLAIN = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>zoo serve</title>
<h1>zoo serve</h1>
<p>A model answers here: <code>curl --data-binary @image.png http://HOST:PORT/predict</code></p>
<ul>
<li><a href="model">what the model says of itself</a>
<li><a href="card">its card</a>
<li><a href="openapi.json">every path and answer</a>
<li><a href="healthz">health</a>, <a href="metrics">metrics</a>
</ul>
</html>
"""


def pages() -> dict[str, bytes]:
    """Path → content: "/" and what it loads from "/assets/"."""
    assets: dict[str, bytes] = {_INDEX: _PLAIN}
    if importlib.util.find_spec("zoo.edge.page") is not None:
        assets = importlib.import_module("zoo.edge.page").assets()
    return {
        "/" if name == _INDEX else f"/assets/{name.removeprefix('assets/')}": content
        for name, content in assets.items()
    }


def media_type(path: str) -> str:
    """By its suffix; the index has none."""
    return _TYPES.get(path.rpartition(".")[2], "application/octet-stream") if path != "/" else _TYPES["html"]
