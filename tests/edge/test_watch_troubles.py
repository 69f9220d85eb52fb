"""Faults of the machine while a folder is watched: none becomes an answer, and a timer does not see success.

What would be wrong with the product: an X-ray whose final answer is that a package was not installed that night.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from edge_models import deep_manifest, make_model, paint
from refusals import refused

from zoo.edge import Runtime, watch
from zoo.edge.__main__ import main
from zoo.edge._intake import Intake
from zoo.errors import DataError, ImageError, OutputError
from zoo.readers import _walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from zoo.edge import Result
    from zoo.edge._watch import Pass

RED = (250, 10, 10)
BLUE = (10, 10, 250)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        paint(tmp_path / "in" / name, RED)
    return tmp_path / "in"


def once(runtime: Runtime, folder: Path, **how: Any) -> tuple[list[Result], Pass]:
    """What one start answers, and what its last look came to."""
    passes: list[Pass] = []
    found = list(watch(runtime, folder, folder.with_name("out"), once=True, settle=0, tell=passes.append, **how))
    return found, passes[-1]


def verb(model: Path, folder: Path, *words: str) -> int:
    out = str(folder.with_name("out"))
    return main(["watch", str(folder), out, "--model", str(model), "--once", "--settle", "0", *words])


def test_a_missing_package_is_no_answer_and_holds_its_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
    from dicom_senders import bundled

    (tmp_path / "model.onnx").write_bytes(make_model(deep_manifest(dtype="float32")).SerializeToString())
    runtime = Runtime.open(tmp_path / "model.onnx")
    folder, done = tmp_path / "in", tmp_path / "done"
    folder.mkdir()
    (folder / "scan.dcm").write_bytes(bundled("MR_small.dcm").read_bytes())
    (folder / "text.png").write_text("no image")
    with monkeypatch.context() as patch:
        for module in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
            patch.setitem(sys.modules, module, None)
        for answered in (1, 0, 0, 0):
            found, came_to = once(runtime, folder, move_to=done)
            assert (len(found), len(came_to.troubles)) == (answered, 1)
        assert {path.name for path in folder.iterdir()} == {"scan.dcm"}
        assert verb(tmp_path / "model.onnx", folder, "--move-to", str(done)) == 1
    found, came_to = once(runtime, folder, move_to=done)
    assert ([one.row().keys() >= {"label"} for one in found], came_to.troubles) == ([True], ())
    assert {path.name for path in done.iterdir()} == {"scan.dcm", "text.png"}


@pytest.mark.parametrize("workers", [0, 1])
def test_too_little_memory_is_no_answer_and_each_look_asks_again(
    model_file: Path, folder: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, passes, short = Intake.read, [], True

    def read(intake: Intake, source: Any, **how: Any) -> Any:
        if short and "a.png" in str(source):
            raise MemoryError
        return real(intake, source, **how)

    if workers:
        from zoo.edge._decoders import Decoders, _pack, _unpack

        monkeypatch.setattr(Decoders, "pixels", lambda one, *item: _unpack(b"".join(_pack(one._intake.pixels(*item)))))
    monkeypatch.setattr(Intake, "read", read)

    def pause(_: float) -> None:
        nonlocal short
        short = len(passes) < 2

    answers = watch(
        Runtime.open(model_file), folder, folder.with_name("out"), settle=0, workers=workers, tell=passes.append,
        pause=pause, stopped=lambda: len(passes) == 3,
    )  # fmt: skip
    assert [Path(one.image).name for one in answers] == ["b.png", "a.png"]
    assert [(one.answered, one.failed, len(one.troubles)) for one in passes] == [(1, 0, 1), (0, 0, 1), (1, 0, 0)]
    assert json.loads((folder.with_name("out") / "a.png.json").read_bytes())["label"] == "red"


def test_an_answer_that_could_not_be_written_never_replaces_a_newer_one(model_file: Path, folder: Path) -> None:
    """Else the image holds one patient, and the answer beside it is that of another."""
    runtime, out, image = Runtime.open(model_file), folder.with_name("out"), folder / "sub" / "x.png"
    passes: list[Pass] = []
    out.mkdir()
    (out / "sub").write_text("a file where the folder of the answer should be")
    paint(image, RED)

    def pause(_: float) -> None:
        if len(passes) == 1:
            paint(image, BLUE)
        elif len(passes) == 2:
            (out / "sub").unlink()

    list(watch(runtime, folder, out, settle=0, tell=passes.append, pause=pause, stopped=lambda: len(passes) == 3))
    assert [len(one.troubles) for one in passes] == [1, 2, 0]
    for _ in range(2):
        assert json.loads((out / "sub" / "x.png.json").read_bytes())["label"] == "blue"
        once(runtime, folder)


@pytest.mark.parametrize("code", ["image-decoder-killed", "image-io", "image-unopened"])
@pytest.mark.parametrize("lasting", [False, True])
def test_what_may_be_the_fault_of_the_machine_is_asked_three_times_before_it_is_the_answer(
    model_file: Path, folder: Path, code: str, lasting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must neither be final at once, nor hold up the folder for ever."""
    real, passes, asked = Intake.read, [], []

    def read(intake: Intake, source: Any, **how: Any) -> Any:
        asked.append(Path(source).name)
        if "a.png" in str(source) and (lasting or not passes):
            raise ImageError(None, "failed", code=code)
        return real(intake, source, **how)

    monkeypatch.setattr(Intake, "read", read)
    answers = watch(
        Runtime.open(model_file), folder, folder.with_name("out"), settle=0, tell=passes.append,
        pause=lambda _: None, stopped=lambda: len(passes) == 4,
    )  # fmt: skip
    assert [Path(one.image).name for one in answers] == ["b.png", "a.png"]
    troubles = [1, 1, 0, 0] if lasting else [1, 0, 0, 0]
    assert [len(one.troubles) for one in passes] == troubles
    assert asked.count("a.png") == (3 if lasting else 2)
    assert ("error" in json.loads((folder.with_name("out") / "a.png.json").read_bytes())) is lasting


@pytest.mark.parametrize("call", ["open", "read"])
def test_a_file_that_cannot_be_read_for_a_moment_is_not_taken_for_no_image(
    model_file: Path, folder: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DICOM export without suffixes on a share that fails once: nobody would ever answer that image."""
    from zoo.readers import _door

    image = (folder / "a.png").rename(folder / "IM0001")
    failures, real, passes = [1], getattr(os, call), []

    def fail(given: Any, *more: Any) -> Any:
        path = given if call == "open" else Path(f"/proc/self/fd/{given}").readlink()
        if failures and str(path).endswith("IM0001"):
            failures.clear()
            raise OSError(errno.EIO, "input/output error", path)
        return real(given, *more)

    if call == "read" and sys.platform != "linux":
        pytest.skip("names of open files as Linux has them")
    monkeypatch.setattr(_door.os, call, fail)
    runtime = Runtime.open(model_file)
    answers = watch(
        runtime, folder, folder.with_name("out"), settle=0, tell=passes.append, pause=lambda _: None,
        stopped=lambda: len(passes) == 2,
    )  # fmt: skip
    assert [Path(one.image) for one in answers] == [folder / "b.png", image]
    assert [len(one.troubles) for one in passes] == [1, 0]


def test_a_folder_without_rights_is_no_success_to_a_timer(
    model_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "deep").mkdir()
    with monkeypatch.context() as patch:
        for closed in (folder, folder / "deep"):
            patch.setattr(_walk.os, "scandir", _closing(closed, os.scandir))
            assert verb(model_file, folder) == 1
    assert verb(model_file, folder) == 0


def test_a_file_in_the_place_of_the_folder_is_told_from_none(model_file: Path, folder: Path, tmp_path: Path) -> None:
    runtime = Runtime.open(model_file)
    for place, found in ((folder / "a.png", "a file"), (tmp_path / "nowhere", None)):
        with refused("file-missing", DataError, path=str(place), found=found):
            list(watch(runtime, place, tmp_path / "out", once=True))


def _closing(closed: Path, scandir: Callable[..., Any]) -> Callable[..., Any]:
    def scan(path: str) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "permission denied", path)
        return scandir(path)

    return scan


@pytest.mark.parametrize("at_an_image", [False, True])
def test_answers_that_are_moved_away_are_waited_for_and_not_made_anew(
    model_file: Path, folder: Path, tmp_path: Path, at_an_image: bool
) -> None:
    """Else the answers lie in two folders, one of them without a ledger, and all images are asked again."""
    out, away, done = tmp_path / "out", tmp_path / "away", tmp_path / "done"
    runtime, passes = Runtime.open(model_file), []

    def pause(_: float) -> None:
        if len(passes) == 1 and not at_an_image:
            paint(folder / "c.png", RED)
            out.rename(away)
        elif len(passes) == 2:
            assert not out.exists()
            away.rename(out)

    answers = watch(
        runtime, folder, out, settle=0, move_to=done, tell=passes.append, pause=pause,
        stopped=lambda: len(passes) == 4,
    )  # fmt: skip
    found = []
    for one in answers:
        found.append(Path(one.image).name)
        if at_an_image and len(found) == 1:
            out.rename(away)
    assert [len(one.troubles) for one in passes] == ([1, 1, 0, 0] if at_an_image else [0, 1, 0, 0])
    names = ["a.png", "b.png"] + ["c.png"] * (not at_an_image)
    assert found == names
    assert sorted(path.name for path in out.glob("*.json")) == [f"{name}.json" for name in names]
    assert sorted(path.name for path in done.iterdir()) == names
    assert not away.exists()
    assert once(runtime, folder)[0] == []


def test_another_folder_in_the_place_of_the_answers_ends_the_watch(
    model_file: Path, folder: Path, tmp_path: Path
) -> None:
    out, passes = tmp_path / "out", []

    def pause(_: float) -> None:
        out.rename(tmp_path / "away")
        once(runtime, folder)

    runtime = Runtime.open(model_file)
    with refused("output-unwritable", OutputError, path=str(out)):
        list(watch(runtime, folder, out, settle=0, tell=passes.append, pause=pause, stopped=lambda: len(passes) == 3))
    assert len(passes) == 1
