"""How verbs speak: data on stdout, in plain columns or as one JSON document; everything else on stderr.

Both programs print through it, `zoo` and `python -m zoo.edge`. Nothing heavy is imported here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zoo._support.text import count_columns, format_count, join_lines, megabytes, printable, quote_path, show_path
from zoo.edge._document import as_json, as_line
from zoo.errors import OutputError, ZooError
from zoo.spec import Interval

if TYPE_CHECKING:
    from zoo.edge._document import Listed

__all__ = [
    "BY_LINE",
    "INTERRUPTED",
    "Pace",
    "document",
    "explain_error",
    "fields",
    "format_count",
    "format_table",
    "is_said",
    "megabytes",
    "put",
    "quote_path",
    "run",
    "say",
    "show_path",
    "whole_list",
    "with_interval",
]

INTERRUPTED = 130
"""Exit status after Ctrl-C."""
WIDTH = 100
"""Columns that running text is wrapped to, where the terminal is not narrower."""
REMEMBERED = 1000
"""Lines of one command that are not said again; of more, the last ones."""
BY_LINE = frozenset({"receive", "watch"})
"""Verbs whose `--json` is a line for each thing that happens; their errors are lines too."""
QUIET = 10.0
"""Seconds that lie between two lines of statistics, at least."""
TYPED = ("again", "next", "or", "train it")
"""Names of fields that hold a command, which may end with a number: a wrapped one could not be pasted."""
GAP = "  "
_LAYOUT = "\n\t"


def put(text: str) -> None:
    """Write data to stdout, now: a reader of a pipe sees each answer when it is there.

    Control characters in it, which a file's names may bring, are spelt out.

    Raises:
        OutputError: stdout cannot take it, a full disk behind a redirection, say.
    """
    text = printable(text, keep=_LAYOUT)
    _write(text if text.endswith("\n") else text + "\n", now=True)


def say(text: str) -> None:
    """One line to the user on stderr."""
    sys.stdout.flush()
    sys.stderr.write(f"zoo: {printable(text, keep=_LAYOUT)}\n")
    sys.stderr.flush()


def is_said(words: str) -> bool:
    """Whether a line of the log ends with these words, on the terminal that shows stdout too."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        return False
    logs = [handler.said for handler in logging.getLogger("zoo").handlers if isinstance(handler, _Lines)]
    return any(line.endswith(words) for said in logs for line in said)


def document(value: Any) -> None:
    """Write `value` as the one JSON document of `--json`."""
    _write(as_json(value), now=True)


def whole_list(rows: Listed) -> None:
    """Write a list that waited, as the one JSON document of `--json`."""
    for line in rows.lines():
        _write(line)
    _write("", now=True)


def format_table(header: Sequence[str], rows: Collection[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """A table of plain text; `right` are the columns with numbers."""
    table = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(count_columns(row[i]) for row in table) for i in range(len(header))]
    lines = []
    for row in table:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            gap = " " * (width - count_columns(cell))
            cells.append(gap + cell if i in right else cell + gap)
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def fields(values: Mapping[str, object]) -> str:
    """Names and values below each other, long values wrapped under themselves; commands stay on their line."""
    indent = max(map(len, values)) + len(GAP)
    width = min(WIDTH, _terminal_width())
    lines = []
    for name, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else printable(str(value))
        if name.rstrip(" 0123456789") in TYPED:
            lines.append(name.ljust(indent) + text)
            continue
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
    """'0.956 (0.926 to 0.978)', or a dash without a value."""
    return str(value) if isinstance(value, Interval) else "-"


def run(
    work: Callable[[], int],
    *,
    as_json: bool,
    by_line: bool = False,
    explain: Callable[[Exception], tuple[dict[str, Any], str, int]],
) -> int:
    """The boundary of a program: what becomes of an error. No traceback is printed, except under ZOO_DEBUG=1.

    Args:
        work: does what was asked and returns the exit status.
        as_json: print an error on stdout too, as the document that `--json` promised.
        by_line: that document is one line.
        explain: an error → its document, its line and the exit status; falls back on `explain_error`.
    """

    def tell(said: dict[str, Any]) -> None:
        put(as_line(said)) if by_line else document(said)

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a name of a file need not be text
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with _messages():
        try:
            return work()
        except BrokenPipeError:  # `… | head`: the reader has seen enough
            _forget_stdout()
            return 1
        except KeyboardInterrupt as stop:
            line = str(stop) or "interrupted"
            if as_json:
                with contextlib.suppress(OutputError, BrokenPipeError):
                    tell({"error": {"type": "KeyboardInterrupt", "code": "interrupted", "message": line}})
            say(line)
            return INTERRUPTED
        except Exception as problem:  # the one place where a defect becomes a line
            said, message, status = explain(problem)
            if not status:  # under torchrun, a process that only trained along
                return 0
            if os.environ.get("ZOO_DEBUG"):
                traceback.print_exception(problem)
            if as_json:
                try:
                    tell({"error": said})
                except (OutputError, BrokenPipeError):  # nobody takes it; the line below is still said
                    _forget_stdout()
            say(message)
            return status


def explain_error(problem: Exception) -> tuple[dict[str, Any], str, int]:
    """The document, the line and the exit status of what was raised."""
    if isinstance(problem, ZooError):
        said = problem.document()
        return said, said["message"], problem.exit_code
    from zoo._support.imports import OURS, find_importer, needs_remedy
    from zoo._support.memory import describe_want, lacks_memory

    kind, text = type(problem).__name__, join_lines(problem)
    package = ((isinstance(problem, ModuleNotFoundError) and problem.name) or "").partition(".")[0]
    if package and package not in OURS:
        code = "package-missing"
        importer = find_importer(problem)
        line = needs_remedy((package,), importer)
        line = line if importer in OURS else f"{importer} {line}"
    elif lacks_memory(problem):
        code, want = "memory", describe_want(problem)
        line = (
            f"not enough memory{f' ({want})' if want else ''}; lower --size or --batch-size, give fewer images at a "
            "time, or free some"
        )
    elif isinstance(problem, OSError) and problem.strerror:
        code = "os"
        where = f"{problem.filename}: " if problem.filename else ""
        line = f"{where}{problem.strerror.lower()}; check the path, its rights and the space left"
    else:
        code = "defect"
        line = f"{kind}: {text}" if text else kind
        line = f"{line}; this is a defect; run again with ZOO_DEBUG=1 for the traceback"
    return {"type": kind, "code": code, "message": line}, line, 1


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """The library's log as plain lines on stderr; other packages' warnings only for those who ask."""
    log = logging.getLogger("zoo")
    before = log.level, log.propagate
    handler = _Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions and not os.environ.get("ZOO_DEBUG"):
                warnings.simplefilter("ignore")
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


class Pace:
    """Lines of statistics that come as often as something happens, and are said every ten seconds at most."""

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Whether a line is due now; if so, the next is due ten seconds later."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + QUIET
        return True


class _Lines(logging.Handler):
    """To the stderr of the moment: a progress bar takes its place while it is shown.

    A line is said once in a command, though a verb may open the same data several times. A program that runs for years
    logs with `extra={"again_after": SECONDS}`: such a line is said again once so much time has gone by.
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, float] = {}
        """Each line, and when it was said."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = printable(record.getMessage(), keep="\n\t")
        line, now = f"{prefix}{text}", time.monotonic()
        said = self.said.get(line)
        if said is not None and now - said < getattr(record, "again_after", float("inf")):
            return
        if said is None and len(self.said) >= REMEMBERED:
            del self.said[next(iter(self.said))]  # the one that was met first
        self.said[line] = now
        sys.stderr.write(f"{line}\n")


def _write(text: str, *, now: bool = False) -> None:
    try:
        sys.stdout.write(text)
        if now:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        raise OutputError(
            f"cannot write to stdout: {(problem.strerror or str(problem)).lower()}", code="output-unwritable", path="-"
        ) from None


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of complaining."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH  # 0: a terminal without a size
    except (OSError, ValueError, AttributeError):  # not a terminal
        return WIDTH
