"""Two sites: one where a model was trained, and others that differ from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("left", "right", "odd")


def draw(rng: np.random.Generator, n: int, *, light: float = 0.0, wrong: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 8, 8) noise with a light left or right half, and labels, a share of which are `wrong`."""
    truth = rng.choice(3, n, p=(0.5, 0.375, 0.125))
    pixels = rng.normal(110 + light, 40, (n, 8, 8))
    pixels[truth == 0, :, :4] += 28
    pixels[truth == 1, :, 4:] += 28
    told = np.where(rng.random(n) < wrong, (truth + rng.integers(1, 3, n)) % 3, truth)
    return pixels.clip(0, 255).astype(np.uint8), told


def write_site(path: Path, *, seed: int = 0, wrong: float = 0.0, parts: dict[str, int] | None = None) -> Path:
    """A set; of one part without splits."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Any] = {"label_names": np.array(LABELS)}
    for part, n in (parts or {"train": 120, "val": 160, "test": 60}).items():
        pixels, told = draw(rng, n, wrong=wrong)
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = pixels, told[:, None]
    np.savez(path, **arrays)
    return path
