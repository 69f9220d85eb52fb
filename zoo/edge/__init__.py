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
    from zoo.edge.golden import Verification, verify
    from zoo.edge.results import Failure, Prediction, Result
    from zoo.edge.resuming import predict_csv
    from zoo.edge.runtime import Runtime
    from zoo.edge.table import recorded, write_csv
    from zoo.edge.timing import Bench, bench, side_by_side

__all__ = [
    "Bench",
    "Failure",
    "Prediction",
    "Result",
    "Runtime",
    "Signing",
    "Verification",
    "bench",
    "predict_csv",
    "recorded",
    "side_by_side",
    "sign",
    "verify",
    "write_csv",
]

_HOMES = {
    "Bench": "timing",
    "Failure": "results",
    "Prediction": "results",
    "Result": "results",
    "Runtime": "runtime",
    "Signing": "bundle.signing",
    "Verification": "golden",
    "bench": "timing",
    "predict_csv": "resuming",
    "recorded": "table",
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
