"""Files that leave a watched folder: none is lost unanswered, and one that cannot leave holds nothing up.

What would be wrong with the product: an X-ray that nobody has answered is deleted; or one odd file ends the work of
every night.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from edge_models import paint
from refusals import refused
from stopping import Killed, full_disk, stopping_at

from zoo.edge import Runtime, watch
from zoo.edge._watch import Pass, moving
from zoo.errors import OutputError

if TYPE_CHECKING:
    from zoo.edge import Result

RED, BLUE = (250, 10, 10), (10, 10, 250)


@pytest.fixture
def runtime(model_file: Path) -> Runtime:
    return Runtime.open(model_file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        paint(tmp_path / "in" / name, RED)
    return tmp_path / "in"


@pytest.fixture
def done(tmp_path: Path) -> Path:
    return tmp_path / "done"


def once(runtime: Runtime, folder: Path, **how: Any) -> tuple[list[Result], Pass]:
    """What one pass answers, and what it came to."""
    passes: list[Pass] = []
    found = list(watch(runtime, folder, folder.with_name("out"), once=True, settle=0, tell=passes.append, **how))
    return found, passes[-1]


def names(place: Path) -> set[str]:
    """Files below a folder, hidden ones too."""
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}


def two_systems(patch: pytest.MonkeyPatch) -> None:
    """`in` and `done` lie on two file systems from now on."""
    real = Path.rename

    def rename(source: Path, target: Path) -> Path:
        if "in" in source.parts and "done" in Path(target).parts:
            raise OSError(errno.EXDEV, "cross-device link")
        return real(source, target)

    patch.setattr(Path, "rename", rename)


@pytest.mark.parametrize("sent_twice", [False, True])
def test_what_takes_the_name_before_the_original_is_removed_is_answered(
    runtime: Runtime, folder: Path, done: Path, monkeypatch: pytest.MonkeyPatch, sent_twice: bool
) -> None:
    """The copy is whole, or was there before; then a sender renames a new image to the name of the old one."""
    two_systems(monkeypatch)
    if sent_twice:
        shutil.copytree(folder, done)
    with monkeypatch.context() as patch:
        real = moving.sha256_file

        def hash_then_replace(path: Path) -> str:
            digest = real(path)
            if "done" in path.parts and "a.png" in path.name:
                paint(folder.parent / "new.png", BLUE).replace(folder / "a.png")
            return digest

        def stamp_before(path: str) -> str | None:
            return stamps.get(path) or stamp(path)

        if not sent_twice:  # the last look of the copy sees the old file, and the new one comes after that
            stamp = moving.stamp_of
            stamps = {str(folder / "a.png"): stamp(str(folder / "a.png"))}
            patch.setattr(moving, "stamp_of", stamp_before)
        patch.setattr(moving, "sha256_file", hash_then_replace)
        _, came_to = once(runtime, folder, move_to=done)
    assert (names(folder), came_to.moved) == ({"a.png"}, 1)
    monkeypatch.undo()
    found, came_to = once(runtime, folder, move_to=done)
    assert [one.row()["label"] for one in found] == ["blue"]
    assert (names(folder), came_to.moved, len(names(done))) == (set(), 1, 3)


def test_a_rename_that_was_put_back_moved_nothing(
    runtime: Runtime, folder: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def replace_then_rename(source: Path, target: Path) -> Path:
        if source == folder / "a.png":
            paint(folder.parent / "new.png", BLUE).replace(source)
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", replace_then_rename)
        _, came_to = once(runtime, folder, move_to=done)
    assert (came_to.moved, names(folder), names(done)) == (1, {"a.png"}, {"b.png"})
    found, _ = once(runtime, folder, move_to=done)
    assert [one.row()["label"] for one in found] == ["blue"]


@pytest.mark.parametrize("taken", [False, True])
def test_a_kill_while_a_file_is_removed_leaves_it_to_the_next_start(
    runtime: Runtime, folder: Path, done: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    two_systems(monkeypatch)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(moving, "_is_answered", killed)
        with pytest.raises(Killed):
            once(runtime, folder, move_to=done)
    (left,) = (folder / moving.ASIDE).iterdir()
    if taken:
        paint(folder / left.name, BLUE)
    found, _ = once(runtime, folder)
    assert not (folder / moving.ASIDE).exists()
    assert len(names(folder)) == 2 + taken, "nothing is replaced, nothing is lost"
    assert len(found) == 1 + 2 * taken, "the file is answered that was not, and those that have other names or content"
    once(runtime, folder, move_to=done)
    assert names(folder) == set()


def test_a_file_that_cannot_be_moved_stays_and_the_others_go(
    runtime: Runtime, folder: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with the sticky bit, say, in which another user's file lies."""
    real = Path.rename

    def rename(source: Path, target: Path) -> Path:
        if source == folder / "a.png":
            raise PermissionError(errno.EPERM, "operation not permitted")
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        for answered in (2, 0):
            found, came_to = once(runtime, folder, move_to=done)
            assert (len(found), len(came_to.troubles)) == (answered, 1)
            assert (names(folder), names(done)) == ({"a.png"}, {"b.png"})
    _, came_to = once(runtime, folder, move_to=done)
    assert (came_to.moved, came_to.troubles, names(folder)) == (1, (), set())


def test_a_folder_of_moved_files_that_is_full_or_no_folder_ends_the_watch(
    runtime: Runtime, folder: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_systems(monkeypatch)
    with stopping_at(monkeypatch, 2, full_disk()), refused("output-unwritable", OutputError):
        once(runtime, folder, move_to=done)
    done.rmdir()
    done.write_text("no folder")
    with refused("output-unwritable", OutputError):
        once(runtime, folder, move_to=done)
    assert names(folder) == {"a.png", "b.png"}


def test_an_answer_that_cannot_be_written_holds_nothing_up_and_keeps_its_image(
    runtime: Runtime, folder: Path, done: Path
) -> None:
    """A folder `a.png.json` beside `a.png`, with an image in it, has answers below the name of that answer."""
    out = folder.with_name("out")
    for answered in (2, 0):
        (out / "a.png.json").mkdir(parents=True, exist_ok=True)
        found, came_to = once(runtime, folder, move_to=done)
        assert (len(found), len(came_to.troubles)) == (answered, 1)
        assert (names(folder), names(done)) == ({"a.png"}, {"b.png"})
    (out / "a.png.json").rmdir()
    found, came_to = once(runtime, folder, move_to=done)
    assert (found, came_to.troubles, names(folder)) == ([], (), set())
    assert {"a.png.json", "b.png.json"} <= names(out)
