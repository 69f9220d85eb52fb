"""`--log wandb`: a run of Weights & Biases in ./wandb, offline; `wandb sync wandb/offline-run-…` sends it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from zoo.loggers._told import list_figures, list_pictures, list_settings
from zoo.runs import Callback, RunFolder, Step
from zoo.spec import EvalReport

__all__ = ["WeightsAndBiases"]

_PROJECT = "zoo"


class WeightsAndBiases(Callback):
    """Writes offline, unless WANDB_MODE says otherwise."""

    def start(self, run: RunFolder) -> None:
        """Begin a run of theirs, or continue the one that this run had: its id comes from our name and start."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # decision 0024
        import wandb

        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        self.run, self.steps = run, 0
        record = run.record
        # Of the machine, its user and his repository nothing is noted: a file that is sent later would tell it.
        quiet = wandb.Settings(
            console="off",
            host="",
            disable_git=True,
            save_code=False,
            silent=True,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        self.wandb = wandb
        self.theirs = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            id=hashlib.sha256(f"{record.id} {record.started}".encode()).hexdigest()[:16],
            name=record.id,
            config=list_settings(run),
            mode=mode,
            resume="allow",
            settings=quiet,
        )

    def step(self, step: Step) -> None:
        """Loss and learning rate, whenever somebody looked at the loss."""
        self.steps = step.steps
        if step.loss is not None:
            self.theirs.log({"train/loss": step.loss, "train/lr": step.lr}, step=step.place)

    def epoch(self, row: Mapping[str, float | None]) -> None:
        """Every column of history.csv, at the step that ended the epoch."""
        found: dict[str, Any] = {f"epoch/{name}": value for name, value in row.items() if value is not None}
        self.theirs.log(found, step=int(row["epoch"] or 0) * max(1, self.steps))

    def end(self, report: EvalReport | None) -> None:
        """Test metrics with their intervals, the plots, and whether it came to its end."""
        if report is not None:
            self.theirs.summary.update({f"test/{name}": value for name, value in list_figures(report).items()})
        pictures = {name: self.wandb.Image(str(path)) for name, path in list_pictures(self.run).items()}
        if pictures:
            self.theirs.log(pictures)
        self.theirs.finish(exit_code=int(report is None))
