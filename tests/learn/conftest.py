"""A made data set for every test of the training loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tiny_learning import write_images

from zoo.data import open_data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from zoo.data import Splits


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("learn") / "stripes.npz")


@pytest.fixture(scope="session")
def stripes(images: Path) -> Splits:
    return open_data(images)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Steps on 16 × 16 pictures are over before a second thread has woken; the wait would be all there is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
