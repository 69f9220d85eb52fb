"""One process of a training over nodes, as `zoo train` is one, that notes what it reads and can end others on the way.

node_worker.py FOLDER ENDING: FOLDER is shared by all nodes. ENDING is what the first process does in the middle of an
epoch, once: "whole" nothing, "worker" kills a process of the node without the rendezvous, "node" that whole node with
its agent, "rendezvous" the other one. Several are words with a comma between them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

import zoo
import zoo.learn._saving
from zoo.errors import NotFirstRankError
from zoo.learn._images import Feed
from zoo.runs import Callback

EPOCHS, BATCH, AT = 3, 128, 12
"""AT: steps after which an end comes, of 10 in each epoch."""

SETTINGS = {"augment": "none", "cache": "memory"}


def train(out: Path, seed: int = 0, callbacks: tuple[Callback, ...] = ()) -> zoo.TrainResult:
    """What every test here trains: the order alone is random, so the number of processes changes sums only."""
    return zoo.train(
        "simple_cnn", "digits", out=out, epochs=EPOCHS, batch_size=BATCH, lr=0.005, size=8, seed=seed, device="cpu",
        precision="fp32", settings=SETTINGS, callbacks=callbacks,
    )  # fmt: skip


class Ends(Callback):
    """Ends processes of a training, each kind once."""

    def __init__(self, folder: Path, ending: str) -> None:
        self.folder, self.ending, self.steps = folder, ending, 0

    def step(self, step: object) -> None:  # noqa: ARG002
        self.steps += 1
        with (self.folder / "steps").open("a") as file:
            file.write(f"{os.environ.get('WORLD_SIZE', '1')}\n")
        done = len((self.folder / "steps").read_text().split())
        for number, ending in enumerate(self.ending.split(","), 1):
            mark = self.folder / f"ended-{number}-{ending}"
            if ending != "whole" and done >= number * AT and not mark.exists():
                mark.touch()
                self.kill(ending)

    def kill(self, ending: str) -> None:
        """Kill one process of another node, or all of a node, its agent first and this process last."""
        everybody = [json.loads(path.read_text()) for path in sorted(self.folder.glob("process-*"))]
        node = os.environ["MARK_RENDEZVOUS"]
        chosen = [one for one in everybody if (one["node"] == node) == (ending == "rendezvous")]
        if ending == "worker":
            os.kill(chosen[0]["pid"], signal.SIGKILL)
            return
        os.kill(chosen[0]["agent"], signal.SIGKILL)
        for pid in sorted((one["pid"] for one in chosen), key=os.getpid().__eq__):
            os.kill(pid, signal.SIGKILL)


def main(folder: Path, ending: str) -> int:
    zoo.learn._saving.EVERY, zoo.learn._saving.SHARE = 0.0, 1e9  # a state after every step
    torch.set_num_threads(1)
    rank, start = os.environ.get("RANK", "0"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    about = {
        "pid": os.getpid(),
        "agent": os.getppid(),
        "group": os.environ.get("GROUP_RANK"),
        "node": os.environ.get("NODE"),
    }
    (folder / f"process-{rank}").write_text(json.dumps(about))
    read: list[list[int]] = []
    batches = Feed.batches

    def noted(self: Feed, order: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        def spied() -> Iterator[torch.Tensor]:
            for one in order:
                read.append([self.count, *one.tolist()])
                yield one

        return batches(self, spied())

    Feed.batches = noted  # type: ignore[method-assign]
    try:
        train(folder / "run", callbacks=(Ends(folder, ending),))
    except NotFirstRankError:
        pass
    finally:
        (folder / f"read-{rank}-{start}.json").write_text(json.dumps(read))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
