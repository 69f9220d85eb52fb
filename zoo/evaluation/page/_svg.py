"""Charts as SVG inside the page: lines with bands, intervals as dots with bars, points of a plane.

Colours are classes of the style sheet, so that they follow light and dark. Every chart says in words what it shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.evaluation.page._html import Html, text
from zoo.spec import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Line", "Point", "draw_bars", "draw_heat", "draw_interval", "draw_lines", "draw_points", "shorten"]

_WIDTH, _HEIGHT = 320, 250
_LEFT, _RIGHT, _TOP, _BELOW = 48, 10, 8, 38
_LONGEST = 34
"""Characters of a name inside a chart."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line of a chart.

    Attributes:
        x: (P,) ascending.
        y: (P,).
        name: in the legend; empty: not there.
        kind: class of the style sheet: a number for its colour, or "base" for a dashed grey line.
        places: (G,) x of the band.
        low: (G,) lower ends of the band, nan where there is none; None: no band.
        high: (G,) upper ends.
        bars: the band is drawn as a bar at each place, with a dot on the line there.
    """

    x: Sequence[float] | NDArray[np.float64]
    y: Sequence[float] | NDArray[np.float64]
    name: str = ""
    kind: str = "c0"
    places: Sequence[float] | NDArray[np.float64] | None = None
    low: Sequence[float] | NDArray[np.float64] | None = None
    high: Sequence[float] | NDArray[np.float64] | None = None
    bars: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a plane.

    Attributes:
        x: its place.
        y: its value with the interval.
        name: beside it.
        size: radius in pixels.
        marked: drawn full.
    """

    x: float
    y: Interval
    name: str
    size: float
    marked: bool


def shorten(label: str, most: int = _LONGEST) -> str:
    """Both ends of a long name: what tells names apart is often the end."""
    if len(label) <= most:
        return label
    end = most // 2 - 1
    return f"{label[: most - end - 1]}…{label[-end:]}"


class _Frame:
    """A rectangle of a chart, and how its values lie on it."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, log: bool = False) -> None:
        self.x_ends, self.y_ends, self.log = x, y, log

    def across(self, value: float) -> float:
        low, high = self.x_ends
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)

    def down(self, value: float) -> float:
        low, high = self.y_ends
        return _TOP + (_HEIGHT - _TOP - _BELOW) * (high - value) / (high - low)

    def inside(self, body: str) -> str:
        """What lies beyond the axes is cut off, half the width of a line left."""
        x, y, width, height = _LEFT - 3, _TOP - 3, _WIDTH - _LEFT - _RIGHT + 6, _HEIGHT - _TOP - _BELOW + 6
        return f'<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{x} {y} {width} {height}">{body}</svg>'

    def path(self, x: Sequence[float] | NDArray[np.float64], y: Sequence[float] | NDArray[np.float64]) -> str:
        return " ".join(f"{self.across(a):.1f},{self.down(b):.1f}" for a, b in zip(x, y, strict=True))

    def axes(self, x_name: str, y_name: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
        foot, end = _HEIGHT - _BELOW, _WIDTH - _RIGHT
        parts = []
        for tick in x_ticks:
            at = self.across(tick)
            parts.append(f'<line class="grid" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{foot}"/>')
            parts.append(f'<text x="{at:.1f}" y="{foot + 14}" text-anchor="middle">{tick:g}</text>')
        for tick in y_ticks:
            at = self.down(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{end}" y2="{at:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 5}" y="{at + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
        middle = (_LEFT + end) / 2
        parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{text(x_name)}</text>')
        up = (_TOP + foot) / 2
        parts.append(f'<text transform="translate(11,{up}) rotate(-90)" text-anchor="middle">{text(y_name)}</text>')
        return "".join(parts)


def draw_lines(
    said: str,
    lines: Sequence[Line],
    *,
    x_name: str,
    y_name: str,
    x: tuple[float, float] = (0, 1),
    y: tuple[float, float] = (0, 1),
) -> Html:
    """Lines over one another, each with its band.

    Args:
        said: what the chart shows, for who does not see it.
        lines: the last one on top.
        x_name: name of the x axis.
        y_name: name of the y axis.
        x: ends of the x axis.
        y: ends of the y axis; what lies beyond is cut off.
    """
    frame = _Frame(x, y)
    parts: list[str] = []
    for line in lines:
        parts.append(_band(frame, line))
        parts.append(f'<polyline class="line {line.kind}" points="{frame.path(line.x, line.y)}"/>')
        if line.bars:
            parts += [
                f'<circle class="dot {line.kind}" cx="{frame.across(a):.1f}" cy="{frame.down(b):.1f}" r="3"/>'
                for a, b in zip(line.x, line.y, strict=True)
            ]
    named = [line for line in lines if line.name]
    legend = "".join(
        f'<span class="key"><i class="{line.kind}"></i>{text(shorten(line.name))}</span>' for line in named
    )
    drawn = frame.axes(x_name, y_name, _ticks(*x), _ticks(*y)) + frame.inside("".join(parts))
    return Html(_svg(said, _WIDTH, _HEIGHT, drawn) + (f'<div class="legend">{legend}</div>' if legend else ""))


def _band(frame: _Frame, line: Line) -> str:
    if line.places is None or line.low is None or line.high is None:
        return ""
    there = [
        (float(at), float(low), float(high))
        for at, low, high in zip(line.places, line.low, line.high, strict=True)
        if not (math.isnan(low) or math.isnan(high))
    ]
    if line.bars:
        return "".join(
            f'<line class="bar {line.kind}" x1="{frame.across(at):.1f}" y1="{frame.down(low):.1f}" '
            f'x2="{frame.across(at):.1f}" y2="{frame.down(high):.1f}"/>'
            for at, low, high in there
        )
    around = [*((at, high) for at, _, high in there), *((at, low) for at, low, _ in reversed(there))]
    if not around:
        return ""
    return f'<polygon class="band {line.kind}" points="{frame.path(*zip(*around, strict=True))}"/>'


def draw_points(said: str, points: Sequence[Point], *, x_name: str, y_name: str) -> Html:
    """Points of a plane with intervals, x in logarithmic steps; the names are in the legend, by number."""
    low, high = min(point.x for point in points) / 1.5, max(point.x for point in points) * 1.5
    ends = min(point.y.low for point in points), max(point.y.high for point in points)
    room = max(0.02, (ends[1] - ends[0]) * 0.1)
    y = max(-1.0, ends[0] - room), ends[1] + room
    frame = _Frame((low, high), y, log=True)
    ticks = [tick for power in range(-4, 7) for step in (1, 2, 5) if low <= (tick := step * 10.0**power) <= high]
    ticks = ticks[:: max(1, len(ticks) // 5)] if len(ticks) > 2 else _ticks(low, high)  # models that are alike
    parts = [frame.axes(x_name, y_name, ticks, _ticks(*y))]
    for number, point in enumerate(points, start=1):
        at, up = frame.across(point.x), frame.down(point.y.value)
        kind = "c0" if point.marked else "base"
        parts.append(
            f'<line class="bar {kind}" x1="{at:.1f}" y1="{frame.down(point.y.low):.1f}" x2="{at:.1f}" '
            f'y2="{frame.down(point.y.high):.1f}"/><circle class="dot {kind}" cx="{at:.1f}" cy="{up:.1f}" '
            f'r="{point.size:.1f}"/><text class="mark" x="{at + point.size + 3:.1f}" y="{up + 4:.1f}">{number}</text>'
        )
    return _svg(said, _WIDTH, _HEIGHT, "".join(parts))


def draw_interval(value: Interval, low: float = 0.0, high: float = 1.0) -> Html:
    """A value with its interval on a short line, for a cell of a table beside its number."""

    def place(at: float) -> float:
        return 4 + 112 * (min(max(at, low), high) - low) / ((high - low) or 1)

    return Html(
        f'<svg class="strip" viewBox="0 0 120 14" width="120" height="14" aria-hidden="true">'
        f'<line class="grid" x1="4" y1="7" x2="116" y2="7"/>'
        f'<line class="bar c0" x1="{place(value.low):.1f}" y1="7" x2="{place(value.high):.1f}" y2="7"/>'
        f'<circle class="dot c0" cx="{place(value.value):.1f}" cy="7" r="3.5"/></svg>'
    )


def draw_bars(said: str, edges: Sequence[float], counts: Sequence[int], *, x_name: str) -> Html:
    """A histogram from 0 to 1."""
    top = max(counts, default=0) or 1
    frame = _Frame((0.0, 1.0), (0.0, float(top)))
    bars = "".join(
        f'<rect class="fill c0" x="{frame.across(low) + 0.5:.1f}" y="{frame.down(n):.1f}" '
        f'width="{max(0.5, frame.across(high) - frame.across(low) - 1):.1f}" '
        f'height="{_HEIGHT - _BELOW - frame.down(n):.1f}"/>'
        for low, high, n in zip(edges, edges[1:], counts, strict=False)
        if n
    )
    whole = [tick for tick in _ticks(0, top) if tick == int(tick)]
    return _svg(said, _WIDTH, _HEIGHT, frame.axes(x_name, "images", _ticks(0, 1), whole) + bars)


def draw_heat(said: str, shares: NDArray[np.float64]) -> Html:
    """A square of cells in [0, 1], the first row on top; cells of 0 are left out."""
    n = len(shares)
    side = 640 / n
    cells = "".join(
        f'<rect class="fill c0" x="{j * side:.1f}" y="{i * side:.1f}" width="{side:.1f}" height="{side:.1f}" '
        f'opacity="{shares[i, j]:.2f}"/>'
        for i, j in zip(*np.nonzero(shares >= 0.005), strict=True)
    )
    return _svg(said, 640, 640, f'<rect class="edge" x="0" y="0" width="640" height="640"/>{cells}')


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers, and three at least."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [factor * power for factor in (0.5, 1, 2, 2.5, 5, 10)]
    at = next(place for place, step in enumerate(steps) if step >= raw * 0.999)
    found = _multiples(steps[at], low, high)
    return found if len(found) > 2 else _multiples(steps[at - 1], low, high)


def _multiples(step: float, low: float, high: float) -> list[float]:
    places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [round(place * step, 10) + 0.0 for place in places]


def _svg(said: str, width: int, height: int, body: str) -> Html:
    return Html(f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(said)}">{body}</svg>')
