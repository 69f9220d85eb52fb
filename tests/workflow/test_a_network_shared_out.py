"""`zoo train --set parallel=fsdp`, from the command to the file: what is left is as of any run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

import zoo
from zoo.runs import Callback, open_run

TOLD = {"epochs": 2, "size": 8, "batch_size": 256, "device": "cpu", "precision": "fp32"}


class Stops(Callback):
    """Ends a training in its second epoch, which has five steps."""

    steps = 0

    def step(self, step: object) -> None:  # noqa: ARG002
        self.steps += 1
        if self.steps == 7:
            raise KeyboardInterrupt


def shapes(model: onnx.ModelProto) -> list[tuple[str, list[int | str]]]:
    """Names and shapes of weights, inputs and outputs of a graph."""
    ends = [*model.graph.input, *model.graph.output]
    return [(one.name, [*one.dims]) for one in model.graph.initializer] + [
        (one.name, [size.dim_value or size.dim_param for size in one.type.tensor_type.shape.dim]) for one in ends
    ]


@pytest.mark.slow
def test_two_processes_with_half_a_network_each_leave_the_files_of_one(tmp_path: Path) -> None:
    """Whoever serves the file cannot see how it was trained, and needs nothing else for it."""
    out = tmp_path / "shared"
    paths = [str(Path(zoo.__path__[0]).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "zoo_cli"]
    words += ["train", "simple_cnn", "--data", "digits", "--out", str(out), "--set", "parallel=fsdp"]
    words += [word for name, value in TOLD.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = zoo.train("simple_cnn", "digits", out=tmp_path / "alone", **TOLD)
    assert open_run(out).record.card.train.parallel == "fsdp"

    other = Path(alone.run)
    assert {one.name for one in out.iterdir()} == {one.name for one in other.iterdir()}
    found, expected = (load_file(place / "weights.safetensors") for place in (out, other))
    assert {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in expected.items()}
    graphs = [shapes(onnx.load(place / "model.onnx")) for place in (out, other)]
    assert graphs[0] == graphs[1]
    metrics = [open_run(place).record.best for place in (out, other)]
    assert metrics[0] is not None
    assert metrics[1] is not None
    assert np.isclose(metrics[0].value, metrics[1].value, atol=0.05)  # dropout falls otherwise


def test_how_processes_share_may_change_while_a_run_is_unfinished(tmp_path: Path) -> None:
    """The node of today has one GPU with room for the whole network."""
    more = {"out": tmp_path / "run", **TOLD}
    with pytest.raises(KeyboardInterrupt):
        zoo.train("simple_cnn", "digits", settings={"parallel": "fsdp"}, callbacks=[Stops()], **more)
    assert open_run(tmp_path / "run").record.card.train.parallel == "fsdp"
    result = zoo.train("simple_cnn", "digits", settings={"parallel": "ddp"}, resume="auto", **more)
    assert result.epochs == 2
    assert open_run(tmp_path / "run").record.card.train.parallel == "ddp"
