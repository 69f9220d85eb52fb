"""`zoo explain` as a user types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("at_work")
def test_each_image_gets_a_line_and_a_picture(tmp_path: Path) -> None:
    done = run_zoo("explain", "tiny.zoo", "images", "--out", tmp_path / "maps")
    assert done.code == 0, done.err
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [f"images/{i}.png" for i in range(4)]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [f"{i}.heat.png" for i in range(4)]
    assert "does not prove" in done.line, "a map is never given without what it does not mean"


@pytest.mark.usefixtures("at_work")
def test_document_holds_the_numbers(tmp_path: Path) -> None:
    done = run_zoo("explain", "tiny.onnx", "images/0.png", "--label", "7", "--json", "--out", tmp_path / "maps")
    (row,) = done.document
    assert (row["label"], row["height"], row["width"]) == ("7", 8, 8)
    assert 0 <= row["base"] <= 1
    assert len({len(line) for line in row["values"]}) == 1


@pytest.mark.usefixtures("at_work")
def test_image_without_a_map_is_named_and_fails(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    done = run_zoo("explain", "tiny.zoo", "images/0.png", tmp_path / "bad.png", "--out", tmp_path / "maps", "--json")
    assert done.code == 1
    assert "error" in done.document[1]
    assert "1 of 2" in done.line
