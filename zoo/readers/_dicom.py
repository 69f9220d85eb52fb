"""DICOM files, by pydicom (the extra `dicom`): one frame as a device will see it, or what the header says.

Gray becomes float32 modality values (Hounsfield units for CT), or values in [0, 1] through the file's own window;
colour becomes 8-bit RGB. Overlays are never burned in. No value of any element but the picture itself leaves this
module: not into pixels, errors, warnings or logs. Patient and study are known by hashes only.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import math
from typing import IO

import numpy as np

from zoo.errors import ImageError
from zoo.readers._dicom_elements import PERSONAL, Elements, quiet, sop_class
from zoo.readers._dicom_header import Located, locate, read_syntax
from zoo.readers._dicom_padding import read_padding
from zoo.readers._dicom_palette import palette_colours
from zoo.readers._dicom_pixels import MONOCHROME, PALETTE, Picture, decode, describe_picture
from zoo.readers._dicom_pixels import is_compressed as is_compressed_syntax
from zoo.readers._dicom_shown import read_shown
from zoo.readers._dicom_values import apply_voi, brings_voi, find_functional, read_modality_values
from zoo.readers._image import Probe, RawImage, check_frame

__all__ = ["is_compressed", "probe", "read"]

log = logging.getLogger("zoo")

_NO_PICTURES = frozenset({"1.2.840.10008.5.1.4.1.1.481.2"})  # RT dose: a grid of dose
_ROOT = "1.2.840.10008.5.1.4.1.1"
_OFTEN_BURNED_IN = frozenset(
    f"{_ROOT}.{kind}"
    for kind in ("3", "3.1", "6", "6.1", "7", "7.1", "7.2", "7.3", "7.4", "77.1.1", "77.1.1.1", "77.1.4", "77.1.4.1")
)
"""Ultrasound, secondary capture, endoscopy and photographs: devices write names into such pictures."""
_SPACINGS = ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


def read(stream: IO[bytes], name: str, *, frame: int | None = None, voi: bool = False) -> RawImage:
    """Decode one frame.

    Args:
        stream: seekable, a file that `zoo.readers._dicom_start.find_start` knows.
        name: how to name the image to the user.
        frame: counted from 1; None: the file holds one.
        voi: apply the file's own VOI LUT or window, see `zoo.readers.read`.

    Returns:
        float32 (H, W, 1) for gray, see `zoo.readers._dicom_values`; uint8 (H, W, 3) for colour.

    Raises:
        ImageError: not an image, several frames and none named, damaged, or a decoder is not installed.
    """
    with quiet():
        found, picture = _open(stream, name)
        number = check_frame(frame, picture.frames, name)
        if not found.elements.text("PhotometricInterpretation"):
            _warn_of_gray(name)
        if voi and picture.photometric not in MONOCHROME:
            raise ImageError(
                name,
                "a colour picture, which has no VOI LUT or window; choose another intensity",
                code="image-window-missing",
            )
        stored = decode(found, picture, number)
        if picture.samples == 3:
            return RawImage(stored, "uint8")
        if picture.photometric == PALETTE:
            return RawImage(palette_colours(stored, found.elements, picture), "uint8")
        values = (apply_voi if voi else read_modality_values)(stored, found.elements, picture, number)
        padding = None if voi else read_padding(found, picture, number)
    if not np.isfinite(values).all():
        raise ImageError(
            name, "holds values that are not finite; replace them before using the image", code="image-not-finite"
        )
    return RawImage(values[:, :, np.newaxis], "float32", padding)


def probe(stream: IO[bytes], name: str) -> Probe:
    """What the header says; raises as `read` does, as far as the header tells."""
    with quiet():
        found, picture = _open(stream, name)
        gray = picture.photometric in MONOCHROME
        return Probe(
            width=picture.columns,
            height=picture.rows,
            kind="float32" if gray else "uint8",
            gray=gray,
            bits=picture.stored,
            frames=picture.frames,
            voi=gray and brings_voi(found.elements),
            group=_hash(found.elements, "PatientID", b"zoo-patient:"),
            personal=_personal(found.elements),
            padding=read_padding(found, picture) if gray else None,
            study=_hash(found.elements, "StudyInstanceUID", b"zoo-study:"),
            aspect=_aspect(found.elements),
            shows=read_shown(found.elements),
        )


def is_compressed(stream: IO[bytes], name: str) -> bool:
    """Whether a decoder for compressed pixels would see the file; known from its first elements alone.

    Raises:
        ImageError: they are damaged.
    """
    return is_compressed_syntax(read_syntax(stream, name))


@functools.lru_cache(maxsize=1024)
def _warn_of_gray(name: str) -> None:
    """Once for each file, however often it is read."""
    log.warning("%s: the element PhotometricInterpretation is missing; read as MONOCHROME2", name)


def _open(stream: IO[bytes], name: str) -> tuple[Located, Picture]:
    found = locate(stream, name)
    if found.elements.uid("SOPClassUID") in _NO_PICTURES:
        raise ImageError(
            name,
            f"{sop_class(found.elements)}, expected an image; leave it out",
            code="image-without-picture",
            found=sop_class(found.elements),
        )
    return found, describe_picture(found)


def _hash(elements: Elements, keyword: str, salt: bytes) -> str | None:
    """A name for the patient or the study that groups images and cannot be read."""
    identity = elements.raw(keyword)
    return hashlib.sha256(salt + identity).hexdigest() if identity else None


def _aspect(elements: Elements) -> float:
    """Height of a pixel over its width; 1 where the file says neither, or nothing that makes sense.

    A spacing is that of rows, then that of columns (PS3.3 10.7.1.3); so is the ratio (C.7.6.3.1.7).
    """
    measures = find_functional(elements, 1, "PixelMeasuresSequence")
    for holder, keyword in ((measures, "PixelSpacing"), *((elements, keyword) for keyword in _SPACINGS)):
        with contextlib.suppress(ImageError, TypeError, ValueError):  # no picture is lost over it
            down, across = map(float, holder.value(keyword))
            if min(down, across) > 0 and math.isfinite(down / across):
                return down / across
    return 1.0


def _personal(elements: Elements) -> tuple[str, ...]:
    found = [keyword for keyword in PERSONAL if elements.holds(keyword)]
    burned_in = elements.text("BurnedInAnnotation")
    kind = elements.uid("SOPClassUID")
    if burned_in == "YES" or (not burned_in and kind in _OFTEN_BURNED_IN):
        found.append("BurnedInAnnotation")
    return tuple(found)
