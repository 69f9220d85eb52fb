"""A report on axes of matplotlib: what a notebook draws is what the report says."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure
from page_subjects import decided, subject_of
from refusals import refused

from zoo.errors import DataError
from zoo.evaluation import plot_report


def test_each_part_is_drawn_on_the_axes_that_are_given() -> None:
    report = msgspec.structs.replace(subject_of("three").report, **decided())
    axes = Figure().subplots(2, 2).ravel()
    for at, kind in zip(axes, ("confusion", "classes", "decisions", "risk"), strict=True):
        assert plot_report(report, kind, at) is at
    assert report.confusion is not None
    counts = np.array(report.confusion.counts)
    assert np.allclose(axes[0].get_images()[0].get_array(), counts / counts.sum(axis=1, keepdims=True))
    assert axes[2].get_lines()[0].get_ydata().tolist() == [0.3, 0.2, 0.1]
    assert axes[3].get_lines()[0].get_xdata().tolist() == [0.5, 1.0]


@pytest.mark.parametrize(("task", "kind"), [("several", "confusion"), ("two", "decisions"), ("two", "risk")])
def test_a_part_that_is_not_there_is_refused(task: str, kind: str) -> None:
    with refused("task-unsupported", DataError):
        plot_report(subject_of(task).report, kind, Figure().subplots())
