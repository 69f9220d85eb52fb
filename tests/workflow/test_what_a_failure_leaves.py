"""Nothing half-written: a training that never learnt anything leaves things as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from zoo.errors import DataError, ProviderError, UsageError, ZooError
from zoo.testing import colour_folder


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return colour_folder(tmp_path / "colours", per_class=8, side=16)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_a_truncated_image_leaves_no_run(colours: Path) -> None:
    for path in colours.rglob("3.png"):
        truncate(path)
    with pytest.raises(DataError, match="skip-bad"):
        zoo.train("svm", colours, out="run")
    assert not Path("run").exists()
    assert not Path("runs").exists()


def test_a_device_that_is_not_there_leaves_no_run(colours: Path) -> None:
    """And a classical model does not run on the CPU in silence when a GPU was asked for."""
    with pytest.raises(ProviderError):
        zoo.train("svm", colours, device="cuda", out="run")
    assert not Path("run").exists()


def test_overwrite_keeps_the_old_run_until_the_new_one_stands(colours: Path) -> None:
    zoo.train("svm", colours, out="run")
    before = Path("run/model.onnx").read_bytes()
    with pytest.raises(ZooError):
        zoo.train("svm", colours, device="cuda", out="run", overwrite=True)
    assert Path("run/model.onnx").read_bytes() == before
    zoo.train("svm", colours, out="run", overwrite=True)
    assert sorted(p.name for p in Path().iterdir() if p.name.startswith(".")) == []


def test_a_refused_run_does_not_become_the_last_one(colours: Path) -> None:
    good = zoo.train("svm", colours)
    with pytest.raises(ZooError):
        zoo.train("svm", colours, device="cuda")
    assert Path("runs/latest").resolve() == Path(good.run).resolve()


def test_compare_trains_nothing_when_a_name_means_nothing(colours: Path) -> None:
    """A typo must not show after hours of training the others."""
    with pytest.raises(UsageError, match="nonesuch"):
        zoo.compare(["svm", "nonesuch"], colours)
    assert not Path("runs").exists()
