"""Class folders out of a zip archive, into an empty folder: images and nothing else.

A checksum says that the archive is the one its publisher made, not that it means well. So no name leaves the
folder, nothing but plain files is written, and no more of them, or larger ones, than images are.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from zoo._support.text import join_lines
from zoo.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["extract"]

SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"))
MAX_FILES = 2_000_000
MAX_BYTES = 200 * 10**9
MAX_FILE = 500 * 10**6
MAX_RATIO = 200
"""Times its compressed size; deflate reaches 1032, a photograph hardly 2."""
SLACK = 10**6
"""Bytes that a file may have at any ratio: a small bitmap of one colour is not an attack."""
FORBIDDEN = frozenset('\0\\:*?"<>|')
"""Characters that no name may hold: separators, and what Windows cannot store."""


def extract(archive: Path, root: str, target: Path, what: str) -> int:
    """Write the images below `root` of `archive` to `target`, without `root` in their names.

    Args:
        archive: a zip file.
        root: folder in the archive that holds the class folders.
        target: an empty folder.
        what: how errors begin.

    Returns:
        The number of images.

    Raises:
        DataError: not a zip, damaged, an unsafe name, a link, too many or too large files, or no image.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, root, what)
            for name, member in members.items():
                place = target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, place.open("xb") as written:
                    # zipfile ends at the size that the directory states, which was checked, and compares the CRC.
                    shutil.copyfileobj(source, written, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as problem:
        reason = join_lines(problem, 100).lower()
        raise DataError(
            f"{what}: the archive cannot be read ({reason}); get it again", code="archive-damaged"
        ) from None
    return len(members)


def _members(opened: zipfile.ZipFile, root: str, what: str) -> dict[str, zipfile.ZipInfo]:
    """The images by the name they will have; everything is judged before anything is written."""
    infos = opened.infolist()
    if len(infos) > MAX_FILES:
        raise DataError(
            f"{what}: the archive holds {len(infos)} files, expected at most {MAX_FILES}",
            code="archive-refused",
            found=len(infos),
            limit=MAX_FILES,
        )
    members: dict[str, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    total = 0
    for info in infos:
        path = PurePosixPath(info.filename)
        _check_name(info, path, what)
        if info.is_dir() or path.suffix.lower() not in SUFFIXES or not path.is_relative_to(root):
            continue
        if any(part.startswith((".", "__MACOSX")) for part in path.parts):
            continue  # what an operating system left there
        total += info.file_size
        if info.file_size > MAX_FILE or total > MAX_BYTES or _bombs(info):
            raise DataError(
                f"{what}: {info.filename} in the archive is too large to be an image of it; not extracted",
                code="archive-refused",
                member=info.filename,
                found=info.file_size,
            )
        name = str(path.relative_to(root))
        if name.lower() in seen:  # one file, where capitals do not count
            raise DataError(
                f"{what}: {name} is in the archive twice; not extracted", code="archive-refused", member=name
            )
        seen.add(name.lower())
        members[name] = info
    if not members:
        raise DataError(f"{what}: the archive holds no image below {root}; is it the right one?", code="archive-empty")
    return members


def _check_name(info: zipfile.ZipInfo, path: PurePosixPath, what: str) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # the Unix mode, 0 where the archive was made elsewhere
    unsafe = path.is_absolute() or ".." in path.parts or FORBIDDEN & set(info.filename)
    if unsafe or kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise DataError(
            f"{what}: the archive holds {info.filename!r}, which is not a plain file inside it; not extracted",
            code="archive-refused",
            member=info.filename,
        )


def _bombs(info: zipfile.ZipInfo) -> bool:
    return info.file_size > SLACK and info.file_size > MAX_RATIO * max(info.compress_size, 1)
