"""A plugin-based zoo of image classifiers: train, compare, export to one verified ONNX file, run it anywhere.

```python
import zoo

zoo.models()                                         # what there is
result = zoo.train("resnet18", "images/", pretrained=True)
exported = zoo.export(result.run, bundle=True)
for answer in zoo.open(exported.path).predict(["a.jpg", "b.png"]):
    print(answer.row())
```

Importing this is light: each name is loaded when it is first used, and torch, ONNX Runtime and numpy by the calls that
need them.

Importing this also keeps ONNX Runtime from reporting home, and lets the threads of a computation sleep while they wait,
see below.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

# ONNX Runtime's packages for Linux and macOS keep a device id in ~/.cache and send events about models and sessions to
# their maker unless this is set before it is first imported (microsoft/onnxruntime #27379). Nothing leaves a machine
# because of us; whoever wants it sets the variable to 0.
if "onnxruntime" in sys.modules and "ORT_DISABLE_TELEMETRY" not in os.environ:
    warnings.warn(
        "onnxruntime was imported before zoo, too late to keep it from reporting to its maker; "
        "import zoo first or set ORT_DISABLE_TELEMETRY=1",
        stacklevel=2,
    )
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from zoo._support.threads import choose_threads

# Every module of ours that computes is imported after this one, in every process, and torch after them.
os.environ.update(choose_threads(os.environ))

from zoo._support.names import at_first_use
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.registry import models
    from zoo.workflow._engine import Engine
    from zoo.workflow.batch import BatchResult, predict_batch
    from zoo.workflow.compare import compare
    from zoo.workflow.evaluate import evaluate
    from zoo.workflow.export import ExportResult, export
    from zoo.workflow.folds import FoldsResult, train_folds
    from zoo.workflow.formats import FormatResult, export_format, verify_format
    from zoo.workflow.info import info
    from zoo.workflow.pick import PickResult, pick
    from zoo.workflow.prepare import check, shard, split
    from zoo.workflow.recalibrate import Recalibration, recalibrate
    from zoo.workflow.report import ReportFiles, report
    from zoo.workflow.runs import list_runs
    from zoo.workflow.shipped import (
        bench,
        explain,
        monitor,
        open,  # noqa: A004 - zoo.open(path) reads as it should
        serve,
        sign,
        verify,
    )
    from zoo.workflow.stress import stress
    from zoo.workflow.suspects import find_suspects
    from zoo.workflow.train import TrainResult, train
    from zoo.workflow.tune import TuneResult, tune

__all__ = [
    "BatchResult",
    "Engine",
    "ExportResult",
    "FoldsResult",
    "FormatResult",
    "PickResult",
    "Recalibration",
    "ReportFiles",
    "TrainResult",
    "TuneResult",
    "ZooError",
    "bench",
    "check",
    "compare",
    "evaluate",
    "explain",
    "export",
    "export_format",
    "find_suspects",
    "info",
    "list_runs",
    "models",
    "monitor",
    "open",
    "pick",
    "predict_batch",
    "recalibrate",
    "report",
    "serve",
    "shard",
    "sign",
    "split",
    "stress",
    "train",
    "train_folds",
    "tune",
    "verify",
    "verify_format",
]

__version__ = "0.1.0"

if not TYPE_CHECKING:  # so that a name which is not there stays an error of the type checker
    __getattr__ = at_first_use(
        __name__,
        {
            "zoo.registry": "models",
            "zoo.workflow._engine": "Engine",
            "zoo.workflow.batch": "BatchResult predict_batch",
            "zoo.workflow.compare": "compare",
            "zoo.workflow.evaluate": "evaluate",
            "zoo.workflow.export": "ExportResult export",
            "zoo.workflow.folds": "FoldsResult train_folds",
            "zoo.workflow.formats": "FormatResult export_format verify_format",
            "zoo.workflow.info": "info",
            "zoo.workflow.pick": "PickResult pick",
            "zoo.workflow.prepare": "check shard split",
            "zoo.workflow.recalibrate": "Recalibration recalibrate",
            "zoo.workflow.report": "ReportFiles report",
            "zoo.workflow.runs": "list_runs",
            "zoo.workflow.shipped": "bench explain monitor open serve sign verify",
            "zoo.workflow.stress": "stress",
            "zoo.workflow.suspects": "find_suspects",
            "zoo.workflow.train": "TrainResult train",
            "zoo.workflow.tune": "TuneResult tune",
        },
    )


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
