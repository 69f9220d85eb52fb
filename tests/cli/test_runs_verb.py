"""`zoo runs` as it is typed: alone, with its verbs, on a terminal and in a script."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from cli_running import run_zoo
from made_runs import make_run

from zoo.runs import Diverged


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _runs(elsewhere: Path) -> None:
    make_run("runs/a", status="interrupted")
    make_run("runs/b b", started="2026-02-01T00:00:00Z")
    (make_run("runs/broken") / "run.json").write_text("{")
    Path("runs/latest").symlink_to("b b", target_is_directory=True)
    assert elsewhere == Path.cwd()


def test_alone_it_lists_the_newest_first_and_a_damaged_one_with_the_reason() -> None:
    told = run_zoo("runs")
    assert told.code == 0
    assert told.out == run_zoo("runs", "list").out
    rows = told.out.splitlines()
    assert rows[1].startswith('*"runs/b b"')
    assert "finished" in rows[1]
    assert "0.900 (0.800 to 0.950)" in rows[1]
    assert "interrupted" in rows[2]
    assert "damaged" in rows[3]
    assert rows[-1].startswith("runs/broken: ")


def test_a_document_is_a_list_of_rows_with_or_without_the_verb() -> None:
    alone, listed = run_zoo("runs", "--json").document, run_zoo("runs", "list", "--json").document
    assert alone == listed
    assert [(row["id"], row["state"]) for row in alone] == [
        ("b b", "finished"), ("a", "interrupted"), ("broken", "damaged"),
    ]  # fmt: skip
    assert run_zoo("runs", "list", "runs/a", "--json").document == [alone[1]]


def test_no_run_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert "zoo train" in run_zoo("runs").out
    assert run_zoo("runs", "--json").document == []


def test_one_run_is_shown_in_full() -> None:
    shown = run_zoo("runs", "show")
    assert shown.code == 0
    for wanted in ("seed 0", "digits, train 20, val 5, test 5", "fitted in one step", "weights.safetensors 1.0 kB"):
        assert wanted in " ".join(shown.out.split())
    assert 'zoo export "runs/b b" --onnx --bundle' in " ".join(shown.out.split())
    assert run_zoo("runs", "show", "--json").document["record"]["id"] == "b b"
    assert run_zoo("runs", "show", "broken").code == 1


def test_of_a_run_that_stopped_it_is_said_where() -> None:
    make_run("runs/c", status="interrupted", epochs_done=2, steps_done=7, diverged=Diverged(epoch=3, step=9, lr=0.5))
    shown = " ".join(run_zoo("runs", "show", "c").out.split())
    assert "in epoch 3, after 7 steps" in shown
    assert "in step 9 of epoch 3, at lr 0.5" in shown


def test_two_runs_are_shown_side_by_side_and_the_paired_test_is_named() -> None:
    told = run_zoo("runs", "compare", "a", "b b")
    assert told.code == 0
    assert 'zoo compare runs/a "runs/b b"' in told.out
    assert run_zoo("runs", "compare", "a", "b b", "--json").document["same_images"] is True
    assert run_zoo("runs", "compare", "a").code == 2


def test_a_renamed_run_is_found_by_its_new_name() -> None:
    assert run_zoo("runs", "rename", "latest", "best").code == 0
    assert run_zoo("runs", "show", "--json").document["summary"]["id"] == "best"
    taken = run_zoo("runs", "rename", "best", "a", "--json")
    assert taken.code == 1
    assert taken.document["error"]["code"] == "out-occupied"


class TestRemove:
    def test_a_script_must_say_yes(self) -> None:
        asked = run_zoo("runs", "remove", "a", "b b", "--json")
        assert asked.code == 2
        assert asked.document["error"]["code"] == "option-missing"
        assert 'zoo runs remove runs/a "runs/b b" --yes' in asked.line
        assert Path("runs/a/run.json").is_file()
        done = run_zoo("runs", "remove", "a", "b b", "--yes", "--json")
        assert [run["id"] for run in done.document] == ["a", "b b"]
        assert not Path("runs/a").exists()
        assert not Path("runs/latest").is_symlink()

    @pytest.mark.parametrize(("answer", "stays"), [("n\n", True), ("\n", True), ("", True), ("y\n", False)])
    def test_a_person_is_asked(self, answer: str, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", _Terminal(answer))
        asked = run_zoo("runs", "remove", "a")
        assert "runs/a" in asked.err
        assert (asked.code, Path("runs/a").exists()) == ((1, True) if stays else (0, False))

    def test_nothing_else_goes_and_what_was_freed_is_said(self) -> None:
        told = run_zoo("runs", "remove", "a", "--yes")
        assert "removed runs/a" in told.out
        assert "kB" in told.out
        assert sorted(path.name for path in Path("runs").iterdir()) == ["b b", "broken", "latest"]
        assert run_zoo("runs", "remove", "broken", "--yes").code == 1
        assert Path("runs/broken/run.json").is_file()
