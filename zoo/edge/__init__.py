"""Run an exported model: numpy, onnxruntime, Pillow and msgspec are all it needs.

    from zoo.edge import Runtime
    for result in Runtime.open("lungs.zoo").predict("images/"): print(result.row())

`python -m zoo.edge` does the same from a shell. Names are loaded when first used, so importing costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.edge._answers import predict_csv, write_csv
    from zoo.edge._bench import Bench, bench, side_by_side
    from zoo.edge._beside import TableRows
    from zoo.edge._decide import Decisions, answer_labels, decide, find_sets, score_labels
    from zoo.edge._decision_words import describe_decisions
    from zoo.edge._explain import Explained, HeatMap, explain_images
    from zoo.edge._measure import measure_pixels
    from zoo.edge._monitor import Monitoring, Watched, monitor
    from zoo.edge._replay import Verification
    from zoo.edge._results import Answers, Failure, Prediction, Result
    from zoo.edge._runtime import Runtime
    from zoo.edge._verify import verify
    from zoo.edge._watch import watch
    from zoo.edge.bundle._signing import Signing, sign

__all__ = [
    "Answers",
    "Bench",
    "Decisions",
    "Explained",
    "Failure",
    "HeatMap",
    "Monitoring",
    "Prediction",
    "Result",
    "Runtime",
    "Signing",
    "TableRows",
    "Verification",
    "Watched",
    "answer_labels",
    "bench",
    "decide",
    "describe_decisions",
    "explain_images",
    "find_sets",
    "measure_pixels",
    "monitor",
    "predict_csv",
    "score_labels",
    "side_by_side",
    "sign",
    "verify",
    "watch",
    "write_csv",
]


def __dir__() -> list[str]:
    return __all__


_HOMES = (
    "_decision_words",
    "_results",
    "_decide",
    "_measure",
    "_runtime",
    "_answers",
    "_explain",
    "_beside",
    "bundle._signing",
    "_replay",
    "_verify",
    "_bench",
    "_watch",  # before the next, which has a function of that name
    "_monitor",
)
"""Where the names above are looked for, what costs least first."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            found = getattr(importlib.import_module(f"zoo.edge.{home}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module 'zoo.edge' has no attribute {name!r}")
