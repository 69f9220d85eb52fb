"""Pieces of HTML: text that is safe, tables with captions and scopes, sections, and the page around them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from zoo._support.text import printable
from zoo.spec import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "NONE",
    "Html",
    "Section",
    "assemble",
    "box",
    "bullets",
    "cell",
    "figure",
    "name",
    "paragraph",
    "percent",
    "table",
    "text",
]

NONE = "–"
"""In the place of a number that there is not."""
_MOST_ROWS = 25
"""Rows of a table up to which a screen shows them all; a longer one scrolls in its box, unless it is of words. Paper
has all of it."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a page.

    Attributes:
        key: its anchor.
        title: its heading.
        body: what it says; empty: it is left out.
    """

    key: str
    title: str
    body: Html


def text(value: str) -> Html:
    """Words of anybody as HTML: signs of HTML and control characters are spelt out."""
    return Html(escape(printable(value).encode("utf-8", "backslashreplace").decode(), quote=True))


def name(value: str) -> Html:
    """A name from the data: of any script and direction, broken into lines behind the marks in it."""
    shown = text(value)
    for mark in "/_-":
        shown = Html(shown.replace(mark, f"{mark}<wbr>"))
    return Html(f"<bdi>{shown}</bdi>")


def cell(value: object) -> Html:
    """What a cell or a line shows of a value; a number with its interval stays on one line."""
    if isinstance(value, Html):
        return value
    if isinstance(value, Interval):
        at, low, high = (f"{round(one, 3) + 0.0:.3f}" for one in (value.value, value.low, value.high))  # never "-0.000"
        return Html(f'<span class="n">{at} <small>({low} to {high})</small></span>')
    if value is None:
        return Html(NONE)
    if isinstance(value, float):
        return Html(f'<span class="n">{value:.3f}</span>')
    if isinstance(value, int):
        return Html(f'<span class="n">{value}</span>')
    return text(str(value))


def percent(share: float) -> str:
    """Whole per cent that never rounds something to nothing, or most to all."""
    if 0 < share < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def table(caption: str, columns: Sequence[object], rows: Iterable[Sequence[object]], *, kind: str = "") -> Html:
    """A table that scrolls in a box of its own; the first cell of a row is its heading.

    Args:
        caption: what it shows.
        columns: headings; none: rows are facts with their names.
        rows: cells: text, numbers, intervals, `Html`, or None where there is nothing. No row: no table.
        kind: a class of the style sheet.
    """
    body = "".join(
        f'<tr><th scope="row">{cell(first)}</th>{"".join(f"<td>{cell(one)}</td>" for one in rest)}</tr>'
        for first, *rest in rows
    )
    if not body:
        return Html()
    heads = "".join(f'<th scope="col">{cell(one)}</th>' for one in columns)
    return box(caption, Html(f"<thead><tr>{heads}</tr></thead>" if heads else ""), Html(body), kind=kind)


def box(caption: str, head: Html, body: Html, *, kind: str = "") -> Html:
    """A table of ready rows, in a box that scrolls by itself and can be reached by the keyboard."""
    box = "box long" if kind != "words" and body.count("<tr>") > _MOST_ROWS else "box"
    return Html(
        f'<div class="{box}" role="region" aria-label="{text(caption)}" tabindex="0"><table class="{kind}">'
        f"<caption><span>{text(caption)}</span></caption>{head}<tbody>{body}</tbody></table></div>"
    )


def paragraph(*parts: object, kind: str = "") -> Html:
    """A paragraph of text and pieces of HTML."""
    return Html(f'<p class="{kind}">{"".join(map(cell, parts))}</p>')


def bullets(lines: Iterable[object]) -> Html:
    """A list; nothing of no line."""
    items = "".join(f"<li>{cell(line)}</li>" for line in lines)
    return Html(f"<ul>{items}</ul>" if items else "")


def figure(picture: Html, caption: object) -> Html:
    """A picture with words below it."""
    return Html(f"<figure>{picture}<figcaption>{cell(caption)}</figcaption></figure>")


def assemble(title: str, head: Html, sections: Sequence[Section]) -> str:
    """The whole page: no script, nothing from elsewhere.

    Args:
        title: title of the window and first heading.
        head: what comes above the list of sections.
        sections: those without a body are left out.
    """
    there = [one for one in sections if one.body]
    links = "".join(f'<li><a href="#{one.key}">{text(one.title)}</a></li>' for one in there)
    bodies = "".join(
        f'<section id="{one.key}" aria-labelledby="{one.key}-title"><h2 id="{one.key}-title">{text(one.title)}</h2>'
        f"{one.body}</section>"
        for one in there
    )
    style = Path(__file__).with_name("style.css").read_text("utf-8")
    return _PAGE.substitute(title=text(title), style=style, head=head, links=links, sections=bodies)


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>$title</h1>$head</header>
<nav aria-label="Sections"><ul>$links</ul></nav>
<main id="content">
$sections
</main>
</body>
</html>
""")
