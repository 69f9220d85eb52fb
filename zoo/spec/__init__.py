"""Frozen value types shared by every layer, the device included.

They are what is written to run.json, manifest.json, report.json and registry.yaml; unknown fields are
refused, so a file of a later version is never half understood. This module knows no file, no array
library beyond names, and no framework; `decode` and `encode` are the only doors to bytes.
"""

from __future__ import annotations

from zoo.spec._catalogue import Latency, ModelCard, PackagedWeights, Weights
from zoo.spec._columns import COLUMN_INPUT, MOST_COLUMNS, MOST_VALUES, Categorical, ColumnSpec, Numeric, TableSpec
from zoo.spec._decisions import Abstention, ConformalSets, ErrorControl, Novelty, OperatingPoint
from zoo.spec._display import Display, Rows, Table
from zoo.spec._documents import decode, encode, from_builtins, to_builtins
from zoo.spec._format import MODEL_JSON, FormatManifest, FormatName, GoldenProof
from zoo.spec._judged import (
    AbstentionReport,
    AtPrevalence,
    ConformalReport,
    DecisionCurve,
    OperatingReport,
    PointReport,
    RiskCoverage,
)
from zoo.spec._metric import METRIC_CHOICES, MetricChoice, read_metric
from zoo.spec._origin import Fingerprint, OldestRuntime, PluginOrigin, Provenance, Teacher
from zoo.spec._preprocessing import (
    MOST_CHANNELS,
    Channels,
    Gaussian,
    Intensity,
    Median,
    Percentile,
    PreprocessSpec,
    Scale,
    Voi,
    Window,
)
from zoo.spec._quantization import Alike, Bars, Guard, Quantization, QuantizedKind, Rung, Speed, Target, Verdict
from zoo.spec._reference import MEASURED, RECALIBRATED, RECALIBRATION, TEMPERATURE_STAYS, Reference
from zoo.spec._results import (
    Calibration,
    ClassCalibration,
    Confusion,
    EvalReport,
    InputSpec,
    Manifest,
    Member,
    Parity,
    ReliabilityBin,
    SeenImages,
)
from zoo.spec._robustness import Corrupted, Robustness
from zoo.spec._rules import RULE_EXAMPLES, Rule, read_rule
from zoo.spec._schedule import count_epochs, parse_duration
from zoo.spec._subgroups import Difference, Shortcut, Subgroup
from zoo.spec._training import GRADIENT_SETTINGS, Budget, Reading, TrainConfig, check_budget, pick_reading
from zoo.spec._unlike import NoveltyReport, UnlikeSet
from zoo.spec._value import (
    COLUMNS,
    EVIDENCE,
    FEATURES,
    IR_VERSION,
    LABEL_SEPARATOR,
    NOVELTY,
    OPSET,
    SCHEMA,
    UNKNOWN,
    FoldChoice,
    Frames,
    GoldenKind,
    Interval,
    Licence,
    PixelKind,
    Task,
    Uncertain,
    is_licence_of,
    is_non_commercial,
)

__all__ = [
    "COLUMNS",
    "COLUMN_INPUT",
    "EVIDENCE",
    "FEATURES",
    "GRADIENT_SETTINGS",
    "IR_VERSION",
    "LABEL_SEPARATOR",
    "MEASURED",
    "METRIC_CHOICES",
    "MODEL_JSON",
    "MOST_CHANNELS",
    "MOST_COLUMNS",
    "MOST_VALUES",
    "NOVELTY",
    "OPSET",
    "RECALIBRATED",
    "RECALIBRATION",
    "RULE_EXAMPLES",
    "SCHEMA",
    "TEMPERATURE_STAYS",
    "UNKNOWN",
    "Abstention",
    "AbstentionReport",
    "Alike",
    "AtPrevalence",
    "Bars",
    "Budget",
    "Calibration",
    "Categorical",
    "Channels",
    "ClassCalibration",
    "ColumnSpec",
    "ConformalReport",
    "ConformalSets",
    "Confusion",
    "Corrupted",
    "DecisionCurve",
    "Difference",
    "Display",
    "ErrorControl",
    "EvalReport",
    "Fingerprint",
    "FoldChoice",
    "FormatManifest",
    "FormatName",
    "Frames",
    "Gaussian",
    "GoldenKind",
    "GoldenProof",
    "Guard",
    "InputSpec",
    "Intensity",
    "Interval",
    "Latency",
    "Licence",
    "Manifest",
    "Median",
    "Member",
    "MetricChoice",
    "ModelCard",
    "Novelty",
    "NoveltyReport",
    "Numeric",
    "OldestRuntime",
    "OperatingPoint",
    "OperatingReport",
    "PackagedWeights",
    "Parity",
    "Percentile",
    "PixelKind",
    "PluginOrigin",
    "PointReport",
    "PreprocessSpec",
    "Provenance",
    "Quantization",
    "QuantizedKind",
    "Reading",
    "Reference",
    "ReliabilityBin",
    "RiskCoverage",
    "Robustness",
    "Rows",
    "Rule",
    "Rung",
    "Scale",
    "SeenImages",
    "Shortcut",
    "Speed",
    "Subgroup",
    "Table",
    "TableSpec",
    "Target",
    "Task",
    "Teacher",
    "TrainConfig",
    "Uncertain",
    "UnlikeSet",
    "Verdict",
    "Voi",
    "Weights",
    "Window",
    "check_budget",
    "count_epochs",
    "decode",
    "encode",
    "from_builtins",
    "is_licence_of",
    "is_non_commercial",
    "parse_duration",
    "pick_reading",
    "read_metric",
    "read_rule",
    "to_builtins",
]


def __dir__() -> list[str]:
    return __all__
