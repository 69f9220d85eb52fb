"""A model and a bundle, made new for each test that takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from edge_models import make_bundle, make_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(make_model().SerializeToString())
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "mean.zoo")
