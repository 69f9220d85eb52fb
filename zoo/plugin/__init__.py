"""The contract of a plugin, and its two ready-made halves.

A plugin is one model family in one framework. `ModelPlugin` is what every framework must answer;
`TorchPlugin` and `SklearnPlugin` answer all of it but `build`. A plugin never sees a file of images, an ONNX
graph around its network, or a metric: it is handed `Splits` and gives back something that predicts and can
write its core.
"""

from __future__ import annotations

from zoo.evaluation import Predict
from zoo.plugin._contract import API, OLDEST_API, ModelPlugin, Trained
from zoo.plugin._graph import FeatureGraph
from zoo.plugin._sklearn import Features, SklearnPlugin
from zoo.plugin._torch import TorchPlugin
from zoo.runs import RunFolder, TrainContext

__all__ = [
    "API",
    "OLDEST_API",
    "FeatureGraph",
    "Features",
    "ModelPlugin",
    "Predict",
    "RunFolder",
    "SklearnPlugin",
    "TorchPlugin",
    "TrainContext",
    "Trained",
]


def __dir__() -> list[str]:
    return __all__
