"""Native decoders in a companion process: the same pixels, and one that dies is one error."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dying import ENDLESS, FATAL, GREEDY, KILLED, compressed_tiff, python_path
from PIL import Image
from refusals import refused

from zoo._support import processes
from zoo._support.processes import Companions
from zoo.errors import ImageError
from zoo.readers import _companion as companion
from zoo.readers import _stderr as stderr
from zoo.readers import probe, read
from zoo.readers._built_in import BUILT_IN, damage_said

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The companions of one test, which starts with none; none is left when it is over."""
    running: list[Any] = []
    popen = processes.subprocess.Popen
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *a, **k: (running.append(popen(*a, **k)), running[-1])[1])
    earlier = companion._companions
    fresh = earlier.__wrapped__()
    monkeypatch.setattr(companion, "_companions", lambda: fresh)
    yield running
    fresh.stop()
    fresh.close()
    assert all(process.poll() is not None for process in running)


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Any]) -> list[Any]:
    """Companions whose libtiff dies, hangs or runs out of memory over some sizes of picture."""
    (tmp_path / "dying").mkdir()
    monkeypatch.setenv("PYTHONPATH", python_path(tmp_path / "dying"))
    return started


def damaged_fax() -> bytes:
    """A Group 4 TIFF with one bit of its stripes flipped: libtiff says so on stderr, and gives pixels."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).random((64, 64)) > 0.5
    Image.fromarray(pixels).save(stream, "TIFF", compression="group4")
    data = bytearray(stream.getvalue())
    data[len(data) // 3] ^= 0x10
    return bytes(data)


@POSIX
def test_a_decoder_that_dies_twice_is_one_error_and_the_next_file_is_read(dying: list[Any], tmp_path: Path) -> None:
    (tmp_path / "fatal.tif").write_bytes(compressed_tiff(FATAL))
    for source in (tmp_path / "fatal.tif", compressed_tiff(FATAL)):
        with refused("image-decoder-ended", ImageError, ending="SIGSEGV"):
            read(source)
    assert [process.returncode for process in dying] == [-signal.SIGSEGV] * 4
    assert read(compressed_tiff(9)).pixels[0, :3, 0].tolist() == [0, 1, 2]


@POSIX
def test_a_decoder_that_the_system_kills_is_told_from_one_that_crashes(dying: list[Any]) -> None:
    """What a system short of memory does says nothing of the file."""
    with refused("image-decoder-killed", ImageError, ending="SIGKILL"):
        read(compressed_tiff(KILLED))
    assert len(dying) == 2


@POSIX
def test_a_decoder_that_died_once_costs_nothing(dying: list[Any]) -> None:
    read(compressed_tiff(9))
    dying[0].kill()
    dying[0].wait()
    assert read(compressed_tiff(9)).pixels.shape == (9, 9, 3)
    assert len(dying) == 2


def test_a_decoder_that_never_answers_is_killed_and_not_tried_again(
    dying: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(compressed_tiff(9))
    monkeypatch.setattr(companion._companions(), "_limit_s", 0.1)
    monkeypatch.setattr(processes, "_LOOK", 0.1)
    with refused("image-decoder-killed", ImageError, ending="no answer in 0.1 s"):
        read(compressed_tiff(ENDLESS))
    assert len(dying) == 1


def test_a_decoder_without_memory_is_one_error(dying: list[Any]) -> None:
    with refused("image-memory", ImageError):
        read(compressed_tiff(GREEDY))
    assert read(compressed_tiff(9)).pixels.shape == (9, 9, 3)
    assert len(dying) == 1


def test_a_companion_gives_the_pixels_the_kind_and_the_errors_of_this_process(
    tmp_path: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compressed_tiff(40)
    name = os.fsdecode(b"f\xff.tif")
    (tmp_path / name).write_bytes(whole)
    monkeypatch.chdir(tmp_path)
    sources: list[Any] = [whole, whole[:200], whole[:-300], Path(name), tmp_path / name]

    def outcomes() -> list[object]:
        found: list[object] = []
        for source in sources:
            for options in ({}, {"frame": 2}, {"voi": True}):
                try:
                    image = read(source, **options)  # type: ignore[arg-type]
                    found.append((image.kind, image.pixels.dtype, image.pixels.shape, image.pixels.tobytes()))
                except ImageError as problem:
                    found.append((problem.name, problem.reason, problem.code, problem.fields))
        return found

    apart_ = outcomes()
    assert len(started) == 1
    monkeypatch.setattr(processes._Role, "companion", True)
    assert outcomes() == apart_
    assert len({type(one[0]) for one in apart_}) == 1  # type: ignore[index]


def test_only_files_that_a_native_decoder_would_see_go_to_a_companion(started: list[Any]) -> None:
    picture = Image.fromarray(np.zeros((8, 8), np.uint8))
    for form, options in (("PNG", {}), ("JPEG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"big_tiff": True})):
        stream = io.BytesIO()
        picture.save(stream, form, **options)  # type: ignore[arg-type]
        read(stream.getvalue())
        probe(stream.getvalue())
    assert not started
    probe(compressed_tiff(8))
    assert not started
    read(compressed_tiff(8, "packbits"))
    assert len(started) == 1


def test_the_page_that_is_read_decides_and_big_tiffs_are_understood(started: list[Any]) -> None:
    stream = io.BytesIO()
    pages = [Image.fromarray(np.full((8, 8), gray, np.uint8)) for gray in (1, 2)]
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    read(stream.getvalue(), frame=2)
    assert not started
    for big in (False, True):
        stream = io.BytesIO()
        pages[0].save(stream, "TIFF", compression="tiff_adobe_deflate", big_tiff=big)
        assert (read(stream.getvalue()).pixels == 1).all()
    assert len(started) == 1


def test_every_compressed_transfer_syntax_goes_to_a_companion_and_no_other(started: list[Any]) -> None:
    pytest.importorskip("pydicom")
    from dicom_cases import bundled

    native = ("CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm")
    for name in native:
        read(bundled(name))
    assert not started
    for name in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        probe(bundled(name))
        assert not started
    for name in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        np.testing.assert_array_equal(read(bundled(name)).pixels, read(bundled("MR_small.dcm")).pixels)
    assert len(started) == 1


@POSIX
def test_a_huffman_table_that_aborts_the_decoder_of_jpeg_lossless_costs_one_file() -> None:
    """Byte 40 of the frame is the length of its Huffman table; found by trying every byte of its header."""
    pytest.importorskip("gdcm")
    from dicom_cases import bundled

    data = bytearray(bundled("SC_rgb_jpeg_gdcm.dcm").read_bytes())
    frame = data.index(b"\xff\xd8\xff")
    assert data[frame + 37 : frame + 41] == b"\xff\xc4\0\x17"
    data[frame + 40] = 2
    with pytest.raises(ImageError) as error:
        read(bytes(data))
    assert "\n" not in str(error.value)
    assert read(bundled("SC_rgb_jpeg_gdcm.dcm")).pixels.shape == (100, 100, 3)


def test_several_threads_share_the_companions(started: list[Any]) -> None:
    sides = [5 + i % 9 + (i % 9 >= 8) for i in range(60)]
    with ThreadPoolExecutor(12) as pool:
        shapes = [image.pixels.shape for image in pool.map(read, map(compressed_tiff, sides))]
    assert shapes == [(side, side, 3) for side in sides]
    assert len(started) <= companion._MOST


def test_where_no_process_can_be_started_this_one_decodes(monkeypatch: pytest.MonkeyPatch, started: list[Any]) -> None:
    monkeypatch.setattr(processes.sys, "executable", "/nowhere/python")
    assert read(compressed_tiff(9)).pixels.shape == (9, 9, 3)
    monkeypatch.setattr(processes.sys, "frozen", True, raising=False)
    assert read(compressed_tiff(9)).pixels.shape == (9, 9, 3)
    assert not started


def test_an_application_that_is_no_interpreter_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    monkeypatch.setattr(processes, "PROGRAM", "raise SystemExit(1)")
    for _ in range(3):
        assert read(compressed_tiff(9)).pixels.shape == (9, 9, 3)
    assert len(started) == 1


@POSIX
def test_after_a_fork_each_process_has_companions_of_its_own() -> None:
    program = (
        "import os, sys; sys.path.insert(0, 'tests'); from dying import compressed_tiff\n"
        "from zoo.readers import read\n"
        "tiff = compressed_tiff(9); read(tiff); child = os.fork()\n"
        "assert read(tiff).pixels.shape == (9, 9, 3)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0; assert read(tiff).pixels.shape == (9, 9, 3)\n"
    )
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@POSIX
def test_an_answer_that_nobody_waited_for_is_not_the_next_one() -> None:
    """Ctrl-C between question and answer; a picture of one file must never be that of another."""
    companions = Companions("any:task", 1)
    interrupted = threading.Event()

    class Interrupt(BaseException):
        pass

    def receive(stream: Any) -> bytes | None:
        if not interrupted.is_set():
            interrupted.set()
            raise Interrupt
        return real(stream)

    real = processes.receive
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "PROGRAM", _ECHO)
        patch.setattr(processes, "receive", receive)
        with pytest.raises(Interrupt):
            companions.ask(b"first")
        assert companions.ask(b"second") == b"second"
    companions.close()


_ECHO = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from zoo._support.processes import serve; serve(lambda message: [message])"
)


def test_what_libtiff_says_of_a_damaged_fax_refuses_it(started: list[Any]) -> None:
    with refused("image-damaged", ImageError):
        read(damaged_fax())
    assert len(started) == 1


@pytest.mark.usefixtures("here")
def test_a_process_that_decodes_itself_catches_what_libtiff_says(capfd: pytest.CaptureFixture[str]) -> None:
    with refused("image-damaged", ImageError):
        read(damaged_fax())
    assert "Fax4" not in capfd.readouterr().err.replace("zoo", "")


def test_lines_of_native_libraries_are_named_and_said_once_and_then_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stderr, "_SAID", stderr.Counter())
    with caplog.at_level(logging.WARNING, "zoo"):
        for i in range(150):
            stderr.say(f"{i}.tif", [f"Fax4Decode: Bad code word at line {i} of strip 0 (x {i * 7})."])
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "0.tif: Fax4Decode: Bad code word at line 0 of strip 0 (x 0)."
    assert [line.split(":")[0] for line in lines] == ["0.tif", "9.tif", "99.tif"]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "zoo"):
        stderr.say("b.tif", [letter * 30 for letter in map(chr, range(0x100, 0x400))])
    assert len(caplog.records) == stderr._MOST_KINDS - 1


def test_what_is_written_to_stderr_is_caught_and_made_printable(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with stderr.catch_stderr(lines):
        os.write(2, b"one\n\n\x1b[31mtwo\r\n")
    with stderr.catch_stderr(lines):
        os.write(2, b"x" * 10**6)
    assert lines[:2] == ["one", "\\x1b[31mtwo"]
    assert len(lines[2]) < 10**5
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


class Panic(BaseException):
    """What extensions written in Rust raise: no Exception."""


Panic.__module__ = "pyo3_runtime"


@pytest.mark.parametrize("problem", [ValueError("Doe^Jane"), SystemExit("Doe^Jane"), RecursionError(), Panic("x")])
@pytest.mark.parametrize("look", [read, probe])
def test_whatever_a_reader_raises_is_one_error_that_quotes_nothing(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException, look: Any
) -> None:
    from zoo.readers import _raster as raster

    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(raster, look.__name__, fail)
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "PNG")
    with refused("image-undecodable", ImageError, cause=type(problem).__name__) as error:
        look(stream.getvalue())
    assert "Doe" not in str(error.value)


def test_a_place_before_the_start_is_damage_and_no_fault_of_the_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from zoo.readers import _raster as raster

    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(raster, "read", lambda stream, *_, **__: stream.seek(-5))
    with refused("image-undecodable", ImageError, cause="OSError"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("problem", [MemoryError(), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_file_passes(monkeypatch: pytest.MonkeyPatch, problem: BaseException) -> None:
    from zoo.readers import _raster as raster

    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(raster, "read", fail)
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "PNG")
    with pytest.raises(type(problem)):
        read(stream.getvalue())


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        ("Corrupt JPEG data: bad Huffman code", True),
        ("Corrupt JPEG data: premature end of data segment", True),
        ("Corrupt JPEG data: 1 extraneous bytes before marker 0xd9", False),
    ],
)
def test_a_decoder_of_dicom_that_makes_samples_up_says_so(line: str, damaged: bool) -> None:
    dicom = next(reader for reader in BUILT_IN if ".dcm" in reader.suffixes)
    assert damage_said(dicom, ["other", line]) == (line if damaged else None)
