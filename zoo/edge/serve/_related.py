"""Bodies of the type multipart/related (RFC 2387) that hold DICOM files, read and written.

A body is read in a worker's thread, within its limits, and nothing of it is repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from zoo.edge.serve._accept import DICOM, EXPLICIT, RELATED, read_type
from zoo.edge.serve._bodies import Refused
from zoo.edge.serve._images import Unreadable, check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from python_multipart.multipart import MultipartCallbacks

__all__ = ["is_related", "read_related", "write_related"]

_LONGEST_BOUNDARY = 70  # RFC 2046, section 5.1.1


def is_related(content_type: str) -> bool:
    """Whether a Content-Type says multipart/related of DICOM files."""
    kind, given = read_type(content_type)
    return kind == "multipart/related" and given.get("type", "").lower() == DICOM


def read_related(body: bytes, content_type: str, most: int) -> list[bytes]:
    """The files of a body.

    Args:
        body: the whole of it.
        content_type: the header that came with it, of which `is_related` is true.
        most: largest number of files.

    Raises:
        Unreadable: it is not what its Content-Type says, or cut off, or holds no file or too many.
        Refused: a part is of another type than DICOM, such as a multipart inside.
    """
    boundary = read_type(content_type)[1].get("boundary", "").encode("latin-1", "replace")
    if not 1 <= len(boundary) <= _LONGEST_BOUNDARY:
        raise Unreadable("the Content-Type has no boundary of 1 to 70 characters")
    mark = b"--" + boundary
    # Each part but the first begins with one, and so does the end; the parser takes 7 s for three million.
    if (parts := body.count(b"\r\n" + mark)) > most + 1:
        check_count(parts, most)
    start = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2  # a preamble is not a part
    found = _Parts()
    try:
        parser = MultipartParser(boundary, found.callbacks())
        parser.write(body[start:] if start > 1 else body)
        parser.finalize()
    except FormParserError:
        found.ended = False
    if not found.ended:
        raise Unreadable("the body is not multipart/related as its Content-Type says, or it is cut off")
    check_count(len(found.files), most)
    return [bytes(data) for data in found.files]


def write_related(files: Sequence[bytes]) -> tuple[bytes, str]:
    """A body with these files, and its Content-Type."""
    boundary = uuid4().hex
    head = f"--{boundary}\r\nContent-Type: {DICOM}; transfer-syntax={EXPLICIT}\r\n\r\n".encode()
    body = b"".join(head + data + b"\r\n" for data in files) + f"--{boundary}--\r\n".encode()
    return body, f"{RELATED}; boundary={boundary}"


class _Parts:
    """What the parser finds. Of a part's headers only its type is looked at."""

    def __init__(self) -> None:
        self.files: list[bytearray] = []
        self.ended = False
        self._field = self._value = b""
        self._type = ""

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
        self._type = DICOM  # a part that says nothing is what the whole says

    def _begin_header(self) -> None:
        self._field = self._value = b""

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-type":
            self._type = read_type(self._value.decode("latin-1"))[0]

    def _end_headers(self) -> None:
        if self._type != DICOM:
            raise Refused("content type", 415)
        self.files.append(bytearray())

    def _add(self, data: bytes, start: int, end: int) -> None:
        self.files[-1] += data[start:end]

    def _end(self) -> None:
        self.ended = True
