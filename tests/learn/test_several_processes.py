"""torchrun with two processes on the CPU: one run, one set of files, the same result everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_learning import tiny_net

import zoo
from zoo.learn import WEIGHTS_FILE, load_weights
from zoo.learn._distributed import Peers
from zoo.learn._objective import count_known
from zoo.runs import open_run

SCRIPT = """
import os, sys
from pathlib import Path
import torch
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from zoo.data import open_data
from zoo.learn import save_weights

data, out, rank = open_data(sys.argv[1]), Path(sys.argv[2]), os.environ["RANK"]
run = new_run(out / ("run" if rank == "0" else "other"), data)
model = tiny_net(seed=int(rank))
fitted = learn(model, data, SPEC, CONFIG, run)
save_weights(model, out / f"rank{rank}.safetensors")
"""


@pytest.mark.slow
def test_two_processes_train_one_model(images: Path, tmp_path: Path) -> None:
    """If rank 1 wrote, or went its own way, the files of the run would be a mix of two trainings."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = [str(Path(zoo.__path__[0]).parent), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(images), str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    weights = [(tmp_path / f"rank{rank}.safetensors").read_bytes() for rank in (0, 1)]
    assert weights[0] == weights[1] == (tmp_path / "run" / WEIGHTS_FILE).read_bytes()
    load_weights(tiny_net(), tmp_path / "run" / WEIGHTS_FILE)
    record = open_run(tmp_path / "run").record
    assert record.epochs_done == 4
    assert record.best is not None
    assert not (tmp_path / "other").exists()


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
