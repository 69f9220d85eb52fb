"""Pictures that any classifier can learn, made on the spot: nobody has to bring data to prove a plugin."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["colour_folder", "shade_folder", "two_labels"]

_COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}


def colour_folder(root: Path, *, per_class: int = 20, side: int = 32, seed: int = 0) -> Path:
    """Write class folders of noisy single-colour pictures that any classifier can learn.

    Args:
        root: made if it is not there.
        per_class: pictures of each of the classes blue, green and red.
        side: side of the first picture in pixels; sides of the others are up to 8 pixels shorter.
        seed: seed of the noise and of the sides.
    """
    rng = np.random.default_rng(seed)
    for label, colour in _COLOURS.items():
        folder = root / label
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            height, width = (side, side) if index == 0 else (side - int(rng.integers(9)) for _ in range(2))
            pixels = np.asarray(colour) + rng.normal(0, 30, (height, width, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root


def shade_folder(root: Path, *, classes: int, gray: bool, side: int = 32) -> Path:
    """Write class folders of eight noisy pictures each: shades of gray, or hues."""
    rng = np.random.default_rng(0)
    for index in range(classes):
        folder = root / f"class{index:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        level = 40 + 180 * index / max(classes - 1, 1)
        colour = level if gray else 255 * np.asarray(colorsys.hsv_to_rgb(index / classes, 0.8, 0.8))
        for number in range(8):
            noise = rng.normal(0, 20, (side, side) if gray else (side, side, 3))
            Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return root


def two_labels(path: Path, *, side: int = 32) -> Path:
    """Write an .npz file whose pictures bear any of two labels: bright at the left, bright at the right."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in (("train", 32), ("val", 12), ("test", 12)):
        labels = np.stack([np.arange(count) % 2, np.arange(count) // 2 % 2], axis=1)
        images = rng.normal(60, 20, (count, side, side, 3))
        images[:, :, : side // 2] += 120 * labels[:, 0, None, None, None]
        images[:, :, side // 2 :] += 120 * labels[:, 1, None, None, None]
        arrays |= {f"{split}_images": np.clip(images, 0, 255).astype(np.uint8), f"{split}_labels": labels}
    np.savez(path, **arrays)
    return path
