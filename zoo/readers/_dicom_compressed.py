"""One compressed frame of a DICOM file, decoded.

Each transfer syntax has one decoder, named here, so that the same file gives the same pixels on every machine and a
decoder under the GPL (pylibjpeg-libjpeg) is never taken because it happens to be installed. No decoder sees a frame
that was not held against the header first.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ImageError
from zoo.readers._dicom_frame import CodedFrame
from zoo.readers._dicom_header import INSTALL, Located
from zoo.readers._dicom_jpeg import JpegFrame, check_jpeg
from zoo.readers._dicom_jpeg2000 import check_jpeg2000
from zoo.readers._dicom_lossless import is_whole_lossless
from zoo.readers._dicom_streams import check_fragments, check_rle, unpack_bits
from zoo.readers._jpeg import is_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.readers._dicom_pixels import Picture

__all__ = ["COMPRESSED", "decompress", "name_syntax", "run_decoder"]

_JPEG, _LOSSLESS, _LS, _JPEG2000, _RLE = "JPEG", "JPEG lossless", "JPEG-LS", "JPEG 2000", "RLE"
COMPRESSED = {
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pylibjpeg-rle", _RLE),
    "1.2.840.10008.1.2.4.50": ("pillow", "pillow", _JPEG),  # baseline
    "1.2.840.10008.1.2.4.51": ("pillow", "pillow", _JPEG),  # extended, 8 bits
    "1.2.840.10008.1.2.4.57": ("gdcm", "python-gdcm", _LOSSLESS),
    "1.2.840.10008.1.2.4.70": ("gdcm", "python-gdcm", _LOSSLESS),  # first order
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "pyjpegls", _LS),
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "pyjpegls", _LS),  # near lossless
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "pylibjpeg-openjpeg", _JPEG2000),
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pylibjpeg-openjpeg", _JPEG2000),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg", "pylibjpeg-openjpeg", _JPEG2000),  # HTJ2K
    "1.2.840.10008.1.2.4.202": ("pylibjpeg", "pylibjpeg-openjpeg", _JPEG2000),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg", "pylibjpeg-openjpeg", _JPEG2000),
}
"""Transfer syntax: pydicom's name of the decoder, the package that brings it, and the family of the stream."""


def decompress(found: Located, picture: Picture, number: int) -> NDArray[Any]:
    """The stored values of one frame, as `zoo.readers._dicom_pixels.decode` gives them.

    Args:
        found: the header.
        picture: form of the pixels.
        number: number of the frame, counted from 1.

    Raises:
        ImageError: truncated, damaged, other than the header says, or the decoder is not installed.
    """
    from pydicom.encaps import get_frame
    from pydicom.pixels.decoders.base import get_decoder

    name = found.elements.name
    plugin, package, family = COMPRESSED[found.syntax]
    if plugin not in get_decoder(found.syntax).available_plugins:
        raise ImageError(
            name,
            f"{name_syntax(found.syntax)} needs the package {package}; {INSTALL}",
            code="package-missing",
            package=package,
            extra="dicom",
        )
    offsets = [found.elements.value(one) for one in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    check_fragments(found.stream, found.start, picture.frames, name)
    found.stream.seek(found.start)
    data = get_frame(
        found.stream,
        number - 1,
        number_of_frames=picture.frames,
        extended_offsets=tuple(offsets) if all(offsets) else None,
    )
    frame = CodedFrame(data, picture, name, number)
    if family == _RLE:
        frame = dataclasses.replace(frame, data=check_rle(frame))
        return unpack_bits(frame) if picture.allocated == 1 else _run_plugin(found, picture, plugin, frame.data)
    if family == _JPEG2000:
        check_jpeg2000(frame)
        return _run_plugin(found, picture, plugin, data)
    coded = check_jpeg(frame, found.syntax)
    if family == _LS:
        return _decode_ls(found, picture, plugin, coded.data)
    run = _decode_lossless if family == _LOSSLESS else _decode_lossy
    pixels = run(found, picture, plugin, coded)
    if pixels is None:
        raise frame.truncated("ends before its last line")
    return pixels


def _decode_lossless(found: Located, picture: Picture, plugin: str, coded: JpegFrame) -> NDArray[Any] | None:
    """Lossless JPEG; None where the data ends before the picture."""
    allocated = 8 if coded.bits <= 8 else 16  # the header may keep 8 bits in 16
    form = dataclasses.replace(picture, allocated=allocated, stored=allocated, signed=False)  # else gdcm aborts
    pixels = _run_plugin(found, form, plugin, coded.data, raw=True)
    if pixels.shape[:2] == (picture.rows, picture.columns) and not is_whole_lossless(pixels, coded.scans, coded.bits):
        return None
    if picture.samples == 3:
        return _to_rgb(pixels, coded)
    unused = allocated - picture.stored
    values = pixels.view(f"{'i' if picture.signed else 'u'}{allocated // 8}")
    return values << unused >> unused if unused else values


def _decode_lossy(found: Located, picture: Picture, plugin: str, coded: JpegFrame) -> NDArray[Any] | None:
    """Baseline JPEG; None where the data ends before the picture."""

    def run(data: bytes) -> NDArray[Any]:
        if picture.samples == 3:
            return _decode_colour(data, coded)
        return _run_plugin(found, dataclasses.replace(picture, allocated=8), plugin, data)

    pixels = run(coded.data)
    return pixels if is_whole(coded.data, pixels, run) else None


def _decode_colour(data: bytes, coded: JpegFrame) -> NDArray[np.uint8]:
    """Baseline JPEG of three components to RGB; libjpeg is kept from converting by a rule of its own."""
    from PIL import Image

    image: Image.Image = Image.open(io.BytesIO(data), formats=["JPEG"])
    if coded.converts:
        image.draft("YCbCr", image.size)
    return _to_rgb(np.asarray(image), coded)


def _to_rgb(pixels: NDArray[Any], coded: JpegFrame) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import convert_color_space

    return np.asarray(convert_color_space(pixels, "YBR_FULL", "RGB") if coded.ycc else pixels, np.uint8)


def _decode_ls(found: Located, picture: Picture, plugin: str, data: bytes) -> NDArray[Any]:
    """JPEG-LS; CharLS refuses bytes of 0 before the end marker, which a reference file of DICOM has."""
    try:
        return _run_plugin(found, picture, plugin, data)
    except Exception:  # the plugin raises what it likes
        shorter = data[:-2].rstrip(b"\0") + data[-2:]
        if shorter == data:
            raise
        return _run_plugin(found, picture, plugin, shorter)


def _run_plugin(found: Located, picture: Picture, plugin: str, data: bytes, **more: Any) -> NDArray[Any]:
    from pydicom.encaps import encapsulate

    if plugin == "gdcm":
        _hush_gdcm()
    return run_decoder(encapsulate([data]), found, picture, frames=1, index=0, decoding_plugin=plugin, **more)


def run_decoder(data: bytes, found: Located, picture: Picture, *, frames: int, index: int, **more: Any) -> NDArray[Any]:
    """What pydicom makes of pixels: one of some frames, colour as RGB.

    Args:
        data: native or encapsulated pixels.
        found: the header.
        picture: form of the pixels.
        frames: how many `data` holds.
        index: which of them, counted from 0.
        more: other options of pydicom's decoder.
    """
    from pydicom.pixels.decoders.base import get_decoder

    decoder: Any = get_decoder(found.syntax)
    pixels, _ = decoder.as_array(
        data,
        index=index,
        number_of_frames=frames,
        rows=picture.rows,
        columns=picture.columns,
        samples_per_pixel=picture.samples,
        bits_allocated=picture.allocated,
        bits_stored=picture.stored,
        pixel_representation=int(picture.signed),
        photometric_interpretation=picture.photometric,
        planar_configuration=picture.planar,
        pixel_keyword=found.keyword,
        pixel_vr=found.vr,
        **more,
    )
    return np.asarray(pixels)


def _hush_gdcm() -> None:
    """The decoder gdcm writes to stderr by itself."""
    trace = importlib.import_module("gdcm").Trace
    trace.WarningOff()
    trace.ErrorOff()
    trace.DebugOff()


def name_syntax(syntax: str) -> str:
    """'the transfer syntax JPEG 2000'; an unlisted UID is not quoted."""
    from pydicom.uid import UID

    uid = UID(syntax)
    return f"the transfer syntax {uid.name}" if uid.type == "Transfer Syntax" else "this transfer syntax"
