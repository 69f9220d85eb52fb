"""An index that is remembered: a second look costs a stat a file, and is never wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from refusals import refused

from zoo.data._scanning import examine, index_cache, scan
from zoo.store import _cachedir as cachedir
from zoo.store._places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeFolder = Callable[..., Path]

OLD = time.time() - 3600


@pytest.fixture
def cats(make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images that settled long ago, and a cache that takes sets as small as this."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(index_cache, "FEWEST", 1)
    # the time of the last change of an inode cannot be set; here the present is later than it is
    monkeypatch.setattr(scan.time, "time_ns", lambda now=time.time_ns: now() + 10**10)
    return make_folder({"cat": 12})


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read since."""
    seen: list[str] = []
    real = examine.examine

    def spy(root: str, files: list[str], settled: int) -> examine.Part:
        seen.extend(files)
        return real(root, files, settled)

    monkeypatch.setattr("zoo.data._scanning.crew.examine", spy)
    return seen


def same(a: scan.Scanned, b: scan.Scanned) -> bool:
    arrays = (
        "digests",
        "width",
        "height",
        "kind",
        "gray",
        "voi",
        "bits",
        "frames",
        "group",
        "study",
        "file",
        "personal",
    )
    padding = np.array_equal(a.padding, b.padding, equal_nan=True)
    return padding and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays) and a.bad == b.bad


def index_files() -> list[Path]:
    return sorted(cache_folder("index").iterdir())


def fresh(root: Path, monkeypatch: pytest.MonkeyPatch) -> scan.Scanned:
    """What a scan without a cache says."""
    with monkeypatch.context() as patch:
        patch.setenv("ZOO_CACHE_GB", "0")
        return scan.scan(root, names(root))


def test_an_unchanged_folder_is_not_read_again(cats: Path, opened: list[str]) -> None:
    first = scan.scan(cats, names(cats))
    assert len(opened) == 12
    opened.clear()
    assert same(scan.scan(cats, names(cats)), first)
    assert opened == []


def overwrite(path: Path) -> None:
    """Other content of the same size under the same inode, its time put back: what a careless tool does."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    with path.open("r+b") as stream:
        stream.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    other.write_bytes(data)
    shutil.copystat(path, other)
    other.replace(path)


@pytest.mark.parametrize("change", [overwrite, grow, replace])
def test_a_changed_file_is_read_again(
    cats: Path, opened: list[str], change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scan.scan(cats, names(cats))
    opened.clear()
    change(cats / "cat" / "7.png")
    second = scan.scan(cats, names(cats))
    assert opened == ["cat/7.png"]
    assert (second.digests != first.digests).any(axis=1).nonzero()[0].tolist() == [names(cats).index("cat/7.png")]
    assert same(second, fresh(cats, monkeypatch))


def test_swapped_and_renamed_files_keep_their_own_content(
    cats: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan.scan(cats, names(cats))
    opened.clear()
    a, b, aside = cats / "cat" / "1.png", cats / "cat" / "2.png", cats / "aside"
    a.rename(aside)
    b.rename(a)
    aside.rename(b)
    (cats / "cat" / "3.png").rename(cats / "cat" / "30.png")
    assert same(scan.scan(cats, names(cats)), fresh(cats, monkeypatch))
    assert {"cat/1.png", "cat/2.png", "cat/30.png"} <= set(opened)


def test_added_and_removed_files_cost_no_more_than_themselves(
    cats: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan.scan(cats, names(cats))
    opened.clear()
    shutil.copy(cats / "cat" / "1.png", cats / "cat" / "0a.png")
    (cats / "cat" / "5.png").unlink()
    second = scan.scan(cats, names(cats))
    assert opened == ["cat/0a.png"]
    assert same(second, fresh(cats, monkeypatch))


def test_a_file_that_changed_just_now_is_not_trusted(cats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed again within one tick of the file system's clock it would look the same."""
    monkeypatch.undo()
    monkeypatch.setenv("ZOO_HOME", str(cats.parent / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(index_cache, "FEWEST", 1)
    for path in cats.rglob("*.png"):
        os.utime(path, (OLD, OLD))  # which changes the inode, now
    scan.scan(cats, names(cats))
    assert not cache_folder("index").is_dir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: data[:-1],
        lambda data: b"something else" * len(data),
        lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
        lambda data: data.replace(b'"readers":"', b'"readers":"x'),
        lambda data: data[:12] + b"\xff\xff\xff\xff" + data[16:],
    ],
    ids=["empty", "cut", "foreign", "a flipped bit", "other readers", "a wrong length"],
)
def test_a_damaged_cache_is_passed_over_and_mended(
    cats: Path, opened: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = scan.scan(cats, names(cats))
    (path,) = index_files()
    path.write_bytes(damage(path.read_bytes()))
    opened.clear()
    assert same(scan.scan(cats, names(cats)), first)
    assert len(opened) == 12
    opened.clear()
    assert same(scan.scan(cats, names(cats)), first)
    assert opened == []


def test_one_flipped_bit_is_seen_wherever_it_is(cats: Path) -> None:
    """The names of personal fields, too: `zoo data check` prints them."""
    scan.scan(cats, names(cats))
    (path,) = index_files()
    found = index_cache._read(path, cats)
    assert found is not None
    index_cache.remember(cats, found[1], [("GPS position",)])
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for at in (*range(0, len(whole) - found[1].nbytes, 2), *random.integers(0, len(whole), 100).tolist()):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(random.integers(8))]) + whole[at + 1 :])
        assert index_cache._read(path, cats) is None, f"a flip at byte {at} of {len(whole)}"


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as POSIX has them")
@pytest.mark.parametrize(
    "stranger", [getattr(os, "mkfifo", None), lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"]
)
def test_a_stranger_in_place_of_the_cache_is_neither_waited_for_nor_read(
    cats: Path, opened: list[str], stranger: Callable[[Path], object]
) -> None:
    first = scan.scan(cats, names(cats))
    (path,) = index_files()
    path.unlink()
    stranger(path)
    opened.clear()
    assert same(scan.scan(cats, names(cats)), first)
    assert len(opened) == 12


def test_two_tables_over_one_folder_do_not_forget_each_other(cats: Path, opened: list[str]) -> None:
    ids = names(cats)
    scan.scan(cats, ids[:6])
    scan.scan(cats, ids[6:])
    opened.clear()
    scan.scan(cats, ids[:6])
    scan.scan(cats, ids[6:])
    assert opened == []


def test_what_can_not_be_read_is_not_remembered_as_such(cats: Path) -> None:
    whole = (cats / "cat" / "4.png").read_bytes()
    (cats / "cat" / "4.png").write_bytes(b"hello")
    assert list(scan.scan(cats, names(cats)).bad) == [names(cats).index("cat/4.png")]
    assert len(scan.scan(cats, names(cats)).bad) == 1
    (cats / "cat" / "4.png").write_bytes(whole)
    assert scan.scan(cats, names(cats)).bad == {}


def test_a_cache_that_can_not_be_written_stops_nobody(
    cats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "occupied"))
    assert scan.scan(cats, names(cats)).bad == {}


def test_nothing_is_kept_when_the_cache_is_off(cats: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE_GB", "0")
    scan.scan(cats, names(cats))
    assert not cache_folder("index").exists()
    monkeypatch.setenv("ZOO_CACHE_GB", "plenty")
    with refused("option-value", cachedir.UsageError, option="ZOO_CACHE_GB", value="plenty"):
        scan.scan(cats, names(cats))


def test_two_processes_at_once_leave_one_good_cache(cats: Path, opened: list[str]) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom zoo.data._scanning import index_cache, scan\n"
        "index_cache.FEWEST = 1\nnow = time.time_ns\nscan.time.time_ns = lambda: now() + 10**10\n"
        "root = Path(sys.argv[1])\nids = sorted(p.relative_to(root).as_posix() for p in root.rglob('*.png'))\n"
        "for _ in range(5):\n"
        "    scan.scan(root, ids)\n"
        "    [p.unlink(missing_ok=True) for p in index_cache.cache_folder('index').glob('*.index')]\n"
        "scan.scan(root, ids)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(cats)]) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert [path.suffix for path in index_files()] == [".index"]
    scan.scan(cats, names(cats))
    assert opened == []


def test_no_file_name_and_no_label_stands_in_the_cache(cats: Path) -> None:
    """A file name may be a patient's."""
    (cats / "cat" / "1.png").rename(cats / "cat" / "Canary^Patient.png")
    scan.scan(cats, names(cats))
    (path,) = index_files()
    assert b"Canary" not in path.read_bytes()
