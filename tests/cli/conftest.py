"""One tiny training that the verbs after it share."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Images of 8 × 8 gain nothing from a second thread, and lose much where tests share a machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user's, with one run of simple_cnn, its ONNX file and its bundle; not to be changed."""
    folder = tmp_path_factory.mktemp("workplace")
    with contextlib.chdir(folder):
        trained = run_zoo("train", "simple_cnn", "--epochs", "2", "--batch-size", "128", "--json", "--out", "runs/tiny")
        (folder / "train.json").write_text(trained.out)
        (folder / "train.err").write_text(trained.err)
        assert trained.code == 0, trained.err
        exported = run_zoo("export", "--onnx", "--out", "tiny.onnx", "--json")
        (folder / "export.json").write_text(exported.out)
        assert exported.code == 0, exported.err
        assert run_zoo("export", "--onnx", "--bundle", "--out", "tiny.zoo").code == 0
        _draw(folder / "images")
    return folder


def _draw(folder: Path) -> None:
    from PIL import Image

    from zoo.data import open_data

    folder.mkdir()
    digits = open_data("digits").test
    for i in range(4):
        Image.fromarray(digits.read(i).pixels).save(folder / f"{i}.png")


@pytest.fixture
def at_work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared folder as the working directory."""
    monkeypatch.chdir(workplace)
    return workplace


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def copied(workplace: Path, elsewhere: Path) -> Callable[[str], Path]:
    """Take something of the shared folder along, to be changed."""

    def copy(name: str) -> Path:
        target = elsewhere / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (workplace / name).is_dir():
            return Path(shutil.copytree(workplace / name, target))
        return Path(shutil.copy(workplace / name, target))

    return copy


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees this machine's weights, nor goes to a network."""
    before = dict(os.environ)
    os.environ["ZOO_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["ZOO_OFFLINE"] = "1"
    os.environ.pop("ZOO_DEBUG", None)
    os.environ.pop("ZOO_PLUGINS", None)
    yield
    os.environ.clear()
    os.environ.update(before)
