"""How often intervals hold the truth, and how often equally good models are called different, over simulated studies.

    python benchmarks/coverage.py [--studies N] [--smallest]

Scores are normal. A study has 60 images, or 60 patients with 1 to 12 images each whose scores correlate; both models
of a pair share half of what is hard. An interval should hold the truth in 93 to 97 of 100 studies, and a test at 0.05
should call 3 to 7 of 100 pairs of equals different. `bootstrap` is the percentile bootstrap, of images or patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from zoo.evaluation import Cases, bound_share, draws, interval, measure_by
from zoo.evaluation.comparison import Contender, compare
from zoo.evaluation.intervals import bound_area

ALIKE = 0.5
"""Correlation of the scores of two images of one patient, and of two models on one image."""


class Study(NamedTuple):
    """Targets of two classes, the groups of the images, and draws of noise with variance 1."""

    targets: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    noise: Callable[[], NDArray[np.float64]]


def draw(rng: np.random.Generator, positives: int, negatives: int, patients: int = 0) -> Study:
    """A study of images, or of patients of whom every second one is positive on all images."""
    if not patients:
        n = positives + negatives
        return Study((np.arange(n) < positives).astype(np.int64), None, lambda: rng.normal(size=n))
    groups = np.repeat(np.arange(patients), rng.integers(1, 13, patients))

    def noise() -> NDArray[np.float64]:
        own = rng.normal(size=patients)[groups]
        return np.sqrt(ALIKE) * own + np.sqrt(1 - ALIKE) * rng.normal(size=len(groups))

    return Study(groups % 2, groups, noise)


def answer(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits of two classes whose second has these log-odds."""
    return np.stack([np.zeros(len(scores)), scores], axis=1)


def hold_area(area: float, study: Study, seed: int, resamples: int) -> tuple[bool, bool]:
    """Whether the bootstrap's interval of an AUROC, and ours, hold it."""
    apart = np.sqrt(2) * norm.ppf(area)
    logits = answer(apart * study.targets + study.noise())
    cases = Cases.of(logits, study.targets, groups=study.groups)
    areas, influence = cases.placements
    value, shares = float(areas[1]), draws(cases.n, resamples, seed, cases.groups)
    drawn = [measure_by("macro_auroc", logits, study.targets, "ab", weights) for weights in shares]
    old = interval(value, np.concatenate(drawn), cases.smaller_side(1))
    new = bound_area(value, influence[:, 1], cases.groups) or old  # of an AUROC of 1 both are Wilson's
    return tuple(one is not None and one.low <= area <= one.high for one in (old, new))  # type: ignore[return-value]


def hold_share(share: float, study: Study, seed: int, resamples: int) -> tuple[bool, bool]:
    """The same of a share of images, such as accuracy."""
    hits = study.noise() < norm.ppf(share)
    drawn = np.concatenate(
        [chunk @ hits / chunk.sum(axis=1) for chunk in draws(len(hits), resamples, seed, study.groups)]
    )
    trials = len(hits) if study.groups is None else int(study.groups.max()) + 1
    old, new = interval(float(hits.mean()), drawn, trials), bound_share(hits, groups=study.groups)
    return tuple(one is not None and one.low <= share <= one.high for one in (old, new))  # type: ignore[return-value]


def call_different(area: float, study: Study, seed: int, resamples: int) -> dict[str, bool]:
    """Which tests call two equally good models different."""
    apart = np.sqrt(2) * norm.ppf(area)
    shared = study.noise()
    models = [
        Contender(
            name, answer(apart * (study.targets - 0.5) + np.sqrt(ALIKE) * shared + np.sqrt(1 - ALIKE) * study.noise())
        )
        for name in "ab"
    ]
    found = compare(models, study.targets, "ab", groups=study.groups, resamples=resamples, seed=seed)
    pairs = {pair.metric: pair for pair in found.pairs}
    said: dict[str, Any] = {name: pair.verdict != "cannot tell" for name, pair in pairs.items()}
    for name, p in (("DeLong", pairs["macro_auroc"].p_delong), ("McNemar", pairs["accuracy"].p_mcnemar)):
        said[name] = None if p is None else p < 0.05
    return said


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="Simulated studies of each row.")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--smallest", action="store_true", help="A run of seconds whose numbers say nothing.")
    given = parser.parse_args()
    studies, resamples = (4, 20) if given.smallest else (given.studies, given.resamples)

    print("| 95 % interval of | images | bootstrap | ours |\n|---|---|---|---|")
    areas = [(area, *sides) for sides in ((30, 30, 0), (10, 50, 0), (0, 0, 60)) for area in (0.85, 0.95, 0.98)]
    shares = [(share, *sides) for sides in ((5, 4, 0), (30, 30, 0), (0, 0, 20), (0, 0, 60)) for share in (0.8, 0.95)]
    for what, hold, rows in (("AUROC", hold_area, areas), ("a share", hold_share, shares)):
        for value, *sides in rows:
            held = np.mean(
                [
                    hold(value, draw(np.random.default_rng(seed), *sides), seed, resamples)  # type: ignore[operator]
                    for seed in range(studies)
                ],
                axis=0,
            )
            print(f"| {what} {value:g} | {describe(*sides)} | {held[0]:.1%} | {held[1]:.1%} |", flush=True)

    print("\n| equal models, AUROC | images | macro AUROC | accuracy | DeLong | McNemar |\n|---|---|---|---|---|---|")
    for value, *sides in areas:
        rows = [
            call_different(value, draw(np.random.default_rng(seed), *sides), seed, resamples) for seed in range(studies)
        ]
        shown = [
            "-" if rows[0][name] is None else f"{np.mean([bool(row[name]) for row in rows]):.1%}"
            for name in ("macro_auroc", "accuracy", "DeLong", "McNemar")
        ]
        print(f"| {value:g} | {describe(*sides)} | {' | '.join(shown)} |", flush=True)


def describe(positives: int, negatives: int, patients: int) -> str:
    """What a study is of."""
    return f"{patients} patients" if patients else f"{positives} + {negatives}"


if __name__ == "__main__":
    main()
