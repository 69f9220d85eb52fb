"""A JPEG is whole when every line of it was decoded; libjpeg fills up the rest in silence."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from zoo.errors import ImageError
from zoo.readers import probe, read
from zoo.readers._jpeg import Frame, decode, find_end, find_frame, is_whole

RNG = np.random.default_rng(0)


def photo(height: int, width: int, *, border: int | None = None) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([128 + 80 * np.sin(columns / 9 + c) + 30 * np.cos(rows / 7) for c in range(3)], axis=-1)
    array = np.clip(waves + RNG.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)
    if border is not None:
        array[height // 2 :] = border
    return Image.fromarray(array)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 85, **options})
    return stream.getvalue()


def cut(data: bytes, share: float) -> bytes:
    """Less of the scans, closed by an end marker."""
    start = data.index(b"\xff\xda") + 14
    return data[: start + int((len(data) - 2 - start) * share)].rstrip(b"\xff") + b"\xff\xd9"


CODINGS = {
    "444": {"subsampling": 0},
    "420": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True, "subsampling": 1},
}


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 33), (120, 90)], ids=str)
def test_picture_cut_short_and_closed_is_refused(size: tuple[int, int], coding: str, mode: str) -> None:
    data = jpeg(photo(*size).convert(mode), **CODINGS[coding])
    whole = read(data).pixels
    assert whole.shape == (*size, 3)
    for part in range(20):
        try:
            shorter = read(cut(data, part / 20)).pixels
        except ImageError as problem:
            assert problem.code in {"image-truncated", "image-undecodable"}  # noqa: PT017 - some cuts only lose fill bits
        else:
            np.testing.assert_array_equal(shorter, whole)


@pytest.mark.parametrize("border", [0, 128, 255])
@pytest.mark.parametrize("coding", CODINGS)
def test_flat_border_is_no_sign_of_a_cut_and_hides_none(coding: str, border: int) -> None:
    """An X-ray ends in black; what libjpeg makes up is gray of 128."""
    data = jpeg(photo(160, 160, border=border).convert("L"), **CODINGS[coding])
    assert read(data).pixels.shape == (160, 160, 3)
    for share in (0.3, 0.6, 0.9):
        with refused("image-truncated", ImageError):
            read(cut(data, share))


def test_turned_picture_is_judged_as_it_is_stored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(photo(90, 120), exif=exif)
    assert read(data).pixels.shape == (120, 90, 3)
    with refused("image-truncated", ImageError):
        read(cut(data, 0.5))


@pytest.mark.parametrize("tail", [b"\xff\xff", b"\n", bytes(7), b"\xff\xd8\xff\xe0film", b"\x20\x20"], ids=repr)
def test_bytes_behind_the_end_do_not_count(tail: bytes) -> None:
    data = jpeg(photo(40, 40))
    np.testing.assert_array_equal(read(data + tail).pixels, read(data).pixels)
    assert find_end(data + tail) == len(data)
    with refused("image-truncated", ImageError):
        read(cut(data, 0.5) + tail)


def test_progressive_picture_without_its_last_scans_is_refused() -> None:
    """It looks like the picture, blurred."""
    data = jpeg(photo(64, 64), progressive=True)
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) > 3
    for at in scans[1:]:
        start = data.rindex(b"\xff\xc4", 0, at) if b"\xff\xc4" in data[at - 200 : at] else at
        with refused("image-truncated", ImageError):
            read(data[:start] + b"\xff\xd9")


def test_missing_restart_interval_is_seen_where_the_last_one_is_there() -> None:
    data = jpeg(photo(64, 64), restart_marker_blocks=2)
    second, third = data.index(b"\xff\xd1"), data.index(b"\xff\xd2")
    with refused("image-truncated", ImageError):
        read(data[:second] + data[third:])


def test_most_pictures_are_decoded_once() -> None:
    data = jpeg(photo(200, 200))
    calls: list[bytes] = []

    def count(stream: bytes) -> np.ndarray:
        calls.append(stream)
        return decode(stream)

    assert is_whole(data, decode(data), count)
    assert not calls
    assert is_whole(jpeg(photo(200, 200), progressive=True), decode(jpeg(photo(8, 8))), count) is False
    assert len(calls) == 1


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\xff" * 9, b"\xff\xd8\xff\xe0\xff\xff"])
def test_walk_ends_where_nothing_follows(data: bytes) -> None:
    assert find_end(data) is None
    assert find_frame(data) is None
    for length in range(len(whole := jpeg(photo(9, 9)))):
        assert find_end(whole[:length]) is None


def test_frame_header_is_what_the_file_says() -> None:
    data = jpeg(photo(9, 30), subsampling=2)
    assert find_frame(data) == Frame(0xC0, 8, 9, 30, ((1, 2, 2), (2, 1, 1), (3, 1, 1)))


@pytest.mark.parametrize(
    ("marker", "bits", "coding"),
    [
        (0xC1, 12, "12-bit JPEG"),
        (0xC3, 16, "lossless JPEG"),
        (0xC3, 8, "lossless JPEG"),
        (0xC5, 8, "hierarchical JPEG"),
        (0xF7, 8, "JPEG-LS"),
    ],
)
def test_kinds_of_jpeg_that_are_not_read_are_refused_by_name(marker: int, bits: int, coding: str) -> None:
    data = jpeg(photo(9, 9))
    at = data.index(b"\xff\xc0")
    changed = data[: at + 1] + bytes((marker,)) + data[at + 2 : at + 4] + bytes((bits,)) + data[at + 5 :]
    for action in (read, probe):
        with refused("image-coding", ImageError, coding=coding):
            action(changed)
