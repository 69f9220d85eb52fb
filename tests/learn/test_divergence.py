"""Numbers that are no longer finite: which step, which images, and what is odd about those."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from refusals import refused
from tiny_learning import CONFIG, SPEC, TinyNet, learn, new_run

from zoo.data import open_data
from zoo.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits


class _Spoiled(torch.autograd.Function):
    """The identity, whose gradient is nan."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # noqa: ARG004
        return gradient * float("nan")


class Spoils(TinyNet):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        logits = super().forward(x)
        return _Spoiled.apply(logits) if self.calls == 6 and self.training else logits  # type: ignore[no-any-return]


@pytest.mark.parametrize(("precision", "clip"), [("fp32", 1.0), ("fp32", 0.0), ("bf16", 1.0)])
def test_a_gradient_of_nan_is_told_in_its_own_step(
    stripes: Splits, tmp_path: Path, precision: str, clip: float
) -> None:
    """Its loss is still a number: the step after it, with other images, would be blamed."""
    config = msgspec.structs.replace(CONFIG, precision=precision, clip=clip)
    with refused("training-diverged", TrainingError, epoch=2, step=2, images=15) as caught:
        learn(Spoils(), stripes, SPEC, config, new_run(tmp_path / "run", stripes))
    assert "gradient" in str(caught.value)
    assert len(caught.value.fields["files"]) == 8
    assert caught.value.fields["odd"] == {}


def test_images_that_nobody_could_learn_from_come_first_and_are_told(tmp_path: Path) -> None:
    """One blank slice among a thousand is not found by looking."""
    random = np.random.default_rng(0)
    images = random.normal(100, 30, (30, 16, 16)).clip(0, 255).astype(np.uint8)
    images[7] = 31
    arrays = {f"{split}_images": images + (split != "train") for split in ("train", "val", "test")}
    np.savez(tmp_path / "made.npz", **arrays, **{f"{name[:-7]}_labels": np.arange(30) % 3 for name in arrays})
    data = open_data(tmp_path / "made.npz")

    class Breaks(TinyNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * float("inf")

    config = msgspec.structs.replace(CONFIG, batch_size=64)
    with refused("training-diverged", TrainingError, epoch=1, step=1, images=30) as caught:
        learn(Breaks(), data, SPEC, config, new_run(tmp_path / "run", data))
    assert list(caught.value.fields["odd"]) == ["train/7"]
    assert caught.value.fields["files"][0] == "train/7"
    assert "one value" in caught.value.fields["odd"]["train/7"]
