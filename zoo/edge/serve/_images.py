"""The images in a body: one file as it is, the files of a form, or base64 in JSON.

Everything here runs in a worker's thread, on a body that was read within its limits. Nothing is written to a disk, no
name of a file is kept, and no address that a client sends is ever asked.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from zoo.errors import ImageError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["NAME", "Images", "Unreadable", "check_count", "decode_base64", "media_kind", "unpack"]

NAME = "image"
"""How answers and errors call an image: who sent it knows which it was, and nobody else may."""

Kind = Literal["file", "form", "json"]


class Unreadable(Exception):  # noqa: N818 - a state, which the caller answers with 400
    """A body without images for a reason that its one argument says; it repeats nothing of the body."""


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
    kind = content_type.partition(";")[0].strip().lower()
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = _Document()
    one, many = document.image, document.images
    if isinstance(one, str) and not isinstance(many, list):
        return Images([_decode(one)], several=False)
    if isinstance(one, str) or not isinstance(many, list):
        raise Unreadable('the body is JSON, expected {"image": BASE64} or {"images": [BASE64, …]} and nothing else')
    check_count(len(many), most)
    return Images([_decode(text) for text in many], several=True)


def check_count(count: int, most: int) -> None:
    """Raise `Unreadable` for no image, or more than `most`."""
    if not 1 <= count <= most:
        raise Unreadable(f"the request holds {count} images, expected 1 to {most}; send the others in further requests")


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
    form = _Form()
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise Unreadable("the form has no boundary in its Content-Type")
    # Each part ends with one, and none may hold one (RFC 2046, section 5.1.1). The parser takes 7 s for three million.
    if (parts := body.count(b"\r\n--" + boundary)) > most:
        check_count(parts, most)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        form.ended = False
    if not form.ended:
        raise Unreadable("the body is not a form as its Content-Type says, or it is cut off")
    check_count(len(form.files), most)
    return Images([bytes(data) for data in form.files], several=len(form.files) > 1)


class _Form:
    """What the parser finds. Of a part's headers only one is looked at, and of it only whether it names a file."""

    def __init__(self) -> None:
        self.files: list[bytearray] = []
        self.ended = False
        self._field = self._value = b""
        self._disposition = b""

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
        self._disposition = b""

    def _begin_header(self) -> None:
        self._field = self._value = b""

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value

    def _end_headers(self) -> None:
        if b"filename" not in parse_options_header(self._disposition)[1]:
            raise Unreadable("the form holds a field that is not a file; give top, frame and columns in the query")
        self.files.append(bytearray())

    def _add(self, data: bytes, start: int, end: int) -> None:
        self.files[-1] += data[start:end]

    def _end(self) -> None:
        self.ended = True
