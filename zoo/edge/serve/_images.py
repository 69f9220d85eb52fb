"""The images in a body: one file as it is, the files of a form, or base64 in JSON.

Everything here runs in a worker's thread, on a body that was read within its limits. Nothing is written to a disk, no
name of a file is kept, and no address that a client sends is ever asked.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo.edge.serve._accept import read_type
from zoo.edge.serve._multipart import Unreadable, check_count, read_parts
from zoo.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NAME", "Images", "decode_base64", "media_kind", "unpack"]

NAME = "image"
"""How answers and errors call an image: who sent it knows which it was, and nobody else may."""

Kind = Literal["file", "form", "json"]


@dataclass(frozen=True, slots=True)
class Images:
    """What a request asks about.

    Attributes:
        files: each image as a file's bytes, in the order sent, or why it is none.
        several: whether the answer is a list.
    """

    files: list[bytes | ImageError]
    several: bool

    def name(self, at: int) -> str:
        """How the answer calls one: "image", or of several "image 1" and so on."""
        return f"{NAME} {at + 1}" if self.several else NAME


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    image: str | msgspec.UnsetType = msgspec.UNSET
    images: list[str] | msgspec.UnsetType = msgspec.UNSET


def media_kind(content_type: str) -> Kind | None:
    """What a Content-Type says a body is; None: nothing that is taken here."""
    kind = read_type(content_type)[0]
    if kind == "multipart/form-data":
        return "form"
    if kind == "application/json":
        return "json"
    return None if kind.startswith(("multipart/", "text/")) else "file"


def unpack(body: bytes, content_type: str, most: int) -> Images:
    """The images of a body.

    Args:
        body: a file, a form (RFC 7578) whose parts with a file's name are images, or JSON: {"image": BASE64} or
            {"images": [BASE64, …]}, where data: addresses (RFC 2397) are taken as well.
        content_type: the header that came with it.
        most: largest number of images.

    Raises:
        Unreadable: neither.
    """
    kind = media_kind(content_type)
    if kind == "form":
        return _read_form(body, content_type, most)
    return _read_json(body, most) if kind == "json" else Images([body], several=False)


def _read_json(body: bytes, most: int) -> Images:
    if (strings := body.count(b'"') // 2 - 1) > most:  # of millions of short ones each costs fifty bytes
        check_count(strings, most)
    try:
        document = msgspec.json.decode(body, type=_Document)
    except (msgspec.ValidationError, RecursionError):
        document = _Document()
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable("the body is not valid JSON (RFC 8259), as its Content-Type says; send an object") from None
    one, many = document.image, document.images
    if isinstance(one, str) and not isinstance(many, list):
        return Images([_decode(one)], several=False)
    if isinstance(one, str) or not isinstance(many, list):
        raise Unreadable('the body is JSON, expected {"image": BASE64} or {"images": [BASE64, …]} and nothing else')
    check_count(len(many), most)
    return Images([_decode(text) for text in many], several=True)


def _decode(text: str) -> bytes | ImageError:
    try:
        return decode_base64(text)
    except Unreadable as wrong:
        return ImageError(NAME, str(wrong))


def decode_base64(text: str) -> bytes:
    """The bytes of base64 (RFC 4648, section 4), broken into lines or not, or of a data: address of it.

    Raises:
        Unreadable: it is neither; the text is not repeated.
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise Unreadable("a data: address without ';base64,'; expected data:image/png;base64,…")
    try:
        return binascii.a2b_base64(text.encode("ascii").translate(None, b" \t\r\n"), strict_mode=True)
    except ValueError:
        raise Unreadable("not base64 (RFC 4648, section 4); send the file's bytes in it, no address") from None


def _read_form(body: bytes, content_type: str, most: int) -> Images:
    files: list[bytes | ImageError] = [*read_parts(body, content_type, most, _check_part)]
    return Images(files, several=len(files) > 1)


def _check_part(headers: Mapping[str, str]) -> None:
    if "filename" not in read_type(headers.get("content-disposition", ""))[1]:
        raise Unreadable("the form holds a field that is not a file; give top, frame and columns in the query")
