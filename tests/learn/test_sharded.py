"""Two processes of which each holds a part of the network: what they learn, hold, write and continue from."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from ranks import run_ranks
from refusals import refused
from safetensors.torch import load_file
from sharded_worker import RECIPE, Block, BlockNet, block_net
from tiny_learning import SPEC, learn, new_run
from torch import nn

from zoo.data import Splits, open_data
from zoo.errors import TrainingError
from zoo.learn import STATE_FILE, WEIGHTS_FILE, load_weights
from zoo.learn._refusals import check_request
from zoo.learn._sharded import choose_blocks
from zoo.runs import open_run

HERE = Path(__file__).parent
WAYS = ("ddp", "fsdp")
UNSHARED = ("scaled", "reads")
"""Networks that cannot be shared out."""
RECIPES: dict[str, dict[str, Any]] = {
    "ema": {},
    "soup": {"average": "soup"},
    "sam": {"average": "none", "sam": 0.05, "clip": 0.0},
    "head": {"probe": 0.5, "pretrained": True, "layer_decay": 0.7, "mixup": 0.2, "label_smoothing": 0.0},
    "flips": {"flips": True, "precision": "bf16"},
    "columns": {"net": "columns", "average": "soup", "flips": True},
}


def torchrun(images: Path, out: Path, *jobs: tuple[str, dict[str, Any]], options: tuple[str, ...] = ()) -> str:
    """Two processes that train one job after another, as `sharded_worker` says; what they wrote to stderr."""
    out.mkdir(exist_ok=True)
    words = [f"{name}:{json.dumps(settings)}" for name, settings in jobs]
    done = run_ranks(HERE / "sharded_worker.py", images, out, *words, options=options, folder=out)
    assert not done.returncode, done.stderr[-3000:]
    return done.stderr


def losses(run: Path) -> list[float]:
    with (run / "history.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("train_loss", "val_loss")]


def check_close(one: Path, other: Path, within: float = 1e-5) -> None:
    """Both runs have the same files of weights and state, with the same numbers but for the order of sums.

    In bf16 a sum in another order may round to a neighbour, which lies 0.4 % away.
    """
    assert losses(one) == pytest.approx(losses(other), abs=within)
    for name in (WEIGHTS_FILE, STATE_FILE):
        found, expected = load_file(one / name), load_file(other / name)
        assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
            key: (value.shape, value.dtype) for key, value in expected.items()
        }
        for key, value in found.items():
            assert torch.allclose(value.double(), expected[key].double(), atol=within), (name, key)


@pytest.fixture(scope="module")
def uneven(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """29 images to validate on: in batches of 14 the first process has two, and the other one."""
    with np.load(images) as arrays:
        kept = {name: rows[:29] if name.startswith("val") else rows for name, rows in arrays.items()}
    place = tmp_path_factory.mktemp("uneven") / "stripes.npz"
    np.savez(place, **kept)
    return place


@pytest.fixture(scope="module")
def trained(uneven: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each recipe with whole networks and with shared ones, and what is refused."""
    out = tmp_path_factory.mktemp("sharded")
    jobs = [(f"{name}-{way}", settings | {"parallel": way}) for name, settings in RECIPES.items() for way in WAYS]
    jobs += [(net, {"parallel": "fsdp", "net": net}) for net in UNSHARED]
    torchrun(uneven, out, *jobs)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_shared_network_learns_what_a_whole_one_does(trained: Path, recipe: str) -> None:
    """If sharing changed the gradient, its norm, the average or the validation, a large network would be worse."""
    rounded = RECIPES[recipe].get("precision") == "bf16"
    check_close(trained / f"{recipe}-fsdp", trained / f"{recipe}-ddp", 1e-3 if rounded else 1e-5)


@pytest.mark.slow
def test_every_process_ends_with_the_best_weights_whole(trained: Path) -> None:
    """Export and evaluation of the first process take them from its memory."""
    run = trained / "ema-fsdp"
    expected = (run / WEIGHTS_FILE).read_bytes()
    assert [(run / f"rank{rank}.safetensors").read_bytes() for rank in (0, 1)] == [expected] * 2
    load_weights(BlockNet(), run / WEIGHTS_FILE)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["ema", "soup"])
def test_each_process_holds_about_half_of_all_that_grows_with_the_network(trained: Path, recipe: str) -> None:
    """Else a network that does not fit into one GPU does not fit into two."""
    held = [[json.loads((trained / f"{recipe}-{way}/held{rank}.json").read_text()) for rank in (0, 1)] for way in WAYS]
    for kind, whole in held[0][0].items():
        parts = [held[1][rank][kind] for rank in (0, 1)]
        assert sum(parts) == whole == held[0][1][kind]
        assert max(parts) < 0.6 * whole, kind  # 7 rows are 4 and 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    ("name", "way", "then"), [("killed!", "fsdp", "fsdp"), ("killed!", "ddp", "fsdp"), ("told~", "fsdp", "ddp")]
)
def test_a_state_continues_either_way_and_in_one_process(
    uneven: Path, tmp_path: Path, trained: Path, name: str, way: str, then: str
) -> None:
    """A job that gets other nodes after a loss would begin again, or end with other weights."""
    said = torchrun(
        uneven, tmp_path, (name, {"parallel": way, "then": {"parallel": then}}), options=("--max-restarts", "1")
    )
    run, before = tmp_path / name[:-1], tmp_path / f"{name[:-1]}-before"
    stopped = open_run(before).record
    assert (stopped.status, stopped.epochs_done) == ("training" if name[-1] == "!" else "interrupted", 1), said[-3000:]
    assert stopped.steps_done in {2, 3}
    check_close(run, trained / "ema-ddp")
    if way == then:
        whole = trained / "ema-fsdp"
        assert (run / WEIGHTS_FILE).read_bytes() == (whole / WEIGHTS_FILE).read_bytes()
    config = msgspec.structs.replace(RECIPE, parallel=then)
    fitted = learn(block_net(0), open_data(uneven), SPEC, config, open_run(before), resuming=True)
    assert fitted.epochs_done == 2
    assert losses(before)[1::2] == pytest.approx(losses(run)[1::2], abs=0.05)  # dropout falls otherwise


@pytest.mark.slow
def test_a_network_that_cannot_be_shared_out_is_refused_in_words(trained: Path) -> None:
    """torch's own words name no way out."""
    assert [(trained / net / "refused").read_text() for net in UNSHARED] == ["network-unshared"] * len(UNSHARED)


def test_one_process_has_nobody_to_share_with(stripes: Splits, tmp_path: Path) -> None:
    """The recipe of a cluster is tried on a laptop first, and a job may be left with one node."""
    weights = []
    for way in WAYS:
        run = new_run(tmp_path / way, stripes)
        learn(block_net(0), stripes, SPEC, msgspec.structs.replace(RECIPE, parallel=way, budget="1h"), run)
        weights.append(run.file(WEIGHTS_FILE).read_bytes())
    assert weights[0] == weights[1]


def test_a_budget_is_refused_where_there_is_no_room_for_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its probe would need twice the memory of a training that needs all of it."""
    config = msgspec.structs.replace(RECIPE, parallel="fsdp", budget="1h")
    check_request(60, config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refused("budget-sharded", TrainingError, budget="1h", processes=2):
        check_request(60, config)


def test_blocks_are_the_large_members_of_the_networks_own_lists() -> None:
    """One exchange for all of a network needs room for all of it; one for each layer is slow."""
    net = BlockNet()
    assert choose_blocks(net) == dict.fromkeys(net.blocks, 9 * 49 + 14) | {net: 70 + 24 + 1}
    small = nn.Sequential(nn.Linear(200, 200), nn.Linear(4, 2), nn.ModuleList([nn.Linear(100, 200)]))
    assert choose_blocks(small) == {small[0]: 40_200, small[2][0]: 20_200, small: 10}
    stage = nn.Module()  # as timm's RegNet has them
    stage.b1, stage.b2 = (nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Conv2d(2, 2, 1))) for _ in "12")
    assert choose_blocks(stage) == {stage.b1[1][0]: 6, stage.b1[0]: 4, stage.b2[1][0]: 6, stage.b2[0]: 4, stage: 0}
    stage.b1, stage.b2 = (Block(7) for _ in "12")
    assert choose_blocks(stage) == {stage.b1: 455, stage.b2: 455, stage: 0}


def test_blocks_that_share_weights_are_whole_together() -> None:
    """A weight of two blocks would be in two places, each with a half of its gradient."""
    net = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 20))
    net[1].weight = net[0].weight
    assert choose_blocks(net) == {net[2]: 420, net: 440}
