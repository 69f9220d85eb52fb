"""Run an exported model: numpy, onnxruntime, Pillow and msgspec are all it needs.

    from zoo.edge import Runtime
    for result in Runtime.open("lungs.zoo").predict("images/"): print(result.row())

`python -m zoo.edge` does the same from a shell. Names are loaded when first used, so importing costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.edge.bundle.signing import Signing, sign
    from zoo.edge.explain import HeatMap
    from zoo.edge.golden import Verification, verify
    from zoo.edge.heatmaps import Explained, explained
    from zoo.edge.results import Failure, Prediction, Result
    from zoo.edge.resuming import predict_csv
    from zoo.edge.runtime import Runtime
    from zoo.edge.table import write_csv
    from zoo.edge.timing import Bench, bench, side_by_side

__all__ = [
    "Bench",
    "Explained",
    "Failure",
    "HeatMap",
    "Prediction",
    "Result",
    "Runtime",
    "Signing",
    "Verification",
    "bench",
    "explained",
    "predict_csv",
    "side_by_side",
    "sign",
    "verify",
    "write_csv",
]

_HOMES = {
    "Bench": "timing",
    "Explained": "heatmaps",
    "Failure": "results",
    "HeatMap": "explain",
    "Prediction": "results",
    "Result": "results",
    "Runtime": "runtime",
    "Signing": "bundle.signing",
    "Verification": "golden",
    "bench": "timing",
    "explained": "heatmaps",
    "predict_csv": "resuming",
    "side_by_side": "timing",
    "sign": "bundle.signing",
    "verify": "golden",
    "write_csv": "table",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo.edge' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"zoo.edge.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
