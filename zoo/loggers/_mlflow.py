"""`--log mlflow`: a run of MLflow in ./mlruns, or where MLFLOW_TRACKING_URI says; `mlflow ui` shows it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.loggers._told import list_figures, list_pictures, list_settings
from zoo.runs import Callback, RunFolder, Step
from zoo.spec import EvalReport

__all__ = ["MLflow"]

_LONGEST = 500
"""Characters of a parameter's value that every store of MLflow takes."""
_OTHER = re.compile(r"[^/\w.\- ]")
"""What MLflow refuses in the name of a metric, such as @ in val_sensitivity@0.9:CLASS."""
_EXPERIMENT = "zoo"
_RUN = "zoo.run"
"""Tag that holds our name of a run, by which one that continues is found again."""


class MLflow(Callback):
    """Writes with a client of its own: MLflow's global state is not touched."""

    def start(self, run: RunFolder) -> None:
        """Begin a run of MLflow, or take up the one that this run had."""
        # Neither MLflow's telemetry nor a word on its storage: decision 0024.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        self.run, self.steps = run, 0
        place = os.environ.get("MLFLOW_TRACKING_URI") or Path("mlruns").resolve().as_uri()
        self.client: Any = MlflowClient(tracking_uri=place)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        there = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if there is None else there.experiment_id
        ours = f"{run.record.id} {run.record.started}".replace("'", "%27")  # a filter of MLflow has no other spelling
        before = self.client.search_runs([experiment], f"tags.`{_RUN}` = '{ours}'")
        if before:
            self.id = before[0].info.run_id
            self.client.update_run(self.id, status="RUNNING")
        else:
            self.id = self.client.create_run(experiment, tags={_RUN: ours}, run_name=run.record.id).info.run_id
            for setting, value in list_settings(run).items():
                self.client.log_param(self.id, setting, str(value)[:_LONGEST])

    def step(self, step: Step) -> None:
        """Loss and learning rate, whenever somebody looked at the loss."""
        self.steps = step.steps
        if step.loss is not None:
            self._write({"train/loss": step.loss, "train/lr": step.lr}, step.place)

    def epoch(self, row: Mapping[str, float | None]) -> None:
        """Every column of history.csv, at the step that ended the epoch."""
        found = {f"epoch/{name}": value for name, value in row.items() if name != "epoch" and value is not None}
        self._write(found, int(row["epoch"] or 0) * max(1, self.steps))

    def end(self, report: EvalReport | None) -> None:
        """Test metrics with their intervals, the plots, and whether it came to its end."""
        if report is not None:
            self._write({f"test/{name}": value for name, value in list_figures(report).items()}, 0)
        for path in list_pictures(self.run).values():
            self.client.log_artifact(self.id, str(path))
        self.client.set_terminated(self.id, "FAILED" if report is None else "FINISHED")

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = [Metric(_OTHER.sub("_", name), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.id, metrics=found)
