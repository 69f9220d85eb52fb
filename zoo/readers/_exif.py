"""Beside the pixels of a picture: which way is up, and which fields may name a person or a place.

Which way is up, EXIF alone says (tag 274 of a TIFF). Browsers and programs on devices do not look for it in XMP.
Values of such fields are never given out. A damaged block does not cost the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["find_names", "is_turned", "personal", "turn", "upright"]

_ORIENTATION = 0x0112  # EXIF tag; values 5 to 8 swap width and height
_BLOCKS = ("exif", "Raw profile type exif")  # Pillow's names for EXIF, and for EXIF as a text of a PNG
# Not ImageOps.exif_transpose: it writes the EXIF block anew and fails on a damaged one.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# EXIF 2.32, tables 4 to 9, and the XP fields of Windows' file properties
_FIELDS = {
    0x010D: "DocumentName",
    0x010E: "ImageDescription",
    0x013B: "Artist",
    0x9C9B: "XPTitle",
    0x9C9C: "XPComment",
    0x9C9D: "XPAuthor",
    0x9C9F: "XPSubject",
}
_INNER = {0x9286: "UserComment", 0xA430: "CameraOwnerName", 0xA431: "BodySerialNumber"}
_EXIF, _GPS = 0x8769, 0x8825  # tags of the directories inside
_TEXTS = ("Title", "Author", "Description", "Comment")  # keywords of PNG text (PNG, section 11.3.3.2)


def is_turned(image: Image.Image) -> bool:
    """Whether width and height change places when the picture is put upright."""
    return _orientation(image) in (5, 6, 7, 8)


def upright(image: Image.Image) -> Image.Image:
    """The decoded picture as it is to be looked at."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels (H, W) or (H, W, C) as they are to be looked at; see `upright`."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def find_names(fields: Mapping[int, object], inner: Mapping[int, object], *, located: bool) -> tuple[str, ...]:
    """Names of the filled fields that may hold personal data.

    Args:
        fields: values by tag, of the directory of the picture.
        inner: values by tag, of the EXIF directory inside.
        located: whether there is a directory of places.
    """
    found = [name for tag, name in _FIELDS.items() if _is_filled(fields.get(tag))]
    found += [name for tag, name in _INNER.items() if _is_filled(inner.get(tag))]
    return (*found, "GPSInfo") if located else tuple(found)


def personal(image: Image.Image) -> tuple[str, ...]:
    """Names of the filled fields of an opened image, such as "Artist" or "GPSInfo"; nothing is decoded.

    Of the texts of a PNG, only those before its pixels are looked at.
    """
    # Pillow keeps a PNG's texts among the rest of `info`; its attribute `text` would decode the image
    found = [f"PNG text {word}" for word in _TEXTS if image.format == "PNG" and _is_filled(image.info.get(word))]
    if image.format == "PNG" and "exif" not in image.info:  # asking for it would decode the image
        return tuple(found)
    try:
        exif = image.getexif()
        found += find_names(exif, exif.get_ifd(_EXIF), located=bool(exif.get_ifd(_GPS)))
    except Exception:  # a damaged block: Pillow raises struct.error, SyntaxError, KeyError and more
        found.append("damaged EXIF")
    return tuple(found)


def _orientation(image: Image.Image) -> int:
    bare = Image.Image()  # the image's own method may decode it, or take the orientation of XMP
    bare.info = {name: image.info[name] for name in _BLOCKS if name in image.info}
    try:
        value = bare.getexif().get(_ORIENTATION, 1)
    except Exception:  # as in `personal`
        return 1
    return value if isinstance(value, int) else 1


def _is_filled(value: object) -> bool:
    """Anything but blanks and the bytes that say which text encoding nothing follows in."""
    if isinstance(value, bytes):
        return bool(value.removeprefix(b"ASCII\0\0\0").strip(b"\0 "))
    return value is not None and bool(str(value).strip("\0 "))
