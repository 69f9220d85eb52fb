"""A table that is stopped anywhere can be resumed: no row twice, lost or half, and never with other answers."""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from edge_models import make_manifest, make_model, paint
from PIL import Image
from refusals import refused

from zoo._support.files import sha256_file
from zoo.edge import Runtime, predict_csv
from zoo.edge.__main__ import main
from zoo.errors import DataError, OutputError, ResumeError, UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of several colours, one of them broken, and names that a table must quote."""
    random_ = np.random.default_rng(0)
    names = [*(f"{i}.png" for i in range(8)), 'a "b", c.png', "=1+1.png", "line\nbreak.png", "line\rfeed.png"]
    for name in names:
        colour = random_.integers(0, 256, 3)
        paint(tmp_path / "images" / name, (int(colour[0]), int(colour[1]), int(colour[2])))
    (tmp_path / "images" / "3.png").write_bytes(b"@broken")
    return tmp_path / "images"


@pytest.fixture
def whole(model_file: Path, folder: Path, tmp_path: Path) -> bytes:
    """The table of a call that nothing interrupts."""
    list(predict_csv(Runtime.open(model_file), folder, tmp_path / "whole.csv"))
    return (tmp_path / "whole.csv").read_bytes()


def interrupted(model: Path, folder: Path, target: Path, rows: int, *, overwrite: bool = False) -> Path:
    """The unfinished table of a call that stopped after so many rows."""
    results = predict_csv(Runtime.open(model), folder, target, overwrite=overwrite)
    for _ in range(rows):
        next(results)
    results.close()  # type: ignore[attr-defined]
    return Path(f"{target}.part")


def test_the_unfinished_table_stands_beside_the_old_one_and_is_gone_on_with(
    model_file: Path, folder: Path, tmp_path: Path, whole: bytes
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    part = interrupted(model_file, folder, target, 5, overwrite=True)
    assert target.read_text() == "old"
    assert part.read_bytes() == b"".join(whole.splitlines(keepends=True)[:6])
    results = list(predict_csv(Runtime.open(model_file), folder, target, resume=True, overwrite=True))
    assert results == list(Runtime.open(model_file).predict(folder)), "found rows are results too"
    assert target.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == ["out.csv"]


def test_a_table_cut_at_any_byte_becomes_the_same_table(
    model_file: Path, folder: Path, tmp_path: Path, whole: bytes
) -> None:
    """A kill or a power cut may leave any beginning of the file, even a row whose quoted name holds a line break."""
    target = tmp_path / "out.csv"
    part = interrupted(model_file, folder, target, 5)
    note = Path(f"{part}.json").read_bytes()
    runtime = Runtime.open(model_file)
    for length in range(0, len(whole) + 1, 19):
        target.unlink(missing_ok=True)
        Path(f"{part}.json").write_bytes(note)
        part.write_bytes(whole[:length] + (b"\0" * 50 if length % 2 else b""))
        assert len(list(predict_csv(runtime, folder, target, resume=True))) == 12
        assert target.read_bytes() == whole, length


def test_an_unfinished_table_is_not_overwritten_by_chance(model_file: Path, folder: Path, tmp_path: Path) -> None:
    part = interrupted(model_file, folder, tmp_path / "out.csv", 5)
    before = part.read_bytes()
    with refused("resume-unfinished", ResumeError):
        list(predict_csv(Runtime.open(model_file), folder, tmp_path / "out.csv"))
    assert part.read_bytes() == before


def refusal(model: Path, folder: Path, target: Path, **how: int) -> ResumeError:
    """Going on is refused, and the rows stay as they were."""
    part = Path(f"{target}.part")
    before = part.read_bytes()
    with pytest.raises(ResumeError) as caught:
        list(predict_csv(Runtime.open(model), folder, target, resume=True, **how))  # type: ignore[arg-type]
    assert part.read_bytes() == before
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return caught.value


def test_another_model_other_columns_another_frame_are_refused(model_file: Path, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    interrupted(model_file, folder, target, 5)
    other = tmp_path / "other.onnx"
    other.write_bytes(make_model(make_manifest(name="other")).SerializeToString())
    problem = refusal(other, folder, target)
    assert (problem.code, problem.fields["what"]) == ("resume-differs", "model")
    assert sha256_file(model_file)[:12] in problem.fields["begun"]
    assert sha256_file(other)[:12] in problem.fields["now"]
    problem = refusal(model_file, folder, target, frame=1)
    assert problem.code == "resume-differs"
    assert problem.fields["what"] == "frame"
    assert problem.fields["begun"] == "None"
    assert problem.fields["now"] == "1"
    note = json.loads(Path(f"{target}.part.json").read_text())
    note["columns"][-2] = "p_violet"
    Path(f"{target}.part.json").write_text(json.dumps(note))
    problem = refusal(model_file, folder, target)
    assert problem.code == "resume-differs"
    assert problem.fields["what"] == "columns"


def test_other_images_or_another_order_are_refused(model_file: Path, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    interrupted(model_file, folder, target, 5)
    assert refusal(model_file, paint(tmp_path / "other" / "0.png", (1, 2, 3)).parent, target).code == "resume-differs"
    paint(folder / "1a.png", (1, 2, 3))
    line = str(refusal(model_file, folder, target))
    assert "row 3 is" in line
    assert "1a.png" in line
    (folder / "1a.png").unlink()
    for path in folder.iterdir():
        if path.name != "0.png":
            path.unlink()
    problem = refusal(model_file, folder, target)
    assert problem.code == "resume-differs"
    assert problem.fields["what"] == "image"
    assert problem.fields["now"] == "no image"


def test_a_damaged_row_is_refused_and_not_passed_on(model_file: Path, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    part = interrupted(model_file, folder, target, 8)
    good = part.read_bytes()
    lines = good.splitlines(keepends=True)
    for damage in (
        lambda: b"".join([*lines[:2], lines[2].replace(b"0.", b"1.", 1), *lines[3:]]),
        lambda: b"".join([*lines[:2], lines[2].replace(b",", b";", 1), *lines[3:]]),
        lambda: b"".join([*lines[:2], b"\xff" + lines[2], *lines[3:]]),
        lambda: good.replace(b"probability", b"certainty", 1),
        lambda: b"\n" + good,
    ):
        part.write_bytes(damage())
        line = str(refusal(model_file, folder, target))
        assert "damaged" in line or "row 2 is" in line or "first line" in line
    part.write_bytes(good)
    Path(f"{part}.json").unlink()
    assert refusal(model_file, folder, target).code == "resume-damaged"


def test_nothing_is_left_of_a_call_that_answered_nothing(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with refused("data-empty", DataError):
        list(predict_csv(Runtime.open(model_file), tmp_path / "empty", tmp_path / "out.csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "model.onnx"]


def test_resume_begins_where_nothing_was_begun_and_refuses_where_all_is_done(
    model_file: Path, folder: Path, tmp_path: Path, whole: bytes
) -> None:
    """One command line serves the first start and every one after, and a finished table is not made again."""
    target = tmp_path / "out.csv"
    list(predict_csv(Runtime.open(model_file), folder, target, resume=True))
    assert target.read_bytes() == whole
    with refused("resume-nothing", ResumeError):
        list(predict_csv(Runtime.open(model_file), folder, target, resume=True))


def test_a_table_that_is_there_is_replaced_on_demand_only(
    model_file: Path, folder: Path, tmp_path: Path, whole: bytes
) -> None:
    target, runtime = tmp_path / "out.csv", Runtime.open(model_file)
    target.write_text("mine")
    with refused("out-occupied", OutputError, path=str(target)):
        list(predict_csv(runtime, folder, target))
    assert target.read_text() == "mine"
    assert not Path(f"{target}.part").exists()
    begun = predict_csv(runtime, folder, target, overwrite=True)
    next(begun)
    begun.close()
    assert target.read_text() == "mine", "it stays until the new one is whole"
    with refused("out-occupied", OutputError):
        list(predict_csv(runtime, folder, target, resume=True))
    list(predict_csv(runtime, folder, target, resume=True, overwrite=True))
    assert target.read_bytes() == whole


def test_overwriting_without_a_table_is_a_mistake_of_the_command_line(model_file: Path, folder: Path) -> None:
    assert main(["predict", str(model_file), str(folder), "--overwrite"]) == 2


def test_places_that_can_not_take_a_table_are_refused(model_file: Path, folder: Path, tmp_path: Path) -> None:
    runtime = Runtime.open(model_file)
    (tmp_path / "file").write_text("in the way")
    for target in (Path("/dev/null"), tmp_path / "images", tmp_path / "file" / "out.csv"):
        with pytest.raises(OutputError, match="cannot write"):
            list(predict_csv(runtime, folder, target))
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.csv.part").symlink_to(tmp_path / "precious")
    with refused("output-unwritable", OutputError):
        list(predict_csv(runtime, folder, tmp_path / "out.csv", resume=True))
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
def test_two_processes_do_not_write_one_table(model_file: Path, folder: Path, tmp_path: Path) -> None:
    first = predict_csv(Runtime.open(model_file), folder, tmp_path / "out.csv")
    next(first)
    with refused("output-busy", OutputError):
        list(predict_csv(Runtime.open(model_file), folder, tmp_path / "out.csv", resume=True))
    assert len(list(first)) == 11


def test_a_full_disk_keeps_the_rows(
    model_file: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes
) -> None:
    from zoo.edge import _answers as resuming

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resuming.os, "fsync", full)
    with pytest.raises(OutputError, match="space left"):
        list(predict_csv(Runtime.open(model_file), folder, tmp_path / "out.csv"))
    monkeypatch.undo()
    list(predict_csv(Runtime.open(model_file), folder, tmp_path / "out.csv", resume=True))
    assert (tmp_path / "out.csv").read_bytes() == whole


def test_the_command_resumes_and_its_status_counts_all_rows(
    model_file: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.csv"
    interrupted(model_file, folder, target, 5)
    arguments = ["predict", str(model_file), str(folder), "--csv", str(target)]
    assert main(arguments) == 1
    assert "--resume" in capsys.readouterr().err
    assert main([*arguments, "--resume", "--json"]) == 1, "the broken image is among the rows found"
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert main(["predict", str(model_file), str(folder), "--resume"]) == UsageError.exit_code


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_table_survives_kill_9_at_any_moment(model_file: Path, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(40):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    for i in range(40, 6000):
        (folder / f"{i}.png").hardlink_to(folder / f"{i % 40}.png")
    list(predict_csv(Runtime.open(model_file), folder, tmp_path / "whole.csv"))
    whole = (tmp_path / "whole.csv").read_bytes()

    target, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    command = [sys.executable, "-m", "zoo.edge", "predict", str(model_file), str(folder), "--csv", str(target)]
    command += ["--resume", "--workers", str(workers)]
    chance = random.Random(workers)  # noqa: S311
    lengths = [0]
    for _ in range(4):
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
        enough = lengths[-1] + chance.randrange(1, len(whole) // 5)
        while child.poll() is None and not (part.exists() and part.stat().st_size > enough):
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert not target.exists()
        kept = part.read_bytes()
        assert whole.startswith(kept), "every byte that is there is right"
        assert len(kept) > lengths[-1], "what was answered is not answered again"
        lengths.append(len(kept))
    subprocess.run(command, cwd=ROOT, check=True)
    assert target.read_bytes() == whole
    with target.open(newline="") as stream:
        assert sum(1 for _ in csv.reader(stream)) == 6001
