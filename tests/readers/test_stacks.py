"""Images of channels that are no colours: arrays in files, pages of one file, and files side by side."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from zoo.errors import ImageError
from zoo.readers import JOINT, is_image, probe, read

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
WHOLE = RNG.integers(0, 65536, (9, 7, 5)).astype(np.uint16)


def saved(array: np.ndarray, *, packed: bool = False) -> bytes:
    stream = io.BytesIO()
    if packed:
        np.savez_compressed(stream, array)
    else:
        np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("packed", [False, True], ids=["npy", "npz"])
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<f4", ">f4"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 16])
def test_array_file_is_read_as_the_array(channels: int | None, dtype: str, packed: bool) -> None:
    array = (RNG.random((9, 7) if channels is None else (9, 7, channels)) * 255).astype(dtype)
    image, header = read(saved(array, packed=packed)), probe(saved(array, packed=packed))
    plain = array if channels else array[..., None]
    expected = plain.repeat(3, axis=2) if dtype == "u1" and plain.shape[2] == 1 else plain
    np.testing.assert_array_equal(image.pixels, expected)
    assert (header.kind, header.height, header.width) == (image.kind, 9, 7)
    colours = dtype == "u1" and channels == 3
    assert header.channels == (None if channels in (None, 1) or colours else channels)
    assert header.gray == (channels in (None, 1))


def test_array_in_the_order_of_fortran_is_read_the_right_way_round() -> None:
    np.testing.assert_array_equal(read(saved(np.asfortranarray(WHOLE))).pixels, WHOLE)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (saved(WHOLE.astype(np.int32)), "image-array"),
        (saved(WHOLE.astype(np.float64)), "image-array"),
        (saved(WHOLE[0, 0]), "image-array"),
        (saved(WHOLE.transpose(2, 0, 1).repeat(4, axis=2)), "image-array"),  # channels first
        (saved(np.zeros((4, 4, 17), np.uint8)), "image-array"),
        (saved(np.full((4, 4, 2), np.nan, np.float32)), "image-not-finite"),
        (saved(WHOLE)[:-1], "image-truncated"),
        (saved(WHOLE) + b"\0", "image-truncated"),
        (saved(WHOLE)[:40], "image-damaged"),
        (saved(WHOLE, packed=True)[:-30], "image-damaged"),
        (saved(WHOLE).replace(b"(9, 7, 5)", b"(9e9,7,5)"), "image-damaged"),
        (saved(WHOLE).replace(b"(9, 7, 5), ", b"(9999999,)*2"), "image-damaged"),
        (saved(np.array([["a"]], object)), "image-array"),
    ],
)
def test_array_file_that_is_no_image_is_refused_by_what_it_is(data: bytes, code: str) -> None:
    with refused(code, ImageError):
        read(data)


@pytest.mark.parametrize(("shape", "code"), [((7000, 9000), "image-truncated"), ((90_000, 90_000), "image-size")])
def test_array_file_that_says_an_enormous_shape_costs_no_memory(shape: tuple[int, int], code: str) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<u2", "fortran_order": False, "shape": shape})
    with refused(code, ImageError):
        read(stream.getvalue() + b"1234")


def test_archive_of_a_data_set_is_no_image(tmp_path: Path) -> None:
    """A folder of classes beside an archive would gain an image of a thousand."""
    np.savez(tmp_path / "set.npz", train_images=WHOLE, train_labels=WHOLE)
    np.savez(tmp_path / "one.npz", WHOLE)
    np.savez(tmp_path / "two.npz", WHOLE, WHOLE)
    assert not is_image(tmp_path / "set.npz")
    assert is_image(tmp_path / "one.npz")
    with refused("image-array", ImageError):
        read(tmp_path / "two.npz")


def pages(path: Path, planes: list[np.ndarray]) -> Path:
    first, *others = map(Image.fromarray, planes)
    first.save(path, save_all=True, append_images=others)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_are_channels_where_that_is_asked(dtype: type, tmp_path: Path) -> None:
    planes = list(RNG.integers(0, 256, (4, 8, 6)).astype(dtype))
    path = pages(tmp_path / "z.tif", planes)
    np.testing.assert_array_equal(read(path, stack=True).pixels, np.stack(planes, axis=2))
    with refused("image-frames", ImageError, frames=4):
        read(path)


def test_pages_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    plane = np.zeros((8, 6), np.uint16)
    with refused("image-stack", ImageError, picture=2):
        read(pages(tmp_path / "size.tif", [plane, plane[:4]]), stack=True)
    with refused("image-stack", ImageError, picture=2):
        read(pages(tmp_path / "kind.tif", [plane, plane.astype(np.uint8)]), stack=True)
    with refused("image-stack", ImageError, found=17):
        read(pages(tmp_path / "many.tif", [plane] * 17), stack=True)
    with refused("image-stack", ImageError, picture=1):
        read(pages(tmp_path / "rgb.tif", list(RNG.integers(0, 256, (2, 8, 6, 3), np.uint8))), stack=True)


def test_paths_that_are_joined_are_the_channels_of_one_image(tmp_path: Path) -> None:
    paths = [tmp_path / f"{stain}.png" for stain in ("dapi", "gfp", "rfp")]
    for at, path in enumerate(paths):
        Image.fromarray(WHOLE[..., at]).save(path)
    joined = JOINT.join(map(str, paths))
    np.testing.assert_array_equal(read(joined).pixels, WHOLE[..., :3])
    with refused("image-unopened", ImageError):
        read(joined + JOINT + "lost.png")
