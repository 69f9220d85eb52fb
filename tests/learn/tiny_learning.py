"""A data set, a network and a run that are small enough to train in a test, and in a child process of one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

import zoo.learn._saving
from zoo.data import Splits, open_data
from zoo.learn import Fitted, fit
from zoo.runs import RunFolder, RunRecord, TrainContext, create_run, open_run
from zoo.spec import Fingerprint, ModelCard, PluginOrigin, PreprocessSpec, TrainConfig

SPEC = PreprocessSpec(size=(16, 16), channels="gray", mean=(0.4,), std=(0.3,))
CONFIG = TrainConfig(epochs=4, batch_size=16, lr=0.02, augment="flip", device="cpu", precision="fp32", patience=0)
LONG = msgspec.structs.replace(CONFIG, epochs=40)


class TinyNet(nn.Module):
    """BatchNorm, dropout, a bias: whatever a resumed run could get wrong."""

    def __init__(self, classes: int = 3, channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8 * 4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.adaptive_max_pool2d(torch.relu(self.norm(self.stem(x))), 2)
        return self.head(self.drop(x.flatten(1)))


def tiny_net(seed: int = 0, **sizes: int) -> TinyNet:
    torch.manual_seed(seed)
    return TinyNet(**sizes)


def write_images(path: Path, n: int = 60, seed: int = 0) -> Path:
    """Three classes of 16 × 16 pictures: stripes along, stripes across, none."""
    random = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", n), ("val", 30), ("test", 9)):
        targets = np.arange(count) % 3
        images = random.normal(100, 40, (count, 16, 16))
        images[targets == 0, ::2] += 60
        images[targets == 1, :, ::2] += 60
        arrays[f"{split}_images"] = images.clip(0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = targets
    np.savez(path, **arrays)
    return path


def new_run(path: Path, data: Splits, config: TrainConfig = CONFIG) -> RunFolder:
    record = RunRecord(
        id="x",
        status="training",
        started="2026-01-01T00:00:00Z",
        card=ModelCard(
            name="tiny", plugin="tiny", arch="tiny", family="tiny", summary="", preprocess=SPEC, train=config
        ),
        labels=data.labels,
        kind=data.kind,
        source="made",
        data=Fingerprint(name="made", sha256="0", n=1, splits={}),
        plugin=PluginOrigin(name="tiny", distribution="tests", version="0"),
        versions={},
    )
    return create_run(path, record, first=TrainContext().first)


def learn(
    model: nn.Module, data: Splits, spec: PreprocessSpec, config: TrainConfig, run: RunFolder, **told: Any
) -> Fitted:
    return fit(model, data, spec, config, run, TrainContext(**told))


if __name__ == "__main__":  # tiny_learning.py DATA RUN SECONDS, then "begin" or "resume" on each line of stdin
    torch.set_num_threads(1)
    zoo.learn._saving.EVERY, zoo.learn._saving.SHARE = float(sys.argv[3]), 1.0  # seconds between two states
    for line in sys.stdin:
        # Forked after the slow imports, before torch starts a thread; says its process id, then its status.
        child = os.fork()
        if child == 0:
            images, path = open_data(sys.argv[1]), Path(sys.argv[2])
            again = line.strip() == "resume"
            run = open_run(path) if again else new_run(path, images, LONG)
            learn(tiny_net(), images, SPEC, LONG, run, resuming=again)
            os._exit(0)
        print(child, flush=True)  # noqa: T201
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201
