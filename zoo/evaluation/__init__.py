"""How good a model is: logits and targets in, numbers with intervals out.

It knows no framework and no file format: a model is a `Predict`. scipy and matplotlib are imported when used.
"""

from __future__ import annotations

from zoo.evaluation._axes import ReportPlot, plot_report
from zoo.evaluation._cases import Cases
from zoo.evaluation._choosing import check_metric, judge_by, lower_is_better, measure_by
from zoo.evaluation._design import count_units, draw_independent
from zoo.evaluation._grouping import names_images
from zoo.evaluation._plots import plot_confusion, plot_labels, plot_reliability
from zoo.evaluation._pooling import Weighing, learn_weights, pool_logits
from zoo.evaluation._predict import Images, Predict, Progress, predict_set
from zoo.evaluation._predictions import write_predictions
from zoo.evaluation._report import check_labels, overall, report
from zoo.evaluation.abstention import control_error, curve_of
from zoo.evaluation.calibration import BINS, Reliability, doubt_temperature, fit_temperature, reliability
from zoo.evaluation.conformal import fit_sets
from zoo.evaluation.corruption import CORRUPTIONS, SEVERITIES, check_corruptions, corrupt, corruptions_for
from zoo.evaluation.decisions import (
    judge_abstention,
    judge_points,
    judge_sets,
    measure_coverage,
    parse_prevalence,
    read_prevalence,
)
from zoo.evaluation.intervals import RESAMPLES, bootstrap, bound_share, draws, interval, wilson
from zoo.evaluation.metrics import (
    CLASS_METRICS,
    COMPARED,
    GRADE_METRICS,
    METRICS,
    ClassMetric,
    ImageMetric,
    RangeMetric,
    Tally,
    Values,
    Weights,
    macro_auroc,
    measure,
    ones,
    title_of,
)
from zoo.evaluation.novelty import FeatureSpace, count_axes, fit_space, judge_novelty, score_novelty, settle_novelty
from zoo.evaluation.operating import check_rules, choose_points, read_rules
from zoo.evaluation.properties import PROPERTIES, Watch, file_types, varying
from zoo.evaluation.shortcuts import find_shortcuts, judge_baselines, say_shortcuts
from zoo.evaluation.subgroups import Share, find_segments, measure_groups, say_groups
from zoo.evaluation.suspects import Suspect, rank_suspects

__all__ = [
    "BINS",
    "CLASS_METRICS",
    "COMPARED",
    "CORRUPTIONS",
    "GRADE_METRICS",
    "METRICS",
    "PROPERTIES",
    "RESAMPLES",
    "SEVERITIES",
    "Cases",
    "ClassMetric",
    "FeatureSpace",
    "ImageMetric",
    "Images",
    "Predict",
    "Progress",
    "RangeMetric",
    "Reliability",
    "ReportPlot",
    "Share",
    "Suspect",
    "Tally",
    "Values",
    "Watch",
    "Weighing",
    "Weights",
    "bootstrap",
    "bound_share",
    "check_corruptions",
    "check_labels",
    "check_metric",
    "check_rules",
    "choose_points",
    "control_error",
    "corrupt",
    "corruptions_for",
    "count_axes",
    "count_units",
    "curve_of",
    "doubt_temperature",
    "draw_independent",
    "draws",
    "file_types",
    "find_segments",
    "find_shortcuts",
    "fit_sets",
    "fit_space",
    "fit_temperature",
    "interval",
    "judge_abstention",
    "judge_baselines",
    "judge_by",
    "judge_novelty",
    "judge_points",
    "judge_sets",
    "learn_weights",
    "lower_is_better",
    "macro_auroc",
    "measure",
    "measure_by",
    "measure_coverage",
    "measure_groups",
    "names_images",
    "ones",
    "overall",
    "parse_prevalence",
    "plot_confusion",
    "plot_labels",
    "plot_reliability",
    "plot_report",
    "pool_logits",
    "predict_set",
    "rank_suspects",
    "read_prevalence",
    "read_rules",
    "reliability",
    "report",
    "say_groups",
    "say_shortcuts",
    "score_novelty",
    "settle_novelty",
    "title_of",
    "varying",
    "wilson",
    "write_predictions",
]


def __dir__() -> list[str]:
    return __all__
