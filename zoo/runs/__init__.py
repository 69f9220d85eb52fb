"""A run folder: what a training run leaves behind, who writes it now, and where to find the last one.

runs/ID/ holds run.json, weights.safetensors (or the plugin's own format), history.csv, model.onnx,
report.json, predictions.csv and plots. This package knows the names and run.json, not what is in the rest. Who
watches a training is a `Callback`.
"""

from zoo.runs._advice import (
    continue_command,
    describe_stop,
    left_something,
    refuse_changed,
    refuse_finished,
    refuse_other_model,
    refuse_unfinished,
    remedy,
)
from zoo.runs._callbacks import Callback, Step, guard
from zoo.runs._find import find_run, latest_run, list_here
from zoo.runs._folder import (
    LATEST,
    RECORD,
    STATE,
    TAUGHT,
    Best,
    Diverged,
    RunFolder,
    RunRecord,
    TrainContext,
    Trainer,
    aside_of,
    check_learnt,
    hash_learnt,
    new_id,
    open_run,
    versions,
    weights_licence,
)
from zoo.runs._lock import hold_run, is_live
from zoo.runs._replacing import (
    bring_back,
    create_run,
    point_latest,
    refuse_occupied,
    remove_leftovers,
    repair_latest,
    replaced_run,
    settle,
)

__all__ = [
    "LATEST",
    "RECORD",
    "STATE",
    "TAUGHT",
    "Best",
    "Callback",
    "Diverged",
    "RunFolder",
    "RunRecord",
    "Step",
    "TrainContext",
    "Trainer",
    "aside_of",
    "bring_back",
    "check_learnt",
    "continue_command",
    "create_run",
    "describe_stop",
    "find_run",
    "guard",
    "hash_learnt",
    "hold_run",
    "is_live",
    "latest_run",
    "left_something",
    "list_here",
    "new_id",
    "open_run",
    "point_latest",
    "refuse_changed",
    "refuse_finished",
    "refuse_occupied",
    "refuse_other_model",
    "refuse_unfinished",
    "remedy",
    "remove_leftovers",
    "repair_latest",
    "replaced_run",
    "settle",
    "versions",
    "weights_licence",
]


def __dir__() -> list[str]:
    return __all__
