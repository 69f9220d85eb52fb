"""A made data set for every test of the training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tiny_learning import write_images
from zoo.data import open_data

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("learn") / "stripes.npz")


@pytest.fixture(scope="session")
def stripes(images: Path) -> Splits:
    return open_data(images)
