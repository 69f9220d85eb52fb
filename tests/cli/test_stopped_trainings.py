"""A training that is stopped at any of its writes: the run that it replaces is there, and it comes to its end."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo
from stopping import Killed, full_disk, stopping_at

import zoo
import zoo.evaluation._plots
import zoo.workflow.train
from zoo._support.files import atomic_write
from zoo._support.text import quote_path
from zoo.errors import OutputError
from zoo.runs import STATE, open_run, replaced_run
from zoo.testing import colour_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE = ("core.onnx", "predictions.csv", "report.json")


@pytest.fixture(scope="module", autouse=True)
def _empty_pictures() -> Iterator[None]:
    """To draw them takes longer than to train; that they are written is all that counts here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo.evaluation._plots, "_save", lambda _, target: atomic_write(target, b""))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with images, the run "old" on other features, and the run "new", both done."""
    root = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        colour_folder(root / "colours", per_class=8, side=16)
        zoo.train("svm", "colours", out="old", settings={"features": "hog"})
        with stopping_at(patch, 0, None) as written:
            zoo.train("svm", "colours", out="new")
        (root / "writes").write_text("\n".join(written.names))
        yield root


@pytest.fixture
def place(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run that a training is to replace: a copy of "old"."""
    monkeypatch.chdir(trained)
    shutil.rmtree("my runs", ignore_errors=True)
    shutil.copytree("old", "my runs/a")
    return Path("my runs/a")


def points(trained: Path) -> range:
    return range(1, len((trained / "writes").read_text().split()) + 1)


def is_run(path: Path, name: str) -> bool:
    """Whether `path` holds the run that was trained as `name`."""
    return (path / "model.onnx").is_file() and all(
        (path / file).read_bytes() == Path(name, file).read_bytes() for file in MADE
    )


def the_old_run_is_there(place: Path) -> bool:
    aside = replaced_run(place)
    return is_run(place if aside is None else aside, "old")


def nothing_lies_about(place: Path) -> bool:
    return [path.name for path in place.parent.iterdir()] == [place.name] and not [
        *place.glob(".*"),
        *place.glob(STATE),
    ]


def test_killed_at_any_write_an_overwrite_loses_nothing_and_one_command_ends_it(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second --overwrite once removed the only whole run; a kill after the last epoch left one that no verb took."""
    for number in points(trained):
        with monkeypatch.context() as patch, stopping_at(patch, number, Killed()) as written:
            patch.setattr(zoo.workflow.train, "_leave", lambda *_: True)  # nothing is cleaned up after a kill
            with pytest.raises(Killed):
                zoo.train("svm", "colours", out=place, overwrite=True)
        assert the_old_run_is_there(place), written.names
        again = replaced_run(place) is not None and number % 3 == 0
        if again:
            with monkeypatch.context() as patch, stopping_at(patch, 2, Killed()):
                patch.setattr(zoo.workflow.train, "_leave", lambda *_: True)
                with pytest.raises(Killed):
                    zoo.train("svm", "colours", out=place, overwrite=True)
            assert the_old_run_is_there(place), written.names
        zoo.train("svm", "colours", out=place, resume="auto")
        assert replaced_run(place) is None
        # Killed before anything was learnt, the new run left nothing, and the old one came back.
        assert is_run(place, "old" if number <= 6 or again else "new"), written.names
        assert nothing_lies_about(place), written.names
        shutil.rmtree(place)
        shutil.copytree("old", place)


def test_a_full_disk_at_any_write_leaves_the_old_run_where_it_was_or_where_it_is_said(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With 20 kB left, the list of images was not written, and the next --overwrite removed the old run."""
    for number in points(trained):
        caplog.clear()
        with stopping_at(monkeypatch, number, full_disk(), ever_after=True), pytest.raises(OutputError):
            zoo.train("svm", "colours", out=place, overwrite=True)
        assert the_old_run_is_there(place), number
        aside = replaced_run(place)
        assert (aside is None) == (str(aside) not in caplog.text)
        if aside is not None:
            shutil.rmtree(place)
            aside.rename(place)


@pytest.mark.parametrize("number", [2, 6, 7, 8, 12, 14])
def test_the_line_after_ctrl_c_works_when_it_is_pasted(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    shutil.rmtree(place)
    with stopping_at(monkeypatch, number, KeyboardInterrupt()):
        ran = run_zoo("train", "svm", "--data", "colours", "--out", place)
    assert ran.code == 130
    hint = re.search(r"'(zoo train svm --resume --out .*?)'(?:$|,|;)", ran.line)
    if number <= 6:  # nothing was learnt
        assert not place.exists()
        assert hint is None
        again = ["train", "svm", "--data", "colours", "--out", str(place)]
    else:
        assert hint is not None, ran.line
        again = shlex.split(hint[1])[1:]
        for verb in ("evaluate", "export"):  # they lead out, and to no other place
            judged = run_zoo(verb, place, *(["--onnx"] if verb == "export" else []))
            assert judged.code == 0 or hint[1] in judged.line, judged.line
    resumed = run_zoo(*again)
    assert resumed.code == 0, resumed.err
    assert is_run(place, "new")
    assert nothing_lies_about(place)


def test_ctrl_c_before_anything_is_learnt_brings_the_old_run_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stopping_at(monkeypatch, 4, KeyboardInterrupt()):
        ran = run_zoo("train", "svm", "--data", "colours", "--out", place, "--overwrite")
    assert ran.code == 130
    assert is_run(place, "old")
    assert nothing_lies_about(place)


def test_a_stop_while_an_old_run_waits_says_where_it_waits(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stopping_at(monkeypatch, 9, KeyboardInterrupt()):
        ran = run_zoo("train", "svm", "--data", "colours", "--out", place, "--overwrite")
    assert quote_path(replaced_run(place)) in ran.line
    assert open_run(place).record.status == "trained"


def test_one_command_begins_continues_and_reports(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster repeats the command it was given, whatever has become of the run."""
    shutil.rmtree(place)
    command = ["train", "svm", "--resume", "auto", "--data", "colours", "--out", place, "--json"]
    with stopping_at(monkeypatch, 8, KeyboardInterrupt()):
        assert run_zoo(*command).code == 130
    other = run_zoo(*command, "--size", "8")
    assert other.document["error"]["code"] == "resume-changed"
    assert other.document["error"]["name"] == "--size"
    ended, repeated = run_zoo(*command), run_zoo(*command)
    assert ended.code == repeated.code == 0, ended.err + repeated.err
    assert ended.document == repeated.document | {"passed_over": ended.document["passed_over"]}
    other = run_zoo(*command, "--seed", "9").document["error"]
    assert (other["code"], other["name"]) == ("resume-changed", "--seed")
    other = run_zoo(*command, "--data", "digits").document["error"]
    assert other["code"] == "data-changed", "its numbers are of no other images"


@pytest.mark.parametrize("words", [["--resume", "svm"], ["svm", "--resume"], ["svm", "--resume", "auto"]])
def test_the_model_may_stand_behind_resume(place: Path, words: list[str]) -> None:
    ran = run_zoo("train", *words, "--out", place, "--json")
    assert ran.code == (0 if "auto" in words else 1)
    assert "auto" in words or ran.document["error"]["code"] == "run-finished"


def test_resume_says_what_is_missing(place: Path) -> None:
    for words, code, status in (
        (["--resume", "--out", "nowhere"], "run-unknown", 1),
        (["--resume", "auto"], "option-missing", 2),
        (["--resume", "--overwrite", "--out", place], "option-conflict", 2),
        (["--resume=perhaps", "--out", place], "usage", 2),
    ):
        ran = run_zoo("train", "svm", *words, "--json")
        assert (ran.document["error"]["code"], ran.code) == (code, status)


def test_other_packages_are_said_and_recorded_and_never_claimed(place: Path) -> None:
    """A run that torch 2.9 began and another one ended once said that all of it was 2.9."""
    run = open_run(place)
    run.update(status="interrupted", versions=run.record.versions | {"numpy": "1.0"})
    ran = run_zoo("train", "svm", "--resume", "--out", place)
    assert ran.code == 0, ran.err
    record = open_run(place).record
    assert [one["numpy"] for one in record.earlier_versions] == ["1.0"]
    assert record.versions["numpy"] != "1.0"
    note = next(note for note in record.notes if "numpy 1.0" in note)
    assert note in ran.err


def test_a_changed_model_of_a_run_is_not_exported(place: Path) -> None:
    core = bytearray((place / "core.onnx").read_bytes())
    core[len(core) // 2] ^= 1
    (place / "core.onnx").write_bytes(core)
    ran = run_zoo("export", place, "--onnx", "--json")
    assert (ran.code, ran.document["error"]["code"]) == (1, "weights-hash")
