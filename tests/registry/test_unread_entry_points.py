"""A file of entry points that cannot be read costs its own package, and is told by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import class_folder
from refusals import refused

from zoo import registry
from zoo._support.entries import read_declared
from zoo.data import open_data
from zoo.errors import UsageError
from zoo.loggers import find_callbacks
from zoo.readers._others import others
from zoo.workflow._candidates import Limits, find_candidates

pytestmark = pytest.mark.usefixtures("ours")

Declare = Callable[[bytes], None]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Install a distribution `half` 2.0 with these bytes as its entry_points.txt."""

    def add(points: bytes, metadata: bytes = b"Name: half\nVersion: 2.0\n\nName: other\n") -> None:
        info = tmp_path / "site-half" / "half-2.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_bytes(b"Metadata-Version: 2.1\nAuthor: Andr\xe9\n" + metadata)
        (info / "entry_points.txt").write_bytes(points)
        monkeypatch.syspath_prepend(tmp_path / "site-half")
        importlib.invalidate_caches()

    return add


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (b"[zoo.plugins]\nfoo", "line 2 is 'foo'"),
        (b"[zoo.plugins]\na = b:C\n\n[zoo.cat", "line 4 is '[zoo.cat'"),
        (b"[zoo.plugins]\n# Andr\xe9\na = b:C", "line 2 is not UTF-8"),
        (b"[console_scripts]\nfoo\n[zoo.plugins]\na = b:C", "line 2 is 'foo'"),
    ],
)
def test_a_plugin_package_that_cannot_be_read_is_one_row(declare: Declare, points: bytes, said: str) -> None:
    before = registry.plugins()
    declare(points)
    row = {row.name: row for row in registry.models()}["(half)"]
    assert (row.distribution, row.state) == ("half", "broken")
    assert f"half 2.0: {said}" in row.status
    assert row.status.endswith("reinstall half")
    *others_too, last = registry.plugins()
    assert others_too == before
    assert (last.name, last.version, last.state, last.status) == ("(half)", "2.0", "broken", row.status)
    assert registry.readers() == registry.callbacks() == []
    assert registry.find("resnet18").name == "resnet18"
    assert registry.load("svm").origin.name == "svm"


def test_a_reader_package_that_cannot_be_read_is_told_where_its_files_are(declare: Declare) -> None:
    before = registry.models(), registry.plugins()
    declare(b"[zoo.readers]\nfoo")
    assert (registry.models(), registry.plugins()) == before
    (row,) = registry.readers()
    assert (row.name, row.group, row.state) == ("(half)", "zoo.readers", "broken")
    assert registry.check_readers() == [row]
    assert others().broken == {"(half)": row.status}


def test_a_callback_package_that_cannot_be_read_is_told_where_its_name_is_asked(declare: Declare) -> None:
    declare(b"[zoo.callbacks]\nward")
    (row,) = registry.callbacks()
    assert (row.name, row.group, row.state) == ("(half)", "zoo.callbacks", "broken")
    with refused("logger-unknown", UsageError, logger="ward") as caught:
        find_callbacks(["ward"])
    assert "half 2.0" in str(caught.value)


def test_a_package_that_declares_nothing_to_us_is_not_read(declare: Declare) -> None:
    before = read_declared()
    declare(b"[console_scripts]\nfoo\xe9\n")
    assert read_declared() == before


def test_metadata_with_a_byte_that_is_not_text_still_names_the_package(declare: Declare) -> None:
    declare(b"[zoo.plugins]\nhalf-net = half:Net")
    assert [(row.distribution, row.version) for row in registry.plugins() if row.name == "half-net"] == [
        ("half", "2.0")
    ]


def test_a_folder_twice_on_the_path_is_one_package(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader clashed with itself where PYTHONPATH named the working folder."""
    declare(b"[zoo.readers]\nodd = half:Odd")
    monkeypatch.syspath_prepend(sys.path[0])
    (only,) = read_declared().entries["zoo.readers"]["odd"]
    assert only.distribution.name == "half"


def test_a_search_passes_over_a_package_that_cannot_be_read(declare: Declare, tmp_path: Path) -> None:
    declare(b"[zoo.plugins]\nfoo")
    images = open_data(class_folder(tmp_path / "set"))
    assert find_candidates(images, Limits(), slot=600).quick
