"""Values to JSON and back: the only doors to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from zoo.spec._value import SCHEMA

if TYPE_CHECKING:
    from zoo.errors import ZooError

__all__ = ["decode", "encode", "from_builtins", "to_builtins"]

T = TypeVar("T")


def encode(value: Any) -> bytes:
    """`value` as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def decode(data: bytes | str, kind: type[T], what: str, error: type[ZooError]) -> T:
    """Read JSON into `kind`.

    Args:
        data: the document.
        kind: the type it must have.
        what: how to name the document to the user, such as "run.json".
        error: raised, with one line, when the document does not fit.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise error(
            f"{what}: {problem}; expected a document of schema {SCHEMA} written by this tool", code="document-malformed"
        ) from None


def to_builtins(value: Any) -> Any:
    """`value` as dicts, lists, strings and numbers, for `--json` and for merging."""
    return msgspec.to_builtins(value)


def from_builtins(value: Any, kind: type[T], what: str, error: type[ZooError]) -> T:
    """The reverse of `to_builtins`, with the same one-line refusal as `decode`."""
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError as problem:
        raise error(f"{what}: {problem}", code="document-malformed") from None
