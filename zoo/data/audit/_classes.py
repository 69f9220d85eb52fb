"""Counts of classes, and labels that do not fit the names of files and folders."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from zoo._support.text import format_count, name_each
from zoo.data._labels import count_labels, describe_spelled_alike
from zoo.data.audit._report import Finding, Kind, Severity
from zoo.data.audit._view import WHOLE

if TYPE_CHECKING:
    from zoo.data.audit._view import View

__all__ = ["FEW", "RATIO", "counts", "imbalance", "mismatches"]

RATIO = 10
"""A class with a tenth of the images of the largest needs weights, sampling or at least its own line in the report."""
FEW = 10
"""With fewer images of a class in a split, its sensitivity is known to no better than ± 30 %."""

Counts = dict[str, dict[str, int]]


def counts(view: View) -> Counts:
    """Label: split: images that can be decoded."""
    good = view.looks.good
    found: Counts = {label: {} for label in view.pool.labels}
    for number, split in enumerate(view.names):
        targets = view.pool.targets[good[view.split[good] == number]]
        per_class = count_labels(targets, len(view.pool.labels))
        for label, n in zip(view.pool.labels, per_class.tolist(), strict=True):
            found[label][split] = n
    return found


def imbalance(view: View, table: Counts) -> list[Finding]:
    """Classes that are rare beside the largest, or too rare in a split to measure anything."""
    findings = []
    totals = {label: sum(per_split.values()) for label, per_split in table.items()}
    largest = max(totals, key=lambda label: totals[label])
    there = {label: n for label, n in totals.items() if n}
    rare = {label: n for label, n in there.items() if n * RATIO < totals[largest]}
    if rare:
        findings.append(
            _about_classes(
                "imbalance",
                f"{_list_classes(rare)} beside {largest!r} ({totals[largest]} images), "
                f"more than {RATIO} to 1; 'zoo train MODEL --set class_weight=balanced' weighs the classes, "
                "and the report has a line for each",
            )
        )
    # of folds each is small, and all of them together are what is judged
    spans = {split: {label: table[label][split] for label in there} for split in view.names if not view.folded}
    for split, in_split in (spans or {WHOLE: there}).items():
        few = {label: n for label, n in in_split.items() if 0 < n < FEW}
        if few:
            place = "in the set" if split == WHOLE else f"in {split}"
            findings.append(
                _about_classes(
                    "imbalance",
                    f"{_list_classes(few)} {place}: with fewer than {FEW} images little can be said; add images",
                )
            )
    empty = [label for label, n in totals.items() if not n]
    if empty:
        findings.append(
            _about_classes(
                "imbalance", f"{name_each('class', empty, 'has', 'have')} no image; add images or remove it", "error"
            )
        )
    return findings


def mismatches(view: View, table: Counts) -> list[Finding]:
    """Splits with different classes, classes of nearly one name, and file names that name another class."""
    alike = [_about_classes("label_mismatch", said) for said in describe_spelled_alike(view.pool.labels)]
    return [*_alone(view), *_find_unlabelled(view), *_missing(view, table), *alike, *_names_of_others(view)]


def _alone(view: View) -> list[Finding]:
    if view.pool.targets.ndim > 1 or len(view.pool.labels) > 1:
        return []
    only = f"one class only ({view.pool.labels[0]!r}), expected at least two to tell apart; add the other"
    return [_about_classes("label_mismatch", only, "error")]


def _missing(view: View, table: Counts) -> list[Finding]:
    findings = []
    for split in view.names if view.divided else ():
        absent = [label for label, n in table.items() if sum(n.values()) and not n[split]]
        if absent:
            shifted = f"a tool that numbers class folders by their order gives {split} shifted labels; "
            findings.append(
                _about_classes(
                    "label_mismatch",
                    f"{name_each('class', absent, 'has', 'have')} no image in {split}; {'' if view.folded else shifted}"
                    "add images of it, or take the class out of every split",
                    "error" if split == "train" else "warning",
                    across=True,
                )
            )
    return findings


def _find_unlabelled(view: View) -> list[Finding]:
    found = view.pool.unlabelled
    if not found:
        return []
    rows = format_count(len(found), "row")
    return [
        Finding(
            kind="label_mismatch",
            severity="warning",
            across_splits=False,
            files=tuple(one.name for one in found),
            detail=f"{rows} without a label; fill it in, or train with --skip-bad, which leaves them out",
        )
    ]


def _names_of_others(view: View) -> list[Finding]:
    """Files whose name, or a folder above them, names another class than their label."""
    if view.pool.targets.ndim == 2:  # several labels are allowed, so naming one contradicts nothing
        return []
    joined = [_join_words(label) for label in view.pool.labels]
    times = Counter(joined)
    known = {words: number for number, words in enumerate(joined) if times[words] == 1}
    known = {words: number for words, number in known.items() if len(words) > 4 and not words.strip("_").isdigit()}
    if len(known) < 2:
        return []
    # the longest first: 'no_tumor' is not a 'tumor'
    pattern = re.compile("|".join(f"(?=({re.escape(words)}))" for words in sorted(known, key=len, reverse=True)))
    found: dict[tuple[int, int], list[int]] = {}
    for row, target in enumerate(view.pool.targets.tolist()):
        named = _find_named(view.pool.ids[row], known, pattern)
        if named is not None and named != target:
            found.setdefault((target, named), []).append(row)
    return [
        Finding(
            kind="label_mismatch",
            severity="warning",
            across_splits=False,
            files=view.files(rows),
            detail=f"{format_count(len(rows), 'image')} labelled {view.pool.labels[target]!r} named like "
            f"{view.pool.labels[named]!r}; look which is right",
        )
        for (target, named), rows in sorted(found.items(), key=lambda item: -len(item[1]))
    ]


def _find_named(identity: str, known: dict[str, int], pattern: re.Pattern[str]) -> int | None:
    """The class that a file is named after: by its own name, else by the nearest folder."""
    *folders, name = identity.split("/")
    stem = name.rpartition(".")[0] or name
    for part in (stem, *reversed(folders)):
        text = _join_words(part)
        hits = {words for match in pattern.finditer(text) for words in match.groups() if words}
        # a shorter name inside a longer one is not meant
        hits = {words for words in hits if not any(words != other and words in other for other in hits)}
        classes = {known[words] for words in hits}
        if len(classes) == 1:
            return classes.pop()
        if classes:  # 'benign_vs_malignant': says nothing
            return None
    return None


def _words(text: str) -> list[str]:
    """Letters and digits in lower case, apart from each other: 'Benign12' → ['benign', '12']."""
    return re.findall(r"[^\W\d_]+|\d+", text.casefold())


def _join_words(text: str) -> str:
    return f"_{'_'.join(_words(text))}_"


def _list_classes(classes: dict[str, int]) -> str:
    listed = [
        f"{label!r} ({format_count(n, 'image')})" for label, n in sorted(classes.items(), key=lambda item: item[1])
    ]
    noun = "class" if len(listed) == 1 else "classes"
    return f"{noun} {', '.join(listed[:5])}" + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _about_classes(kind: Kind, detail: str, severity: Severity = "warning", *, across: bool = False) -> Finding:
    return Finding(kind=kind, severity=severity, across_splits=across, files=(), detail=detail)
