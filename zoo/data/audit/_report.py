"""What an audit says: findings, worst first, and a verdict."""

from __future__ import annotations

from typing import Literal

import msgspec

from zoo._support.text import format_count
from zoo.spec import Display, Table

__all__ = ["KINDS", "Audit", "Finding", "Kind", "Search", "Severity", "Size", "Verdict", "sort_findings", "verdict_of"]

Kind = Literal[
    "unreadable",
    "duplicate",
    "near_duplicate",
    "label_conflict",
    "group_leak",
    "imbalance",
    "saturated",
    "bit_depth",
    "personal_data",
    "label_mismatch",
]
KINDS: tuple[Kind, ...] = (
    "label_conflict",
    "group_leak",
    "duplicate",
    "near_duplicate",
    "unreadable",
    "label_mismatch",
    "bit_depth",
    "personal_data",
    "saturated",
    "imbalance",
)
"""In the order in which a report goes through them."""

Severity = Literal["error", "warning", "note"]
_RANK = {"error": 0, "warning": 1, "note": 2}

Verdict = Literal["leak", "defects", "clean"]

_LEAKS: frozenset[Kind] = frozenset({"duplicate", "near_duplicate", "group_leak"})


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A frozen value whose documents may hold no unknown field."""


class Finding(_Value, frozen=True):
    """One defect.

    Attributes:
        kind: what it is. Constant images count as `saturated`.
        severity: error: numbers would be wrong or images lost; warning: look at it; note: good to know.
        across_splits: the images concerned are in different splits.
        files: ids of all images concerned, the worst first where that means something. Never a path of this machine.
        detail: one line in plain words; never pixels, never the value of a metadata field.
    """

    kind: Kind
    severity: Severity
    across_splits: bool
    files: tuple[str, ...]
    detail: str


class Size(_Value, frozen=True):
    """How many images are `width` × `height` pixels."""

    width: int
    height: int
    n: int


class Search(_Value, frozen=True):
    """How near-duplicates were looked for.

    Attributes:
        threshold: whitened correlation from which two images count as near-duplicates; None: they were not looked
            for, `note` says why.
        frequencies: lowest frequencies compared, in each direction.
        exhaustive: every pair was compared; else those that share a hash bucket.
        note: what the reader must know, or "".
    """

    threshold: float | None
    frequencies: int
    exhaustive: bool
    note: str


class Audit(Display, _Value, frozen=True):
    """What was found in a data set.

    Attributes:
        name: of the data set, never a path.
        n: images that could be decoded.
        classes: label: split: images. With several labels an image (multilabel), it counts under each.
        splits: split: images; folds are called "fold 0" and so on; a set without either has the one entry "all".
        findings: worst first.
        verdict: "leak": images, copies of them or groups are in two splits; "defects": another error or warning;
            "clean".
        sizes: the sizes there are, the most frequent first.
        storage: how images are stored ("8-bit gray", "16-bit", …): images.
        brightness: split, or "all": images by mean value, in 20 equal steps from 0 to `brightest`.
        brightest: largest value that 8-bit images can hold, or that deeper images do hold.
        search: how near-duplicates were looked for.
        notes: what the index says about the set.
        skipped: images that cannot be decoded.
        passed_over: files of a folder that are not read as images, by their format.
    """

    name: str
    n: int
    classes: dict[str, dict[str, int]]
    splits: dict[str, int]
    findings: tuple[Finding, ...]
    verdict: Verdict
    sizes: tuple[Size, ...]
    storage: dict[str, int]
    brightness: dict[str, tuple[int, ...]]
    brightest: float
    search: Search
    notes: tuple[str, ...]
    skipped: int
    passed_over: dict[str, int] = {}

    def headline(self) -> str:
        """The verdict, and how many findings of which kinds."""
        kinds = [f"{kind} {len(found)}" for kind in KINDS if (found := self.of_kind(kind))]
        said = f"{format_count(len(self.findings), 'finding')}" + (f" ({', '.join(kinds)})" if kinds else "")
        return f"{self.name}: {self.verdict}, {said} in {format_count(self.n, 'image')}"

    def tables(self) -> dict[str, Table]:
        """findings: one row each, worst first. classes: images of each class in each split."""
        return {
            "findings": Table(map(msgspec.structs.asdict, self.findings), Finding.__struct_fields__),
            "classes": Table({"class": label, **counts} for label, counts in self.classes.items()),
        }

    def of_kind(self, kind: Kind) -> tuple[Finding, ...]:
        """The findings of one kind, worst first."""
        return tuple(finding for finding in self.findings if finding.kind == kind)


def sort_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """Errors first, across splits first, then in the order of `KINDS`, then by how many images are concerned."""
    return tuple(
        sorted(
            findings,
            key=lambda f: (_RANK[f.severity], not f.across_splits, KINDS.index(f.kind), -len(f.files)),
        )
    )


def verdict_of(findings: tuple[Finding, ...]) -> Verdict:
    """Leak before defects before clean; notes count for nothing."""
    if any(finding.across_splits and finding.kind in _LEAKS for finding in findings):
        return "leak"
    return "defects" if any(finding.severity != "note" for finding in findings) else "clean"
