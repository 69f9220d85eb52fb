"""What finished runs decide on their test images: python benchmarks/judging.py RUN... --unlike NAME=PLACE.

Five tables with a row for each run: its operating points, its sets of labels and abstention, what it calls unlike
training, its answers to corrupted copies, and what tells its classes apart without it. Validation images chose every
threshold. All numbers are of the exported float32 file, from raw pixels, with 95 % intervals. A NAME that is in the
name of a run is left out for it, as its own kind.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import zoo
from zoo.spec import EvalReport, Interval, Manifest, Robustness

SHOWN = (1, 3, 5)
"""Severities in the table of corrupted copies."""
POINTS = (
    "run",
    "rule",
    "images that chose",
    "sensitivity there",
    "test images",
    "sensitivity",
    "specificity",
    "PPV",
    "NPV",
)
SETS = (
    "run",
    "wanted",
    "coverage",
    "least of a class",
    "labels in a set",
    "answered",
    "wrong among these",
    "wrong of all",
)
UNLIKE = ("run", "images", "called unlike training", "AUROC of the score")
DAMAGED = ("run", "corruption", "accuracy, clean", *(f"severity {one}" for one in SHOWN), "withheld, clean and at 5")
SHORTCUTS = ("run", "property alone", "AUROC", "model's AUROC less this", "errors follow it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--unlike", nargs="*", default=[], metavar="NAME=PLACE", help="images of another kind")
    parser.add_argument("--images", type=int, default=100, help="test images of a run that are corrupted")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    given = parser.parse_args()
    images = 4 if given.smallest else given.images
    others = {name: Path(place) for name, _, place in (text.partition("=") for text in given.unlike)}
    points, sets, unlike, damaged, shortcuts = [], [], [], [], []
    for path in given.runs:
        name, manifest = path.name, zoo.open(path).manifest
        report = zoo.evaluate(path, unlike=[place for kind, place in others.items() if kind not in name], by=["all"])
        points += list_points(name, manifest, report)
        sets.append([name, *describe_sets(report)])
        unlike += list_unlike(name, report, {str(place): kind for kind, place in others.items()})
        damaged += list_damaged(name, zoo.stress(path, images=images))
        shortcuts += list_shortcuts(name, report)
    for title, rows in ((POINTS, points), (SETS, sets), (UNLIKE, unlike), (DAMAGED, damaged), (SHORTCUTS, shortcuts)):
        show(title, rows)


def list_points(name: str, manifest: Manifest, report: EvalReport) -> list[list[str]]:
    """Each operating point: what was asked, what validation gave, what test gave."""
    found = {} if report.operating is None else {point.label: point for point in report.operating.points}
    rows = []
    for chosen in manifest.operating:
        point = found[chosen.label]
        numbers = (point.sensitivity, point.specificity, point.ppv, point.npv)
        rule = f"{chosen.rule}:{chosen.label}"
        rows.append([name, rule, str(chosen.n), say(chosen.sensitivity), str(point.n), *map(say, numbers)])
    return rows


def describe_sets(report: EvalReport) -> list[str]:
    """Coverage of the sets, and what is left of the answers and of the errors."""
    sets, kept = report.conformal, report.abstention
    first = ["-"] * 4
    if sets is not None:
        least = min(sets.classes.items(), key=lambda pair: pair[1].value)
        first = [f"{sets.wanted:g}", say(sets.reached), f"{say(least[1])}, {least[0]}", f"{sets.size.value:.2f}"]
    right = report.metrics.get("accuracy")
    second = ["-"] * 2 if kept is None else [say(kept.answered), say(kept.error)]
    return [*first, *second, "-" if right is None else f"{1 - right.value:.3f}"]


def list_unlike(name: str, report: EvalReport, kinds: dict[str, str]) -> list[list[str]]:
    """The test images, and each set of other images."""
    if report.novelty is None:
        return [[name, "-", "-", "-"]]
    rows = [[name, f"{report.n} test images", say(report.novelty.flagged), ""]]
    for one in report.novelty.unlike:
        kind = next((kind for place, kind in kinds.items() if place.endswith(one.name)), one.name)
        rows.append([name, f"{one.n} {kind}", say(one.flagged), say(one.auroc)])
    return rows


def list_damaged(name: str, found: Robustness) -> list[list[str]]:
    """Each kind of corruption, the worst at the highest severity first."""
    kinds: dict[str, dict[int, tuple[float, float | None]]] = {}
    for row in found.rows:
        kinds.setdefault(row.kind, {})[row.severity] = row.accuracy.value, row.withheld
    rows = []
    for kind, by in sorted(kinds.items(), key=lambda pair: pair[1][SHOWN[-1]][0]):
        shares = (found.withheld, by[SHOWN[-1]][1])
        withheld = "-" if None in shares else ", ".join(f"{share:.2f}" for share in shares)
        rows.append([name, kind, say(found.accuracy), *(f"{by[one][0]:.3f}" for one in SHOWN), withheld])
    return rows


def list_shortcuts(name: str, report: EvalReport) -> list[list[str]]:
    """Properties of images that tell the classes apart."""
    return [
        [name, one.feature, say(one.auroc), f"{one.behind:.3f}", "yes" if one.follows else "not shown"]
        for one in report.shortcuts
        if one.p_holm < 0.05
    ] or [[name, "none", "", "", ""]]


def say(found: Interval | None) -> str:
    """A value with its interval; "-": it is not defined."""
    return "-" if found is None else f"{found.value:.3f} ({found.low:.3f}–{found.high:.3f})"


def show(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print()
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
