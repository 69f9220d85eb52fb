"""Small files made to take minutes, gigabytes or the process: each is answered with one line, at once."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from PIL import Image
from refusals import refused
from work import counted

from zoo.errors import ImageError
from zoo.preprocess import check_range
from zoo.readers import probe, read
from zoo.readers._pieces import MOST
from zoo.spec import PreprocessSpec

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("pydicom")
from dicom_cases import bare, element, picture

pytestmark = pytest.mark.usefixtures("here")  # whose calls are counted, and whose decoders are changed

RLE = "1.2.840.10008.1.2.5"
AT_ONCE = 50_000
"""Calls of functions, in Python and below; each of these files took millions, and longer ones would take more."""


def refusal(look: Callable[[bytes], object], data: bytes, *, calls: int = AT_ONCE) -> ImageError:
    """What `look` answers, after at most so many calls of functions."""
    with counted() as work, pytest.raises(ImageError) as error:
        look(data)
    assert work.calls < calls
    assert "\n" not in str(error.value)
    return error.value


def encapsulated(fragments: bytes) -> bytes:
    """A gray picture of 10 × 10 pixels of 16 bits, packed as RLE."""
    return bare(RLE, picture(10, 10) + element(0x7FE0, 0x10, "OB", fragments, 0xFFFFFFFF))


def item(content: bytes = b"") -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def rle(*segments: bytes) -> bytes:
    starts = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    head = struct.pack(f"<{1 + len(starts)}I", len(starts), *starts)
    return head.ljust(64, b"\0") + b"".join(segments)


FITS = rle(b"\x9d\x05", b"\x9d\x07")
"""A frame of 10 × 10 pixels of 16 bits, each 5 · 256 + 7."""


def test_an_rle_picture_that_fills_more_than_its_pixels_is_refused_before_the_decoder_panics() -> None:
    pytest.importorskip("rle")
    plane = b"\x81\x05"  # 128 times 5
    assert (read(encapsulated(item() + item(FITS))).pixels == 5 * 256 + 7).all()
    longer = encapsulated(item() + item(rle(plane, plane)))
    assert refusal(read, longer).code == "image-size-differs"


def test_a_panic_of_a_decoder_costs_one_image_and_not_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rle")
    from zoo.readers import _dicom_compressed as dicom_compressed

    class Panic(BaseException):
        """What extensions written in Rust raise: no Exception."""

    def decode(*_: object, **__: object) -> None:
        raise Panic

    monkeypatch.setattr(dicom_compressed, "run_decoder", decode)
    assert refusal(read, encapsulated(item() + item(FITS))).code == "image-undecodable"


def test_pixels_in_a_million_fragments_are_refused_without_looking_at_each() -> None:
    pytest.importorskip("rle")
    assert refusal(read, encapsulated(item() * 500_000)).code == "image-bomb"


def test_the_work_of_reading_does_not_grow_with_the_loggers_of_the_process() -> None:
    """torch and its kin bring thousands, and Python looks at all of them where a level changes."""
    data, logger = bare(RLE, picture(10, 10)), logging.getLogger("pydicom")
    before, counts = (logger.level, logger.handlers, logger.propagate), []
    for _ in range(3):
        with counted() as work, pytest.raises(ImageError):
            read(data)
        counts.append(work.calls)
        for _ in range(3000):
            logging.getLogger(f"test_hostile_files.{len(logging.root.manager.loggerDict)}")
    assert counts[2] == counts[1]
    assert (logger.level, logger.handlers, logger.propagate) == before


def test_a_tiff_of_a_hundred_thousand_pages_is_counted_at_once() -> None:
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    size, pages = len(body) + 4, 100_000
    chain = b"".join(body + struct.pack("<I", 8 + (i + 1) * size if i + 1 < pages else 0) for i in range(pages))
    data = struct.pack("<2sHI", b"II", 42, 8) + chain + bytes(64)
    with counted() as work:
        assert probe(data).frames == pages
    assert work.calls < 20 * pages
    assert refusal(read, data, calls=20 * pages).fields == {"frames": 100_000}


@pytest.mark.parametrize("big", [False, True])
def test_pages_of_both_kinds_of_tiff_are_counted_and_a_ring_of_them_ends(*, big: bool) -> None:
    out = io.BytesIO()
    pages = [Image.new("L", (4, 4), gray) for gray in (1, 2, 3)]
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:], big_tiff=big)
    data = bytearray(out.getvalue())
    assert probe(bytes(data)).frames == 3
    assert (read(bytes(data), frame=3).pixels == 3).all()
    with Image.open(io.BytesIO(data)) as image:
        image.seek(2)
        last = image.tag_v2._offset  # type: ignore[attr-defined]
        count = len(image.tag_v2)  # type: ignore[attr-defined]
    link = last + (8 + 20 * count if big else 2 + 12 * count)
    first = data[8:16] if big else data[4:8]
    data[link : link + len(first)] = first
    assert probe(bytes(data)).frames == 3


def test_a_comment_of_megabytes_in_a_ppm_is_not_read_byte_by_byte() -> None:
    assert refusal(probe, b"P5\n#" + b"x" * 20_000_000 + b"\n1 1\n255\n\0").code == "image-bomb"
    assert probe(b"P5\n#" + b"x" * 1000 + b"\n1 1\n255\n\0").width == 1


def test_the_header_of_a_cut_off_palette_picture_is_read_without_its_pixels() -> None:
    rng = np.random.default_rng(0)
    for gray in (True, False):
        out = io.BytesIO()
        picture = Image.fromarray(rng.integers(0, 8, (64, 64), np.uint8), "P")
        picture.putpalette([value * (1 if gray else 1 + c) for value in range(8) for c in range(3)])
        for form in ("PNG", "GIF", "BMP", "TIFF"):
            out = io.BytesIO()
            picture.save(out, form)
            found = probe(out.getvalue())
            assert found.gray is gray, form
            if form != "TIFF":  # whose directory stands behind the pixels
                assert probe(out.getvalue()[:-500]) == found, form


def test_a_picture_one_pixel_high_does_not_become_gigabytes_on_the_way_to_its_crop() -> None:
    thin, spec = np.zeros((1, 60_000, 3), np.uint8), PreprocessSpec(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    with refused("image-scale", ImageError, width=60_000, height=1):
        check_range(thin, spec)
    check_range(thin, msgspec.structs.replace(spec, resize="letterbox"))
    check_range(thin[:, :1000], spec)


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_PNG = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
_FRAME = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (_PNG + _chunk(b"tEXt", b"a\0b") * 1_000_000, "PNG"),
        (_PNG + _chunk(b"abCd") * 1_000_000, "PNG"),
        (b"\xff\xd8" + b"\xff" * 9_000_000, "JPEG"),
        (b"\xff\xd8\xff" + bytes(9_000_000), "JPEG"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 2_000_000, "JPEG"),
        (b"\xff\xd8" + b"\xff\xf0" * 4_000_000, "JPEG"),
        (b"GIF89a\1\0\1\0\0\0\0" + _FRAME * 1_000_000, "GIF"),
        (b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1x" * 4_000_000, "GIF"),
    ],
    ids=["texts", "unknown chunks", "fill bytes", "no segments", "comments", "bare markers", "frames", "blocks"],
)
@pytest.mark.parametrize("look", [probe, read])
def test_a_picture_in_millions_of_pieces_is_refused_without_looking_at_each(
    look: Callable[[bytes], object], data: bytes, form: str
) -> None:
    assert refusal(look, data, calls=10 * MOST[form]).code == "image-bomb"


def test_a_large_gif_is_no_file_of_many_pieces() -> None:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500), np.uint8)
    Image.fromarray(pixels).save(stream, "GIF")
    assert read(stream.getvalue()).pixels.shape == (1500, 1500, 3)
