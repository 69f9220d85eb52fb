"""The order of images: every image keeps its place in the batch, whoever computes, and shards are read one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from zoo.learn._distributed import Peers
from zoo.learn._order import WINDOW, Order

SHARDS = np.repeat(np.arange(40), 25)  # 1000 images in shards of 25


def lanes_of(order: Order, epoch: int) -> list[list[int]]:
    """The images of each place, in the order of batches."""
    batches = order.batches(epoch)
    return [[int(batch[place]) for batch in batches if place < len(batch)] for place in range(order.places)]


@pytest.mark.parametrize(
    ("n", "batch_size"), [(60, 16), (61, 16), (33, 32), (1000, 7), (11, 2), (5, 8), (3, 1), (2, 2)]
)
def test_an_image_keeps_its_place_in_every_epoch(n: int, batch_size: int) -> None:
    """Else a process would need the images of other places, too, and read them all."""
    order = Order.deal(n, batch_size, seed=3)
    first = [sorted(lane) for lane in lanes_of(order, 1)]
    for epoch in range(2, 6):
        batches = order.batches(epoch)
        assert len(batches) == order.steps
        assert sorted(torch.cat(batches).tolist()) == list(range(n))
        assert max(map(len, batches)) - min(map(len, batches)) <= 1
        assert [sorted(lane) for lane in lanes_of(order, epoch)] == first


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16])
@pytest.mark.parametrize("blocks", [None, SHARDS[:61]])
def test_processes_together_take_each_batch_once_and_each_reads_its_own_images(
    size: int, blocks: np.ndarray | None
) -> None:
    order = Order.deal(61, 16, seed=0, blocks=blocks)
    peers = [Peers(rank, size, torch.device("cpu")) for rank in range(size)]
    own = [order.own(rank, size) for rank in range(size)]
    assert torch.cat(own).sort().values.tolist() == list(range(61))
    for epoch in (1, 2):
        for batch in order.batches(epoch):
            shares = [peer.share(batch) for peer in peers]
            assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())
            assert all(torch.isin(share, mine).all() for share, mine in zip(shares, own, strict=True))


def test_a_process_of_a_balanced_training_may_need_every_image() -> None:
    classes = np.arange(60) % 3
    order = Order.deal(60, 16, 0, classes=classes)
    assert order.own(1, 4).tolist() == list(range(60))


def test_a_balanced_order_before_the_first_epoch_draws_each_class_equally_often() -> None:
    """BatchNorm statistics of a mean of weights are taken in that order, once training is over."""
    classes = np.repeat(np.arange(3), [3, 7, 50])
    batches = Order.deal(60, 16, 0, classes=classes).batches(0)
    assert np.bincount(classes[torch.cat(batches)]).tolist() == [20, 20, 20]


def test_another_seed_deals_otherwise_and_another_epoch_shuffles_otherwise() -> None:
    order, again, other = (Order.deal(60, 16, seed) for seed in (0, 0, 1))
    assert lanes_of(order, 1) == lanes_of(again, 1)
    assert lanes_of(order, 1) != lanes_of(order, 2)
    assert sorted(lanes_of(order, 1)[0]) != sorted(lanes_of(other, 1)[0])


@pytest.mark.parametrize("window", [5, 40, 1000])
def test_a_lane_of_shards_reads_few_of_them_at_a_time(window: int) -> None:
    """Streamed from a store, each shard that is open is a file of a gigabyte."""
    order = replace(Order.deal(1000, 4, seed=1, blocks=SHARDS), window=window)
    assert sorted(torch.cat(order.batches(1)).tolist()) == list(range(1000))
    for lane in lanes_of(order, 1):
        assert len({int(SHARDS[i]) for i in lane}) <= 250 / 25 + 1, "a lane is a run of neighbouring shards"
        for start in range(len(lane) - window):
            near = {int(SHARDS[i]) for i in lane[start : start + window]}
            assert len(near) <= 3 * window / 25 + 2


def test_shards_and_the_images_in_a_window_come_in_another_order_in_each_epoch() -> None:
    order = replace(Order.deal(1000, 4, seed=1, blocks=SHARDS), window=10)
    first, second = (lanes_of(order, epoch)[0] for epoch in (1, 2))
    assert first != second
    assert first[:10] != sorted(first[:10])
    shards = [[int(SHARDS[i]) for i in lane] for lane in (first, second)]
    assert list(dict.fromkeys(shards[0])) != list(dict.fromkeys(shards[1]))


def test_the_window_is_shared_by_the_lanes() -> None:
    """Else a batch of 256 would hold 256 buffers."""
    assert Order.deal(100_000, 100, 0, blocks=np.zeros(100_000, np.int64)).window == WINDOW // 100
