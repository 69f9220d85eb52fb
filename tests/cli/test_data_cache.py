"""`zoo data cache`: what is kept, where, and how to be rid of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image

from zoo.data import _cache as cache
from zoo.data import _decode as decode
from zoo.data import decode_all, open_data
from zoo.spec import PreprocessSpec

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One set of four images, decoded and kept."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZOO_CACHE_GB", "1")
    monkeypatch.setattr(decode, "WORTH_KEEPING", 0)
    monkeypatch.setattr(cache, "FEWEST", 1)
    rng = np.random.default_rng(0)
    for i in range(4):
        (tmp_path / "pets" / "cat").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(tmp_path / "pets" / "cat" / f"{i}.png")
    spec = PreprocessSpec(size=(100, 100), mean=(0.5,) * 3, std=(0.5,) * 3)
    path = decode_all(open_data(tmp_path / "pets", for_training=False).test, spec).kept
    assert path is not None
    return path


def test_what_is_kept_is_shown_and_cleared(kept: Path) -> None:
    told = json.loads(run_zoo("data", "cache", "--json").out)
    assert told["limit_bytes"] == 10**9
    assert [(row["kind"], row["path"]) for row in told["entries"]] == [("decoded", str(kept))]
    assert told["size_bytes"] == kept.stat().st_size > 4 * 100 * 100 * 3 * 4
    shown = run_zoo("data", "cache").out
    assert "decoded images" in shown
    assert kept.name in shown
    assert "0.5 MB" in shown
    assert run_zoo("data", "cache", "--clear").out.startswith("removed 1 file")
    assert not kept.exists()
    assert run_zoo("data", "cache").out.startswith("nothing is kept")


def test_a_limit_that_is_no_number_is_answered_in_one_line(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE_GB", "plenty")
    answer = run_zoo("data", "cache")
    assert answer.code == 2
    assert all(word in answer.err for word in ("ZOO_CACHE_GB", "'plenty'", "gigabytes"))
    assert kept.exists()
