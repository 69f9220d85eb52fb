"""Import: a file that was carried here is the published one, or it is not that set."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from pictures import breast_archive
from refusals import refused

from zoo.errors import DataError
from zoo.store import sets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zoo.store.sets import Variant


@pytest.fixture
def toys(make_set: Callable[..., Variant], content: bytes) -> Variant:
    return make_set("https://example.org/toys.npz", content)


def test_the_right_file_under_any_name_is_taken(toys: Variant, content: bytes, tmp_path: Path) -> None:
    carried = tmp_path / "from the stick.bin"
    carried.write_bytes(content)
    path = sets.import_file(toys, carried)
    carried.unlink()
    assert sets.resolve(toys) == path
    assert path.read_bytes() == content
    assert sets.fetch(toys) == path, "no network is needed any more"


def test_another_file_is_refused_with_both_checksums_and_what_to_do(
    toys: Variant, content: bytes, tmp_path: Path
) -> None:
    carried = tmp_path / "toys.npz"
    carried.write_bytes(content[:-1])
    wrong = hashlib.new("md5", content[:-1], usedforsecurity=False).hexdigest()
    with refused("set-hash", DataError, found=f"md5:{wrong}", expected=toys.file.checksum) as caught:
        sets.import_file(toys, carried)
    assert "https://example.org/toys.npz" in str(caught.value)
    assert f"--data {carried}" in str(caught.value)
    assert not sets.is_here(toys)
    assert [path.suffix for path in sets.folder().iterdir()] == [".guard"], "no half copy is left"


@pytest.mark.parametrize("name", ["nowhere.npz", "."])
def test_what_is_no_file_is_said_so(toys: Variant, tmp_path: Path, name: str) -> None:
    with refused("file-missing", DataError, path=str(tmp_path / name)):
        sets.import_file(toys, tmp_path / name)


def test_the_published_breastmnist_is_taken_and_known_by_its_size(shared: Path) -> None:
    file = shared / "data" / "medmnist" / "breastmnist.npz"
    with refused("set-hash", DataError, name="breastmnist@64", twin="breastmnist"):
        sets.import_file(sets.find("breastmnist@64"), file)
    path = sets.import_file(sets.find("breastmnist"), file)
    assert path.stat().st_size == sets.find("breastmnist").file.size
    assert sets.sizes_here(sets.find("breastmnist").about, "breastmnist") == (28,)


def test_a_rebuilt_set_is_not_the_published_one(tmp_path: Path) -> None:
    file = breast_archive(tmp_path / "pneumoniamnist_rebuilt.npz")
    with refused("set-hash", DataError, expected="md5:28209eda62fecd6e6a2d98b1501bb15f"):
        sets.import_file(sets.find("pneumoniamnist"), file)
