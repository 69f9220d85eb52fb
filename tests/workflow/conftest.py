"""Runs that are trained once for all tests, each in a working directory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from api_folders import CANARY, canary_folder

import zoo

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory, where runs/ is made."""
    root = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture
def colours(place: Path) -> Path:
    """Three classes of 20 pictures whose names and metadata hold a secret."""
    return canary_folder(place / f"hospital-{CANARY}" / "colours")


@pytest.fixture(scope="session")
def colour_run(place: Path) -> zoo.TrainResult:
    data = canary_folder(place / f"hospital-{CANARY}" / "colours")
    return zoo.train("simple_cnn", data, epochs=3, size=16, settings={"ema": 0.9})


@pytest.fixture(scope="session")
def svm_run(place: Path) -> zoo.TrainResult:
    data = canary_folder(place / f"hospital-{CANARY}" / "colours")
    return zoo.train("svm", data, size=8, out=place / "machine")
