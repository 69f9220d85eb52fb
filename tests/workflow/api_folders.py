"""Folders of images that tests make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

CANARY = "Mustermann1961"
"""What a name of a patient would be; in folder paths, file names, EXIF and PNG text."""

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40)}


def colour(label: str, seed: int, side: int = 24) -> np.ndarray:
    rng = np.random.default_rng((sum(map(ord, label)), seed))
    height, width = side - seed % 5, side - seed % 3
    pixels = np.asarray(COLOURS[label]) + rng.normal(0, 60, (height, width, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def canary_folder(root: Path, labels: tuple[str, ...] = tuple(COLOURS), count: int = 20, first: int = 0) -> Path:
    """CLASS/image; made once. Another `first`: other pictures."""
    for label in labels:
        folder = root / label
        if folder.is_dir():
            continue
        folder.mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(colour(label, first + index))
            text = PngInfo()
            text.add_text("PatientName", CANARY)
            exif = Image.Exif()
            exif[0x010E] = f"scan of {CANARY}"
            if index % 2:
                image.save(folder / f"{CANARY}_{index}.png", pnginfo=text, exif=exif)
            else:
                image.save(folder / f"{CANARY}_{index}.jpg", exif=exif, quality=95)
    return root


def deep_folder(root: Path, top: int = 4095) -> Path:
    """Two classes of 16-bit pictures, told apart by structure below 8 bits of depth."""
    rng = np.random.default_rng(0)
    for label, level in (("bright", 0.7), ("dark", 0.3)):
        (root / label).mkdir(parents=True)
        for index in range(20):
            pixels = np.clip(rng.normal(level * top, top / 10, (20, 24)), 0, top).astype(np.uint16)
            pixels[0, 0] = top
            Image.fromarray(pixels).save(root / label / f"{index}.png")
    return root
