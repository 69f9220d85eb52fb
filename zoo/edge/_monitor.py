"""`zoo monitor`: are the answers at a site still those of the images that the model was made for?

Each statistic of the table is tested on its own against the file's reference, by `zoo.edge._martingale`. It raises an
alarm where its evidence reaches m / alpha, m the number of statistics that the reference holds, compared or not; of
labels, K together are one of them, and each reaches m K / alpha. By Bonferroni's inequality the probability of any
alarm, ever, is at most alpha while the images are exchangeable with those of the reference. The mean of these
martingales would not do: martingales of several statistics are none in a common filtration.

What this module does not know: command lines, how a reference is made.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from zoo._support.text import brief, format_count
from zoo.edge._martingale import bet, find_change, find_start, most, rank_values, weigh_shares
from zoo.edge._monitor_table import NUMBERS, Stream, read_stream
from zoo.edge._results import mark_of
from zoo.edge.bundle import open_model
from zoo.errors import ModelError, UsageError
from zoo.spec import MEASURED, Display, Interval, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.spec import Manifest, Reference

__all__ = ["ALPHA", "Monitoring", "Watched", "monitor", "round_number"]

ALPHA = 0.01
"""Of a hundred sites without drift at most one ever hears an alarm."""
FAILED, LABEL = "no answer", "label: "

log = logging.getLogger("zoo")


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of a site's answers beside the reference."""

    name: str
    """probability, novelty, brightness, contrast, colour, no answer, uncertain, unlike training, or "label: NAME"."""
    n: int
    reference: float
    """Mean of a number, or share of images."""
    site: Interval | float
    """The same at the site, of images from `since` on, or of all; a share has Wilson's interval."""
    evidence: float
    """Decimal logarithm of the largest evidence, 0 or more; see `zoo.edge._martingale`."""
    threshold: float
    """The value of `evidence` from which on it is an alarm."""
    alarm: int | None
    """The image, counted from 1 in the table, at which the alarm was raised; null: none was."""
    since: int | None
    """About the image with which the drift began: what came before the alarm differs most from there on."""


class Monitoring(Display, msgspec.Struct, frozen=True, kw_only=True):
    """What a stream of answers says of drift."""

    model: str
    images: int
    failed: int
    """Images without an answer."""
    verdict: Literal["drift", "no drift shown", "too few to tell"]
    alpha: float
    """The probability that an alarm is ever raised without drift is at most this."""
    statistics: tuple[Watched, ...]
    """Those with an alarm first, by the image of the alarm."""
    reference: int
    """Images of the reference."""
    notes: tuple[str, ...] = ()

    @property
    def alarms(self) -> tuple[Watched, ...]:
        """Statistics that drift, the first alarm first."""
        return tuple(one for one in self.statistics if one.alarm is not None)

    def headline(self) -> str:
        """The verdict."""
        of = f"{format_count(self.images, 'image')} beside {self.reference} of the reference"
        if not self.alarms:
            return f"{self.model}: {self.verdict}; {of}"
        first = min(self.alarms, key=lambda one: (one.since or 0, one.alarm or 0))
        said = "; ".join(map(describe, self.alarms[:3]))
        return f"{self.model}: drift since about image {first.since} in {first.name} ({said}); {of}"

    def tables(self) -> dict[str, Table]:
        """One row for each statistic."""
        return {"statistics": Table([{name: getattr(one, name) for name in one.__struct_fields__}
                                     for one in self.statistics])}  # fmt: skip


def describe(one: Watched) -> str:
    """The effect in words."""
    if isinstance(one.site, Interval):
        return f"share of {one.name} {one.reference:.3f} → {one.site}"
    return f"mean {one.name} {one.reference:.4g} → {one.site:.4g}"


def monitor(
    table: str | Path, against: str | Path, *, alpha: float = ALPHA, group: str | None = None, shuffle: bool = False
) -> Monitoring:
    """Compare a site's answers with those to the validation images of the model.

    Args:
        table: what `zoo predict --csv` wrote, rows in the order in which the images came.
        against: the .onnx file or bundle whose answers these are.
        alpha: the probability that an alarm is ever raised without drift is at most this, however often one looks.
        group: a regular expression with one group in parentheses that finds the patient in an image's name: the first
            image of each patient counts. None: every image counts, and is taken for independent of the others.
        shuffle: mix the rows, for a table whose order is not that of time; valid for one look.

    Raises:
        ModelError: the file cannot be opened, or holds no reference.
        DataError: the table cannot be read, is empty, or holds answers of another file.
        UsageError: `alpha` is not a probability, or `group` not such an expression.
    """
    if not 0 < alpha < 1:
        raise UsageError(
            f"--alpha {alpha:g}: expected a probability above 0 and below 1", code="option-value", option="alpha",
            value=alpha,
        )  # fmt: skip
    contents = open_model(Path(against))
    manifest, reference = contents.manifest, contents.manifest.reference
    if reference is None:
        all_images = manifest.provenance.config.fold == "none"
        why = "its model has learnt from all images" if all_images else "an older release wrote it"
        what = "give the model of one fold" if all_images else "export it again from its run"
        raise ModelError(
            f"{against}: holds no reference to compare answers with, because {why}; {what}",
            code="monitor-no-reference",
            path=str(against),
        )
    stream = read_stream(Path(table), manifest, mark_of(contents.sha256), group)
    if stream.unmarked:
        log.warning("%s: %s", table, _say_unmarked(stream, manifest))
    return watch(stream, manifest, reference, alpha=alpha, shuffle=shuffle, grouped=group is not None)


def watch(
    stream: Stream,
    manifest: Manifest,
    reference: Reference,
    *,
    alpha: float,
    shuffle: bool = False,
    grouped: bool = False,
) -> Monitoring:
    """As `monitor`, of answers that were read."""
    grown = [
        *_weigh_numbers(stream, reference, shuffle=shuffle),
        *_weigh_all_shares(stream, manifest, reference, shuffle),
    ]
    # All that the reference could be compared in: how many are told apart must not grow with the table.
    families = 2 + len(reference.values) + sum(name != "label" for name in reference.decisions)
    bounds = [math.log(families * (len(manifest.labels) if one.name.startswith(LABEL) else 1) / alpha) for one in grown]
    found = [_judge(one, bound) for one, bound in zip(grown, bounds, strict=True)]
    order = [one.name for one in grown]
    found.sort(key=lambda one: (one.alarm is None, one.alarm or 0, order.index(one.name)))
    drift = any(one.alarm is not None for one in found)
    able = most(len(stream.failed)) >= min(bounds, default=math.inf)
    return Monitoring(
        model=manifest.name,
        images=len(stream.failed),
        failed=sum(stream.failed),
        verdict="drift" if drift else "no drift shown" if able else "too few to tell",
        alpha=alpha,
        statistics=tuple(found),
        reference=reference.n,
        notes=tuple(_notes(stream, manifest, reference, shuffle=shuffle, grouped=grouped)),
    )


def round_number(value: float) -> float:
    """To the digits that a reference keeps; both sides of a comparison are rounded alike."""
    return float(f"{value:.4g}")


@dataclass(frozen=True, slots=True, eq=False)
class _Grown:
    """One statistic with its evidence after each image."""

    name: str
    values: NDArray[np.float64]
    """(T,) of the stream; of a share 0 and 1."""
    places: NDArray[np.int64]
    """(T,) the number of each image in the table."""
    evidence: NDArray[np.float64]
    """(T,) natural logarithm."""
    reference: float
    hits: int | None
    """Of a share the images of the reference that have it; None: the mean of a number."""
    n: int
    """Images of the reference."""
    p: NDArray[np.float64] | None = None
    """(T,) p-values of a number; None: a share has none."""

    def find_begin(self, alarm: int) -> int:
        """How many images came before the drift began, as it seems at an alarm."""
        if self.hits is not None:
            return find_change(self.hits, self.n, self.values[: alarm + 1] > 0)
        assert self.p is not None  # noqa: S101 - numbers have p-values
        return find_start(self.p[: alarm + 1])


def _weigh_numbers(stream: Stream, reference: Reference, *, shuffle: bool) -> list[_Grown]:
    order, places = _arrange(len(stream.rows), shuffle=shuffle), np.array(stream.rows, np.int64)
    # What is the same in all images, such as the colour of gray ones, would be told apart by drawn numbers alone.
    names = [
        name
        for name in NUMBERS
        if name in reference.values
        and len({round_number(value) for value in (*reference.values[name], *stream.numbers.get(name, ()))}) > 1
        and name in stream.numbers
    ]
    if not names or not len(order):
        return []
    values = np.stack([[round_number(value) for value in stream.numbers[name]] for name in names], axis=1)[order]
    p = [
        rank_values(f"{name} {stream.seed}", reference.values[name], row)
        for name, row in zip(names, values.T, strict=True)
    ]
    evidence = bet(np.stack(p, axis=1))
    return [
        _Grown(name, values[:, at], places, evidence[:, at], _mean(reference, name), None, reference.n, p[at])
        for at, name in enumerate(names)
    ]


def _weigh_all_shares(stream: Stream, manifest: Manifest, reference: Reference, shuffle: bool) -> list[_Grown]:
    failed, rows = np.array(stream.failed)[:, None], np.array(stream.rows, np.int64)
    found: list[_Grown] = []
    if reference.failed is not None:
        places, of = np.arange(1, len(failed) + 1), reference.n + reference.failed
        found += _weigh_shares([FAILED], [reference.failed], failed, places, of, shuffle=shuffle)
    if not len(rows):
        return found
    if stream.decisions and reference.decisions:
        names = [name for name in reference.decisions if name != "label"]
        made = np.array(stream.decisions)[:, None] == np.array(names)
        hits = [reference.decisions[name] for name in names]
        found += _weigh_shares(names, hits, made, rows, reference.n, shuffle=shuffle)
    given = np.array([[label in one for label in manifest.labels] for one in stream.labels])
    hits = [reference.labels.get(label, 0) for label in manifest.labels]
    names = [f"{LABEL}{label}" for label in manifest.labels]
    return found + _weigh_shares(names, hits, given, rows, reference.n, shuffle=shuffle)


def _weigh_shares(
    names: list[str],
    hits: list[int],
    stream: NDArray[np.bool_],
    places: NDArray[np.int64],
    n: int,
    *,
    shuffle: bool,
) -> list[_Grown]:
    stream = stream[_arrange(len(stream), shuffle=shuffle)]
    evidence = weigh_shares(np.array(hits, np.int64), n, stream)
    return [
        _Grown(name, stream[:, at].astype(np.float64), places, evidence[:, at], hits[at] / n, hits[at], n)
        for at, name in enumerate(names)
    ]


def _arrange(count: int, *, shuffle: bool) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(count) if shuffle else np.arange(count)


def _mean(reference: Reference, name: str) -> float:
    return math.fsum(reference.values[name]) / reference.n


def _judge(one: _Grown, bound: float) -> Watched:
    over = np.flatnonzero(one.evidence >= bound)
    alarm = int(over[0]) if over.size else None
    begin = 0 if alarm is None else one.find_begin(alarm)
    seen = one.values[begin:]
    mean = float(seen.mean())
    return Watched(
        name=one.name,
        n=len(one.values),
        reference=one.reference,
        site=mean if one.hits is None else Interval.of_share(mean, len(seen)),
        evidence=max(0.0, float(one.evidence.max())) / math.log(10),
        threshold=bound / math.log(10),
        alarm=None if alarm is None else int(one.places[alarm]),
        since=None if alarm is None else int(one.places[begin]),
    )


def _say_unmarked(stream: Stream, manifest: Manifest) -> str:
    total = len(stream.failed) + stream.passed
    return (
        f"{stream.unmarked} of {format_count(total, 'row')} do not say which file answered, as in tables without "
        f"--statistics; whether it was this file of {manifest.name} cannot be known"
    )


def _notes(stream: Stream, manifest: Manifest, reference: Reference, *, shuffle: bool, grouped: bool) -> list[str]:
    lost = [name for name in reference.values if name not in stream.numbers]
    notes = [_say_unmarked(stream, manifest)] if stream.unmarked else []
    if stream.rows and lost:
        how = "; write the table with 'zoo predict --statistics'" if set(lost) & set(MEASURED) else ""
        notes.append(f"not compared, because the table has no such column: {brief(lost)}{how}")
    if reference.failed is None:
        notes.append(
            f"not compared, because the file does not say how many images of its reference could not be read: {FAILED}"
        )
    if stream.passed:
        notes.append(f"{format_count(stream.passed, 'further image')} of patients seen before did not count")
    if not grouped:
        known = "each image of the reference is of another patient; " if reference.grouped else ""
        notes.append(
            f"{known}every image of the table was taken for independent of the others; where a patient has several, "
            "give --group, or few patients may look like drift"
        )
    if shuffle:
        notes.append("the rows were mixed, so numbers of images do not say when; the bound holds for one look")
    if reference.source == "recalibration":
        notes.append(f"the reference is of the site that recalibrated {manifest.name}")
    return notes
