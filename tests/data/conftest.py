"""Made data sets, for what the real ones do not show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Call with {'train/cat': 3}: a folder of that many different 6 × 8 PNGs; `deep`: 16-bit."""
    rng = np.random.default_rng(0)

    def make(counts: dict[str, int], *, name: str = "pets", deep: bool = False) -> Path:
        root = tmp_path / name
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
                image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200 if deep else pixels)
                image.save(root / folder / f"{i}.png")
        return root

    return make
