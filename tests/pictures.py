"""Pictures for tests that need real ones: photographs that scikit-learn brings, whole or in tiles."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHOTOGRAPHS = ("china", "flower")
"""A temple and a dahlia, 640 × 427 pixels each; scikit-learn's README says who took them and that they may be used."""
SPLITS = {"train": 20, "val": 8, "test": 12}
"""Pictures of each class."""


@cache
def photograph(name: str) -> NDArray[np.uint8]:
    """One of `PHOTOGRAPHS`: (427, 640, 3) uint8."""
    from sklearn.datasets import load_sample_image

    pixels: NDArray[np.uint8] = np.ascontiguousarray(load_sample_image(f"{name}.jpg"))
    return pixels


def tiles(name: str, side: int = 64) -> list[NDArray[np.uint8]]:
    """The photograph cut into squares that do not overlap, row by row."""
    pixels = photograph(name)
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    return [
        pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
        for row in range(rows)
        for column in range(columns)
    ]


def photo_folder(root: Path) -> Path:
    """Pictures of several kinds, as people keep them: JPEG, PNG, gray, palette, and gray of 16 bits."""
    root.mkdir(parents=True)
    from sklearn import datasets

    for name in PHOTOGRAPHS:
        (root / f"{name}.jpg").write_bytes((Path(datasets.__file__).parent / "images" / f"{name}.jpg").read_bytes())
    Image.fromarray(photograph("china")[100:400, 200:500]).save(root / "roof.png")
    gray = Image.fromarray(photograph("flower")).convert("L")
    gray.save(root / "gray.png")
    Image.fromarray(photograph("flower")[:128, :128]).quantize(32).save(root / "palette.png")
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 257).save(root / "deep.png")
    return root


def class_folder(root: Path, form: str = "jpg", side: int = 64) -> Path:
    """SPLIT/CLASS/image: tiles of each photograph, none of them twice; the split is part of the name of a file."""
    for name in PHOTOGRAPHS:
        cut = iter(np.random.default_rng(0).permutation(len(tiles(name, side))).tolist())
        for split, count in SPLITS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for _ in range(count):
                number = next(cut)
                Image.fromarray(tiles(name, side)[number]).save(folder / f"{name}_{number:02}.{form}")
    return root


def table_folder(root: Path) -> Path:
    """As `class_folder`, of gray PNGs, two in colour and a copy across splits, with labels.csv that says the same."""
    class_folder(root, form="png")
    for path in sorted(root.rglob("*.png")):
        if path.name not in {"china_00.png", "flower_00.png"}:
            Image.open(path).convert("L").save(path)
    copy = next(iter(sorted((root / "test" / "china").iterdir())))
    next(iter(sorted((root / "train" / "flower").iterdir()))).write_bytes(copy.read_bytes())
    lines = ["path,split,class,number,grade,score,mode"]
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        place = path.relative_to(root).as_posix()
        lines.append(f"{place},{place.split('/')[0]},{path.parent.name},{number},g{number % 3},{number / 7:.3f},L")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


LEAKY = ("east", "north", "south", "west")
"""Classes of `leaky_folder`."""


def leaky_folder(root: Path) -> Path:
    """60 JPEGs of each class in train and 20 in test; 15 of test stand in train too, one of them twice.

    Gray and colour files are mixed, as in sets that were put together from several sources.
    """
    rng = np.random.default_rng(1)
    for number, label in enumerate(LEAKY):
        pixels = photograph(PHOTOGRAPHS[number % 2])
        for split, count in (("test", 20), ("train", 60)):
            (root / split / label).mkdir(parents=True)
            for index in range(count):
                top, left = rng.integers(0, pixels.shape[0] - 40), rng.integers(0, pixels.shape[1] - 48)
                image = Image.fromarray(pixels[top : top + 40, left : left + 48])
                (image.convert("L") if index % 3 == 0 else image).save(root / split / label / f"{index:02}.jpg")
        test = sorted((root / "test" / label).iterdir())
        copied = [*test[:4], test[0]] if number == 0 else test[: 4 if number < 3 else 3]
        for index, path in enumerate(copied):
            (root / "train" / label / f"{index:02}.jpg").write_bytes(path.read_bytes())
    return root


def many_sizes(root: Path, count: int = 24) -> Path:
    """CLASS/image: gray pictures of 30 to 200 px a side."""
    rng = np.random.default_rng(2)
    for name in PHOTOGRAPHS:
        (root / name).mkdir(parents=True)
        pixels = photograph(name)
        for index in range(count):
            height, width = (int(side) for side in rng.integers(30, 200, 2))
            top, left = rng.integers(pixels.shape[0] - height), rng.integers(pixels.shape[1] - width)
            image = Image.fromarray(pixels[top : top + height, left : left + width]).convert("L")
            image.save(root / name / f"{index:02}.png")
    return root


def breast_archive(path: Path) -> Path:
    """An archive in the form, the numbers and the size of the published BreastMNIST, of cuts of photographs.

    As there, one test image is a training image under the other label.
    """
    rng = np.random.default_rng(3)
    gray = [np.asarray(Image.fromarray(photograph(name)).convert("L")) for name in PHOTOGRAPHS]
    seen: set[bytes] = set()
    arrays: dict[str, NDArray[np.uint8]] = {}
    for split, first, second in (("train", 147, 399), ("val", 21, 57), ("test", 42, 114)):
        labels = rng.permutation(np.repeat(np.uint8([0, 1]), (first, second)))
        cuts: list[NDArray[np.uint8]] = []
        while len(cuts) < len(labels):
            pixels = gray[labels[len(cuts)]]
            top, left = rng.integers(pixels.shape[0] - 28), rng.integers(pixels.shape[1] - 28)
            cut = pixels[top : top + 28, left : left + 28]
            if cut.tobytes() not in seen:  # the sky is the same in many places
                seen.add(cut.tobytes())
                cuts.append(cut)
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = np.stack(cuts), labels[:, None]
    twin = int(np.flatnonzero(arrays["train_labels"][:, 0] != arrays["test_labels"][76, 0])[0])
    arrays["train_images"][twin] = arrays["test_images"][76]
    np.savez(path, **arrays)
    return path


def eight_classes(path: Path) -> Path:
    """An archive of 8 classes, 28 × 28 in colour: eight places of the photographs; 20, 6 and 6 of each class."""
    rng = np.random.default_rng(4)
    arrays: dict[str, NDArray[np.uint8]] = {}
    for split, count in (("train", 20), ("val", 6), ("test", 6)):
        cuts = []
        for label in range(8):
            pixels = photograph(PHOTOGRAPHS[label % 2])
            row, column = (label // 2 % 2) * 200, (label // 4) * 300
            for _ in range(count):
                top, left = row + int(rng.integers(199)), column + int(rng.integers(299))
                cuts.append(pixels[top : top + 28, left : left + 28])
        arrays[f"{split}_images"] = np.stack(cuts)
        arrays[f"{split}_labels"] = np.repeat(np.arange(8, dtype=np.uint8), count)[:, None]
    np.savez(path, **arrays)
    return path


def striped(path: Path, *, train: int, others: int, side: int = 12) -> Path:
    """An npz of gray pictures, (side, side), each second one with faint stripes: class 1."""
    rng = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {}
    for split, count in (("train", train), ("val", others), ("test", others)):
        targets = np.arange(count) % 2
        images = rng.normal(110, 40, (count, side, side))
        images[targets == 1, ::2] += 30
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images.clip(0, 255).astype(np.uint8), targets
    np.savez(path, **arrays)
    return path


def rare_class(path: Path, *, side: int = 16, rare: float = 0.08, lift: float = 18) -> Path:
    """An npz of gray pictures: faint stripes in few of them, class 1, and noise in the others."""
    rng = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {}
    for split, count in (("train", 250), ("val", 120), ("test", 150)):
        targets = (np.arange(count) < rare * count).astype(np.int64)
        images = rng.normal(110, 40, (count, side, side))
        images[targets == 1, ::2] += lift
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images.clip(0, 255).astype(np.uint8), targets
    np.savez(path, **arrays)
    return path
