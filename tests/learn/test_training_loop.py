"""What a user relies on while and after a network trains."""

from __future__ import annotations

import csv
import logging
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from refusals import refused
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from torch import nn

from zoo.errors import ProviderError, TrainingError
from zoo.evaluation import macro_auroc
from zoo.learn import STATE_FILE, WEIGHTS_FILE, load_weights, torch_predict
from zoo.learn._averaging import moving_average
from zoo.learn._history import Epoch, best_epoch, best_of, epochs_without_gain
from zoo.learn._optim import adamw
from zoo.learn._order import Order
from zoo.learn._schedule import learning_rate
from zoo.preprocess import normalize_batch
from zoo.runs import open_run
from zoo.spec import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits


def changed(**fields: object) -> TrainConfig:
    return msgspec.structs.replace(CONFIG, **fields)


def row(epoch: int, auroc: float | None, loss: float) -> Epoch:
    return Epoch(
        epoch=epoch,
        lr=0.1,
        train_loss=1.0,
        val_loss=loss,
        val_accuracy=0.5,
        val_macro_auroc=auroc,
        images_per_second=10.0,
        seconds=1.0,
    )


def test_it_learns_and_leaves_the_best_weights_in_the_model_and_in_the_run(stripes: Splits, tmp_path: Path) -> None:
    """Otherwise what is exported is not what was validated."""
    model, config = tiny_net(), changed(epochs=10)
    run = new_run(tmp_path / "run", stripes)
    fitted = learn(model, stripes, SPEC, config, run)

    pixels = np.stack([stripes.val.read(i).pixels[:, :, :1] for i in range(len(stripes.val))])
    logits = torch_predict(model)(normalize_batch(pixels, SPEC))
    assert fitted.best.metric == "val_macro_auroc"
    assert fitted.best.value is not None
    assert fitted.best.value > 0.9
    assert macro_auroc(logits, stripes.val.targets) == pytest.approx(fitted.best.value)
    twin = tiny_net(seed=7)
    load_weights(twin, run.file(WEIGHTS_FILE))
    assert np.array_equal(torch_predict(twin)(normalize_batch(pixels, SPEC)), logits)
    assert not model.training
    assert fitted.epochs_done == 10
    assert run.file(STATE_FILE).exists()  # until the run's status says that it is trained


def test_the_record_and_the_history_tell_the_same_story(stripes: Splits, tmp_path: Path) -> None:
    """A history.csv that disagrees with run.json makes both worthless."""
    fitted = learn(tiny_net(), stripes, SPEC, CONFIG, new_run(tmp_path / "run", stripes))
    record = open_run(tmp_path / "run").record
    with (tmp_path / "run" / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert record.best == fitted.best
    assert record.epochs_done == 4
    assert record.precision == fitted.precision == "cpu, fp32, channels_last"
    assert float(rows[fitted.best.epoch - 1]["val_macro_auroc"]) == pytest.approx(fitted.best.value, abs=1e-5)
    assert (tmp_path / "run" / "history.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(stripes: Splits, tmp_path: Path) -> None:
    """A run that cannot be repeated proves nothing."""
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = new_run(tmp_path / name, stripes)
        learn(tiny_net(), stripes, SPEC, changed(seed=seed, epochs=2), run)
        files.append(run.file(WEIGHTS_FILE).read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_good(stripes: Splits, tmp_path: Path) -> None:
    """Weights full of nan must never replace good ones, and the user must hear what to do."""

    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = tiny_net(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            return self.net(x) * (float("nan") if self.calls > 6 else 1.0)  # in epoch 2: there are 4 steps in each

    run = new_run(tmp_path / "run", stripes)
    with refused("training-diverged", TrainingError, epoch=2, lr=CONFIG.lr):
        learn(Breaks(), stripes, SPEC, CONFIG, run)
    load_weights(Breaks(), run.file(WEIGHTS_FILE))
    assert open_run(run.path).record.status == "interrupted"


def test_a_cpu_without_memory_for_a_batch_is_named(stripes: Splits, tmp_path: Path) -> None:
    """torch says it with a plain RuntimeError, and the user was told of a defect."""

    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = tiny_net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                torch.empty(2**46)  # 256 TiB
            return self.net(x)

    run = new_run(tmp_path / "run", stripes)
    with refused("training-memory", TrainingError, size=[16, 16], batch_size=CONFIG.batch_size, device="cpu"):
        learn(Greedy(), stripes, SPEC, CONFIG, run)
    assert open_run(run.path).record.status == "interrupted"


def test_training_stops_when_nothing_gets_better_and_says_so(
    stripes: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Patience saves the user's time only if it counts."""
    caplog.set_level("INFO", "zoo")
    run = new_run(tmp_path / "run", stripes)
    fitted = learn(tiny_net(), stripes, SPEC, changed(epochs=30, patience=2, lr=1e-9, ema=0.0), run)
    assert fitted.epochs_done < 30
    assert any(message.startswith("stopped early") for message in caplog.messages)


def test_a_network_with_the_wrong_number_of_outputs_is_refused(stripes: Splits, tmp_path: Path) -> None:
    """A plugin that ignores `classes` would train on nonsense."""
    with refused("plugin-logits", TrainingError, classes=3):
        learn(tiny_net(classes=5), stripes, SPEC, CONFIG, new_run(tmp_path / "run", stripes))


def test_batches_of_one_image_are_refused(stripes: Splits, tmp_path: Path) -> None:
    """BatchNorm would fail deep inside torch with words no user understands."""
    with refused("training-too-few", TrainingError, batch_size=1):
        learn(tiny_net(), stripes, SPEC, changed(batch_size=1), new_run(tmp_path / "run", stripes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_no_silent_cpu_run(stripes: Splits, tmp_path: Path) -> None:
    with refused("device-missing", ProviderError, device="cuda"):
        learn(tiny_net(), stripes, SPEC, changed(device="cuda"), new_run(tmp_path / "run", stripes))


def test_without_a_terminal_each_epoch_is_one_line(
    stripes: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A log file of progress bars helps nobody."""
    caplog.set_level(logging.INFO, "zoo")
    learn(tiny_net(), stripes, SPEC, changed(epochs=2), new_run(tmp_path / "run", stripes))
    lines = [message for message in caplog.messages if message.startswith("epoch ")]
    assert len(lines) == 2
    assert all(word in lines[0] for word in ("epoch 1/2", "loss", "val AUROC", "images/s", "left"))


def test_the_best_epoch_is_the_highest_auroc_then_the_lowest_loss() -> None:
    """A tie at 1.0 is common on easy data; the first of equals is the least trained."""
    history = [row(1, 0.8, 0.9), row(2, 0.9, 0.7), row(3, 0.9, 0.6), row(4, 0.9, 0.8)]
    assert best_epoch(history).epoch == 3
    assert epochs_without_gain(history) == 2


def test_without_an_auroc_the_loss_decides_and_is_named() -> None:
    """A value called AUROC that is a loss would be a lie in run.json."""
    history = [row(1, None, 0.9), row(2, None, 0.5), row(3, None, 0.6)]
    assert best_of(history).metric == "val_loss"
    assert best_of(history).value == 0.5
    assert epochs_without_gain(history) == 1


@pytest.mark.parametrize(("n", "batch_size"), [(60, 16), (33, 32), (5, 8), (64, 32)])
def test_an_epoch_shows_every_image_once_in_even_batches(n: int, batch_size: int) -> None:
    """A dropped rest loses images; a batch of one breaks BatchNorm."""
    order = Order.deal(n, batch_size, seed=0)
    batches = order.batches(3)
    sizes = [len(batch) for batch in batches]
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    if len(batches) > 1:  # else every epoch is the same one batch
        assert not torch.equal(torch.cat(batches), torch.cat(order.batches(4)))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nearly_nothing() -> None:
    rates = [learning_rate(step, 100, TrainConfig(lr=1.0, warmup=0.1)) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_norms_and_biases_do_not_decay() -> None:
    """Decayed BatchNorm scales shrink the network's outputs."""
    groups = adamw(tiny_net(), CONFIG).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.05, 2), (0.0, 4)]


def test_the_average_forgets_the_random_start_and_follows_batchnorm() -> None:
    """At a fixed decay of 0.998 a short run would be validated with nearly random weights."""
    model = tiny_net()
    average = moving_average(model, 0.998)
    for value in (1.0, 2.0, 3.0):
        with torch.no_grad():
            for tensor in (*model.parameters(), model.norm.running_mean):
                tensor.fill_(value)
            model.norm.num_batches_tracked += 1
        average.update_parameters(model)
    # The first update copies; then the decay is 2/11 and 3/12.
    expected = (1.0 * 2 / 11 + 2.0 * 9 / 11) * 3 / 12 + 3.0 * 9 / 12
    assert torch.allclose(average.module.head.weight, torch.tensor(expected))
    assert torch.allclose(average.module.norm.running_mean, torch.tensor(expected))
    assert int(average.module.norm.num_batches_tracked) == 3
