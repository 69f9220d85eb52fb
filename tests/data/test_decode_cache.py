"""Decoded images that are kept: the same bytes as without, and none that no longer belong to their files."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from noted import noted
from refusals import refused

from zoo.data import TRAINED_ON, decode_all, digest_all, open_data, read_seen, write_seen
from zoo.data import _cache as cache
from zoo.data import _decode as decode
from zoo.data import _room as room
from zoo.errors import DataError, OutputError
from zoo.spec import Percentile, PreprocessSpec, TrainConfig, Window
from zoo.store import _cachedir as cachedir
from zoo.store._places import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zoo.data import ImageSet

    MakeFolder = Callable[..., Path]

SPEC = PreprocessSpec(size=(16, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
BUILD = """
import sys
from pathlib import Path
from zoo.data import decode_all, open_data
from zoo.data import _cache as cache
from zoo.data import _decode as decode
from zoo.spec import PreprocessSpec
decode.WORTH_KEEPING, cache.FEWEST = 0, 1
SPEC = PreprocessSpec(size=(16, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
images = open_data(Path(sys.argv[1]), for_training=False).test
"""


@pytest.fixture
def pets(make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty images, and a cache that takes sets as small and fast as this."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(decode, "WORTH_KEEPING", 0)
    monkeypatch.setattr(cache, "FEWEST", 1)
    return make_folder({"cat": 10, "dog": 10})


def images_of(root: Path) -> ImageSet:
    return open_data(root, for_training=False).test


def plain(images: ImageSet, spec: PreprocessSpec = SPEC, **options: bool) -> decode.Decoded:
    """Without a cache."""
    os.environ["ZOO_CACHE_GB"] = "0"
    try:
        return decode_all(images, spec, **options)
    finally:
        os.environ["ZOO_CACHE_GB"] = "1"


def same(a: decode.Decoded, b: decode.Decoded) -> bool:
    return (
        a.pixels.tobytes() == b.pixels.tobytes()
        and a.pixels.shape == b.pixels.shape
        and a.ids == b.ids
        and a.bad == b.bad
        and np.array_equal(a.targets, b.targets)
    )


def kept_files() -> list[Path]:
    return sorted(cache_folder("decoded").iterdir())


def test_the_second_time_gives_the_same_bytes_and_decodes_nothing(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of(pets)
    first = decode_all(images, SPEC)
    assert (first.fresh, first.kept) == (True, kept_files()[0])
    monkeypatch.setattr(decode, "_decode_one", lambda *_: pytest.fail("decoded again"))
    second = decode_all(images, SPEC)
    assert not second.fresh
    assert isinstance(second.pixels, np.memmap)
    monkeypatch.undo()
    for decoded in (first, second):
        assert same(decoded, plain(images))


def test_what_is_done_to_the_pixels_does_not_reach_the_cache(pets: Path) -> None:
    images = images_of(pets)
    for _ in range(3):
        decoded = decode_all(images, SPEC)
        assert same(decoded, plain(images))
        decoded.pixels[:] = 0


def test_only_what_reaches_the_pixels_makes_another_entry(pets: Path) -> None:
    images = images_of(pets)
    decode_all(images, SPEC)
    for change in ({"mean": (0.1,) * 3}, {"std": (0.3,) * 3}):
        assert not decode_all(images, _with(SPEC, **change)).fresh
    padding = {"intensity": Percentile(padding=((0, 90),))}
    sizes = ({"size": (12, 16)}, {"resize": "stretch"}, {"interpolation": "bilinear"}, {"channels": "gray"})
    for change in (*sizes, padding):
        spec = _with(SPEC, **change, **({"mean": (0.5,), "std": (0.5,)} if "channels" in change else {}))
        assert same(decode_all(images, spec), plain(images, spec))
    assert decode_all(images, _with(SPEC, intensity=Window(center=100, width=50))).fresh  # no range is checked
    assert len(kept_files()) == 7
    assert not decode_all(images, SPEC).fresh, "an entry of another spec pushed this one out"


def _with(spec: PreprocessSpec, **changes: Any) -> PreprocessSpec:
    return msgspec.structs.replace(spec, **changes)


def repaint(path: Path) -> None:
    shutil.copy(path.with_name("0.png"), path)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: repaint(root / "cat" / "3.png"),
        lambda root: (root / "cat" / "3.png").unlink(),
        lambda root: shutil.copy(root / "cat" / "3.png", root / "dog" / "new.png"),
    ],
    ids=["changed", "removed", "added"],
)
def test_an_entry_goes_when_its_images_change(pets: Path, change: Callable[[Path], object]) -> None:
    before = decode_all(images_of(pets), SPEC).kept
    change(pets)
    images = images_of(pets)
    decoded = decode_all(images, SPEC)
    assert decoded.fresh
    assert same(decoded, plain(images))
    assert before not in kept_files()
    assert kept_files() == [decoded.kept]


def test_train_and_val_and_other_folders_do_not_push_each_other_out(pets: Path, make_folder: MakeFolder) -> None:
    splits = open_data(pets)
    other = images_of(make_folder({"bird": 20}, name="birds"))
    sets = (splits.train, splits.val, other)
    for images in sets:
        decode_all(images, SPEC)
    assert [decode_all(images, SPEC).fresh for images in sets] == [False] * 3


def test_a_file_that_changed_after_it_was_indexed_is_not_kept(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = images_of(pets)
    repaint(pets / "dog" / "4.png")
    decoded = decode_all(images, SPEC)
    assert decoded.kept is None
    assert kept_files() == []
    assert "indexed" in caplog.text
    assert same(decoded, plain(images))


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[5:]),
        lambda path: path.write_bytes(b"\0" * path.stat().st_size),
        lambda path: flip(path, 100),
        lambda path: flip(path, -30),
        lambda path: flip(path, -24),
        lambda path: os.truncate(path, 4096),
    ],
    ids=["empty", "cut behind", "cut before", "zeros", "a pixel", "the footer", "its length", "a torn file"],
)
def test_a_damaged_entry_is_never_used(pets: Path, damage: Callable[[Path], object]) -> None:
    images = images_of(pets)
    (path,) = (decode_all(images, SPEC).kept,)
    assert path is not None
    damage(path)
    again = decode_all(images, SPEC)
    assert again.fresh
    assert same(again, plain(images))
    assert not decode_all(images, SPEC).fresh


def test_one_flipped_bit_is_seen_wherever_it_is(pets: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a sample of rows two flips of three were trained on in silence, and nearly all in a large set."""
    (pets / "cat" / "2.png").write_bytes((pets / "cat" / "2.png").read_bytes()[:70])
    images = images_of(pets)
    entry = cache.entry_for(images, SPEC)
    assert entry is not None
    assert decode_all(images, SPEC, skip_bad=True).kept == entry.path
    whole = entry.path.read_bytes()
    rows = 19 * 16 * 12 * 3 * 4
    random = np.random.default_rng(0)
    places = [*random.integers(0, rows, 150).tolist(), *random.integers(rows, len(whole), 150).tolist()]
    for at in places:
        entry.path.write_bytes(whole)
        flip(entry.path, at, int(random.integers(8)))
        caplog.clear()
        assert entry.read() is None, f"a flip at byte {at} of {len(whole)}"
        assert noted(caplog.messages, "damaged"), "in silence"
        assert not entry.path.exists()
    entry.path.write_bytes(whole)
    kept = entry.read()
    assert kept is not None
    assert kept.bad == [2]


def test_an_entry_under_the_name_of_another_is_not_taken(pets: Path, make_folder: MakeFolder) -> None:
    mine = decode_all(images_of(pets), SPEC)
    other = images_of(make_folder({"bird": 20}, name="birds"))
    theirs = decode_all(other, SPEC)
    assert mine.kept is not None
    assert theirs.kept is not None
    shutil.copy(mine.kept, theirs.kept)
    assert same(decode_all(other, SPEC), plain(other))


def test_bad_images_are_remembered_and_looked_at_again(pets: Path) -> None:
    whole = (pets / "cat" / "2.png").read_bytes()
    (pets / "cat" / "2.png").write_bytes(whole[:70])
    images = images_of(pets)
    with refused("images-unusable", DataError, unusable=1, images=20):
        decode_all(images, SPEC)
    assert kept_files() == []
    first, second = (decode_all(images, SPEC, skip_bad=True) for _ in range(2))
    assert (first.fresh, second.fresh) == (True, False)
    assert [name for name, _ in second.bad] == ["cat/2.png"]
    assert same(first, second)
    assert same(second, plain(images, skip_bad=True))
    with refused("images-unusable", DataError, unusable=1, images=20):
        decode_all(images, SPEC)


def test_an_image_that_could_not_be_reached_is_not_lost_for_good(pets: Path) -> None:
    images = images_of(pets)
    aside = pets.parent / "aside.png"
    (pets / "cat" / "2.png").rename(aside)
    assert len(decode_all(images, SPEC, skip_bad=True).ids) == 19
    aside.rename(pets / "cat" / "2.png")
    assert len(decode_all(images, SPEC, skip_bad=True).ids) == 20
    assert same(decode_all(images, SPEC), plain(images))


def test_small_and_fast_sets_and_arrays_are_not_kept(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "WORTH_KEEPING", 3600)
    assert decode_all(images_of(pets), SPEC).kept is None
    monkeypatch.setattr(decode, "WORTH_KEEPING", 0)
    assert decode_all(open_data("digits").val, SPEC).kept is None
    monkeypatch.setenv("ZOO_CACHE_GB", "0")
    assert decode_all(images_of(pets), SPEC).kept is None
    assert not cache_folder("decoded").exists()


def test_the_least_recently_used_goes_first(
    make_folder: MakeFolder, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [images_of(pets), *(images_of(make_folder({"x": 20}, name=f"set{i}")) for i in range(2))]
    first, second = (decode_all(images, SPEC).kept for images in sets[:2])
    assert first is not None
    assert second is not None
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    assert not decode_all(sets[0], SPEC).fresh  # used again
    monkeypatch.setenv("ZOO_CACHE_GB", str(2.5 * first.stat().st_size / 1e9))
    third = decode_all(sets[2], SPEC).kept
    assert set(kept_files()) == {first, third}
    monkeypatch.setenv("ZOO_CACHE_GB", "1e-6")
    before = kept_files()
    assert decode_all(images_of(make_folder({"y": 20}, name="last")), SPEC).kept is None
    assert kept_files() == before, "what fits was removed for what cannot"


def test_a_disk_without_room_is_left_alone(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = images_of(pets)
    usage = shutil.disk_usage(pets)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=50_000))
    assert decode_all(images, SPEC).kept is None
    monkeypatch.undo()

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("ZOO_HOME", str(pets.parent / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(decode, "WORTH_KEEPING", 0)
    monkeypatch.setattr(cache, "FEWEST", 1)
    monkeypatch.setattr(cache.os, "posix_fallocate", full)
    decoded = decode_all(images, SPEC)
    assert decoded.kept is None
    assert kept_files() == []
    assert same(decoded, plain(images))
    monkeypatch.setattr(room, "IN_MEMORY", 100)
    with refused("output-full", OutputError):
        decode_all(images, SPEC)


def test_a_large_set_says_where_its_pixels_go_before_it_is_decoded(
    pets: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """60 GB went into a folder that nobody was told of, and that may be made of memory."""
    images, size, folder = images_of(pets), 20 * 16 * 12 * 3 * 4, tempfile.gettempdir()
    caplog.set_level(logging.INFO, "zoo")
    monkeypatch.setattr(room, "IN_MEMORY", 100)
    assert decode_all(images, SPEC).kept is not None
    assert noted(caplog.messages, "46.1 kB", str(cache_folder("decoded")))

    cachedir.clear()
    monkeypatch.setenv("ZOO_CACHE_GB", "1e-8")
    caplog.clear()
    assert isinstance(decode_all(images, SPEC).pixels, np.memmap)
    assert noted(caplog.messages, "not kept", "ZOO_CACHE_GB")
    assert noted(caplog.messages, "46.1 kB", folder, "TMPDIR")
    assert not noted(caplog.messages, "memory")

    monkeypatch.setattr(room, "lies_in_memory", lambda _: True)
    caplog.clear()
    decode_all(images, SPEC)
    assert noted(caplog.messages, folder, "memory", "TMPDIR")
    monkeypatch.setattr(room, "free_memory", lambda: size - 1)
    with refused("output-full", OutputError, needed=size, free=size - 1, folder=folder):
        decode_all(images, SPEC)
    monkeypatch.setattr(room, "lies_in_memory", lambda _: False)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    with refused("output-full", OutputError, needed=size, free=size - 1):
        decode_all(images, SPEC)


def test_pixels_that_would_take_half_of_the_free_memory_go_to_a_file(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the system would end the process without a word."""
    images, size = images_of(pets), 20 * 16 * 12 * 3 * 4
    monkeypatch.setenv("ZOO_CACHE_GB", "0")
    for free, mapped in ((2 * size, False), (2 * size - 1, True)):
        monkeypatch.setattr(room, "free_memory", lambda free=free: free)
        assert isinstance(decode_all(images, SPEC).pixels, np.memmap) is mapped

    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(room, "free_memory", lambda: 2 * size)
    monkeypatch.setattr(room.np, "empty", refuse)
    with refused("decoded-memory", DataError, needed=size):
        decode_all(images, SPEC)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_build_leaves_nothing_that_is_read(pets: Path) -> None:
    stopping = BUILD + (
        "import sys\nreal, asked = decode._decode_one, []\n"
        "def stopping(*given):\n"
        "    asked.append(given)\n"
        "    if len(asked) == 8:  # some of them are in the entry\n"
        "        print('here', flush=True)\n"
        "        sys.stdin.read()\n"
        "    return real(*given)\n"
        "decode._decode_one = stopping\ndecode_all(images, SPEC, workers=1)\n"
    )
    command = [sys.executable, "-c", stopping, str(pets)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        (half,) = kept_files()
        assert half.suffix == cachedir.BUILDING
        cachedir.sweep()
        assert kept_files() == [half], "the file of a living process was removed"
        process.send_signal(signal.SIGKILL)
    assert kept_files() == [half]
    images = images_of(pets)
    decoded = decode_all(images, SPEC)
    assert decoded.fresh
    assert same(decoded, plain(images))
    assert kept_files() == [decoded.kept]


def test_two_processes_that_build_at_once_both_end_right(pets: Path) -> None:
    code = BUILD + (
        "import hashlib\n"
        "for _ in range(5):\n"
        "    found = decode_all(images, SPEC)\n"
        "    print(hashlib.sha256(found.pixels.tobytes()).hexdigest())\n"
        "    found.kept.unlink(missing_ok=True)\n"
        "decode_all(images, SPEC)\n"
    )
    command = [sys.executable, "-c", code, str(pets)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].split() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert len({text for lines in said for text in lines}) == 1
    images = images_of(pets)
    found = decode_all(images, SPEC)
    assert not found.fresh
    assert same(found, plain(images))
    assert len(kept_files()) == 1


def test_a_file_that_is_begun_is_not_swept_away_before_it_is_claimed(pets: Path) -> None:
    decode_all(images_of(pets), SPEC)
    begun = cache_folder("decoded") / f".begun{cachedir.BUILDING}"
    begun.touch()
    cachedir.sweep()
    assert begun.exists()
    os.utime(begun, (1e9, 1e9))
    cachedir.sweep()
    assert not begun.exists()


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as POSIX has them")
@pytest.mark.parametrize("stranger", ["pipe", "device", "folder"])
def test_what_stands_in_place_of_an_entry_is_neither_waited_for_nor_read(pets: Path, stranger: str) -> None:
    images = images_of(pets)
    path = decode_all(images, SPEC).kept
    assert path is not None
    path.unlink()
    if stranger == "pipe":
        os.mkfifo(path)
    elif stranger == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert same(decode_all(images, SPEC), plain(images))


def test_no_name_of_an_image_stands_in_the_cache(pets: Path) -> None:
    """A file name may be a patient's."""
    (pets / "cat" / "1.png").rename(pets / "cat" / "Canary^Patient.png")
    (pets / "cat" / "2.png").write_bytes((pets / "cat" / "2.png").read_bytes()[:70])
    path = decode_all(images_of(pets), SPEC, skip_bad=True).kept
    assert path is not None
    assert b"Canary" not in path.read_bytes()
    assert b"cat/2" not in path.read_bytes()


def test_clearing_removes_every_entry_and_says_which(pets: Path) -> None:
    decode_all(images_of(pets), SPEC)
    (cache_folder("decoded") / f".old{cachedir.BUILDING}").write_bytes(b"left by a killed process")
    os.utime(cachedir.entries()[0].path, (1e9, 1e9))
    assert cachedir.entries()[0].used == 1e9
    assert [one.kind for one in cachedir.clear()] == ["decoded"]
    assert kept_files() == []


def test_training_says_on_one_line_that_it_uses_the_cache_and_where(
    pets: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a study could rest on pixels nobody knew of."""
    import torch

    from zoo.learn._distributed import Peers
    from zoo.learn._images import decode_splits

    splits = open_data(pets)
    run = SimpleNamespace(file=lambda name: pets.parent / name)
    pixels = []
    for done in ("kept in", "taken from"):
        write_seen(run.file(TRAINED_ON), splits)
        caplog.clear()
        with caplog.at_level(logging.INFO, "zoo"):
            context, peers = SimpleNamespace(skip_bad=False), Peers(0, 1, torch.device("cpu"))
            decode_splits(splits, SPEC, TrainConfig(), run, context, peers)  # type: ignore[arg-type]
        told = [line for line in caplog.messages if "cache" in line]
        assert len(told) == 1
        assert noted(told, done, str(cache_folder("decoded")), "'zoo data cache'")
        pixels.append(read_seen(run.file(TRAINED_ON)).pixels["train"].tobytes())
    assert pixels[0] == pixels[1]
    kept = read_seen(run.file(TRAINED_ON))
    assert kept.holds_pixels(digest_all(splits.train)).all(), "what comes from the cache is known by its pixels, too"
    assert not kept.holds_pixels(digest_all(splits.test)).any()
