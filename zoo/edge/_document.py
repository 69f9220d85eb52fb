"""What `--json` prints: one document, also where a list is too long for memory or a file name is not text."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from zoo._support.text import is_utf8, spell_name
from zoo.errors import OutputError
from zoo.spec import encode, to_builtins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

__all__ = ["Listed", "as_json", "as_line"]

_IN_MEMORY = 2**23  # bytes of a list that is not printed yet


def as_json(value: Any) -> str:
    """`value` as an indented document that ends with a line feed."""
    try:
        return encode(value).decode()
    except UnicodeEncodeError:  # a file name that is not UTF-8
        return json.dumps(_spell_bytes(to_builtins(value)), indent=2) + "\n"


def as_line(value: Any) -> str:
    """`value` as a document on one line, without a line feed."""
    return json.dumps(_spell_bytes(to_builtins(value)))


def _spell_bytes(value: Any) -> Any:
    """Builtins in which a name that is not UTF-8 is spelt as in a table; its lone surrogates are not valid Unicode."""
    if isinstance(value, str):
        return value if is_utf8(value) else spell_name(value)
    if isinstance(value, dict):
        return {_spell_bytes(key): _spell_bytes(entry) for key, entry in value.items()}
    return [_spell_bytes(entry) for entry in value] if isinstance(value, list | tuple) else value


class Listed:
    """A list that is printed when it is whole, so that an error can be the one document instead.

    Until then it waits on disk: a million answers would not fit in memory.
    """

    def __init__(self) -> None:
        import tempfile

        self._rows = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - __exit__ closes it
        self._n = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def add(self, value: Any) -> None:
        """Append an entry.

        Raises:
            OutputError: the disk of temporary files is full.
        """
        text = textwrap.indent(as_json(value).rstrip("\n"), "  ")
        try:
            self._rows.write((("[\n" if self._n == 0 else ",\n") + text).encode())
        except OSError as problem:
            reason = (problem.strerror or str(problem)).lower()
            raise OutputError(
                f"cannot keep the answers until all are there: {reason}; use --csv instead",
                code="output-full",
                cause=reason,
            ) from None
        self._n += 1

    def lines(self) -> Iterator[str]:
        """The whole list, line by line."""
        self._rows.seek(0)
        for line in self._rows:
            yield line.decode()
        yield "\n]\n" if self._n else "[]\n"
