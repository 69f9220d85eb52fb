"""A network that was really trained on real digits, its proven file, and what to put in place of a clock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import zoo
from zoo.data import Splits, open_data
from zoo.edge import Runtime
from zoo.spec import Interval, Manifest, Speed


@dataclass(frozen=True)
class Digits:
    run: Path
    data: Path
    splits: Splits
    manifest: Manifest
    content: bytes

    @property
    def model(self) -> onnx.ModelProto:
        """A fresh copy of the proven float32 file."""
        return onnx.load_from_string(self.content)


def digits_npz(path: Path) -> Path:
    """scikit-learn's handwritten digits as 800 training, 500 validation and 497 test images of 16 px."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = np.repeat(np.repeat((found.images * 15.9).astype(np.uint8), 2, axis=1), 2, axis=2)[order]
    targets = found.target[order].astype(np.int64)
    parts = {"train": slice(0, 800), "val": slice(800, 1300), "test": slice(1300, None)}
    arrays: dict[str, Any] = {}
    for name, part in parts.items():
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = images[part], targets[part][:, None]
    np.savez(path, **arrays)
    return path


def trained_digits(folder: Path) -> Digits:
    """In fp32: processors differ in how they compute bf16, and so would the network that the guard judges."""
    data = digits_npz(folder / "digits.npz")
    run = Path(
        zoo.train(
            "simple_cnn", data, size=16, epochs=8, out=folder / "run", precision="fp32", settings={"ema": 0.9}
        ).run
    )
    path = run / "model.onnx"
    return Digits(run, data, open_data(data), zoo.open(path).manifest, path.read_bytes())


def timed_as(ratio: float) -> Any:
    """In place of `zoo.artefact.quantize._speed.measure`: a network of 16 px is over before int8 can save anything."""

    def timed(float32: Runtime, quantised: Runtime, images: Any) -> Speed:
        assert float32.logits(images[0][None]).shape == quantised.logits(images[0][None]).shape
        interval = Interval(value=ratio, low=ratio - 0.01, high=ratio + 0.01)
        return Speed(ratio=interval, float32_ms=ratio, ms=1.0, pairs=30, threads=1, machine="none")

    return timed
