"""A scatter of accuracy against latency as SVG text: the same numbers give the same bytes.

The picture holds its own colours for light and dark (`prefers-color-scheme`), no script and no font. What matters is
told by filling and weight, not by colour: a filled point is one that no other beats on everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 880, 560
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 44, 54
LETTER, LINE = 6.9, 15
"""Width and height of a letter of 12.5 px in the fonts that browsers take for sans-serif, rounded up."""

STYLE = """
  text { font: 12.5px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f; }
  .page { fill: #ffffff; } .grid { stroke: #d8dee4; stroke-width: 1; } .axis { fill: #57606a; }
  .bar { stroke: #57606a; stroke-width: 1.4; } .leader { stroke: #8c959f; stroke-width: 0.8; }
  circle { stroke-width: 1.6; } .best { fill: #0072b2; stroke: #0072b2; } .other { fill: #ffffff; stroke: #57606a; }
  .strong { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .page { fill: #161b22; } .grid { stroke: #30363d; } .axis { fill: #9da7b1; }
    .bar { stroke: #9da7b1; } .leader { stroke: #6e7681; }
    .best { fill: #56b4e9; stroke: #56b4e9; } .other { fill: #161b22; stroke: #9da7b1; }
  }
"""  # blue of Okabe and Ito (2008) for both; against either ground it is over 4 : 1


@dataclass(frozen=True)
class Point:
    """One model: latency in ms, accuracy with its interval in [0, 1]."""

    name: str
    latency: float
    value: float
    low: float
    high: float
    best: bool


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: _Box) -> float:
        """Shared area in square pixels."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        return max(across, 0) * max(down, 0)


def scatter(points: Sequence[Point], *, title: str, across: str, up: str) -> str:
    """The picture.

    Args:
        points: at least one.
        title: read out to those who do not see it.
        across: what the x axis, logarithmic, shows.
        up: what the y axis shows.
    """
    x = _Axis.logarithmic([point.latency for point in points], LEFT, WIDTH - RIGHT)
    y = _Axis.linear([edge for point in points for edge in (point.low, point.high)], HEIGHT - BOTTOM, TOP)
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
    ]
    for tick in x.ticks:
        at = x.place(tick)
        lines.append(_line("grid", at, TOP, at, HEIGHT - BOTTOM))
        lines.append(_axis_text(at, HEIGHT - BOTTOM + 18, "middle", f"{tick:g}"))
    for tick in y.ticks:
        at = y.place(tick)
        lines.append(_line("grid", LEFT, at, WIDTH - RIGHT, at))
        lines.append(_axis_text(LEFT - 8, at + 4, "end", f"{tick:.0%}"))
    lines.append(_axis_text(WIDTH - RIGHT, HEIGHT - 12, "end", across))
    lines.append(_axis_text(12, 22, "start", up))
    placed = _labels(points, x, y)
    for point in points:
        at = x.place(point.latency)
        low, high = y.place(point.low), y.place(point.high)
        lines += [_line("bar", at - 3, end, at + 3, end) for end in (low, high)]
        lines.append(_line("bar", at, low, at, high))
    for point, box in zip(points, placed, strict=True):
        at, height = x.place(point.latency), y.place(point.value)
        near = min(max(at, box.x), box.x + box.width), min(max(height, box.y + 3), box.y + box.height - 3)
        if math.dist(near, (at, height)) > 14:
            lines.append(_line("leader", at, height, *near))
        mark = f'cx="{at:.1f}" cy="{height:.1f}" r="5"'
        lines.append(f'<circle class="{"best" if point.best else "other"}" {mark}/>')
        weight = ' class="strong"' if point.best else ""
        lines.append(f'<text{weight} x="{box.x:.1f}" y="{box.y + 11.5:.1f}">{escape(point.name)}</text>')
    return "\n".join([*lines, "</svg>", ""])


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool

    @classmethod
    def logarithmic(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.08
        decades = range(math.floor(low), math.ceil(high) + 1)
        ticks = tuple(t for d in decades for t in (10.0**d, 2 * 10.0**d, 5 * 10.0**d) if low <= math.log10(t) <= high)
        return cls(low, high, start, end, ticks, log=True)

    @classmethod
    def linear(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        span = max(values) - min(values) or 0.1
        step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if span / step <= 9 or step == 0.2)
        low, high = min(values) - 0.04 * span, max(values) + 0.04 * span
        ticks = tuple(round(t * step, 4) for t in range(math.ceil(low / step), math.floor(high / step) + 1))
        return cls(low, high, start, end, ticks, log=False)

    def place(self, value: float) -> float:
        """Pixels."""
        at = math.log10(value) if self.log else value
        return self.start + (at - self.low) / (self.high - self.low) * (self.end - self.start)


def _labels(points: Sequence[Point], x: _Axis, y: _Axis) -> list[_Box]:
    """Where each name goes: the place near its point that hides least; the crowded ones choose first."""
    marks = [_Box(x.place(p.latency) - 7, y.place(p.value) - 7, 14, 14) for p in points]
    bars = [_Box(x.place(p.latency) - 4, y.place(p.high), 8, y.place(p.low) - y.place(p.high)) for p in points]
    frame = _Box(LEFT, TOP - 14, WIDTH - RIGHT - LEFT, HEIGHT - BOTTOM - TOP + 14)
    chosen: dict[int, _Box] = {}

    def crowd(index: int) -> float:
        here = marks[index]
        return sum(1 / (40 + math.dist((here.x, here.y), (other.x, other.y))) for other in marks)

    for index in sorted(range(len(points)), key=crowd, reverse=True):
        width = LETTER * len(points[index].name) * (1.15 if points[index].best else 1)
        centre = marks[index].x + 7, marks[index].y + 7

        def cost(box: _Box, at: tuple[float, float] = centre) -> float:
            middle = box.x + box.width / 2, box.y + box.height / 2
            hidden = sum(box.overlap(mark) for mark in marks) * 3 + sum(box.overlap(bar) for bar in bars)
            hidden += 4 * sum(box.overlap(other) for other in chosen.values())
            outside = box.width * box.height - box.overlap(frame)
            return hidden + 9 * outside + 0.35 * abs(middle[0] - at[0]) + 0.9 * abs(middle[1] - at[1])

        steps = (0, -16, 16, -32, 32, -48, 48, -64, 64)
        sides = (centre[0] + 10, centre[0] - 10 - width, centre[0] - width / 2, centre[0] + 26, centre[0] - 26 - width)
        chosen[index] = min(
            (_Box(side, centre[1] - LINE / 2 + step, width, LINE) for side in sides for step in steps), key=cost
        )
    return [chosen[index] for index in range(len(points))]


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _axis_text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text class="axis" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
