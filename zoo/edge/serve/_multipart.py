"""The parts of a body of several (RFC 2046, section 5.1): a form (RFC 7578), or DICOM files (RFC 2387).

A body is read in a worker's thread, within its limits, and nothing of it is repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from zoo.edge.serve._accept import read_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from python_multipart.multipart import MultipartCallbacks

__all__ = ["Unreadable", "check_count", "read_parts"]

_LONGEST_BOUNDARY = 70  # RFC 2046, section 5.1.1


class Unreadable(Exception):  # noqa: N818 - a state, which the caller answers with 400
    """A body without images for a reason that its one argument says; it repeats nothing of the body."""


def check_count(count: int, most: int) -> None:
    """Raise `Unreadable` for no image, or more than `most`."""
    if not 1 <= count <= most:
        remedy = "send the others in further requests" if count else "send at least one"
        raise Unreadable(f"the request holds {count} images, expected 1 to {most}; {remedy}")


def read_parts(body: bytes, content_type: str, most: int, check: Callable[[Mapping[str, str]], None]) -> list[bytes]:
    """What the parts hold, in their order.

    Args:
        body: the whole of it.
        content_type: the header that came with it.
        most: largest number of parts.
        check: gets the headers of each part, names in lower case, and raises where the part may not be here.

    Raises:
        Unreadable: the body is not what its Content-Type says, or cut off, or has no part or too many.
    """
    boundary = read_type(content_type)[1].get("boundary", "").encode("latin-1")
    if not 1 <= len(boundary) <= _LONGEST_BOUNDARY:
        raise Unreadable("the Content-Type has no boundary of 1 to 70 characters")
    mark = b"--" + boundary
    # Each part but the first begins with one, and so does the end; the parser takes 7 s for three million.
    if (parts := body.count(b"\r\n" + mark)) > most + 1:
        check_count(parts, most)
    start = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2  # a preamble is not a part
    found = _Parts(check)
    try:
        parser = MultipartParser(boundary, found.callbacks())
        parser.write(body[start:] if start > 1 else body)
        parser.finalize()
    except FormParserError:
        found.ended = False
    if not found.ended:
        raise Unreadable("the body is not what its Content-Type says, or it is cut off")
    check_count(len(found.held), most)
    return [bytes(data) for data in found.held]


class _Parts:
    """What the parser finds."""

    def __init__(self, check: Callable[[Mapping[str, str]], None]) -> None:
        self.held: list[bytearray] = []
        self.ended = False
        self._check = check
        self._headers: dict[str, str] = {}
        self._field = self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        """As `MultipartParser` takes them."""
        return {
            "on_part_begin": self._begin,
            "on_header_begin": self._begin_header,
            "on_header_field": self._add_field,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers = {}

    def _begin_header(self) -> None:
        self._field = self._value = b""

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("latin-1")

    def _end_headers(self) -> None:
        self._check(self._headers)
        self.held.append(bytearray())

    def _add(self, data: bytes, start: int, end: int) -> None:
        self.held[-1] += data[start:end]

    def _end(self) -> None:
        self.ended = True
