"""Answers of models that never were, as a page takes them: every task, few classes and many, names of any kind."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.evaluation import Cases, report
from zoo.evaluation.page import Subject, make_gallery
from zoo.readers import from_array
from zoo.spec import (
    AbstentionReport,
    AtPrevalence,
    ConformalReport,
    Corrupted,
    DecisionCurve,
    Difference,
    Fingerprint,
    Interval,
    NoveltyReport,
    OperatingReport,
    PointReport,
    RiskCoverage,
    Robustness,
    Shortcut,
    Subgroup,
    UnlikeSet,
)

__all__ = ["LONG", "TASKS", "decided", "robustness", "subject_of", "value"]

LONG = "轻度非增殖性糖尿病视网膜病变" * 4 + " with </script><b>intraretinal</b> abnormalities"
"""A class name of a hundred characters, two scripts and markup."""
TASKS = ("two", "three", "hundred", "several", "grades")
_CLASSES = {"two": 2, "three": 3, "hundred": 100, "several": 4, "grades": 5}


def value(at: float = 0.8) -> Interval:
    """A number with an interval around it."""
    return Interval(value=at, low=at - 0.05, high=min(1.0, at + 0.05))


def subject_of(task: str, *, n: int = 300, images: bool = True, resamples: int = 50) -> Subject:
    """A subject of n images, every answer of it drawn; the last class has a name of a hundred characters."""
    rng, classes = np.random.default_rng(0), _CLASSES[task]
    labels = [*(f"class {k}" for k in range(classes - 1)), LONG]
    targets: Any = np.arange(n) % classes
    truth = targets[:, None] == np.arange(classes)
    if task == "several":
        targets = (rng.random((n, classes)) < 0.3).astype(np.int64)
        truth = targets == 1
    logits = rng.normal(-1, 1.5, (n, classes)) + 2.5 * truth
    ordered = task == "grades"
    groups = np.arange(n) // 3 if task == "three" else None
    data = Fingerprint(name="<i>set</i>", sha256="0" * 64, n=n, splits={"train": 0, "val": 0, "test": n})
    found = report(
        logits, targets, labels, model="resnet18", split="test", temperature=1.0, fingerprint=data, groups=groups,
        ordered=ordered, resamples=resamples, notes=("<u>two</u> images were copies",),
    )  # fmt: skip
    cases = Cases.of(logits, targets, groups=groups, ordered=ordered)
    pictures = rng.integers(0, 255, (8, 150, 200, 3)).astype(np.uint8)
    gallery = make_gallery(cases, [f"<s>p{i}</s>.png" for i in range(n)], lambda i: from_array(pictures[i % 8]))
    return Subject(report=found, cases=cases, gallery=gallery if images else None)


def decided() -> dict[str, Any]:
    """Every further part that a report may have, by its field."""
    grid = (0.1, 0.5, 0.9)
    curve = DecisionCurve(
        label="class 0", n=9, thresholds=grid, model=(0.3, 0.2, 0.1), low=(0.2, 0.1, 0.0), high=(0.4, 0.3, 0.2),
        all=(0.3, -0.2, -4.0),
    )  # fmt: skip
    point = PointReport(
        label="class 0", rule="sensitivity=0.9", threshold=0.4375, n=9, tp=4, fp=1, tn=3, fn=1, sensitivity=value(),
        specificity=value(0.7), ppv=None, npv=value(), at=AtPrevalence(prevalence=0.02, ppv=value(0.1), npv=value()),
    )  # fmt: skip
    gap = Difference(value=-0.25, low=-0.4, high=-0.1, p=0.0001, p_holm=0.0004)
    group = Subgroup(
        column="site", group="<q>north</q>", n=40, patients=None,
        metrics={"accuracy": value(0.6), "sensitivity for <u>ill</u>": value(0.3), "coverage": value(0.7)},
        differences={"accuracy": gap, "sensitivity for <u>ill</u>": gap}, undefined={},
    )  # fmt: skip
    small = Subgroup(
        column="site", group="south", n=None, patients=None, metrics={}, differences={}, undefined={"all": "few"}
    )
    return {
        "operating": OperatingReport(points=(point,), curves=(curve,)),
        "conformal": ConformalReport(
            method="lac", per_class=False, wanted=0.9, reached=value(0.85), classes={"class 0": value(0.5)},
            size=value(1.5), sizes=(1, 5, 3), single=value(), single_right=value(), empty=value(0.1),
        ),
        "abstention": AbstentionReport(
            answered=value(), error=value(0.1), uncertain=3, unlike=1, wanted=None,
            curve=RiskCoverage(answered=(0.5, 1.0), error=(0.1, 0.3), threshold=(0.8, 0.4), area=value(0.15)),
        ),
        "novelty": NoveltyReport(
            threshold=12.5, share=0.02, n=9, flagged=value(0.05),
            unlike=(UnlikeSet(name="photographs", n=5, auroc=value(0.9), flagged=value(0.7)),),
        ),
        "subgroups": (group, small),
        "segments": (group,),
        "shortcuts": (
            Shortcut(
                feature="brightness", auroc=value(0.9), p_holm=0.001, behind=0.01, reaches=True, error=value(0.6),
                error_p_holm=0.5, follows=False,
            ),
        ),
        "baselines": {"majority class": {"accuracy": value(0.34)}, "brightness": {"accuracy": value(0.4)}},
    }  # fmt: skip


def robustness() -> Robustness:
    """Two kinds of corruption, one severity each."""
    rows = tuple(
        Corrupted(kind=kind, severity=1, accuracy=value(0.7), macro_auroc=None, drop=value(0.1), withheld=0.25)
        for kind in ("noise", "blur")
    )
    data = Fingerprint(name="set", sha256="0" * 64, n=9, splits={"test": 9})
    return Robustness(
        schema=1, model="resnet18", split="test", n=9, of=20, seed=0, accuracy=value(), macro_auroc=None, withheld=0.05,
        rows=rows, mean={"accuracy": value(0.7), "drop": value(0.1)}, data=data, seconds=1.0,
    )  # fmt: skip
