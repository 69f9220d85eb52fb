"""torchrun with two processes on the CPU: one run, one set of files, the same result everywhere."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from refusals import refused
from tiny_learning import tiny_net

from zoo.errors import TrainingError
from zoo.learn import WEIGHTS_FILE, load_weights
from zoo.learn._distributed import Peers
from zoo.learn._objective import count_known
from zoo.learn._order import Order
from zoo.learn._refusals import check_batches
from zoo.runs import open_run
from zoo.spec import TrainConfig

SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
import zoo.learn._saving
from zoo.data import open_data
from zoo.learn import STATE_FILE, save_weights
from zoo.runs import Callback, open_run

data, out, rank, ending = open_data(sys.argv[1]), Path(sys.argv[2]), os.environ["RANK"], sys.argv[3]
again = (out / "run" / STATE_FILE).exists()
zoo.learn._saving.EVERY, zoo.learn._saving.SHARE = 0.0, 1e9

class Ends(Callback):
    steps = 0

    def step(self, step):
        self.steps += 1
        if self.steps == 6 and not again:
            if ending == "kill":  # as when the machine kills it for its memory
                os.kill(os.getpid(), signal.SIGKILL)
            os.kill(os.getppid(), signal.SIGTERM)  # as when the cluster takes the node back

ends = Ends()
if rank == "0" and not again:
    run = new_run(out / "run", data)
elif again:
    run = open_run(out / "run")
    run.writes = rank == "0"
else:
    run = new_run(out / "run", data)
model = tiny_net(seed=int(rank))
watch = (ends,) if rank == "0" and ending != "whole" else ()
fitted = learn(model, data, SPEC, CONFIG, run, resuming=again, callbacks=watch)
save_weights(model, out / f"rank{rank}.safetensors")
(out / f"steps{rank}").write_text(str(ends.steps))
"""


def torchrun(images: Path, out: Path, ending: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes that train into `out`/run."""
    out.mkdir(exist_ok=True)
    script = out / "script.py"
    script.write_text(SCRIPT)
    return run_ranks(script, images, out, ending, options=options)


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    done = torchrun(images, out, "whole")
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.mark.slow
def test_two_processes_train_one_model(trained: Path) -> None:
    """If rank 1 wrote, or went its own way, the files of the run would be a mix of two trainings."""
    weights = [(trained / f"rank{rank}.safetensors").read_bytes() for rank in (0, 1)]
    assert weights[0] == weights[1] == (trained / "run" / WEIGHTS_FILE).read_bytes()
    load_weights(tiny_net(), trained / "run" / WEIGHTS_FILE)
    record = open_run(trained / "run").record
    assert record.epochs_done == 4
    assert record.best is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_restarted_by_torchrun_both_processes_go_on_at_the_same_step(
    images: Path, tmp_path: Path, trained: Path
) -> None:
    """One process of a night's training dies: nobody is there to start it again."""
    done = torchrun(images, tmp_path, "kill", "--max-restarts", "1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "steps0").read_text() == "10"  # of 16: six were done, and none is done twice
    assert (tmp_path / "run" / WEIGHTS_FILE).read_bytes() == (trained / "run" / WEIGHTS_FILE).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_told_to_end_the_first_process_writes_and_both_leave(images: Path, tmp_path: Path, trained: Path) -> None:
    """A node that is taken back gives half a minute; waiting for each other they would be killed without a state."""
    stopped = torchrun(images, tmp_path, "term")
    assert stopped.returncode != 0
    record = open_run(tmp_path / "run").record
    assert (record.status, record.epochs_done) == ("interrupted", 1)
    assert record.steps_done in {2, 3}
    assert torchrun(images, tmp_path, "whole").returncode == 0
    assert (tmp_path / "run" / WEIGHTS_FILE).read_bytes() == (trained / "run" / WEIGHTS_FILE).read_bytes()


PROBE = """
import dataclasses, json, os, sys
from pathlib import Path
import msgspec
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from zoo.data import open_data
from zoo.learn import _budget
from zoo.learn._distributed import Peers

data, out, rank = open_data(sys.argv[1]), Path(sys.argv[2]), os.environ["RANK"]
config, wrap, measure, told = msgspec.structs.replace(CONFIG, budget="1h", epochs=2), Peers.wrap, _budget.measure, []
wrapped = []

def take(*given):
    told.append(dataclasses.asdict(measure(*given)))
    told.append(len(wrapped))
    return _budget.Costs(1.0, 1.0, 1.0)

Peers.wrap = lambda peers, model: wrapped.append(model) or wrap(peers, model)
_budget.measure = take
run = new_run(out / "run", data, config)
fitted = learn(tiny_net(seed=int(rank)), data, SPEC, config, run)
(out / f"told{rank}.json").write_text(json.dumps([*told, len(wrapped), fitted.epochs_done]))
"""


@pytest.mark.slow
def test_a_budget_is_planned_with_steps_that_exchange_and_by_the_slowest(images: Path, tmp_path: Path) -> None:
    """On a slow network the exchange is most of a step; a training planned without it ends far too late."""
    script = tmp_path / "script.py"
    script.write_text(PROBE)
    done = run_ranks(script, images, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads((tmp_path / f"told{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0] == told[1]
    assert told[0][1:] == [1, 2, 2]


def test_shares_of_a_batch_are_all_of_it_and_weigh_alike() -> None:
    """An odd batch split in two must still give the gradient of its mean."""
    batch = torch.arange(100, 117)
    peers = [Peers(rank, 2, torch.device("cpu")) for rank in (0, 1)]
    shares = [peer.share(batch) for peer in peers]
    assert sorted(torch.cat(shares).tolist()) == batch.tolist()
    losses, counts = torch.rand(200), count_known(torch.zeros(200, dtype=torch.int64))
    parts = [losses[share].mean() * peer.weight(batch, counts) for peer, share in zip(peers, shares, strict=True)]
    averaged = sum(parts) / 2
    assert torch.isclose(averaged, losses[batch].mean())


def test_a_batch_of_which_no_label_is_known_moves_nothing() -> None:
    """A plugin may train on such images; one process does, so several must not crash."""
    assert Peers(0, 2, torch.device("cpu")).weight(torch.arange(4), torch.zeros(8, dtype=torch.int64)) == 0


@pytest.mark.parametrize(("batch_size", "taken"), [(8, False), (9, True), (16, True)])
def test_every_process_gets_two_images_of_each_batch(batch_size: int, taken: bool) -> None:
    """1001 images in batches of 8 are some batches of 7, of which the last of four processes got one image."""
    order = Order.deal(1001, batch_size, seed=0)
    shares = [Peers(3, 4, torch.device("cpu")).share(batch) for batch in order.batches(1)]
    assert (min(map(len, shares)) >= 2) is taken
    with contextlib.nullcontext() if taken else refused("training-too-few", TrainingError, images=1001):
        check_batches(1001, TrainConfig(batch_size=batch_size), 4)
