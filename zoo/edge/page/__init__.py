"""The page on which people drop images: HTML, CSS and JavaScript as they are served, without a build step.

`zoo serve` hands them out, `zoo export --web` copies them beside a model; the page finds out from `mode.js` which of
the two it is. It loads nothing from elsewhere and holds no inline script or style, so that a server may send
`Content-Security-Policy: default-src 'self'`.
"""

from __future__ import annotations

from importlib import resources

__all__ = ["INDEX", "assets"]

INDEX = "index.html"
"""The one to be served at '/'; all others belong below 'assets/', by these names."""

_SUFFIXES = (".css", ".html", ".js", ".svg")


def assets() -> dict[str, bytes]:
    """Every file of the page, name to content: `INDEX` for '/', the others for 'assets/NAME'."""
    there = sorted(resources.files(__name__).iterdir(), key=lambda entry: entry.name)
    return {entry.name: entry.read_bytes() for entry in there if entry.name.endswith(_SUFFIXES)}
