"""A small network that was really trained, its core exported once, and faults to put into its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from export_cases import Case, trained_case
from pictures import many_sizes

from zoo.testing import colour_folder

if TYPE_CHECKING:
    pass


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Three colours, pictures of 24 to 40 px, input 32 px: most pictures are resized."""
    root = tmp_path_factory.mktemp("export")
    colour_folder(root / "colours", side=40)
    return trained_case(root / "colours", root / "run", size=32, epochs=3)


@pytest.fixture(scope="session")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Gray cuts of photographs of many sizes."""
    root = tmp_path_factory.mktemp("gray")
    return trained_case(many_sizes(root / "cuts"), root / "run", size=48, epochs=2)
