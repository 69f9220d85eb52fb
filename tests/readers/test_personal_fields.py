"""Fields of pictures that may name a person: their names are given out, their values never."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image, PngImagePlugin

from zoo.readers import probe

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "CANARY^NAME"


def blocks() -> Image.Exif:
    exif = Image.Exif()
    exif[0x013B] = CANARY
    exif.get_ifd(0x8769)[0xA430] = CANARY
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_of_every_format_that_has_it_is_looked_at(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (20, 10), (90, 60, 30)).save(path, exif=blocks())
    found = probe(path)
    expected = (
        {"Artist"} if suffix == "tif" else {"Artist", "CameraOwnerName", "GPSInfo"}
    )  # Pillow writes no more to TIFF
    assert set(found.personal) == expected
    assert CANARY not in repr(found)
    assert (found.width, found.height) == (20, 10)


def test_png_text_is_looked_at_by_the_standards_keywords_only(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", CANARY)
    info.add_itxt("Description", CANARY)
    info.add_text(f"Key {CANARY}", "x")
    Image.new("L", (5, 5), 9).save(path, pnginfo=info)
    assert probe(path).personal == ("PNG text Author", "PNG text Description")


def test_plain_files_have_no_personal_field(photos: Path, tabled: Path) -> None:
    files = [*photos.iterdir(), *tabled.rglob("*.png")]
    assert len(files) > 80
    assert {probe(one).personal for one in files} == {()}


def test_blank_fields_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x010E] = "   "
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0   "
    Image.new("L", (5, 5), 9).save(path, exif=exif)
    assert probe(path).personal == ()
