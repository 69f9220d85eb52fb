"""Damaged files of every format: an image or one line, nothing else, and the process lives."""

from __future__ import annotations

import io
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
from damage import damage
from dying import compressed_tiff
from PIL import Image, features

from zoo.errors import ImageError
from zoo.readers import Probe, RawImage, probe, read
from zoo.readers import _companion as companion

MUTATIONS = 400
"""Of each file; all of them together take about a minute of one core."""

_COLOUR, _GRAY, _BITS, _DEEP = "RGB", "L", "1", "I;16"
_FORMS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("PNG", _COLOUR, {}),
    ("PNG", _DEEP, {}),
    ("PNG", "P", {}),
    ("JPEG", _COLOUR, {}),
    ("JPEG", _GRAY, {"progressive": True}),
    ("BMP", _COLOUR, {}),
    ("GIF", "P", {}),
    ("PPM", _COLOUR, {}),
    ("PPM", _DEEP, {}),
    ("WEBP", _COLOUR, {}),
    ("WEBP", _COLOUR, {"lossless": True}),
    ("TIFF", _COLOUR, {}),
    ("TIFF", _DEEP, {}),
    ("TIFF", _COLOUR, {"compression": "tiff_lzw"}),
    ("TIFF", _DEEP, {"compression": "tiff_adobe_deflate"}),
    ("TIFF", _GRAY, {"compression": "packbits"}),
    ("TIFF", _COLOUR, {"compression": "jpeg"}),
    ("TIFF", _GRAY, {"compression": "lzma"}),
    ("TIFF", _GRAY, {"compression": "zstd"}),
    ("TIFF", _GRAY, {"compression": "webp"}),
    ("TIFF", _BITS, {"compression": "group3"}),
    ("TIFF", _BITS, {"compression": "group4"}),
    ("TIFF", "P", {"compression": "tiff_lzw", "big_tiff": True}),
    ("JPEG2000", _GRAY, {}),
    ("AVIF", _COLOUR, {}),
)
_DICOMS = (
    "CT_small.dcm",  # explicit VR
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "image_dfl.dcm",  # deflated
    "MR_small_RLE.dcm",
    "SC_rgb_small_odd_jpeg.dcm",  # JPEG baseline
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",  # JPEG lossless
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEGLSNearLossless_08.dcm",
    "MR_small_jp2klossless.dcm",
    "GDCMJ2K_TextGBR.dcm",  # JPEG 2000
)


def rasters() -> Iterator[tuple[str, bytes]]:
    """One small file of each raster format and compression that this Pillow writes."""
    y, x = np.mgrid[:23, :31]
    values = ((x * 8) ^ (y * 5)).astype(np.uint8)
    pictures = {
        _GRAY: Image.fromarray(values),
        _BITS: Image.fromarray(values > 90),
        _DEEP: Image.fromarray(values.astype(np.uint16) * 250),
        _COLOUR: Image.fromarray(np.dstack([values, values.T[:23, :1].repeat(31, 1), 255 - values])),
    }
    pictures["P"] = pictures[_COLOUR].quantize(16)
    for form, mode, options in _FORMS:
        stream = io.BytesIO()
        try:
            pictures[mode].save(stream, form, **options)
        except (OSError, KeyError, ValueError):  # not built into this Pillow
            assert form == "AVIF" or "compression" in options or not features.check("jpg_2000"), (form, options)
            continue
        yield " ".join([form, mode, *map(str, options.values())]), stream.getvalue()


def dicoms() -> Iterator[tuple[str, bytes]]:
    """One small file of each transfer syntax."""
    pytest.importorskip("pydicom")
    from dicom_cases import bundled

    yield from ((name, bundled(name).read_bytes()) for name in _DICOMS)


def look(examine: Callable[[bytes], object], kind: type, data: bytes) -> str:
    """Code of the refusal; "" where there was none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, which the command line does not show either
            found = examine(data)
    except ImageError as problem:
        return problem.code if "\n" not in str(problem) else f"{problem!r}"
    except BaseException as problem:
        problem.add_note(f"the file: {data.hex()}")
        raise
    return "" if isinstance(found, kind) else f"{type(found)}"


@pytest.mark.slow
@pytest.mark.parametrize("files", [rasters, dicoms])
def test_a_damaged_file_is_an_image_or_one_line(
    files: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(compressed_tiff(8))  # a companion is there
    monkeypatch.setattr(companion._companions(), "_limit_s", 5.0)  # some damaged JPEG 2000 takes for ever
    random, outcomes, start = Random(12), Counter[str](), time.perf_counter()  # noqa: S311 - the same faults each time
    for _, whole in files():
        for _ in range(MUTATIONS):
            data = damage(whole, random)
            look(probe, Probe, data)
            outcomes[look(read, RawImage, data)] += 1
    n = sum(outcomes.values())
    with capsys.disabled():
        sys.stdout.write(
            f"\n{n} {files.__name__}, {n / (time.perf_counter() - start):.0f} a second: {dict(outcomes)}\n"
        )
    assert all(not code or code.startswith("image-") for code in outcomes)
    assert n // 20 < outcomes[""] < n
