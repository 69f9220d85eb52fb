"""Fewer validation images than processes: a process without any must not leave the others waiting for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from ranks import run_ranks
from tiny_learning import CONFIG, SPEC, new_run, tiny_net

from zoo.data import open_data
from zoo.learn._beside import Beside
from zoo.learn._distributed import Peers
from zoo.learn._images import Feed, decode_splits
from zoo.learn._precision import choose
from zoo.learn._validation import Validation
from zoo.runs import TrainContext, open_run

SCRIPT = """
import sys
from pathlib import Path
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from zoo.data import open_data

data, out = open_data(sys.argv[1]), Path(sys.argv[2])
learn(tiny_net(classes=2), data, SPEC, CONFIG, new_run(out / "run", data))
"""


class Unheard(Peers):
    """One of several processes, whose exchanges nobody else takes part in."""

    def agree(self, value: Any, **_: bool) -> Any:
        return value

    def collect(self, value: Any) -> list[Any]:
        return [value]

    def gather(self, rows: torch.Tensor, **_: bool) -> None:
        gathered.append(tuple(rows.shape))

    def copy_from_first(self, model: torch.nn.Module) -> None:
        assert model


gathered: list[tuple[int, ...]] = []
"""Shapes of what a process gave to the first one."""


def _write(path: Path, *, val: int) -> Path:
    random, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 24), ("val", val), ("test", 9)):
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 16, 16), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % 2
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("val", "expected"),
    [(2, [None] * 4), (3, [None] * 4), (4, [[0], [1], [2], [3]]), (5, [[0, 4], [1], [2], [3]])],
)
def test_all_processes_share_the_validation_images_out_or_none_does(
    val: int, expected: list[list[int] | None], tmp_path: Path
) -> None:
    """The answers of a share are gathered; where one process does not take part the others wait for ever."""
    data, found, trained_on = open_data(_write(tmp_path / "few.npz", val=val)), [], []
    for rank in range(4):
        peers = Unheard(rank, 4, torch.device("cpu"))
        train, part, _ = decode_splits(data, SPEC, CONFIG, new_run(tmp_path / f"{rank}", data), TrainContext(), peers)
        found.append(None if part.own is None else part.own.tolist())
        trained_on += [] if train.own is None else train.own.tolist()
    assert found == expected
    assert sorted(trained_on) == list(range(24))


def test_a_batch_with_fewer_places_than_processes_is_shared_out_by_none(tmp_path: Path) -> None:
    """It is refused later, by all of them: that needs each to come so far."""
    data, few = open_data(_write(tmp_path / "few.npz", val=4)), msgspec.structs.replace(CONFIG, batch_size=3)
    for rank in range(4):
        peers = Unheard(rank, 4, torch.device("cpu"))
        train, _, _ = decode_splits(data, SPEC, few, new_run(tmp_path / f"{rank}", data, few), TrainContext(), peers)
        assert train.own is None


def test_a_process_without_any_of_the_first_images_answers_none_and_takes_part(tmp_path: Path) -> None:
    """The clock judges some images alone; a network may not take a batch of none."""
    data, peers = open_data(_write(tmp_path / "few.npz", val=4)), Unheard(1, 2, torch.device("cpu"))
    _, part, _ = decode_splits(data, SPEC, CONFIG, new_run(tmp_path / "run", data), TrainContext(), peers)
    model = tiny_net(classes=2)
    feed, numerics = Feed.of(part, SPEC, peers.device), choose(model, peers.device, CONFIG, SPEC)
    asked: list[int] = []
    model.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    judge = Validation(feed, part.targets, SPEC, CONFIG, numerics, data.labels, False, Beside(None), peers).judge
    gathered.clear()
    judge(model, 1)
    assert (asked, gathered) == ([], [(0,), (0, 2)])
    judge(model)
    assert (asked, gathered[2:]) == ([2], [(2,), (2, 2)])


@pytest.mark.slow
def test_three_processes_train_with_two_validation_images(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = run_ranks(tmp_path / "script.py", _write(tmp_path / "few.npz", val=2), tmp_path, size=3)
    assert done.returncode == 0, done.stderr[-3000:]
    assert open_run(tmp_path / "run").record.epochs_done == CONFIG.epochs
