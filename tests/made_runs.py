"""Run folders as training leaves them, made without a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo.registry import find
from zoo.runs import Best, RunRecord
from zoo.spec import Confusion, EvalReport, Fingerprint, Interval, PluginOrigin, encode

__all__ = ["DATA", "make_report", "make_run"]

DATA = Fingerprint(name="digits", sha256="0" * 64, n=30, splits={"train": 20, "val": 5, "test": 5})


def make_report(**changes: Any) -> EvalReport:
    """A report of two classes, one metric undefined."""
    value = Interval(value=0.9, low=0.8, high=0.95)
    fields: dict[str, Any] = {
        "schema": 1,
        "model": "svm",
        "split": "test",
        "n": 5,
        "labels": ("benign", "<b>mel</b>"),
        "metrics": {"accuracy": value, "macro_auroc": value},
        "per_class": {"benign": {"n": 3, "sensitivity": value}, "<b>mel</b>": {"n": 2}},
        "confusion": Confusion(labels=("benign", "<b>mel</b>"), counts=((3, 0), (1, 1))),
        "calibration": None,
        "data": DATA,
        "undefined": {"macro_f1": "no image", "<b>mel</b>.sensitivity": "no image"},
        "notes": ("two images were copies",),
    }
    return EvalReport(**(fields | changes))


def make_run(path: str | Path, *, report: EvalReport | None = None, **changes: Any) -> Path:
    """A run folder; one that is done has a file of the model (of no use) and a report."""
    folder = Path(path)
    folder.mkdir(parents=True)
    fields: dict[str, Any] = {
        "id": folder.name,
        "status": "done",
        "started": "2026-01-01T00:00:00Z",
        "card": find("svm"),
        "labels": ("benign", "<b>mel</b>"),
        "kind": "uint8",
        "source": "digits",
        "data": DATA,
        "plugin": PluginOrigin(name="svm", distribution="edgezoo", version="0"),
        "versions": {"python": "3.11.7"},
        "best": Best(epoch=1, metric="val_macro_auroc", value=0.91),
        "epochs_done": 1,
    }
    record = RunRecord(**(fields | changes))
    (folder / "run.json").write_bytes(encode(record))
    (folder / "weights.safetensors").write_bytes(bytes(1000))
    if record.status == "done":
        (folder / "model.onnx").write_bytes(bytes(500))
        (folder / "report.json").write_bytes(encode(report or make_report()))
    return folder
