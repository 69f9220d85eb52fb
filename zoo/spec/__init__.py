"""Frozen value types shared by every layer, the device included.

They are what is written to run.json, manifest.json, report.json and registry.yaml; unknown fields are
refused, so a file of a later version is never half understood. This module knows no file, no array
library beyond names, and no framework; `decode` and `encode` are the only doors to bytes.
"""

from __future__ import annotations

from zoo.spec._catalogue import (
    GRADIENT_SETTINGS,
    Budget,
    Latency,
    ModelCard,
    PackagedWeights,
    Reading,
    TrainConfig,
    Weights,
    check_budget,
    pick_reading,
)
from zoo.spec._display import Display, Rows, Table
from zoo.spec._documents import decode, encode, from_builtins, to_builtins
from zoo.spec._preprocessing import Gaussian, Intensity, Median, Percentile, PreprocessSpec, Scale, Voi, Window
from zoo.spec._quantization import Guard, Quantization, QuantizedKind, Rung, Speed, Target
from zoo.spec._results import (
    Calibration,
    Confusion,
    EvalReport,
    Fingerprint,
    InputSpec,
    Manifest,
    Member,
    Parity,
    PluginOrigin,
    Provenance,
    SeenImages,
)
from zoo.spec._value import (
    EVIDENCE,
    IR_VERSION,
    LABEL_SEPARATOR,
    OPSET,
    SCHEMA,
    UNKNOWN,
    GoldenKind,
    Interval,
    Licence,
    Task,
    Uncertain,
)

__all__ = [
    "EVIDENCE",
    "GRADIENT_SETTINGS",
    "IR_VERSION",
    "LABEL_SEPARATOR",
    "OPSET",
    "SCHEMA",
    "UNKNOWN",
    "Budget",
    "Calibration",
    "Confusion",
    "Display",
    "EvalReport",
    "Fingerprint",
    "Gaussian",
    "GoldenKind",
    "Guard",
    "InputSpec",
    "Intensity",
    "Interval",
    "Latency",
    "Licence",
    "Manifest",
    "Median",
    "Member",
    "ModelCard",
    "PackagedWeights",
    "Parity",
    "Percentile",
    "PluginOrigin",
    "PreprocessSpec",
    "Provenance",
    "Quantization",
    "QuantizedKind",
    "Reading",
    "Rows",
    "Rung",
    "Scale",
    "SeenImages",
    "Speed",
    "Table",
    "Target",
    "Task",
    "TrainConfig",
    "Uncertain",
    "Voi",
    "Weights",
    "Window",
    "check_budget",
    "decode",
    "encode",
    "from_builtins",
    "pick_reading",
    "to_builtins",
]


def __dir__() -> list[str]:
    return __all__
