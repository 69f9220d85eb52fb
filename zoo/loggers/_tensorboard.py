"""`--log tensorboard`: event files in the run's folder; `tensorboard --logdir runs` shows all runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from zoo.loggers._told import list_figures, list_pictures, list_settings
from zoo.runs import Callback, RunFolder, Step
from zoo.spec import EvalReport

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Writes runs/ID/tensorboard/."""

    def start(self, run: RunFolder) -> None:
        """Open a file of events; a run that is resumed adds another one."""
        from torch.utils.tensorboard import SummaryWriter

        self.run, self.steps = run, 0
        self.writer: Any = SummaryWriter(str(run.file("tensorboard")))
        rows = "\n".join(f"| {name} | {value} |" for name, value in list_settings(run).items())
        self.writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)

    def step(self, step: Step) -> None:
        """Loss and learning rate, whenever somebody looked at the loss."""
        self.steps = step.steps
        if step.loss is not None:
            self.writer.add_scalar("train/loss", step.loss, step.place)
            self.writer.add_scalar("train/lr", step.lr, step.place)

    def epoch(self, row: Mapping[str, float | None]) -> None:
        """Every column of history.csv, against the epoch."""
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self.writer.add_scalar(f"epoch/{name}", value, row["epoch"])
        self.writer.flush()

    def end(self, report: EvalReport | None) -> None:
        """Test metrics with their intervals, and the plots."""
        last = self.run.record.epochs_done
        if report is not None:
            for name, value in list_figures(report).items():
                self.writer.add_scalar(f"test/{name}", value, last)
        for name, path in list_pictures(self.run).items():
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))  # (H, W, 3) uint8
            self.writer.add_image(name, pixels, last, dataformats="HWC")
        self.writer.close()
