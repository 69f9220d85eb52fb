"""How results show themselves: one line, a small table in a notebook, plain builtins, a frame of pandas."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import msgspec

from zoo._support.text import format_count, printable
from zoo.errors import UsageError
from zoo.spec._documents import to_builtins
from zoo.spec._value import Interval

__all__ = ["Display", "Rows", "Table"]


class Table(list[Mapping[str, Any]]):
    """Rows of one table, column to cell: text, a number, an `Interval`, or None where there is nothing.

    Args:
        rows: rows.
        columns: columns that come first, and are there without any row, too.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = (), columns: Sequence[str] = ()) -> None:
        super().__init__(rows)
        self.columns = list(dict.fromkeys([*columns, *(name for row in self for name in row)]))


_MOST_ROWS = 40
"""Rows of one table that a notebook shows."""
_NOTHING = "–"
_LONGEST = 300
"""Characters of one line."""
_CELL = "padding:.15em .9em .15em 0;text-align:left;vertical-align:top;border:0"
_HEAD = f"{_CELL};border-bottom:1px solid currentColor;font-weight:600"
"""No colour is named, so that a notebook's own decides, light or dark."""


class Display:
    """What every result can do: a short `repr`, a table in notebooks, `to_dict` and `to_frame`.

    A result says its `headline` and its `tables`; the rest follows.
    """

    __slots__ = ()

    def headline(self) -> str:
        """The one line that says what was found, numbers with their 95 % interval."""
        raise NotImplementedError

    def tables(self) -> dict[str, Table]:
        """The tables that the result holds, by name; `to_frame` takes the first. By default one row: its fields."""
        plain = {
            name: value
            for name in self.__struct_fields__  # type: ignore[attr-defined] # all are structs, or say their own tables
            if not isinstance(value := getattr(self, name), Mapping | msgspec.Struct) or isinstance(value, Interval)
        }
        return {"fields": Table([plain])}

    def remarks(self) -> tuple[str, ...]:
        """What a reader of the numbers must know; the notes of the result."""
        return tuple(getattr(self, "notes", ()))

    def __repr__(self) -> str:
        line = printable(self.headline())
        return f"{type(self).__name__}({line if len(line) <= _LONGEST else line[: _LONGEST - 1] + '…'})"

    def _repr_html_(self) -> str:
        parts = [f"<div>{_escape(self.headline())}</div>"]
        filled = {name: table for name, table in self.tables().items() if table}
        several = len(filled) > 1
        for name, table in filled.items():
            caption = f'<div style="margin-top:.6em">{_escape(name)}</div>' if several else ""
            parts += [caption, _table(table)]
        if said := self.remarks():
            parts.append(f"<ul>{''.join(f'<li>{_escape(line)}</li>' for line in said)}</ul>")
        return "".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The result as dicts, lists, strings and numbers: what `--json` prints; `json.dumps` takes it."""
        return cast("dict[str, Any]", to_builtins(self))

    def to_frame(self, table: str | None = None) -> Any:
        """One of `tables` as a `pandas.DataFrame`.

        A column of intervals becomes three: NAME, NAME_low and NAME_high. One that is called "value" becomes value, low
        and high.

        Args:
            table: name of the table; None: the first.

        Raises:
            UsageError: pandas is not installed; the result has no such table.
        """
        there = self.tables()
        name = next(iter(there), None) if table is None else table
        if name not in there:
            known = " or ".join(there) or "none, because it holds no table"
            raise UsageError(
                f"{type(self).__name__} has no table {table!r}, expected {known}",
                code="table-unknown",
                table=table,
                known=list(there),
            )
        return _frame(there[name])


T = TypeVar("T", bound=Display)


class Rows(Display, list[T]):
    """A list of results that is also a table: one row for each."""

    __slots__ = ()

    def headline(self) -> str:
        """How many there are."""
        return format_count(len(self), "row")

    def tables(self) -> dict[str, Table]:
        """One table with a row for each result."""
        return {"rows": Table(map(_as_row, self))}

    def __repr__(self) -> str:
        shown = [repr(entry) for entry in self[:_MOST_ROWS]]
        if len(self) > _MOST_ROWS:
            shown.append(f"… {len(self) - _MOST_ROWS} more")
        return f"[{(',' + chr(10) + ' ').join(shown)}]"

    def to_dict(self) -> Any:
        """The list of what `to_dict` gives of each."""
        return [entry.to_dict() for entry in self]


def _as_row(entry: Display) -> Mapping[str, Any]:
    """The first row of a result's first table."""
    return next(iter(entry.tables().values()))[0]


def _frame(table: Table) -> Any:
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise UsageError(
            "a frame needs pandas, which is not installed: pip install pandas; to_dict() needs nothing",
            code="package-missing",
            package="pandas",
        ) from None
    columns: dict[str, list[Any]] = {}
    for name in table.columns:
        cells = [row.get(name) for row in table]
        if not any(isinstance(cell, Interval) for cell in cells):
            columns[name] = cells
            continue
        before = "" if name == "value" else f"{name}_"
        columns[name] = [cell.value if isinstance(cell, Interval) else cell for cell in cells]
        for end in ("low", "high"):
            columns[before + end] = [getattr(cell, end, None) for cell in cells]
    return pandas.DataFrame(columns)


def _table(table: Table) -> str:
    shown = table[:_MOST_ROWS]
    columns = [name for name in table.columns if any(_spell(row.get(name)) not in {"", _NOTHING} for row in shown)]
    head = "".join(f'<th style="{_HEAD}">{_escape(name)}</th>' for name in columns)
    rows = "".join(f"<tr>{''.join(_cell(row.get(name)) for name in columns)}</tr>" for row in shown)
    more = f"<div>… {len(table) - len(shown)} more; to_frame() has all</div>" if len(table) > len(shown) else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    inside = f'<table style="border-collapse:collapse;border:0">{body}</table>{more}'
    return f'<div style="overflow-x:auto">{inside}</div>' if columns else ""


def _cell(value: Any) -> str:
    whole = ";white-space:nowrap" if isinstance(value, Interval) else ""
    return f'<td style="{_CELL}{whole}">{_escape(_spell(value))}</td>'


def _spell(value: Any) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e-3 and value else f"{value:.3f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_spell(inner)}" for name, inner in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(map(_spell, value))
    return str(value)


def _escape(text: str) -> str:
    import html  # a listing shows no page

    return html.escape(printable(text))
