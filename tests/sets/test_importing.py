"""Import: a file that was carried here is the published one, or it is not that set."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from zoo import sets
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zoo.sets import Variant


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
    with pytest.raises(DataError) as caught:
        sets.import_file(toys, carried)
    assert str(caught.value) == (
        f"toys.npz: md5 is {wrong}, the publisher of toys states {toys.file.checksum.removeprefix('md5:')}; "
        f"get https://example.org/toys.npz again, or use this file for what it is with --data {carried}"
    )
    assert not sets.is_here(toys)
    assert [path.suffix for path in sets.folder().iterdir()] == [".guard"], "no half copy is left"


@pytest.mark.parametrize("name", ["nowhere.npz", "."])
def test_what_is_no_file_is_said_so(toys: Variant, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"no such file; expected what https://example\.org/toys\.npz gives"):
        sets.import_file(toys, tmp_path / name)


def test_the_published_breastmnist_is_taken_and_known_by_its_size(shared: Path) -> None:
    file = shared / "data" / "medmnist" / "breastmnist.npz"
    with pytest.raises(DataError, match=r"breastmnist\.npz is breastmnist, not breastmnist@64; run 'zoo data import b"):
        sets.import_file(sets.find("breastmnist@64"), file)
    path = sets.import_file(sets.find("breastmnist"), file)
    assert path.stat().st_size == sets.find("breastmnist").file.size
    assert sets.sizes_here(sets.find("breastmnist").about, "breastmnist") == (28,)


def test_a_rebuilt_set_is_not_the_published_one(shared: Path) -> None:
    file = shared / "data" / "medmnist" / "pneumoniamnist_rebuilt.npz"
    with pytest.raises(DataError, match=r"states 28209eda62fecd6e6a2d98b1501bb15f; .* with --data .*rebuilt\.npz"):
        sets.import_file(sets.find("pneumoniamnist"), file)
