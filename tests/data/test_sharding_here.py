"""`zoo data shard` and the disk of this machine: what a kill leaves on it, and what is said when it is full."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from typing import TYPE_CHECKING

import pytest
from PIL import Image

import zoo
from zoo._support.files import remove_leftovers
from zoo.data._shard_file import Growing
from zoo.errors import OutputError
from zoo.store._cachedir import claim
from zoo.store.place import Place

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data._sources.shard_index import Listing


def test_what_a_killed_call_left_goes_and_what_another_writes_stays(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    left = [out / f".{name}.ab_1cd2e.part" for name in ("train-000000.tar", "val-000099.tar", "index.json")]
    other = [out / ".movie.mp4.part", out / ".holiday.ab_1cd2e.part"]
    for path in (*left, *other):
        path.write_bytes(b"half")
    written = out / ".train-000001.tar.ab_1cd2e.part"
    written.write_bytes(b"half")
    with claim(written):
        zoo.shard(scenes, out, images=9)
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in (written, *other))
    seen, finish = [], Growing.finish

    def look(growing: Growing, mark: str, path: Path) -> Listing:
        remove_leftovers(path.parent, all_names=True)
        seen.append(path.exists())
        return finish(growing, mark, path)

    monkeypatch.setattr(Growing, "finish", look)
    zoo.shard(scenes, tmp_path / "another", images=9)
    assert seen
    assert all(seen)


def test_an_old_listing_does_not_vouch_for_a_shard_of_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store is not asked for the whole shard again, and these have one size."""
    memory = pytest.importorskip("fsspec.implementations.memory", reason="URLs need fsspec")
    monkeypatch.setattr(memory.MemoryFileSystem, "store", {})
    for at in range(12):
        (tmp_path / "set" / str(at % 2)).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (20 * at, 9, 9)).save(tmp_path / "set" / str(at % 2) / f"{at}.png")
    write = functools.partial(zoo.shard, tmp_path / "set", "memory://set", images=3, overwrite=True)
    before = write(seed=0)
    put = Place.write

    def kill(self: Place, name: str, data: bytes) -> None:
        if name.endswith(".index"):
            raise KeyboardInterrupt
        put(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", kill)
        with pytest.raises(KeyboardInterrupt):
            write(seed=1)
    after = write(seed=0)
    for one in after.shards:
        assert hashlib.sha256(memory.MemoryFileSystem().cat(f"/set/{one.name}")).hexdigest() == one.sha256
    assert after.shards == before.shards


def test_a_full_temporary_folder_is_said_beside_the_whole_address(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError) as caught:
        zoo.shard(scenes, "memory://bucket/set", images=9)
    assert caught.value.fields["path"] == "memory://bucket/set/train-000000.tar"
    assert "temporary folder" in str(caught.value)
