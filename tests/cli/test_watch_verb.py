"""`zoo watch IN OUT` as typed: the last run answers, or the model that is named; refusals say what to type."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_running import run_zoo

from zoo.edge import Runtime
from zoo.edge.__main__ import main as edge

ONCE = ("--once", "--settle", "0")


def test_the_last_run_answers_where_no_model_is_named(at_work: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers"
    ran = run_zoo("watch", "images", out, *ONCE)
    assert ran.code == 0, ran.err
    assert ran.out.count("\n") == 4
    predicted = run_zoo("predict", at_work / "runs" / "tiny", "images", "--json").document
    rows = [json.loads((out / f"{Path(row['image']).name}.json").read_bytes()) for row in predicted]
    assert rows == predicted
    again = run_zoo("watch", "images", out, *ONCE, "--json")
    assert (again.code, again.out) == (0, "")


@pytest.mark.usefixtures("at_work")
def test_each_answer_is_a_line_of_json_and_an_error_is_an_answer(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "text.png").write_text("no image")
    for verb, out in ((lambda *words: run_zoo(*words).code, "one"), (lambda *words: edge([*map(str, words)]), "two")):
        assert verb("watch", folder, tmp_path / out, *ONCE, "--model", "tiny.zoo", "--json") == 0
        assert "first bytes" in json.loads((tmp_path / out / "text.png.json").read_bytes())["error"]
    ran = run_zoo("watch", folder, tmp_path / "three", *ONCE, "--model", "tiny.zoo", "--json")
    row = json.loads(ran.out)
    assert (row["image"], row.keys()) == (str(folder / "text.png"), {"image", "error"})


def test_refusals_say_what_was_meant(
    at_work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = run_zoo("watch", "tiny.zoo", "images", tmp_path / "out", "--json")
    assert swapped.code == 2
    assert swapped.document["error"]["commands"] == [f"zoo watch images {tmp_path / 'out'} --json --model tiny.zoo"]
    nested = run_zoo("watch", "images", "images/out", *ONCE, "--json")
    assert (nested.code, nested.document["error"]["code"]) == (2, "watch-nested")
    assert not (at_work / "images" / "out").exists()
    assert edge(["watch", "images", str(tmp_path / "out"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "option-missing"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    nothing = run_zoo("watch", "in", "out", "--json")
    assert nothing.code == 2
    assert "zoo train" in nothing.document["error"]["message"]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("at_work")
def test_an_error_is_one_line_among_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the answers line by line."""
    for said in (
        run_zoo("watch", "nowhere", tmp_path / "out", "--model", "tiny.zoo", "--json").out,
        run_zoo("watch", "images", "images/out", "--model", "tiny.zoo", "--json").out,
        run_zoo("receive", tmp_path / "in", "--host", "10.0.0.5", "--json").out,
        (edge(["watch", "images", str(tmp_path / "out"), "--json"]), capsys.readouterr().out)[1],
    ):
        assert said.count("\n") == 1
        assert json.loads(said)["error"]["code"]


def test_a_start_says_which_model_answers(at_work: Path, tmp_path: Path) -> None:
    model = Runtime.open(at_work / "tiny.zoo")
    ran = run_zoo("watch", "images", tmp_path / "out", *ONCE, "--model", "tiny.zoo", "--json")
    first = ran.err.splitlines()[0]
    assert model.manifest.name in first
    assert model.sha256[:12] in first


def test_a_name_that_is_not_text_is_valid_in_json(at_work: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    try:
        shutil.copy(at_work / "images" / "0.png", folder / "a\udcff.png")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    shown = f"{folder}/a\\xff.png"
    ran = run_zoo("watch", folder, out, *ONCE, "--model", "tiny.zoo", "--json")
    assert json.loads(ran.out)["image"] == shown
    assert json.loads((out / "a\udcff.png.json").read_bytes())["image"] == shown
    assert run_zoo("predict", "tiny.zoo", folder, "--json").document[0]["image"] == shown
