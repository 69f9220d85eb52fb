"""A training whose shards lie in a store, are larger than the cache, and come one by one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import buckets
import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net

import zoo
from zoo.data import Splits, open_data
from zoo.errors import DataError
from zoo.learn import STATE_FILE, WEIGHTS_FILE, _saving
from zoo.learn._checkpoint import read_state
from zoo.learn._distributed import Peers
from zoo.learn._images import decode_splits
from zoo.runs import TrainContext, open_run
from zoo.store import _shelf, _urls
from zoo.store._places import cache_folder

CHILD = """
import os, signal, sys
from pathlib import Path
import msgspec, torch
import zoo.learn._saving
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from zoo.data import open_data
from zoo.runs import open_run
torch.set_num_threads(1)
zoo.learn._saving.EVERY, zoo.learn._saving.SHARE = 0.0, 1.0
data, path, again = open_data(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "resume"
config, model, calls = msgspec.structs.replace(CONFIG, cache="stream", epochs=2), tiny_net(), 0
def die(model, _):
    global calls
    calls += model.training
    if calls == 4 and not again:
        os.kill(os.getpid(), signal.SIGKILL)
model.register_forward_pre_hook(die)
learn(model, data, SPEC, config, open_run(path) if again else new_run(path, data, config), resuming=again)
"""


def _draw(place: Path, *, train: int) -> Path:
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", 8), ("test", 3)):
        for number in range(count):
            folder = place / split / "abc"[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (20, 20), np.uint8)).save(folder / f"{number}.png")
    return place


def test_an_epoch_goes_through_shards_one_after_the_other(tmp_path: Path) -> None:
    zoo.shard(_draw(tmp_path / "set", train=96), tmp_path / "shards", images=8)
    data = open_data(tmp_path / "shards")
    config = msgspec.structs.replace(CONFIG, batch_size=4)
    _, _, order = decode_splits(
        data, SPEC, config, new_run(tmp_path / "run", data, config), TrainContext(), Peers(0, 1, torch.device("cpu"))
    )
    assert data.train.blocks is not None
    lanes = data.train.blocks[torch.stack(order.batches(1)).T.numpy()]  # (4 places, 24 batches)
    assert [len(set(lane.tolist())) for lane in lanes] == [3, 3, 3, 3]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_a_killed_training_from_a_store_ends_with_the_bytes_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    _draw(tmp_path / "set", train=32)
    with buckets.serve() as bucket:
        made = zoo.shard(tmp_path / "set", f"s3://{bucket.name}/set", images=8)
        most = 3 * max(one.size for one in made.shards)
        assert made.size_bytes > 1.5 * most
        monkeypatch.setenv("ZOO_CACHE_GB", str(most / 1e9))
        data = open_data(f"s3://{bucket.name}/set")
        whole = new_run(tmp_path / "whole", data)
        learn(tiny_net(), data, SPEC, msgspec.structs.replace(CONFIG, cache="stream", epochs=2), whole)
        assert sum(path.stat().st_size for path in cache_folder("shards").glob("*.shard")) <= most

        def child(verb: str) -> int:
            paths = [str(Path(__file__).parent), *sys.path]
            return subprocess.run(
                [sys.executable, "-c", CHILD, f"s3://{bucket.name}/set", str(tmp_path / "broken"), verb],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                check=False,
            ).returncode

        assert child("begin") == -signal.SIGKILL
        left = read_state(tmp_path / "broken" / STATE_FILE)
        assert left is not None
        assert left.step > 0, "killed within an epoch"
        assert child("resume") == 0
    assert (tmp_path / "broken" / WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()


STREAM = msgspec.structs.replace(CONFIG, cache="stream", epochs=2)


class _Hearing(logging.Handler):
    """Does something when the log says that a store is away."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.heard, self._then = 0, then

    def emit(self, record: logging.LogRecord) -> None:
        if "asked again" in record.getMessage():
            self.heard += 1
            self._then()


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[buckets.Bucket, Splits]]:
    """Shards in a store of which the cache holds three, and a network whose client tries once."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    monkeypatch.setattr(_urls, "_WAIT", 0.01)
    monkeypatch.setattr(_saving, "EVERY", 0.0)
    monkeypatch.setattr(_saving, "SHARE", 1.0)
    with buckets.serve() as bucket:
        made = zoo.shard(_draw(tmp_path / "set", train=32), f"s3://{bucket.name}/set", images=8)
        monkeypatch.setenv("ZOO_CACHE_GB", str(3 * max(one.size for one in made.shards) / 1e9))
        yield bucket, open_data(f"s3://{bucket.name}/set")


def _leave(model: torch.nn.Module, bucket: buckets.Bucket) -> None:
    """Stop the server at the fourth step of the training."""
    calls = 0

    def count(model: torch.nn.Module, _: object) -> None:
        nonlocal calls
        calls += model.training
        if calls == 4 and model.training:
            bucket.server.stop()

    model.register_forward_pre_hook(count)


def test_a_store_that_is_away_for_a_while_costs_nothing(away: tuple[buckets.Bucket, Splits], tmp_path: Path) -> None:
    bucket, data = away
    whole, broken = new_run(tmp_path / "whole", data), new_run(tmp_path / "broken", data)
    learn(tiny_net(), data, SPEC, STREAM, whole)
    model, hearing = tiny_net(), _Hearing(bucket.server.start)
    _leave(model, bucket)
    logging.getLogger("zoo").addHandler(hearing)
    try:
        learn(model, open_data(f"s3://{bucket.name}/set"), SPEC, STREAM, broken)
    finally:
        logging.getLogger("zoo").removeHandler(hearing)
    assert hearing.heard == 1, "it is said once, whatever the number of threads"
    assert broken.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()


def test_a_store_that_stays_away_ends_the_training_which_resumes(
    away: tuple[buckets.Bucket, Splits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, data = away
    whole = new_run(tmp_path / "whole", data)
    learn(tiny_net(), data, SPEC, STREAM, whole)
    model = tiny_net()
    _leave(model, bucket)
    monkeypatch.setattr(_shelf, "PATIENCE", 0.1)
    data = open_data(f"s3://{bucket.name}/set")
    with refused("remote-unreachable", DataError):
        learn(model, data, SPEC, STREAM, new_run(tmp_path / "broken", data, STREAM))
    left = read_state(tmp_path / "broken" / STATE_FILE)
    assert left is not None
    assert left.step > 0
    assert open_run(tmp_path / "broken").record.status == "interrupted"
    bucket.server.start()
    data = open_data(f"s3://{bucket.name}/set")
    learn(tiny_net(), data, SPEC, STREAM, open_run(tmp_path / "broken"), resuming=True)
    assert (tmp_path / "broken" / WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()


def test_told_to_end_a_training_does_not_wait_for_a_store(
    away: tuple[buckets.Bucket, Splits], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster sends SIGTERM once, and kills half a minute later."""
    bucket, data = away
    model, hearing = tiny_net(), _Hearing(lambda: os.kill(os.getpid(), signal.SIGTERM))
    _leave(model, bucket)
    monkeypatch.setattr(_urls, "_LONGEST", 1e6)
    monkeypatch.setattr(_urls, "_WAIT", 1e6)  # it ends without the signal's help only after weeks
    logging.getLogger("zoo").addHandler(hearing)
    try:
        with pytest.raises(KeyboardInterrupt):
            learn(model, data, SPEC, STREAM, new_run(tmp_path / "broken", data, STREAM))
    finally:
        logging.getLogger("zoo").removeHandler(hearing)
    assert hearing.heard == 1
    assert open_run(tmp_path / "broken").record.status == "interrupted"
    assert (tmp_path / "broken" / STATE_FILE).is_file()
