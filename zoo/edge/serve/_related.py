"""Bodies of the type multipart/related (RFC 2387) that hold DICOM files, read and written.

A body is read in a worker's thread, within its limits, and nothing of it is repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from zoo.edge.serve._accept import DICOM, EXPLICIT, RELATED, read_type
from zoo.edge.serve._bodies import Refused
from zoo.edge.serve._multipart import read_parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["is_related", "read_related", "write_related"]


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
    return read_parts(body, content_type, most, _check_part)


def write_related(files: Sequence[bytes]) -> tuple[bytes, str]:
    """A body with these files, and its Content-Type."""
    boundary = uuid4().hex
    head = f"--{boundary}\r\nContent-Type: {DICOM}; transfer-syntax={EXPLICIT}\r\n\r\n".encode()
    body = b"".join(head + data + b"\r\n" for data in files) + f"--{boundary}--\r\n".encode()
    return body, f"{RELATED}; boundary={boundary}"


def _check_part(headers: Mapping[str, str]) -> None:
    if read_type(headers.get("content-type", DICOM))[0] != DICOM:  # a part that says nothing is what the whole says
        said = (
            f"a part of the body is not {DICOM}; send {RELATED} whose parts are DICOM files, other images to /predict"
        )
        raise Refused("content type", 415, said)
