"""How good a model is: logits and targets in, numbers with intervals out.

It knows no framework and no file format: a model is a `Predict`. scipy and matplotlib are imported when used.
"""

from __future__ import annotations

from zoo.evaluation._cases import Cases
from zoo.evaluation._choosing import check_metric, judge_by, lower_is_better, measure_by
from zoo.evaluation._plots import plot_confusion, plot_labels, plot_reliability
from zoo.evaluation._pooling import Weighing, learn_weights, pool_logits
from zoo.evaluation._predict import Images, Predict, Progress, predict_set
from zoo.evaluation._predictions import write_predictions
from zoo.evaluation._report import check_labels, overall, report
from zoo.evaluation.abstention import control_error, curve_of
from zoo.evaluation.calibration import BINS, Reliability, fit_temperature, reliability
from zoo.evaluation.conformal import fit_sets
from zoo.evaluation.decisions import judge_abstention, judge_points, judge_sets, measure_coverage, read_prevalence
from zoo.evaluation.intervals import RESAMPLES, bootstrap, draws, interval, wilson
from zoo.evaluation.metrics import (
    CLASS_METRICS,
    COMPARED,
    GRADE_METRICS,
    METRICS,
    ClassMetric,
    GradeMetric,
    ImageMetric,
    Tally,
    Values,
    Weights,
    macro_auroc,
    measure,
    ones,
    title_of,
)
from zoo.evaluation.operating import check_rules, choose_points
from zoo.evaluation.suspects import Suspect, rank_suspects

__all__ = [
    "BINS",
    "CLASS_METRICS",
    "COMPARED",
    "GRADE_METRICS",
    "METRICS",
    "RESAMPLES",
    "Cases",
    "ClassMetric",
    "GradeMetric",
    "ImageMetric",
    "Images",
    "Predict",
    "Progress",
    "Reliability",
    "Suspect",
    "Tally",
    "Values",
    "Weighing",
    "Weights",
    "bootstrap",
    "check_labels",
    "check_metric",
    "check_rules",
    "choose_points",
    "control_error",
    "curve_of",
    "draws",
    "fit_sets",
    "fit_temperature",
    "interval",
    "judge_abstention",
    "judge_by",
    "judge_points",
    "judge_sets",
    "learn_weights",
    "lower_is_better",
    "macro_auroc",
    "measure",
    "measure_by",
    "measure_coverage",
    "ones",
    "overall",
    "plot_confusion",
    "plot_labels",
    "plot_reliability",
    "pool_logits",
    "predict_set",
    "rank_suspects",
    "read_prevalence",
    "reliability",
    "report",
    "title_of",
    "wilson",
    "write_predictions",
]


def __dir__() -> list[str]:
    return __all__
