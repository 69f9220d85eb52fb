"""`zoo export` as a user types it: what is there stays, and what travels along is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("at_work")
def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"mine")
    ran = run_zoo("export", "--onnx", "--out", target, "--json")
    error = ran.document["error"]
    assert (ran.code, error["code"], error["path"], error["holds"]) == (1, "out-occupied", str(target), "file")
    assert target.read_bytes() == b"mine"
    done = run_zoo("export", "--onnx", "--out", target, "--overwrite", "--json")
    assert (done.code, done.document["golden"], done.document["proven"]) == (0, None, "export")
    assert target.stat().st_size == done.document["size_bytes"]


@pytest.mark.usefixtures("at_work")
def test_the_terminal_says_whose_the_golden_images_are(tmp_path: Path) -> None:
    public = run_zoo("export", "--bundle", "--out", tmp_path / "a.zoo")
    assert "32 images, of a public set" in public.out
    drawn = run_zoo("export", "--bundle", "--golden", "generated", "--out", tmp_path / "b.zoo")
    assert "32 images, drawn for the purpose" in drawn.out
    assert "drawn for the purpose" in run_zoo("verify", tmp_path / "b.zoo").out
    assert run_zoo("verify", tmp_path / "b.zoo", "--json").document["golden"] == "generated"
