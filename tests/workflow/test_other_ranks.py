"""A process beside the first one trains along and leaves files, numbers and the interpreter alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import zoo
from zoo.errors import NotFirstRankError
from zoo_cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_another_rank_is_told_by_an_error_of_its_own_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It once ended the interpreter: a program that starts its ranks itself met SystemExit instead of a value."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFirstRankError) as caught:
        zoo.train("logistic_regression", "digits", out=tmp_path / "run")
    assert caught.value.code == "not-first-rank"
    assert not (tmp_path / "run").exists()
    assert main(["train", "logistic_regression", "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == ""


def test_no_library_function_ends_the_interpreter() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for top in ("zoo", "plugins/zoo_plugins")
        for path in (ROOT / top).rglob("*.py")
        if path.name != "__main__.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise) and "SystemExit" in ast.dump(node)
    ]
    assert not found
