"""Recognise pictures of formats that no reader takes, so that no picture is left out in silence."""

from __future__ import annotations

import re

__all__ = ["HEIF_BRANDS", "HEIF_SUFFIXES", "RAW_SUFFIXES", "find_suffix", "is_picture_suffix", "name_format"]

_MAGIC = (
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (344, b"n+1\0", "NIfTI"),
    (344, b"ni1\0", "NIfTI"),
    (4, b"n+2\0\r\n\x1a\n", "NIfTI"),
    (0, b"8BPS", "PSD"),
    (0, b"FUJIFILMCCD-RAW", "RAW"),
    (0, b"IIU\0", "RAW"),  # Panasonic
    (0, b"IIRO", "RAW"),  # Olympus
    (0, b"IIRS", "RAW"),
    (0, b"MMOR", "RAW"),
    (0, b"NRRD000", "NRRD"),
    (0, b"P7\n", "PAM"),
    (0, b"PF\n", "PFM in colour"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
)
"""Offset of the first bytes of a format, these bytes, and its name."""

HEIF_BRANDS = frozenset({b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevm", b"hevs", b"hevx", b"mif1", b"msf1"})
"""Major brands of HEIC (ISO/IEC 23008-12, annex B), which is read by the extra [heif] only."""
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})

RAW_SUFFIXES = frozenset({
    ".arw", ".cr2", ".dng", ".nef", ".nrw", ".pef", ".srw",
    ".bif", ".mrxs", ".ndpi", ".scn", ".svs", ".vsi",  # slides
})  # fmt: skip
"""Camera files and slides that begin as a TIFF or JPEG does. Read as one they would give their thumbnail."""

# fmt: off
_SUFFIXES = RAW_SUFFIXES | HEIF_SUFFIXES | {
    ".cr3", ".czi", ".dds", ".eps", ".exr", ".fits", ".ico", ".jls", ".jxl", ".jxr", ".lif", ".mgh",
    ".mgz", ".mha", ".mhd", ".nd2", ".nii", ".nii.gz", ".nrrd", ".oir", ".orf", ".pcx", ".psd", ".qoi", ".raf",
    ".raw", ".rw2", ".svg", ".tga", ".xcf", ".zvi",
    ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv",
}
# fmt: on
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,7}(\.gz)?$")


def name_format(head: bytes) -> str | None:
    """The name of the picture format that a file begins as; None: not one that is known and not read.

    Args:
        head: the first 352 bytes, or all of a shorter file.
    """
    if head[4:8] == b"ftyp":
        return "RAW" if head[8:12] == b"crx " else "HEIC" if head[8:12] in HEIF_BRANDS else None  # crx: Canon CR3
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return "RAW"  # Canon CR2
    return next((name for at, magic, name in _MAGIC if head.startswith(magic, at)), None)


def is_picture_suffix(suffix: str) -> bool:
    """Whether files with this suffix, as `find_suffix` gives it, are pictures of a format that is not read."""
    return suffix in _SUFFIXES


def find_suffix(name: str) -> str:
    """The suffix of a file name in lower case, with '.gz' and what precedes it; '' for none, and for long ones."""
    found = _SUFFIX.search(name.lower()[-12:])
    return found[0] if found else ""
