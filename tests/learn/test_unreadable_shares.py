"""With --skip-bad a training goes on where all that one process was to read is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from ranks import run_ranks
from refusals import refused
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net

import zoo
from zoo.data import open_data
from zoo.errors import DataError
from zoo.learn import WEIGHTS_FILE
from zoo.learn._order import Order

SCRIPT = """
import json, os, sys
from pathlib import Path
import msgspec
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from zoo.data import open_data

out, rank = Path(sys.argv[2]), int(os.environ.get("RANK", 0))
data, config = open_data(sys.argv[1]), msgspec.structs.replace(CONFIG, epochs=1, cache=sys.argv[3])
run = new_run(out / f"run{rank}", data, config)
learn(tiny_net(), data, SPEC, config, run, skip_bad=True)
(out / f"told{rank}.json").write_text(json.dumps(list(run.record.skipped)))
"""


def _draw(place: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in (("train", 36), ("val", 12), ("test", 6)):
        for number in range(count):
            folder = place / split / "abc"[number // 2 % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (20, 20), np.uint8)).save(folder / f"{number:02}.png")
    return place


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:70])


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["stream", "memory", "disk"])
def test_a_process_that_can_read_nothing_of_its_share_trains_on(tmp_path: Path, cache: str) -> None:
    folder = _draw(tmp_path / "set")
    data = open_data(folder)
    second = {data.train.ids[i] for i in Order.deal(36, CONFIG.batch_size, CONFIG.seed).own(1, 2).tolist()}
    second |= set(data.val.ids[1::2])
    for name in second:
        _damage(folder / name)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_ranks(tmp_path / "script.py", folder, tmp_path, cache)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(json.loads((tmp_path / "told0.json").read_text())) == second
    assert (tmp_path / "run0" / WEIGHTS_FILE).is_file()


def test_a_stream_of_shards_leaves_out_what_rotted_in_them(tmp_path: Path) -> None:
    zoo.shard(_draw(tmp_path / "set"), tmp_path / "shards", images=6)
    path = tmp_path / "shards" / "train-000002.tar"
    whole = bytearray(path.read_bytes())
    for at in range(0, len(whole), 512):  # one byte of each picture, and none of a header
        if whole[at : at + 4] == b"\x89PNG":
            whole[at + 200] ^= 1
    path.write_bytes(whole)
    data = open_data(tmp_path / "shards")
    config = msgspec.structs.replace(CONFIG, epochs=1, cache="stream")
    with refused("images-unusable", DataError):
        learn(tiny_net(), data, SPEC, config, new_run(tmp_path / "refused", data))
    run = new_run(tmp_path / "run", data)
    learn(tiny_net(), data, SPEC, config, run, skip_bad=True)
    assert len(run.record.skipped) == 6
