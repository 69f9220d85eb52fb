"""How verbs speak: what both programs share (`zoo.edge._print`), and the tables of reports."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Literal

from zoo._support.text import escape_markdown, inert
from zoo.edge._print import (
    document,
    fields,
    format_count,
    format_table,
    is_said,
    megabytes,
    put,
    quote_path,
    say,
    show_path,
    with_interval,
)
from zoo.spec import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zoo.spec import EvalReport, SeenImages

__all__ = [
    "Cell",
    "TableFormat",
    "describe_seen",
    "describe_test",
    "document",
    "fields",
    "format_count",
    "format_table",
    "format_table_as",
    "megabytes",
    "number_notes",
    "put",
    "quote_path",
    "rare_table",
    "sample",
    "say",
    "say_seen",
    "show_path",
    "title_of",
    "verdict_table",
    "with_interval",
]

RARE = 4
"""A class is rare where the largest one, or of a label those without it, has more than so many times its images."""
WORST = 3
"""Classes that are shown of many."""
TableFormat = Literal["csv", "latex", "markdown"]
Cell = str | float | Interval | None
"""Of a table: words, a number, a value with its interval, or nothing."""

_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "≤": r"$\leq$", "−": "$-$", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def title_of(metric: str) -> str:
    """What people call a metric. Verbs ask here: `zoo.evaluation` imports numpy, so it is imported when it is used."""
    from zoo import evaluation

    return evaluation.title_of(metric)


def describe_test(report: EvalReport, hint: str = "") -> list[str]:
    """What the file of a run did on the test images; `hint`: a line below the table of rare classes."""
    rare = rare_table(report)
    return [*describe_seen(report.seen), verdict_table(report), *([f"{rare}{hint}"] if rare else [])]


def verdict_table(report: EvalReport) -> str:
    """The overall metrics of a report with their 95 % intervals, or why there is none."""
    rows = [(title_of(name), with_interval(value)) for name, value in report.metrics.items()]
    rows += [(title_of(name), f"- ({why})") for name, why in report.undefined.items() if "." not in name]
    return format_table((f"{report.split}, {sample(report.n, report.clusters)}", "value (95 % interval)"), rows)


def rare_table(report: EvalReport) -> str:
    """The classes that are found worst, where some are rare or never called; else nothing.

    Accuracy hides them: of 1 000 images of which 20 are melanomas, 98 % are right where none is found.
    """
    several = report.confusion is None
    found = {label: row["sensitivity"] for label, row in report.per_class.items() if "sensitivity" in row}
    n = {label: _count(row, "n") for label, row in report.per_class.items()}
    most = max(n.values(), default=0)
    rare = [
        label
        for label in found
        if n[label] * RARE < (_count(report.per_class[label], "known", report.n) - n[label] if several else most)
    ]
    never = [label for label in found if "ppv" not in report.per_class[label]]
    if not rare and not never:
        return ""
    worst = sorted(found, key=lambda label: getattr(found[label], "value", 0.0))[:WORST]
    rows = [(label, str(n[label]), with_interval(found[label])) for label in worst]
    kind = "label" if several else "class"
    header = (f"worst of {len(n)} {'labels' if several else 'classes'}", "n", "sensitivity (95 %)")
    lines = [format_table(header, rows, right=(1,))]
    if never:
        shown = ", ".join(f"{label} ({format_count(n[label], 'image')})" for label in never[:WORST])
        more = f" and {len(never) - WORST} more" if len(never) > WORST else ""
        lines.append(f"never given as an answer: {shown}{more}")
    lines.append(f"'zoo evaluate' shows every {kind}")
    return "\n".join(lines)


def _count(row: dict[str, Interval | int], name: str, default: int = 0) -> int:
    value = row.get(name, default)
    return value if isinstance(value, int) else default


def describe_seen(seen: SeenImages | None) -> list[str]:
    """Lines for above a table: what the models have seen of its images; none where that is nothing."""
    if seen is None:
        return []
    return [fields({"note" if seen.how == "none" else "warning": seen.note})]


def say_seen(seen: SeenImages | None) -> None:
    """The same on stderr, where stdout is for a program."""
    if seen is not None and seen.how != "none":
        say(f"warning: {seen.note}")


def number_notes(notes: Sequence[str], seen: SeenImages | None) -> dict[str, str]:
    """The notes below a table, without the one above it."""
    below = [note for note in notes if (seen is None or note != seen.note) and not is_said(note)]
    return {f"note {number}": note for number, note in enumerate(below, start=1)}


def sample(n: int, clusters: int | None) -> str:
    """'156 images', or '156 images, 40 groups' where groups were resampled."""
    return format_count(n, "image") + ("" if clusters is None else f", {format_count(clusters, 'group')}")


def format_table_as(kind: TableFormat, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table for another program: CSV, a tabular of LaTeX with booktabs' rules, or a table of Markdown.

    CSV has numbers in full and a 95 % interval in three columns, NAME, NAME low and NAME high. The others have three
    digits and '0.956 (0.926 to 0.978)'. What each format takes for a sign of its own is escaped.

    Args:
        kind: the format.
        header: names of the columns.
        rows: cells of each row; None is an empty cell.
    """
    wide = [any(isinstance(row[k], Interval) for row in rows) for k in range(len(header))]
    if kind == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        names = (
            [name, f"{name} low", f"{name} high"] if spread else [name]
            for name, spread in zip(header, wide, strict=True)
        )
        writer.writerow([part for parts in names for part in parts])
        for row in rows:
            writer.writerow(
                [part for cell, spread in zip(row, wide, strict=True) for part in _spread(cell, spread=spread)]
            )
        return stream.getvalue()
    heads = [f"{name} (95 %)" if spread else name for name, spread in zip(header, wide, strict=True)]
    numeric = [all(not isinstance(row[k], str) for row in rows) for k in range(len(header))]
    if kind == "latex":
        lines = [" & ".join(map(_cell_of_latex, row)) + r" \\" for row in (heads, *rows)]
        columns = "".join("r" if number else "l" for number in numeric)
        rules = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        return "\n".join(["% \\usepackage{booktabs}", rf"\begin{{tabular}}{{{columns}}}", *rules, r"\end{tabular}"])
    escaped = [[escape_markdown(_show(cell)) for cell in row] for row in (heads, *rows)]
    marks = ["---:" if number else "---" for number in numeric]
    return "\n".join(f"| {' | '.join(row)} |" for row in (escaped[0], marks, *escaped[1:]))


def _spread(cell: Cell, *, spread: bool) -> Iterator[str | float]:
    """The cells of CSV that one cell becomes."""
    if isinstance(cell, Interval):
        yield from (cell.value, cell.low, cell.high)
        return
    yield inert(cell) if isinstance(cell, str) else "" if cell is None else cell
    yield from ("", "") if spread else ()


def _show(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        return with_interval(cell)
    return "" if cell is None else str(cell) if isinstance(cell, int) else f"{cell:.3f}"


def _cell_of_latex(cell: Cell) -> str:
    shown = _show(cell) if isinstance(cell, str) else _show(cell).replace("-", "−")
    return "".join(_LATEX.get(sign, sign) for sign in shown)
