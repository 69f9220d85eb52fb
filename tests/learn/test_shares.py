"""What two processes tell each other: unequal shares, images that cannot be read, a state that one does not see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ranks import run_ranks

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
from pathlib import Path
import msgspec, torch
from tiny_learning import CONFIG, SPEC, new_run
from zoo.data import open_data
from zoo.errors import ZooError
from zoo.learn._checkpoint import State
from zoo.learn._distributed import hear_first, join
from zoo.learn._images import Feed, decode_splits
from zoo.learn._refusals import check_same_state
from zoo.runs import TrainContext
from zoo.spec import Fingerprint

data, out = open_data(sys.argv[1]), Path(sys.argv[2])
with join(torch.device("cpu")) as peers:
    run = new_run(out / f"run{peers.rank}", data)
    told = {}

    def code(work):
        try:
            return work() or "none"
        except ZooError as problem:
            return problem.code

    told["refused"] = code(lambda: decode_splits(data, SPEC, CONFIG, run, TrainContext(), peers)[3:])
    train, val, order = decode_splits(data, SPEC, CONFIG, run, TrainContext(skip_bad=True), peers)
    told["ids"], told["val"] = list(train.ids), list(val.ids)
    told["batches"] = [batch.tolist() for batch in order.batches(1)]
    share = [peers.share(batch) for batch in order.batches(1)]
    rows = list(Feed.of(train, SPEC, torch.device("cpu")).batches(share))
    told["sums"] = {str(int(i)): float(row.sum()) for index, batch in zip(share, rows) for i, row in zip(index, batch)}
    told["own"] = None if val.own is None else val.own.tolist()
    told["skipped"] = list(run.record.skipped)
    gathered = peers.gather(torch.arange(peers.rank + 1).view(-1, 1) + 10 * peers.rank)
    told["gathered"] = None if gathered is None else gathered.flatten().tolist()
    state = State(config=CONFIG, preprocess=SPEC, labels=("a",), images=1, numerics=None, history=(), step=peers.rank,
                  data=Fingerprint(name="x", sha256="0", n=1, splits={}))
    told["states"] = code(lambda: check_same_state(state, peers, run))
    told["same"] = code(lambda: check_same_state(msgspec.structs.replace(state, step=1), peers, run))

    def refuse():
        raise ZooError("no", code="of-the-first")

    if peers.size > 1:
        told["heard"] = hear_first(lambda: f"word of {peers.rank}")
        told["first"] = code(lambda: hear_first(refuse))
(out / f"told{peers.rank}.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images to train on, of which two are damaged, and 9 to validate on, of which one is."""
    place, random = tmp_path_factory.mktemp("damaged"), np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 5), ("test", 2)):
        for label in ("dark", "light"):
            (place / split / label).mkdir(parents=True)
            for i in range(count - (split == "val" and label == "light")):
                pixels = random.integers(0, 100, (16, 16)) + 100 * (label == "light")
                Image.fromarray(pixels.astype(np.uint8)).save(place / split / label / f"{i:02}.png")
    for name in ("train/dark/03.png", "train/light/11.png", "val/dark/01.png"):
        whole = (place / name).read_bytes()
        (place / name).write_bytes(whole[: len(whole) // 2])
    return place


@pytest.fixture(scope="module")
def told(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, object]]]:
    """What each process of one, and of two, saw."""
    found = {}
    for size in (1, 2):
        out = tmp_path_factory.mktemp(f"of{size}")
        (out / "script.py").write_text(SCRIPT)
        done = run_ranks(out / "script.py", folder, out, size=size)
        assert done.returncode == 0, done.stderr[-3000:]
        found[size] = [json.loads((out / f"told{rank}.json").read_text()) for rank in range(size)]
    return found


def test_images_that_one_process_cannot_read_are_left_out_by_all(told: dict[int, list[dict]]) -> None:
    """Else the processes would count differently, and learn other images in one step."""
    (alone,), both = told[1], told[2]
    for one in both:
        assert one["ids"] == alone["ids"]
        assert len(one["ids"]) == 38
        assert one["val"] == alone["val"]
        assert one["batches"] == alone["batches"]
    assert both[0]["skipped"] == alone["skipped"]
    assert len(both[0]["skipped"]) == 3


def test_each_process_gets_the_pixels_of_its_images(told: dict[int, list[dict]]) -> None:
    """A share that is off by one row trains on other images' labels."""
    (alone,), (first, second) = told[1], told[2]
    assert not first["sums"].keys() & second["sums"].keys()
    assert first["sums"] | second["sums"] == alone["sums"]
    assert sorted(first["own"] + second["own"]) == list(range(8))


def test_without_leave_the_first_refuses_and_the_others_say_nothing(told: dict[int, list[dict]]) -> None:
    assert [one["refused"] for one in told[2]] == ["images-unusable", "not-first-rank"]


def test_unequal_shares_come_together_in_order(told: dict[int, list[dict]]) -> None:
    assert [one["gathered"] for one in told[2]] == [[0, 10, 11], None]


def test_processes_that_see_different_states_do_not_continue(told: dict[int, list[dict]]) -> None:
    """A network file system may show an old file for a minute; half of the processes would be an epoch behind."""
    assert [one["states"] for one in told[2]] == ["checkpoint-unshared"] * 2
    assert [one["same"] for one in told[2]] == ["none"] * 2


def test_what_the_first_process_says_is_heard_and_its_refusal_is_its_own(told: dict[int, list[dict]]) -> None:
    assert [one["heard"] for one in told[2]] == ["word of 0"] * 2
    assert [one["first"] for one in told[2]] == ["of-the-first", "not-first-rank"]
