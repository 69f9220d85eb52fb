"""A watched folder: each image is answered once, as predict answers it, whatever stops the program between.

What would be wrong with the product: an X-ray that nobody answers, or one that is answered by half a file.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from edge_models import make_manifest, make_model, paint
from refusals import refused
from stopping import Killed, full_disk, stopping_at

from zoo.edge import Runtime, watch
from zoo.edge._results import Failure
from zoo.edge._watch import Pass, arrivals, moving, name_answer
from zoo.edge._watch.ledger import LEDGER
from zoo.errors import DataError, ModelError, OutputError, ResumeError, UsageError
from zoo.spec import Numeric, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.edge import Result

COLOURS = {"a.png": (250, 10, 10), "deep/er/b.png": (10, 250, 10), "deep/c.jpg": (10, 10, 250)}


@pytest.fixture
def runtime(model_file: Path) -> Runtime:
    return Runtime.open(model_file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images and one that is none."""
    for name, colour in COLOURS.items():
        paint(tmp_path / "in" / name, colour)
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def once(runtime: Runtime, folder: Path, out: Path, **how: Any) -> list[Result]:
    """What one pass answers, where every file counts as whole."""
    return list(watch(runtime, folder, out, once=True, **({"settle": 0} | how)))


def written(out: Path) -> dict[str, Any]:
    """The answers in the folder, by the path of the image below the watched one."""
    return {
        path.relative_to(out).as_posix().removesuffix(".json"): json.loads(path.read_bytes())
        for path in out.rglob("*.json")
    }


def rows(out: Path) -> list[tuple[str, str]]:
    """Name and answered label, or error, of all rows of the ledger, in their order."""
    with sqlite3.connect(out / LEDGER) as ledger:
        found = ledger.execute("SELECT path, answer FROM answers ORDER BY id").fetchall()
    ledger.close()
    held = [(os.fsdecode(path), json.loads(answer)) for path, answer in found]
    return [(name, row.get("label") or "error") for name, row in held]


def asked(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by the name of each image that the model has answered."""
    names: list[str] = []
    real = runtime.answers

    def answers(items: Any, **how: Any) -> Iterator[Result]:
        for result in real(items, **how):
            names.append(Path(result.image).name)
            yield result

    monkeypatch.setattr(runtime, "answers", answers)
    return names


def test_each_image_gets_the_row_of_predict_once(runtime: Runtime, folder: Path, out: Path) -> None:
    for name in (".hidden.png", "sub/.x.png", "a.png.part", "b.tmp", "c.png~", "D.PNG.PARTIAL", "@eaDir/thumb.png"):
        paint(folder / "new.png", (1, 2, 3)).rename(_with_parent(folder / name))
    (folder / "notes.txt").write_text("no image")
    results = once(runtime, folder, out)
    assert {result.image for result in results} == {str(folder / name) for name in (*COLOURS, "broken.png")}
    found = written(out)
    real = [folder / name for name in found]
    assert found == {result.image.removeprefix(f"{folder}/"): result.row() for result in runtime.predict(real)}
    assert found["deep/er/b.png"]["label"] == "green"
    assert "first bytes" in found["broken.png"]["error"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    assert once(runtime, folder, out) == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.json")} == before
    assert not list(out.rglob(".*"))


def _with_parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_other_content_is_answered_again_and_another_name_too(runtime: Runtime, folder: Path, out: Path) -> None:
    once(runtime, folder, out)
    paint(folder / "a.png", (10, 10, 250))
    shutil.copy(folder / "deep/c.jpg", folder / "copy.jpg")
    os.utime(folder / "deep/er/b.png")  # touched, and the same content
    assert {Path(result.image).name for result in once(runtime, folder, out)} == {"a.png", "copy.jpg"}
    assert written(out)["a.png"]["label"] == "blue"
    assert [label for name, label in rows(out) if name == "a.png"] == ["red", "blue"], "the ledger keeps both"
    assert once(runtime, folder, out) == []
    paint(folder / "a.png", (250, 10, 10))
    assert [result.image for result in once(runtime, folder, out)] == [str(folder / "a.png")]


def test_content_that_hides_behind_the_same_size_and_time_is_answered(
    runtime: Runtime, folder: Path, out: Path
) -> None:
    """Programs that copy keep times, and pictures without compression have one size."""
    first = paint(folder / "a.bmp", (250, 10, 10))
    once(runtime, folder, out)
    old = first.stat()
    other = paint(folder.parent / "other.bmp", (10, 10, 250))
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))
    other.replace(first)
    assert (first.stat().st_size, first.stat().st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    assert [result.row()["label"] for result in once(runtime, folder, out)] == ["blue"]


class _Clock:
    """A clock that goes on when somebody waits; `meanwhile` is called then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.meanwhile: list[Any] = []
        clock = SimpleNamespace(monotonic=lambda: self.now, perf_counter=time.perf_counter)
        monkeypatch.setattr(arrivals, "time", clock)

    def pause(self, seconds: float) -> None:
        self.now += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()


def test_a_file_is_read_when_it_has_settled(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, passes = _Clock(monkeypatch), []
    whole = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(whole[:20])

    def grow(size: int) -> Any:
        return lambda: (folder / "a.png").write_bytes(whole[:size])

    clock.meanwhile = [grow(30), grow(40), grow(len(whole))]
    answers = watch(
        runtime, folder, out, settle=3, interval=2, tell=passes.append, pause=clock.pause,
        stopped=lambda: len(passes) == 7,
    )  # fmt: skip
    found = {Path(result.image).name: (len(passes), result) for result in answers}
    assert found["c.jpg"][0] == 2, "seen at 0 and 2 s, read at 4 s"
    assert found["a.png"][0] == 5, "written last at 6 s, read at 10 s"
    assert found["a.png"][1].row()["label"] == "red"
    assert [one.waiting for one in passes] == [4, 4, 1, 1, 1, 0, 0]
    assert sum(one.answered for one in passes) == 4


def test_once_waits_for_files_to_settle_and_leaves_those_that_do_not(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock(monkeypatch)
    clock.meanwhile = [lambda: paint(folder / "late.png", (1, 2, 3))]
    passes: list[Pass] = []
    found = once(runtime, folder, out, settle=5, tell=passes.append, pause=clock.pause)
    assert {Path(result.image).name for result in found} == {"a.png", "b.png", "c.jpg", "broken.png"}
    assert passes[-1].waiting == 1


def test_an_image_that_changes_while_it_is_answered_gets_no_answer_of_the_old_one(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runtime.answers
    first = True

    def answers(items: Any, **how: Any) -> Iterator[Result]:
        nonlocal first
        for result in real(items, **how):
            if first and result.image.endswith("a.png"):
                first = False
                paint(folder / "a.png", (10, 10, 250))
            yield result

    monkeypatch.setattr(runtime, "answers", answers)
    once(runtime, folder, out)
    once(runtime, folder, out)
    assert [label for name, label in rows(out) if name == "a.png"] == ["blue"]


def test_a_share_that_fails_for_a_moment_is_no_answer(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of the network pass; the file is asked for again."""
    from zoo.edge import _watch

    real, broken = _watch.sha256_file, True

    def digest(path: Path) -> str:
        if broken and path.name == "a.png":
            raise OSError(errno.EIO, "input/output error")
        return real(path)

    monkeypatch.setattr(_watch, "sha256_file", digest)
    assert len(once(runtime, folder, out)) == 3
    broken = False
    assert [Path(one.image).name for one in once(runtime, folder, out)] == ["a.png"]


def test_a_file_without_rights_gets_its_error_and_an_answer_when_it_has_them(
    runtime: Runtime, folder: Path, out: Path
) -> None:
    (folder / "a.png").chmod(0)
    if os.access(folder / "a.png", os.R_OK):
        pytest.skip("this user reads every file, whatever its rights")
    once(runtime, folder, out)
    assert "error" in written(out)["a.png"]
    assert once(runtime, folder, out) == []
    (folder / "a.png").chmod(0o644)
    once(runtime, folder, out)
    assert written(out)["a.png"]["label"] == "red"


def test_a_folder_that_goes_away_is_said_and_waited_for(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that is not mounted for a while must not end the night's work."""
    clock, passes = _Clock(monkeypatch), []
    away = folder.with_name("away")
    clock.meanwhile = [lambda: folder.rename(away), lambda: away.rename(folder)]
    answers = watch(
        runtime, folder, out, settle=0, tell=passes.append, pause=clock.pause, stopped=lambda: len(passes) == 3
    )
    assert len(list(answers)) == 4
    assert [len(one.troubles) for one in passes] == [0, 1, 0]


@pytest.mark.parametrize(
    ("out", "done"), [("in", None), ("in/out", None), (".", None), ("out", "in/done"), ("out", "in"), ("link/o", None)]
)
def test_folders_that_lie_in_each_other_are_refused(
    runtime: Runtime, folder: Path, tmp_path: Path, out: str, done: str | None
) -> None:
    """Answers among the images would be looked at again and again."""
    (tmp_path / "link").symlink_to(folder)
    before = sorted(tmp_path.rglob("*"))
    with refused("watch-nested", UsageError):
        once(runtime, folder, tmp_path / out, move_to=None if done is None else tmp_path / done)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_watched_is_refused_before_anything_is_written(
    runtime: Runtime, folder: Path, out: Path, tmp_path: Path
) -> None:
    with refused("file-missing", DataError):
        once(runtime, tmp_path / "nowhere", out)
    for how in ({"settle": -1}, {"interval": float("nan")}):
        with refused("option-value", UsageError):
            once(runtime, folder, out, **how)
    table = TableSpec(columns=(Numeric(name="age", mean=50, std=1),))
    runtime.manifest = make_manifest(table=table)
    with refused("inputs-missing", DataError):
        once(runtime, folder, out)
    assert not out.exists()


def test_a_second_program_is_kept_out(runtime: Runtime, folder: Path, out: Path) -> None:
    first = watch(runtime, folder, out, settle=0)
    next(first)
    with refused("output-busy", OutputError):
        once(runtime, folder, out)
    first.close()  # type: ignore[attr-defined]
    assert len(once(runtime, folder, out)) == 3


def test_another_model_another_folder_another_frame_are_refused(
    runtime: Runtime, folder: Path, out: Path, tmp_path: Path
) -> None:
    """Answers of two models in one folder would be told apart by nobody."""
    once(runtime, folder, out)
    other = tmp_path / "other.onnx"
    other.write_bytes(make_model(make_manifest(name="other")).SerializeToString())
    found = []
    for model, place, how in (
        (Runtime.open(other), folder, {}),
        (runtime, paint(tmp_path / "second/a.png", (1, 2, 3)).parent, {}),
        (runtime, folder, {"frame": 2}),
    ):
        with refused("resume-differs", ResumeError) as caught:
            once(model, place, out, **how)
        found.append(caught.value.fields["what"])
    assert found == ["model", "folder", "frame"]
    assert once(runtime, folder, out) == []


@pytest.mark.parametrize("content", [b"no ledger" * 200, b""])
def test_a_damaged_ledger_is_refused_and_an_empty_one_is_begun(
    runtime: Runtime, folder: Path, out: Path, content: bytes
) -> None:
    out.mkdir()
    (out / LEDGER).write_bytes(content)
    if content:
        with refused("ledger-damaged", ResumeError):
            once(runtime, folder, out)
        assert (out / LEDGER).read_bytes() == content
    else:
        assert len(once(runtime, folder, out)) == 4


def test_a_kill_before_an_answer_is_written_leaves_it_in_the_ledger(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = asked(runtime, monkeypatch)
    with stopping_at(monkeypatch, 2, Killed()), pytest.raises(Killed):
        once(runtime, folder, out)
    assert (len(written(out)), len(rows(out))) == (1, 2)
    left = out / f".{name_answer(rows(out)[1][0])}.abc.part"
    _with_parent(left).write_text("half")
    once(runtime, folder, out)
    assert sorted(names) == sorted({*names}), "no image is asked twice"
    assert written(out).keys() == {*COLOURS, "broken.png"}
    assert not left.exists()


def test_a_full_disk_ends_with_one_error_and_loses_nothing(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):  # more often than an image is tried
        with stopping_at(monkeypatch, 2, full_disk()), refused("output-unwritable", OutputError):
            once(runtime, folder, out)
        if len(rows(out)) == 4:
            break
    once(runtime, folder, out)
    assert written(out) == {result.image.removeprefix(f"{folder}/"): result.row() for result in runtime.predict(folder)}
    assert len(rows(out)) == 4


def test_a_full_disk_under_the_ledger_leaves_it_as_it_was(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.edge._watch import ledger

    real = sqlite3.connect

    def connect(*given: Any, **how: Any) -> Any:
        connection = real(*given, **how)
        connection.execute(f"PRAGMA max_page_count={8 if out.exists() else 1}")
        return connection

    for number in range(300):
        shutil.copy(folder / "a.png", folder / f"{number:03}.png")
    monkeypatch.setattr(ledger.sqlite3, "connect", connect)
    with refused("output-unwritable", OutputError):
        once(runtime, folder, out)
    monkeypatch.undo()
    kept = len(rows(out))
    assert 0 < kept < 300
    once(runtime, folder, out)
    assert len(rows(out)) == len({*rows(out)}) == 304


def test_an_image_over_which_the_program_ends_does_not_keep_the_others_back(
    runtime: Runtime, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, ended = runtime.answers, 0

    def answers(items: Any, **how: Any) -> Iterator[Result]:
        nonlocal ended
        for result in real(items, **how):
            if result.image.endswith("b.png"):
                ended += 1
                raise ModelError("the runtime ended")
            yield result

    monkeypatch.setattr(runtime, "answers", answers)
    for _ in range(3):
        with pytest.raises(ModelError):
            once(runtime, folder, out)
    assert written(out).keys() == {"a.png", "broken.png", "deep/c.jpg"}
    (last,) = once(runtime, folder, out)
    assert isinstance(last, Failure)
    assert written(out)["deep/er/b.png"].keys() == {"image", "error"}
    assert once(runtime, folder, out) == []
    assert ended == 3


def test_answered_files_are_moved_and_the_folder_stays_as_it_is_without_that(
    runtime: Runtime, folder: Path, out: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    once(runtime, folder, out)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    done = tmp_path / "done"
    assert once(runtime, folder, out, move_to=done) == [], "they were answered before"
    assert {path.relative_to(done).as_posix() for path in done.rglob("*.*")} == {*COLOURS, "broken.png"}
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("crossing", [False, True])
def test_moving_replaces_nothing_and_works_across_file_systems(
    runtime: Runtime, folder: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crossing: bool
) -> None:
    if crossing:
        real = Path.rename

        def rename(source: Path, target: Path) -> Path:
            if "in" in source.parts and "done" in Path(target).parts:
                raise OSError(errno.EXDEV, "cross-device link")
            return real(source, target)

        monkeypatch.setattr(Path, "rename", rename)
    done = tmp_path / "done"
    red = (folder / "a.png").read_bytes()
    once(runtime, folder, out, move_to=done)
    paint(folder / "a.png", (10, 10, 250))
    blue = (folder / "a.png").read_bytes()
    assert len(once(runtime, folder, out, move_to=done)) == 1
    (folder / "a.png").write_bytes(blue)  # sent twice
    assert once(runtime, folder, out, move_to=done) == []
    assert not (folder / "a.png").exists()
    kept = sorted(path.read_bytes() for path in done.glob("a*.png"))
    assert kept == sorted([red, blue])
    assert (done / "a.png").read_bytes() == red
    assert not list(done.rglob(".*"))


def test_a_kill_between_answer_and_move_is_mended_without_a_second_answer(
    runtime: Runtime, folder: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.edge import _watch

    names = asked(runtime, monkeypatch)

    def killed(*_: object) -> bool:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_watch, "move", killed)
        with pytest.raises(Killed):
            once(runtime, folder, out, move_to=tmp_path / "done")
    once(runtime, folder, out, move_to=tmp_path / "done")
    assert sorted(names) == sorted({*names})
    assert len([path for path in (tmp_path / "done").rglob("*") if path.is_file()]) == 4


def test_what_came_between_answer_and_move_is_not_moved(
    runtime: Runtime, folder: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that was never answered must not lie among those that were."""
    real = moving.stamp_of
    swapped = False

    def stamp(path: str) -> str | None:
        nonlocal swapped
        found = real(path)
        if path.endswith("in/a.png") and not swapped:
            swapped = True
            paint(folder.parent / "new.png", (10, 10, 250)).replace(folder / "a.png")
        return found

    monkeypatch.setattr(moving, "stamp_of", stamp)
    once(runtime, folder, out, move_to=tmp_path / "done")
    assert (folder / "a.png").exists()
    assert [one.row()["label"] for one in once(runtime, folder, out, move_to=tmp_path / "done")] == ["blue"]


def test_names_that_are_long_or_no_text_have_answers(runtime: Runtime, folder: Path, out: Path) -> None:
    long = "ü" * 125 + ".png"
    names = [long, "ü" * 124 + "x.png", "[1]*?.png", os.fsdecode(b"\xff\xfe.png")]
    for name in names:
        shutil.copy(folder / "a.png", folder / name)
    assert len(once(runtime, folder, out)) == 8
    for name in names:
        assert json.loads((out / name_answer(name)).read_bytes())["label"] == "red"
    assert len({name_answer(name) for name in names}) == 4
    assert name_answer("deep/a.png") == "deep/a.png.json"
