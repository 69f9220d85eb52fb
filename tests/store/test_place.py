"""A place is written whole or not at all, here and in a store, and each refusal is one typed error."""

from __future__ import annotations

import errno
import functools
from pathlib import Path
from typing import Any

import pytest
from refusals import refused

from zoo.errors import DataError, OutputError
from zoo.store import _urls
from zoo.store.place import Place

memory = pytest.importorskip("fsspec.implementations.memory", reason="URLs need fsspec")


@pytest.fixture(params=["here", "file://", "memory://"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(_urls, "_WAIT", 0.001)
    monkeypatch.setattr(memory.MemoryFileSystem, "store", {})
    return Place({"here": tmp_path / "out", "file://": f"file://{tmp_path}/out"}.get(request.param, "memory://out"))


def fail(problem: OSError) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise problem

    return refuse


def test_what_is_written_or_moved_is_read_and_listed(place: Place, tmp_path: Path) -> None:
    assert (place.names(), place.sizes(), place.holds("a")) == (set(), {}, False)
    with pytest.raises(FileNotFoundError):
        place.read("a")
    place.write("a", b"12345")
    place.write("deep/b", b"6")
    (tmp_path / "made").write_bytes(b"whole")
    place.move(tmp_path / "made", "c")
    assert place.names() == {"a", "c", "deep"}
    assert place.sizes() == {"a": 5, "c": 5}
    assert place.sizes("deep") == {"b": 1}
    assert place.read("a", 1, 3) == b"23"
    assert dict(place.read_all(["a", "deep/b"])) == {"a": b"12345", "deep/b": b"6"}
    place.remove(["a", "deep", "nothing"])
    assert place.names() == {"c"}
    assert place.holds("c")


@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only")]
)
def test_a_place_that_cannot_be_written_is_one_error_and_leaves_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: OSError
) -> None:
    place.write("a", b"old")
    (tmp_path / "made").write_bytes(b"new")
    for name in ("pipe_file", "put_file"):
        monkeypatch.setattr(memory.MemoryFileSystem, name, fail(problem))
    monkeypatch.setattr(Path, "write_bytes", fail(problem))
    monkeypatch.setattr("shutil.move", fail(problem))
    for write in (lambda: place.write("a", b"new"), lambda: place.move(tmp_path / "made", "a")):
        with refused("output-unwritable", OutputError):
            write()
        assert place.read("a") == b"old"
        assert place.names() == {"a"}


def test_a_file_that_cannot_be_read_is_one_error_and_one_below_a_file_is_missing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "folder").mkdir()
    place.write("file", b"")
    for read in (place.read, place.holds, lambda name: list(place.read_all([name]))):
        with refused("output-unwritable", OutputError):
            read("folder")
    assert not place.holds("file/below")


def test_a_file_that_cannot_be_removed_is_one_error_here_and_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("index.json", b"{}")
    monkeypatch.setattr(Path, "unlink", fail(PermissionError(errno.EACCES, "Permission denied")))
    monkeypatch.setattr(memory.MemoryFileSystem, "rm", fail(PermissionError(errno.EACCES, "Permission denied")))
    with refused("output-unwritable", OutputError):
        place.remove(["index.json"])


def test_a_store_is_asked_again_but_not_for_what_it_refuses() -> None:
    waits = list[float]()
    ask_patiently = functools.partial(_urls.insist, patience=60, wait=waits.append)
    answers = iter([ConnectionError("down"), OSError("down"), None])

    def ask() -> str:
        if (problem := next(answers)) is not None:
            raise problem
        return "here"

    said = list[DataError]()
    assert ask_patiently(ask, "s3://bucket/a", say=said.append) == "here"
    assert waits == [0.5, 1.0]
    assert [one.code for one in said] == ["remote-unreachable"]
    for problem, code in ((PermissionError("no"), "remote-denied"), (ConnectionError("down"), "remote-unreachable")):
        waits.clear()
        with refused(code, DataError):
            ask_patiently(fail(problem), "s3://bucket/a", patience=0)
        assert waits == ([] if code == "remote-denied" else [0.5, 1.0])
    with pytest.raises(FileNotFoundError):
        ask_patiently(fail(FileNotFoundError("a")), "s3://bucket/a")


def test_a_store_that_stays_away_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = [0.0], list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(_urls.time, "monotonic", lambda: now[0])
    with refused("remote-unreachable", DataError):
        _urls.insist(fail(ConnectionError("down")), "s3://bucket/a", patience=100, wait=wait)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 8.5]
    with refused("remote-unreachable", DataError):
        _urls.insist(fail(ConnectionError("down")), "s3://bucket/a", patience=100, wait=lambda _: True)
    assert now == [100.0], "whoever is not wanted any more does not wait"


def test_half_of_a_file_in_a_store_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_urls, "_WAIT", 0.001)
    place, pipe, sent = Place("memory://halves"), memory.MemoryFileSystem.pipe_file, list[int]()

    def send(self: Any, path: str, data: bytes, **how: Any) -> None:
        sent.append(len(data))
        pipe(self, path, data if len(sent) > 1 else data[:2], **how)

    monkeypatch.setattr(memory.MemoryFileSystem, "pipe_file", send)
    place.write("a", b"whole")
    assert sent == [5, 5]
    assert place.read("a") == b"whole"
    place.remove(["a"])


def test_a_web_server_is_no_place() -> None:
    pytest.importorskip("aiohttp", reason="http:// needs aiohttp")
    with refused("output-unwritable", OutputError):
        Place("https://host/out")
