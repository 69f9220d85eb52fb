"""Exact and near copies of images, and labels that contradict each other among them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zoo.data.audit._report import Finding, Search
from zoo.data.audit._search import MOST_PAIRS, Pairs, near_pairs, threshold_for
from zoo.data.audit._spectrum import SMALLEST, TERMS, TURNS, terms_for, whiten

if TYPE_CHECKING:
    from zoo.data.audit._view import View

__all__ = ["Pictures", "alike", "copies"]

log = logging.getLogger("zoo")

Rows = NDArray[np.int64]

_LONG = 20_000  # pictures from which comparing them takes so long that it is announced
_PLACEHOLDER = 5  # copies of one picture from which it may well mean "no image"


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The different pictures of a set, without constant ones.

    Attributes:
        first: (m,) int64, the first image of each, ascending.
        copies: first image of a picture that is there several times: all of its images.
    """

    first: Rows
    copies: dict[int, Rows]


def copies(view: View) -> tuple[list[Finding], Pictures]:
    """Images with the same decoded pixels, whatever their files.

    Returns:
        One finding for each group of copies (and one more where their labels differ); and the different pictures.
    """
    good = view.looks.good
    keys = view.looks.digest[good].view("V32").ravel()
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    findings = []
    same = {int(rows.min()): view.side_by_side(rows) for rows in _members(group, good)}
    for rows in same.values():
        across, conflict, constant = view.across(rows), view.conflict(rows), bool(view.looks.constant[rows[0]])
        detail = f"{len(rows)} images with the same pixels{view.where(rows)}"
        if constant:
            detail += "; they are constant"
        elif len(rows) >= _PLACEHOLDER:
            detail += "; such a picture may replace a missing one"
        findings.append(
            Finding(
                kind="duplicate",
                severity="error" if across else "warning",
                across_splits=across,
                files=view.files(rows),
                detail=detail,
            )
        )
        if conflict:
            findings.append(
                Finding(
                    kind="label_conflict",
                    severity="error",
                    across_splits=across,
                    files=view.files(rows),
                    detail=f"the same pixels under {' and '.join(conflict)}; all but one of the labels are wrong",
                )
            )
    different = np.sort(good[first])
    return findings, Pictures(different[~view.looks.constant[different]], same)


def alike(view: View, pictures: Pictures) -> tuple[list[Finding], Search]:
    """Images that are the same picture re-saved, resized, mirrored, turned, brightened, or taken twice.

    Args:
        view: the set.
        pictures: what `copies` found to be different.

    Returns:
        One finding for each family of near-duplicates, one more where labels differ in it; and how they were
        looked for.
    """
    rows = pictures.first
    sides = np.minimum(view.looks.height[rows], view.looks.width[rows])
    large = sides >= SMALLEST
    left_out = int((~large).sum())
    note = ""
    if left_out:
        note = (
            f"near-duplicates were not looked for among {left_out} images under {SMALLEST} pixels: "
            "they hold too little to tell a copy from a lookalike"
        )
    rows, sides = rows[large], sides[large]
    if len(rows) < 2:
        return [], Search(
            threshold=None, frequencies=TERMS, exhaustive=True, note=note or "fewer than two different images"
        )
    terms = terms_for(int(np.quantile(sides, 0.05)))
    patterns = whiten(view.looks.spectra[rows], terms)
    threshold = threshold_for(patterns)
    if len(rows) > _LONG:
        log.info("%s: comparing %d pictures with each other", view.pool.name, len(rows))
    pairs = near_pairs(patterns, threshold)
    if not pairs.complete:
        stopped = f"the search for near-duplicates ended at {MOST_PAIRS} pairs: most images of this set are alike"
        note = f"{note}; {stopped}" if note else stopped
    search = Search(threshold=round(threshold, 4), frequencies=terms, exhaustive=pairs.exhaustive, note=note)
    return _families(view, rows, pictures.copies, pairs), search


def _families(view: View, rows: Rows, copies: dict[int, Rows], pairs: Pairs) -> list[Finding]:
    findings = []
    label = _connect(len(rows), pairs)
    order = np.argsort(label[pairs.first], kind="stable")
    ends = np.flatnonzero(np.diff(label[pairs.first][order])) + 1
    for family in np.split(order, ends) if len(order) else ():
        one = family[np.argsort(-pairs.correlation[family], kind="stable")]
        # by pairs, the most alike first, each with its exact copies, which may be in another split
        chain = rows[np.stack([pairs.first[one], pairs.second[one]], axis=1).ravel()]
        members = np.concatenate([copies.get(row, np.array([row])) for row in dict.fromkeys(chain.tolist())])
        across = view.across(members)
        findings.append(
            Finding(
                kind="near_duplicate",
                severity="error" if across else "note",
                across_splits=across,
                files=view.files(members),
                detail=_likeness(view, members, pairs, one),
            )
        )
        at_odds = [
            rows[[pairs.first[k], pairs.second[k]]]
            for k in one.tolist()
            if view.conflict(rows[[pairs.first[k], pairs.second[k]]])
        ]
        if at_odds:
            concerned = np.array(list(dict.fromkeys(np.concatenate(at_odds).tolist())))
            findings.append(
                Finding(
                    kind="label_conflict",
                    severity="warning",
                    across_splits=view.across(concerned),
                    files=view.files(concerned),
                    detail=f"near-duplicates under {' and '.join(view.conflict(concerned))}; look which label is right",
                )
            )
    return findings


def _likeness(view: View, members: Rows, pairs: Pairs, chosen: NDArray[np.int64]) -> str:
    values = pairs.correlation[chosen]
    low, high = float(values.min()), float(values.max())
    much = f"{_floor(low)}" if _floor(low) == _floor(high) else f"{_floor(low)} to {_floor(high)}"
    turns = {TURNS[turn]: None for turn in pairs.turn[chosen].tolist() if turn}
    sizes = set(zip(view.looks.width[members].tolist(), view.looks.height[members].tolist(), strict=True))
    detail = f"{len(members)} images of nearly the same picture{view.where(members)}, correlation {much}"
    if turns:
        detail += f", {' or '.join(turns)}"
    if len(sizes) > 1:
        detail += f", {len(sizes)} sizes"
    return detail


def _floor(value: float) -> str:
    """Two digits, never rounded up to 1.00."""
    return f"{np.floor(100 * min(value, 0.99)) / 100:.2f}"


def _members(group: NDArray[np.int64], rows: Rows) -> list[Rows]:
    """The rows of each group of more than one, in the order of their first."""
    order = np.argsort(group, kind="stable")
    parts = np.split(rows[order], np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []
    return sorted((part for part in parts if len(part) > 1), key=lambda part: int(part[0]))


def _connect(n: int, pairs: Pairs) -> NDArray[np.int64]:
    """(n,) the smallest position that each can be reached from through pairs."""
    label = np.arange(n)
    while True:
        before = label.copy()
        np.minimum.at(label, pairs.first, label[pairs.second])
        np.minimum.at(label, pairs.second, label[pairs.first])
        label = label[label]  # jump: chains shrink by half each round
        if (label == before).all():
            return label
