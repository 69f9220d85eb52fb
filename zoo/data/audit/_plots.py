"""The plots of the audit's page, as SVG in the page itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["bars", "curves"]

COLOURS = ("#2166ac", "#e08214", "#4d9221")
"""Of train, val and test; told apart also by those who see no red or green."""

_ROW, _LABEL, _WIDTH = 22, 120, 320  # pixels
_BARS = 8


def bars(counts: Mapping[str, int]) -> str:
    """Horizontal bars with their numbers, the largest first; what is beyond eight is one bar."""
    rows = list(counts.items())
    if len(rows) > _BARS:
        rest = rows[_BARS - 1 :]
        rows = [*rows[: _BARS - 1], (f"{len(rest)} others", sum(n for _, n in rest))]
    top = max((n for _, n in rows), default=1) or 1
    room = _WIDTH - _LABEL - 52
    parts = []
    for number, (name, n) in enumerate(rows):
        y = number * _ROW
        length = max(1.0, room * n / top) if n else 0
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(_short(name))}</text>'
            f'<rect x="{_LABEL}" y="{y + 4}" width="{length:.1f}" height="14" fill="{COLOURS[0]}"/>'
            f'<text x="{_LABEL + length + 6:.1f}" y="{y + 15}">{n}</text>'
        )
    return _svg(_WIDTH, max(1, len(rows)) * _ROW + 2, "".join(parts))


def curves(histograms: Mapping[str, Sequence[int]], top: float) -> str:
    """The share of images in equal steps of a value from 0 to `top`, one stepped line for each histogram."""
    width, height, left, below = _WIDTH, 190, 44, 40
    shares = {name: [n / max(1, sum(bins)) for n in bins] for name, bins in histograms.items()}
    highest = max((max(share) for share in shares.values()), default=1.0) or 1.0
    parts = [
        f'<line x1="{left}" y1="{height - below}" x2="{width - 8}" y2="{height - below}" stroke="#888"/>',
        f'<text x="{left}" y="{height - below + 16}" text-anchor="middle">0</text>',
        f'<text x="{width - 8}" y="{height - below + 16}" text-anchor="end">{top:g}</text>',
        f'<text x="{(left + width) / 2:.0f}" y="{height - 6}" text-anchor="middle">mean brightness of an image</text>',
        f'<text x="{left - 6}" y="26" text-anchor="end">{100 * highest:.0f} %</text>',
        f'<text x="{left - 6}" y="{height - below}" text-anchor="end">0</text>',
    ]
    for number, (name, share) in enumerate(shares.items()):
        step = (width - 8 - left) / len(share)
        points = []
        for k, value in enumerate(share):
            y = height - below - (height - below - 20) * value / highest
            points += [f"{left + k * step:.1f},{y:.1f}", f"{left + (k + 1) * step:.1f},{y:.1f}"]
        colour = COLOURS[number % len(COLOURS)]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
            f'<rect x="{left + 8 + 90 * number}" y="2" width="12" height="4" fill="{colour}"/>'
            f'<text x="{left + 25 + 90 * number}" y="9">{escape(name)}</text>'
        )
    return _svg(width, height, "".join(parts))


def _svg(width: int, height: int, body: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{body}</svg>'


def _short(name: str) -> str:
    return name if len(name) <= 17 else f"{name[:8]}…{name[-8:]}"
