"""Small files on which this and other tools were wrong, each with what should come of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from zoo.data import Splits, open_data
from zoo.errors import ZooError
from zoo.readers import read

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixels = Callable[["NDArray[Any]"], bool]


def counted(dtype: str, last: int, step: int = 1) -> Pixels:
    """A gray picture that counts from 0 in its first row."""

    def holds(pixels: NDArray[Any]) -> bool:
        gray = pixels[:, :, 0]
        first = np.arange(min(16, gray.shape[1])) * step
        return pixels.dtype == dtype and bool((gray[0, : len(first)] == first).all()) and gray[-1, -1] == last

    return holds


def coloured(*colour: int) -> Pixels:
    """One colour everywhere."""
    return lambda pixels: pixels.shape[2] == 3 and bool((pixels == colour).all())


def indexed(pixels: NDArray[Any]) -> bool:
    """Index i of a palette is (i, 255 - i, 0)."""
    red, green, blue = (pixels[:, :, i].astype(int) for i in range(3))
    return bool((red.ravel()[:16] == range(16)).all() and (green == 255 - red).all() and not blue.any())


def gray_table(pixels: NDArray[Any]) -> bool:
    """The local table is gray: 0, 1, 2, 3."""
    return bool((pixels == np.array([[0, 1], [2, 3]])[:, :, np.newaxis]).all())


def whole_photo(pixels: NDArray[Any]) -> bool:
    """The last lines hold a picture and no filling."""
    return float(pixels[-16:].std()) > 5


def noted(*words: str) -> Callable[[Splits], bool]:
    """The notes name these."""
    return lambda data: all(any(word in note for note in data.notes) for word in words)


def classes(*names: str, task: str = "multiclass") -> Callable[[Splits], bool]:
    """These classes and no other."""
    return lambda data: (data.labels, data.task) == (tuple(sorted(names)), task)


CELLS = ("basophil", "eosinophil", "platelet")
DAMAGED = {"image-damaged", "image-truncated", "image-undecodable"}

IMAGES: dict[str, Pixels | set[str]] = {
    "IM0001": counted("float32", 255),
    "bigtiff_be_gray16.tif": counted("uint16", 25500, 100),
    "bmp_565.bmp": lambda pixels: pixels.dtype == np.uint8 and pixels.shape == (64, 127, 3) and pixels.max() == 255,
    "dicom_jpeg_cut_closed.dcm": DAMAGED,
    "dicom_jpeg_fill_ff.dcm": whole_photo,
    "dicom_jpeg_lossless_precision184.dcm": {"image-damaged", "image-header-differs", "image-decoder-ended"},
    "dicom_no_photometric.dcm": counted("float32", 255),
    "dicom_rgb_label_ycc_stream.dcm": coloured(254, 0, 0),
    "dicom_segmented_palette.dcm": indexed,
    "float32_bigendian_None_False_strip.tif": counted("float32", 255),
    "float32_bigendian_zlib_3_strip.tif": counted("float32", 255),
    "float32_bigendian_zlib_False_strip.tif": counted("float32", 255),
    "gif_local_gray_table_wrong_colours.gif": gray_table,
    "gif_no_colour_table_plain.gif": lambda pixels: pixels.shape == (2, 2, 3),
    "gif_valueerror_minimal.gif": gray_table,  # no pixel has the colour of the key
    "jpeg_half.jpg": DAMAGED,
    "jpeg_half_with_end_marker.jpg": DAMAGED,
    "jpeg_progressive_cut_closed.jpg": DAMAGED,
    "pgm_two_images.pgm": {"image-frames"},
    "pgm_values_above_maxval.pgm": DAMAGED | {"image-range"},
    "png_gray4_colourkey_7_used.png": {"image-transparent"},
    "png_icc_over_1MiB.png": lambda pixels: pixels.std() > 0,
    "png_palette_without_PLTE.png": DAMAGED,
    "tiff_five_channels.tif": lambda pixels: pixels.dtype == np.uint8 and pixels.shape == (16, 16, 5),
    "tiff_float16.tif": counted("float32", 255),
    "tiff_float64.tif": counted("float32", 255),
    "tiff_group4_damaged.tif": DAMAGED,
    "tiff_palette_8bit_map.tif": indexed,
    "tiff_planar_rgb16.tif": lambda pixels: pixels.dtype == np.uint16 and bool((pixels == (60000, 300, 0)).all()),
    "tiff_two_channels.tif": lambda pixels: pixels.dtype == np.uint8 and pixels.shape == (16, 16, 2),
    "tiff_uint32_be.tif": counted("float32", 255),
}
"""What the pixels must be, or the codes a refusal may have."""

TABLES: dict[str, tuple[Callable[[Splits], bool], ...] | str] = {
    "09_excel_sep.csv": (classes(*CELLS),),
    "14_leading_zero_mixed.csv": (classes(*CELLS), noted("spel")),
    "17_patient_nan.csv": (classes(*CELLS), noted("18", "nan"), lambda data: _largest_group(data) < 18),
    "22_label_mixed_1_1.0.csv": (classes("0", "1"), noted("1.0")),
    "29_label_nfc_nfd.csv": (classes(*("é" + name for name in CELLS)), noted(unicodedata.normalize("NFD", "é"))),
    "64_labels_comma.csv": (classes("A", "B", "C", task="multilabel"), noted("A,B")),
    "69_label_num_and_class.csv": (classes("0", "1", "2"), noted("'class'")),
    "a1_ten_nan.csv": "table-rows",
    "a2_group_hides_patient.csv": (classes(*CELLS), noted("'group'"), lambda data: len(_groups(data)) == 12),
    "a4_extra_image_cols.csv": (classes(*CELLS), noted("'path'")),
}
"""What the data set must be, or the code of its refusal."""


def _groups(data: Splits) -> dict[int, int]:
    """Images of each group, over all splits."""
    found: dict[int, int] = {}
    for part in (data.train, data.val, data.test):
        assert part.groups is not None
        for group in part.groups.tolist():
            found[group] = found.get(group, 0) + 1
    return found


def _largest_group(data: Splits) -> int:
    return max(_groups(data).values())


def test_each_odd_file_gives_its_right_values_or_its_true_reason(shared: Path) -> None:
    folder = shared / "data" / "odd"
    if not folder.is_dir():
        pytest.skip("the odd files of ../shared are not here")
    listed = {path.name for path in folder.iterdir()} - {"README.md"}
    assert listed == set(IMAGES) | set(TABLES)
    wrong: list[str] = []
    for name, expected in IMAGES.items():
        try:
            image = read(folder / name)
        except ZooError as problem:
            if not isinstance(expected, set) or problem.code not in expected or "\n" in str(problem):
                wrong.append(f"{name}: {problem.code}: {problem}")
        else:
            if isinstance(expected, set):
                wrong.append(f"{name}: read, expected {' or '.join(sorted(expected))}")
            elif not expected(image.pixels):
                wrong.append(f"{name}: {image.pixels.dtype} {image.pixels.shape} {image.pixels[0, :4].tolist()}")
    for name, holds in TABLES.items():
        try:
            data = open_data(folder / name)
        except ZooError as problem:
            if problem.code != holds:
                wrong.append(f"{name}: {problem.code}: {problem}")
        else:
            if isinstance(holds, str) or not all(one(data) for one in holds):
                wrong.append(f"{name}: {data.labels}, {data.notes}")
    assert not wrong, "\n".join(wrong)
