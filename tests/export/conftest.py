"""A small network that was really trained, its core exported once, and faults to put into its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from export_cases import Case, trained_case

from zoo.testing import colour_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Three colours, pictures of 24 to 40 px, input 32 px: most pictures are resized."""
    root = tmp_path_factory.mktemp("export")
    colour_folder(root / "colours", side=40)
    return trained_case(root / "colours", root / "run", size=32, epochs=3)


@pytest.fixture(scope="session")
def scans(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Ultrasound pictures of many sizes."""
    out = tmp_path_factory.mktemp("scans") / "run"
    return trained_case(shared / "data/busi256", out, size=48, epochs=2)
