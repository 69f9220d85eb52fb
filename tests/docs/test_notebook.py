"""The notebook of examples/ runs from its first cell to its last, and shows what its text promises.

Its cells run in this process: the last expression of each is shown as a notebook would show it. That needs no kernel,
and no notebook server in the tests.
"""

from __future__ import annotations

import ast
import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from page_blocks import ROOT

NOTEBOOK = ROOT / "examples" / "whole_way.ipynb"


def _cells() -> list[dict[str, Any]]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert found["nbformat"] == 4
    return [cell for cell in found["cells"] if cell["cell_type"] == "code"]


def _run(source: str, names: dict[str, Any]) -> str:
    """Run a cell, and return what it shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)  # noqa: S102 - the file is ours
    if last is None:
        return ""
    assert isinstance(last, ast.Expr)
    value = eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)  # noqa: S307 - the file is ours
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


def test_it_is_kept_without_outputs() -> None:
    """Outputs would be those of another day; times and versions would change with every run."""
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in _cells())


def test_every_cell_runs_and_shows_its_table(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(tmp_path):
        shown = [_run("".join(cell["source"]), names) for cell in _cells()]
        shutil.rmtree("runs")
        assert not list(Path().iterdir()), "all that it writes is in runs/, as it says"
    models, check, trained, classes, compared, pairs, runs, verified, answers, kept = shown[1:]
    assert all("<table" in html for html in shown[1:-1])
    assert "resnet18" in models or "simple_cnn" in models
    assert "clean" in check
    assert "macro_auroc" in trained
    assert "sensitivity_low" in classes
    assert "svm" in compared
    assert "verdict" in pairs
    assert runs.count("finished") == 2
    assert "golden images" in verified
    assert answers.count("array ") == 5
    assert set(json.loads(ast.literal_eval(kept))) >= {"value", "low", "high"}
