"""Run an exported model: numpy, onnxruntime, Pillow and msgspec are all it needs.

    from zoo.edge import Runtime
    for result in Runtime.open("lungs.zoo").predict("images/"): print(result.row())

`python -m zoo.edge` does the same from a shell. Names are loaded when first used, so importing costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo._support.names import at_first_use

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


if not TYPE_CHECKING:  # so that a name which is not there stays an error of the type checker
    __getattr__ = at_first_use(
        __name__,
        {
            "zoo.edge._answers": "predict_csv write_csv",
            "zoo.edge._bench": "Bench bench side_by_side",
            "zoo.edge._beside": "TableRows",
            "zoo.edge._decide": "Decisions answer_labels decide find_sets score_labels",
            "zoo.edge._decision_words": "describe_decisions",
            "zoo.edge._explain": "Explained HeatMap explain_images",
            "zoo.edge._measure": "measure_pixels",
            "zoo.edge._monitor": "Monitoring Watched monitor",
            "zoo.edge._replay": "Verification",
            "zoo.edge._results": "Answers Failure Prediction Result",
            "zoo.edge._runtime": "Runtime",
            "zoo.edge._verify": "verify",
            "zoo.edge._watch": "watch",
            "zoo.edge.bundle._signing": "Signing sign",
        },
    )
