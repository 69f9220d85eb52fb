"""A bundle in one file is the bundle in a folder: whatever holds for one holds for the other, and zips hide nothing."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edge_models import make_bundle

from zoo.edge import Runtime, bench, sign
from zoo.edge import verify as verify_apart
from zoo.edge.bundle._archive import MAX_MEMBERS, Archive, write_archive
from zoo.edge.bundle._keys import new_key
from zoo.errors import GateError, ModelError, TamperedError, ZooError

if TYPE_CHECKING:
    from collections.abc import Callable

Files = dict[str, bytes]
verify = partial(verify_apart, isolated=False)  # a child process each time would take minutes


@pytest.fixture
def files(bundle: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(bundle.iterdir())}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "mean.zoo.zip"


def refusal(path: Path) -> ZooError:
    """The one line with which both doors refuse it; nothing appeared on the disk."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises((ModelError, TamperedError)) as opened:
        Runtime.open(path)
    with pytest.raises((ModelError, GateError)):
        verify(path)
    assert sorted(path.parent.rglob("*")) == before
    line = str(opened.value)
    assert "\n" not in line
    assert path.name in line
    return opened.value


def plain(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip as Python's own module writes it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def with_member(files: Files, name: str, *, mode: int = 0o100644, data: bytes = b"x") -> bytes:
    """The bundle, and one more member of any name and kind."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for known, content in files.items():
            archive.writestr(known, content)
        info = zipfile.ZipInfo("x")
        info.filename = name  # the constructor would make it harmless
        info.external_attr = mode << 16
        info.create_system = 3
        archive.writestr(info, data)
    return stream.getvalue()


def test_the_zip_answers_as_the_folder(bundle: Path, files: Files, target: Path) -> None:
    write_archive(target, files.items())
    assert verify_apart(target).files == verify(bundle).files
    assert Runtime.open(target).manifest == Runtime.open(bundle).manifest
    assert Runtime.open(target).size_bytes == (bundle / "model.onnx").stat().st_size


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_another_tool_opens_if_it_is_plain(
    files: Files, target: Path, caplog: pytest.LogCaptureFixture, method: int
) -> None:
    target.write_bytes(plain(files, method))
    assert verify(target).images == 4
    assert ("release 0.2" in caplog.text) == (method == zipfile.ZIP_DEFLATED)


def test_the_writer_is_read_by_others_and_writes_the_same_bytes_again(files: Files, target: Path) -> None:
    write_archive(target, files.items())
    first = target.read_bytes()
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert {info.filename: archive.read(info) for info in archive.infolist()} == files
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}
    time.sleep(0.01)
    os.utime(target, (0, 0))
    write_archive(target, files.items())
    assert target.read_bytes() == first


def test_bench_takes_a_zip(files: Files, target: Path) -> None:
    write_archive(target, files.items())
    assert bench(target, runs=2, threads=1).size_bytes == len(files["model.onnx"])


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "../../etc/passwd",
        "/etc/passwd",
        "\\\\host\\share",
        "C:\\evil.txt",
        "C:evil.txt",
        "a\\..\\..\\evil",
        "inner/CARD.md",
        "folder/",
        "..",
        "CARD.md:stream",
        "line\nbreak",
    ],
)
def test_a_member_that_leads_elsewhere_is_refused(files: Files, target: Path, name: str) -> None:
    target.write_bytes(with_member(files, name))
    assert refusal(target).code == "zip-path"


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o010644, 0o060644])
def test_a_member_that_is_no_file_is_refused(files: Files, target: Path, mode: int) -> None:
    target.write_bytes(with_member(files, "extra", mode=mode, data=b"/etc/passwd"))
    assert refusal(target).code == "zip-member"


@pytest.mark.parametrize("twin", ["CARD.md", "card.MD"])
def test_two_members_of_one_name_are_refused(files: Files, target: Path, twin: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if twin in files else contextlib.nullcontext():
        target.write_bytes(with_member(files, twin))
    assert refusal(target).code == "zip-names"


def test_names_that_are_one_after_normalisation_are_refused(files: Files, target: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    target.write_bytes(with_member(files | {composed: b"1"}, decomposed))
    assert refusal(target).code == "zip-names"


def test_a_member_that_is_not_listed_or_missing_is_refused(files: Files, target: Path) -> None:
    write_archive(target, (files | {"extra.bin": b"x"}).items())
    problem = refusal(target)
    assert problem.code == "bundle-files"
    assert problem.fields["files"] == ["extra.bin"]
    write_archive(target, {name: data for name, data in files.items() if name != "CARD.md"}.items())
    problem = refusal(target)
    assert problem.code == "bundle-files"
    assert problem.fields["files"] == ["CARD.md"]
    write_archive(target, {name: data for name, data in files.items() if name != "manifest.json"}.items())
    assert refusal(target).code == "bundle-manifest-missing"


def test_a_changed_member_is_named_with_both_hashes(files: Files, target: Path) -> None:
    write_archive(target, (files | {"CARD.md": b"# changed\n"}).items())
    problem = refusal(target)
    assert problem.code == "bundle-files"
    assert problem.fields["files"] == ["CARD.md"]
    with pytest.raises(TamperedError):
        verify(target)


def test_encrypted_members_are_refused(files: Files, target: Path) -> None:
    data = bytearray(plain(files))
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(magic) + offset] |= 1
    target.write_bytes(data)
    assert "encrypted" in str(refusal(target))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(files: Files, target: Path, method: int) -> None:
    target.write_bytes(plain(files, method))
    assert refusal(target).code == "zip-packing"


def test_sizes_that_follow_the_data_are_refused(files: Files, target: Path) -> None:
    """A streamed zip says the size of a member only behind it; two readers may find two ends."""

    class Pipe(io.BytesIO):
        def tell(self) -> int:
            raise OSError("a pipe has no place")

    stream = Pipe()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    target.write_bytes(stream.getvalue())
    assert refusal(target).code == "zip-packing"


def test_zip64_is_refused(files: Files, target: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    target.write_bytes(stream.getvalue())
    assert "zip64" in str(refusal(target))


def test_a_second_name_in_an_extra_field_is_refused(files: Files, target: Path) -> None:
    """Readers that know the Unicode path field show another name than those that do not."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HHBI", 0x7075, 9, 1, 0) + b"evil"
            archive.writestr(info, data)
    target.write_bytes(stream.getvalue())
    assert refusal(target).code == "zip-told-twice"


def _before(data: bytes) -> bytes:
    return b"#!/bin/sh\n" + data


def _behind(data: bytes) -> bytes:
    return data + b"PK\5\6"


def _between(data: bytes) -> bytes:
    """A gap before the directory, with the pointers put right."""
    end = data.rindex(b"PK\5\6")
    start = struct.unpack_from("<I", data, end + 16)[0]
    moved = bytearray(data[:start] + b"hidden" + data[start:])
    struct.pack_into("<I", moved, end + 6 + 16, start + 6)
    return bytes(moved)


def _comment(data: bytes) -> bytes:
    return data[:-2] + struct.pack("<H", 5) + b"hello"


def _two_directories(data: bytes) -> bytes:
    return data + data[data.index(b"PK\1\2") :]


@pytest.mark.parametrize("change", [_before, _behind, _between, _comment, _two_directories])
def test_bytes_that_belong_to_no_member_are_refused(
    files: Files, target: Path, change: Callable[[bytes], bytes]
) -> None:
    target.write_bytes(change(plain(files)))
    refusal(target)


def test_a_header_that_contradicts_the_directory_is_refused(files: Files, target: Path) -> None:
    """Some readers believe one, some the other."""
    data = plain(files)
    local = data.index(b"PK\3\4")
    for offset, value in ((14, b"\0\0\0\0"), (22, b"\1\0\0\0"), (30, b"X")):
        changed = bytearray(data)
        changed[local + offset : local + offset + len(value)] = value
        target.write_bytes(changed)
        assert refusal(target).code == "zip-directory"


def test_overlapping_members_are_refused(files: Files, target: Path) -> None:
    data = bytearray(plain(files))
    second = data.index(b"PK\1\2", data.index(b"PK\1\2") + 4)
    struct.pack_into("<I", data, second + 42, 0)
    target.write_bytes(data)
    assert "overlap" in str(refusal(target))


def test_a_bomb_is_refused_before_it_is_unpacked(files: Files, target: Path) -> None:
    """Ratio, count and total are judged by the directory; a size that lies is found at the first byte too many."""
    target.write_bytes(plain(files | {"zeros": bytes(50_000_000)}, zipfile.ZIP_DEFLATED))
    tracemalloc.start()
    try:
        assert refusal(target).code == "zip-size"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    target.write_bytes(plain({f"{number}": b"" for number in range(MAX_MEMBERS + 1)}))
    assert f"{MAX_MEMBERS + 1} members" in str(refusal(target))


def test_a_member_that_unpacks_to_more_than_it_says_is_stopped_there(target: Path) -> None:
    data = bytearray(plain({"manifest.json": bytes(5_000_000)}, zipfile.ZIP_DEFLATED))
    for magic, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(magic) + offset, 1000)
    target.write_bytes(data)
    tracemalloc.start()
    try:
        assert refusal(target).code == "zip-damaged"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_truncations_and_flipped_bits_are_refused_or_change_no_file(files: Files, target: Path) -> None:
    """Whatever is wrong with a zip ends in one line; what opens all the same (a date was hit) holds the same files."""
    write_archive(target, files.items())
    whole = target.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        target.write_bytes(whole[:length])
        with pytest.raises(ModelError), Archive(target):
            pass
    for position in range(0, len(whole), max(1, len(whole) // 150)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        target.write_bytes(changed)
        try:
            Runtime.open(target)
        except ModelError as problem:
            assert "\n" not in str(problem)  # noqa: PT017 - either outcome may be right
        else:
            with Archive(target) as archive:
                assert {name: archive.read(name, len(whole)) for name in archive.names} == files


@pytest.mark.skipif(os.name != "posix", reason="pipes are POSIX")
def test_what_is_no_zip_is_refused(tmp_path: Path, model_file: Path) -> None:
    for name, content in {"empty.zip": b"", "model.zip": model_file.read_bytes(), "text.zip": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        assert "directory" in str(refusal(tmp_path / name))
    os.mkfifo(tmp_path / "pipe.zip")
    assert refusal(tmp_path / "pipe.zip").code == "model-not-file"
    assert refusal(tmp_path / "absent.zip").code == "file-unreadable"


def test_a_zip_that_calls_itself_onnx_is_refused(files: Files, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(plain(files))
    problem = refusal(tmp_path / "m.onnx")
    assert problem.code == "model-format"
    assert problem.fields["found"] == "a zip archive"


def test_reading_holds_the_model_once(tmp_path: Path) -> None:
    big = os.urandom(8_000_000)
    (tmp_path / "big.zip").write_bytes(plain({"big": big}))
    with Archive(tmp_path / "big.zip") as archive:
        tracemalloc.start()
        try:
            assert archive.read("big", 2**31) == big
            assert tracemalloc.get_traced_memory()[1] < 1.4 * len(big)
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 2**21, 2**21 + 258])
def test_deflated_members_come_whole_whatever_their_size(tmp_path: Path, size: int) -> None:
    """Sizes at which a piece of output ends where the input does, with and without long repeats."""
    block = os.urandom(30_000)  # within the window of deflate, and below its greatest ratio here
    for content in ((block * (size // len(block) + 1))[:size], bytes(100) * (size // 10_000) + block):
        (tmp_path / "m.zip").write_bytes(plain({"m": content}, zipfile.ZIP_DEFLATED))
        with Archive(tmp_path / "m.zip") as archive:
            assert archive.read("m", 2**31) == content


def test_a_signed_zip_is_the_same_whichever_way_it_came_to_be(bundle: Path, files: Files, target: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need cryptography")
    key = target.with_name("k")
    new_key(key)
    ordered = {"manifest.json": files.pop("manifest.json")} | files
    write_archive(target, ordered.items())
    sign(target, key)
    sign(bundle, key)
    assert verify(target, key=f"{key}.pub").signed == "valid"
    with zipfile.ZipFile(target) as archive:
        assert archive.read("signature.json") == (bundle / "signature.json").read_bytes()
    once = target.read_bytes()
    sign(target, key)
    assert target.read_bytes() == once


def test_a_kill_while_a_zip_is_signed_leaves_the_old_one(tmp_path: Path) -> None:
    """The writer is stopped in the middle of a member, and killed there."""
    pytest.importorskip("cryptography", reason="signatures need cryptography")
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("no SIGKILL on this system")
    folder = make_bundle(tmp_path / "mean.zoo")
    target = tmp_path / "mean.zoo.zip"
    write_archive(target, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}.items())
    shutil.rmtree(folder)
    before = target.read_bytes()
    new_key(tmp_path / "k")
    script = """
import sys, time
from zoo.edge import sign
from zoo.edge.bundle import _archive as archive
read = archive.Archive.read
def slow(self, name, limit):
    if "SIGN" in globals() and name == "model.onnx":
        print("half way", flush=True)
        time.sleep(60)
    return read(self, name, limit)
archive.Archive.read = slow
from zoo.edge.bundle import _signing as signing
members = signing._members
def counted(*given):
    globals()["SIGN"] = True
    return members(*given)
signing._members = counted
sign(sys.argv[1], sys.argv[2])
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(target), str(tmp_path / "k")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "half way\n"
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".part")]  # it was writing
    child.kill()
    child.communicate()
    assert target.read_bytes() == before
    assert verify(target).signed == "none"
