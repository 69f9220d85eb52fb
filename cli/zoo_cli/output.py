"""How verbs speak: data on stdout, in plain columns or as one JSON document; everything else on stderr.

Nothing heavy is imported here: `zoo list` and `zoo predict` print through it.
"""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.edge.document import as_json
from zoo.errors import OutputError
from zoo.spec import METRIC_NAMES, Interval
from zoo.text import printable

if TYPE_CHECKING:
    from zoo.edge.document import Listed
    from zoo.spec import EvalReport

__all__ = [
    "columns",
    "counted",
    "document",
    "fields",
    "megabytes",
    "put",
    "sample",
    "say",
    "shown_path",
    "typed_path",
    "verdict_table",
    "whole_list",
    "with_interval",
]

WIDTH = 100
"""Columns that running text is wrapped to, where the terminal is not narrower."""
GAP = "  "
_LAYOUT = "\n\t"


def put(text: str) -> None:
    """Write data to stdout, now: a reader of a pipe sees each answer when it is there.

    Control characters in it, which a file's names may bring, are spelt out.

    Raises:
        OutputError: stdout can not take it, a full disk behind a redirection, say.
    """
    text = printable(text, keep=_LAYOUT)
    _write(text if text.endswith("\n") else text + "\n", now=True)


def say(text: str) -> None:
    """One line to the user on stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"zoo: {printable(text, keep=_LAYOUT)}\n")
    sys.stderr.flush()


def document(value: Any) -> None:
    """Write `value` as the one JSON document of `--json`."""
    _write(as_json(value), now=True)


def whole_list(rows: Listed) -> None:
    """Write a list that waited, as the one JSON document of `--json`."""
    for line in rows.lines():
        _write(line)
    _write("", now=True)


def columns(header: Sequence[str], rows: Collection[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """A table of plain text; `right` are the columns with numbers."""
    table = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def fields(values: Mapping[str, object]) -> str:
    """Names and values below each other, long values wrapped under themselves."""
    indent = max(map(len, values)) + len(GAP)
    width = min(WIDTH, _terminal_width())
    lines = []
    for name, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else printable(str(value))
        lines.append(
            textwrap.fill(
                text,
                max(width, indent + 20),
                initial_indent=name.ljust(indent),
                subsequent_indent=" " * indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join(lines)


def with_interval(value: Interval | int | None) -> str:
    """'0.956 (0.926 to 0.978)', or a dash where there is no value."""
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})" if isinstance(value, Interval) else "-"


def verdict_table(report: EvalReport) -> str:
    """The overall metrics of a report with their 95 % intervals."""
    rows = [(METRIC_NAMES.get(name, name), with_interval(value)) for name, value in report.metrics.items()]
    return columns((f"{report.split}, {sample(report.n, report.clusters)}", "value (95 % interval)"), rows)


def sample(n: int, clusters: int | None) -> str:
    """'156 images', or '156 images, 40 groups' where groups were resampled."""
    return counted(n, "image") + ("" if clusters is None else f", {counted(clusters, 'group')}")


def counted(n: int, what: str) -> str:
    """'1 image', '1 234 images'."""
    return f"{n:,} {what}{'' if n == 1 else 's'}".replace(",", " ")


def megabytes(size: int) -> str:
    """Bytes as '4.3 MB' (10^6), small files as '12 kB'."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def shown_path(path: str | Path) -> str:
    """`path` as the user would type it from here."""
    try:
        inside = Path(path).resolve().relative_to(Path.cwd().resolve())
    except (ValueError, OSError):
        return str(path)
    return str(inside)


def _write(text: str, *, now: bool = False) -> None:
    try:
        sys.stdout.write(text)
        if now:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise OutputError(f"cannot write to stdout: {(problem.strerror or str(problem)).lower()}") from None


def typed_path(path: str | Path) -> str:
    """`path` as it stands in a command of a shell: quoted where it must be."""
    return shlex.quote(shown_path(path))


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):  # not a terminal
        return WIDTH
