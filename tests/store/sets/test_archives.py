"""Archives of class folders: only images, only inside the store, only as many and as large as images are."""

from __future__ import annotations

import io
import stat
import zipfile
from typing import TYPE_CHECKING

import pytest
from refusals import refused

from zoo.errors import DataError
from zoo.store import sets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zoo.store.sets import Variant

GOOD = {"toys/ball/1.png": b"one", "toys/doll/a/2.JPG": b"two"}


def zipped(files: dict[str, bytes], *, modes: dict[str, int] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            info.compress_type = method
            archive.writestr(info, data)
    return stream.getvalue()


@pytest.fixture
def carry(make_set: Callable[..., Variant], tmp_path: Path) -> Callable[[bytes], Path]:
    """Import an archive whose checksum is right, whatever is in it."""

    def act(archive: bytes) -> Path:
        (tmp_path / "toys.zip").write_bytes(archive)
        variant = make_set("https://example.org/toys.zip", archive, form="zip", root="toys")
        return sets.import_file(variant, tmp_path / "toys.zip")

    return act


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_class_folders_are_extracted_and_nothing_else(carry: Callable[[bytes], Path]) -> None:
    litter = {"toys/ball/Thumbs.db": b"", "toys/run.sh": b"", "__MACOSX/toys/ball/._1.png": b"", "other/3.png": b""}
    hidden = {"toys/.trash/4.png": b"", "toys/ball/._1.png": b""}
    folder = carry(zipped(GOOD | litter | hidden))
    assert files(folder) == {"ball/1.png": b"one", "doll/a/2.JPG": b"two"}
    assert folder.parent == sets.folder()


def test_a_fetched_archive_leaves_its_folder_only(make_set: Callable[..., Variant], publisher) -> None:
    archive = zipped(GOOD)
    publisher.files["/toys.zip"] = archive
    variant = make_set(f"{publisher.url}/toys.zip", archive, form="zip", root="toys")
    folder = sets.fetch(variant)
    assert files(folder) == {"ball/1.png": b"one", "doll/a/2.JPG": b"two"}
    assert sets.fetch(variant) == sets.resolve(variant) == folder
    assert {path.name for path in sets.folder().iterdir()} == {folder.name, ".toys.zip.guard"}


@pytest.mark.parametrize(
    "name",
    ["/etc/1.png", "../1.png", "toys/../../1.png", "toys\\..\\1.png", "C:/1.png", "toys/ball/..", "a\n/../1.png"],
)
def test_a_name_that_leaves_the_folder_is_refused_whole(carry: Callable[[bytes], Path], name: str) -> None:
    with refused("archive-refused", DataError):
        carry(zipped(GOOD | {name: b"bad"}))
    assert [path.name for path in sets.folder().iterdir()] == [".toys.zip.guard"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR], ids=["link", "pipe", "device"])
def test_what_is_no_plain_file_is_refused(carry: Callable[[bytes], Path], kind: int) -> None:
    with refused("archive-refused", DataError, member="toys/ball/3.png"):
        carry(zipped(GOOD | {"toys/ball/3.png": b"/etc/passwd"}, modes={"toys/ball/3.png": kind | 0o777}))


def test_a_file_that_swells_a_thousandfold_is_refused(carry: Callable[[bytes], Path]) -> None:
    with refused("archive-refused", DataError, member="toys/ball/3.png", found=20_000_000):
        carry(zipped(GOOD | {"toys/ball/3.png": bytes(20_000_000)}, method=zipfile.ZIP_DEFLATED))


def test_two_names_that_differ_in_case_alone_are_refused(carry: Callable[[bytes], Path]) -> None:
    with refused("archive-refused", DataError):
        carry(zipped(GOOD | {"toys/Ball/1.png": b"other"}))


def test_a_flipped_byte_inside_is_found(carry: Callable[[bytes], Path]) -> None:
    archive = bytearray(zipped(GOOD))
    archive[archive.index(b"two")] ^= 1
    with refused("archive-damaged", DataError):
        carry(bytes(archive))
    assert [path.name for path in sets.folder().iterdir()] == [".toys.zip.guard"]


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (b"no zip at all", "archive-damaged"),
        (zipped({"else/1.png": b""}), "archive-empty"),
        (zipped({}), "archive-empty"),
    ],
)
def test_an_archive_without_the_images_is_refused(carry: Callable[[bytes], Path], archive: bytes, code: str) -> None:
    with refused(code, DataError):
        carry(archive)
