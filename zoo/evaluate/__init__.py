"""How good a model is: logits and targets in, numbers with intervals out.

It knows no framework and no file format: a model is a `Predict`. scipy and matplotlib are imported when used.
"""

from __future__ import annotations

from zoo.evaluate.calibration import BINS, Reliability, fit_temperature, reliability
from zoo.evaluate.cases import Cases
from zoo.evaluate.intervals import RESAMPLES, bootstrap, draws, interval, wilson
from zoo.evaluate.metrics import CLASS_METRICS, METRICS, Values, Weights, macro_auroc, measure, ones
from zoo.evaluate.plots import plot_confusion, plot_labels, plot_reliability
from zoo.evaluate.pooling import Weighing, learn_weights, pooled
from zoo.evaluate.predict import Images, Predict, Progress, predict_set
from zoo.evaluate.predictions import write_predictions
from zoo.evaluate.reporting import check_labels, overall, report

__all__ = [
    "BINS",
    "CLASS_METRICS",
    "METRICS",
    "RESAMPLES",
    "Cases",
    "Images",
    "Predict",
    "Progress",
    "Reliability",
    "Values",
    "Weighing",
    "Weights",
    "bootstrap",
    "check_labels",
    "draws",
    "fit_temperature",
    "interval",
    "learn_weights",
    "macro_auroc",
    "measure",
    "ones",
    "overall",
    "plot_confusion",
    "plot_labels",
    "plot_reliability",
    "pooled",
    "predict_set",
    "reliability",
    "report",
    "wilson",
    "write_predictions",
]
