"""One process of trainings in which each holds a part of the network, or all of it, to compare them.

sharded_worker.py DATA OUT JOB…: a job is NAME:SETTINGS, whose run is OUT/NAME, with settings as JSON; "net" among them
names one of `NETS`. NAME may end in "!", then the first process is killed in the middle of an epoch; or in "~", then it
is told to end. A run that is there is resumed, with the settings of "then" in place of others; OUT/NAME-before is its
copy. What a job is refused for is in OUT/NAME/refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from tiny_learning import CONFIG, SPEC, learn, new_run
from torch import Tensor, nn

import zoo.learn._fit
import zoo.learn._saving
from zoo.data import ImageSet, open_data
from zoo.errors import TrainingError
from zoo.learn import EMBEDDING, STATE_FILE, EvidenceNetwork, NetworkWithColumns, save_weights
from zoo.learn._distributed import meet
from zoo.runs import Callback, open_run
from zoo.spec import Numeric, TableSpec

RECIPE = msgspec.structs.replace(CONFIG, epochs=2, batch_size=14, clip=0.05, layout="contiguous")
AT = 7
"""Steps after which an end comes: two of the second epoch, which has five."""

TABLE = TableSpec(columns=(Numeric(name="age", mean=50.0, std=10.0),))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(torch.relu(self.norm(self.conv(x))))


class BlockNet(EvidenceNetwork):
    """Blocks to share out, an odd number of rows, and a parameter of one row, of which the second process has none."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 7, 3, padding=1, stride=2)
        self.blocks = nn.Sequential(*(Block(7) for _ in range(3)))
        self.gain = nn.Parameter(torch.ones(1))
        self.head = nn.Conv2d(7, classes, 1)
        self.pretrained_cfg = {"classifier": "head"}

    def evidence(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(torch.relu(self.stem(images)))) * self.gain

    def pool(self, evidence: Tensor) -> Tensor:
        return evidence.amax(dim=(2, 3))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:  # noqa: ARG002 - as timm calls it
        return {"stem": "^stem", "blocks": [(r"^blocks\.(\d+)", None), (r"^(?:gain|head)", (99999,))]}


class Scaled(BlockNet):
    """A parameter without rows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))


class Reads(BlockNet):
    """Uses the weights of a block and not the block."""

    def evidence(self, images: Tensor) -> Tensor:
        return super().evidence(images) + self.blocks[0].conv.weight.mean()


NETS: dict[str, Callable[[], nn.Module]] = {
    "blocks": BlockNet,
    "columns": lambda: NetworkWithColumns(BlockNet(3 + EMBEDDING), 3, TABLE),
    "scaled": Scaled,
    "reads": Reads,
}


def block_net(seed: int, kind: str = "blocks") -> nn.Module:
    torch.manual_seed(seed)
    return NETS[kind]()


def with_ages(images: ImageSet) -> ImageSet:
    """The age says whether it is class 2."""
    return dataclasses.replace(images, columns={"age": [str(40 + 20 * (one == 2)) for one in images.targets]})


class Ends(Callback):
    def __init__(self, how: signal.Signals, who: int) -> None:
        self.how, self.who, self.steps = how, who, 0

    def step(self, step: object) -> None:  # noqa: ARG002
        self.steps += 1
        if self.steps == AT:
            os.kill(self.who, self.how)


def main(images: str, out: Path, jobs: list[str]) -> int:
    torch.set_num_threads(1)
    zoo.learn._saving.EVERY, zoo.learn._saving.SHARE = 0.0, 1e9  # a state after every step
    plain, rank = open_data(images), int(os.environ["RANK"])
    data = dataclasses.replace(plain, train=with_ages(plain.train), val=with_ages(plain.val))
    zoo.learn._fit.draw_history = lambda *_: None  # type: ignore[assignment] # pictures take longer than the trainings
    seen: list[Any] = []  # what the loop makes of model, average and optimiser
    for name in ("adamw", "follow"):
        made = getattr(zoo.learn._fit, name)
        setattr(zoo.learn._fit, name, lambda *given, made=made: (seen.append(made(*given)), seen[-1])[1])
    with meet():
        for job in jobs:
            name, _, settings = job.partition(":")
            place = out / name.rstrip("!~")
            again = (place / STATE_FILE).exists()
            said = json.loads(settings)
            kind, then = said.pop("net", "blocks"), said.pop("then", {})
            if again and rank == 0:
                shutil.copytree(place, out / f"{place.name}-before")
            said |= then if again else {}
            config = msgspec.convert(msgspec.to_builtins(RECIPE) | said, type(RECIPE))
            run = open_run(place) if again else new_run(place, data, config)
            run.writes = rank == 0
            ends = {"!": (Ends(signal.SIGKILL, os.getpid()),), "~": (Ends(signal.SIGTERM, os.getpid()),)}
            watch = ends.get(name[-1], ()) if rank == 0 and not again else ()
            model, first = block_net(rank, kind), len(seen)
            try:
                learn(model, data, SPEC, config, run, resuming=again, callbacks=watch)
            except TrainingError as problem:
                (place / "refused").write_text(problem.code)
                continue
            save_weights(model, place / f"rank{rank}.safetensors")
            average, optimizer = seen[first:]
            held = {
                "parameters": count(p for group in optimizer.param_groups for p in group["params"]),
                "moments": count(one for state in optimizer.state.values() for one in state.values() if one.ndim),
                "average": count(average.parameters()),
            }
            (place / f"held{rank}.json").write_text(json.dumps(held))
    return 0


def count(tensors: Any) -> int:
    """Numbers that this process has in memory for them."""
    return sum((one.to_local() if hasattr(one, "to_local") else one).numel() for one in tensors)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
