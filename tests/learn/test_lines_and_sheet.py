"""What a training shows while it runs: lines of a log that anybody can read, and a sheet of what the network sees."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net

from zoo.learn import _progress
from zoo.learn._batches import standardize
from zoo.learn._progress import report_progress
from zoo.learn._sheet import SHEET, Sheet, describe_target, make_tile
from zoo.runs import Step
from zoo.spec import PreprocessSpec

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits

ROW = {
    "epoch": 1, "lr": 0.1, "train_loss": 0.9, "val_loss": 0.8, "val_accuracy": 0.5, "val_macro_auroc": 0.7,
    "images_per_second": 8.0, "seconds": 200.0,
}  # fmt: skip


def test_a_long_epoch_adds_a_line_a_minute_without_control_characters(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log of a cluster's job, hours of silence look like a training that hangs."""
    caplog.set_level("INFO", "zoo")
    now = [0.0]
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: now[0])
    with report_progress(3, 800, "macro_auroc", done=0, quiet=False) as report:
        for step in range(1, 101):
            now[0] += 2.0
            loss = 0.5 if step % 20 == 0 else None
            report.step(Step(epoch=1, step=step, steps=100, images=8, lr=0.1, loss=loss))
        report.epoch(ROW)
    assert caplog.messages == [
        "epoch 1/3  30 %  loss 0.500  4.0 images/s  9 min 00 s left",
        "epoch 1/3  60 %  loss 0.500  4.0 images/s  8 min 00 s left",
        "epoch 1/3  90 %  loss 0.500  4.0 images/s  7 min 00 s left",
        "epoch 1/3  loss 0.900  val AUROC 0.700  8.0 images/s  6 min 40 s left",
    ]
    assert all(line.isprintable() for line in caplog.messages)


def test_a_run_has_a_sheet_of_its_own_training_images(stripes: Splits, tmp_path: Path) -> None:
    """Whoever sees digits upside down, or black squares, knows what is wrong before the night is over."""
    run = new_run(tmp_path / "run", stripes)
    learn(tiny_net(), stripes, SPEC, CONFIG, run)
    with Image.open(run.file(SHEET)) as sheet:
        assert sheet.size[0] > 8 * 96
        pixels = np.asarray(sheet.convert("L"))
    assert pixels.std() > 20


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("side", [28, 120, 224])
def test_a_tile_shows_the_image_before_mean_and_deviation(channels: int, side: int) -> None:
    unit = torch.rand(channels, 1, 1).expand(channels, side, side)
    few = 3 if channels == 3 else 1  # one mean for all of five channels
    kind = "rgb" if few == 3 else "gray"
    spec = PreprocessSpec(size=(side, side), channels=kind, mean=(0.4,) * few, std=(0.2,) * few)
    tile = make_tile(standardize(unit[None], spec)[0], spec)
    assert tile.shape[2] == 3
    assert 96 <= max(tile.shape[:2]) <= 160
    expected = unit[:, 0, 0] if channels == 3 else unit[:, 0, 0].mean().expand(3)
    assert np.abs(tile[5, 5].astype(int) - (expected.numpy() * 255).round()).max() <= 1


def test_labels_in_any_script_and_of_any_number_are_drawn_without_a_warning(stripes: Splits, tmp_path: Path) -> None:
    """A warning is an error here, and boxes instead of signs are no reason to end a training."""
    labels = ("恶性肿瘤", "a" * 300, "$x_1$", *(f"class {number}" for number in range(97)))
    for number, targets in enumerate((np.arange(40) % 100, np.random.default_rng(0).integers(0, 2, (5, 100)))):
        run = new_run(tmp_path / str(number), stripes)
        sheet = Sheet(run, targets, labels, SPEC, wanted=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for begin in range(0, len(targets), 16):
                index = torch.arange(begin, min(begin + 16, len(targets)))
                sheet.take(torch.zeros(len(index), 1, 16, 16), index)
            sheet.epoch({})
        assert run.file(SHEET).is_file()
    assert describe_target(np.array([0, 1, 1]), ("a", "b", "c")) == "b, c"
    assert describe_target(np.array([0, -1, 0]), ("a", "b", "c")) == "none"
