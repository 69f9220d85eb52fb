"""From validation answers to decisions: operating points, sets of labels, a threshold that bounds the error.

`settle` alone chooses, and takes validation images: at the end of training, for another rule at export, and anew for a
quantised file, whose answers are its own. `judge_decisions` says what the images under evaluation make of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from zoo._support.text import brief, format_count
from zoo.errors import DataError, UsageError
from zoo.spec import Abstention
from zoo.workflow._unlike import add_novelty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.evaluation import Cases, Share
    from zoo.spec import ConformalSets, EvalReport, Manifest, OperatingPoint, TrainConfig

__all__ = ["Asked", "Decisions", "check_decisions", "choose_anew", "judge_decisions", "settle", "shares_of"]

_NOT_ONE_OF_SOME = frozenset({"operating-images", "operating-unreachable"})
"""Codes of a rule that these validation images cannot follow, which only they can tell."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which decisions a file is to make; fields as of `zoo.spec.TrainConfig`."""

    operating: tuple[str, ...]
    coverage: float
    sets: Literal["lac", "aps"]
    sets_per_class: bool
    error: float | None
    seed: int

    @classmethod
    def of(cls, config: TrainConfig, operating: Sequence[str] | None = None) -> Asked:
        """What a recipe asks for; `operating` takes the place of its rules."""
        rules = config.operating if operating is None else tuple(operating)
        return cls(rules, config.coverage, config.sets, config.sets_per_class, config.error, config.seed)


@dataclass(frozen=True, slots=True)
class Decisions:
    """What validation images settled, as the manifest holds it, and what is to be said of it."""

    operating: tuple[OperatingPoint, ...]
    abstention: Abstention | None
    notes: tuple[str, ...] = ()


def check_decisions(config: TrainConfig, data: Splits) -> None:
    """Refuse, before training, decisions that this data cannot have.

    Of folds a rare label may miss in the validation images of one: that is noted there, and ends nothing.

    Raises:
        UsageError: a rule names a class that there is not, or one twice; or a largest error is asked of several labels.
        DataError: no validation image has the label of a rule, or all have.
    """
    from zoo.evaluation import check_rules

    check_rules(config.operating, data.labels, data.val.targets if config.folds is None else None)
    if config.error is not None and data.task == "multilabel":
        raise UsageError(
            f"--set error={config.error:g}: an image may have several labels, and no single answer is wrong; leave it "
            "out, or choose thresholds with --operating",
            code="option-value",
            option="error",
            value=config.error,
        )


def settle(
    logits: NDArray[Any],
    images: ImageSet,
    labels: Sequence[str],
    asked: Asked,
    *,
    temperature: float,
    strict: bool,
    noun: str = "validation image",
) -> Decisions:
    """Settle decisions on validation images, or on those of another site.

    Args:
        logits: (n, K), answers to `images`, before the temperature.
        images: validation images.
        labels: K names.
        asked: what is asked for.
        temperature: number that divides the logits.
        strict: a rule that the images cannot follow is an error; else a note, because a training is not lost for it.
        noun: what notes call one of the images.

    Raises:
        DataError: a rule cannot be followed, and `strict` says so.
        UsageError: a rule names a class that there is not.
    """
    from zoo.evaluation import choose_points, control_error, fit_sets

    if not len(images):
        return Decisions((), None)
    targets, groups = images.targets, images.groups
    unit = noun if groups is None else "group"
    points: list[OperatingPoint] = []
    notes: list[str] = []
    for rule in asked.operating:
        try:
            points += choose_points(
                [rule], logits, targets, labels, temperature=temperature, groups=groups, seed=asked.seed
            )
        except DataError as problem:
            if strict or problem.code not in _NOT_ONE_OF_SOME:
                raise
            notes.append(f"no operating point: {str(problem).rpartition('; ')[0]}")
            log.warning("%s", notes[-1])
    sets = control = None
    if targets.ndim == 1 and asked.coverage:
        sets = fit_sets(
            logits,
            targets,
            coverage=asked.coverage,
            method=asked.sets,
            per_class=asked.sets_per_class,
            temperature=temperature,
            groups=groups,
        )
        notes += _describe_sets(sets, labels, unit)
        if min(sets.quantiles) >= 1:  # every label is in every set, which tells nobody anything
            sets = None
    if targets.ndim == 1 and asked.error is not None:
        control = control_error(
            logits,
            targets,
            labels,
            error=asked.error,
            points=points,
            temperature=temperature,
            groups=groups,
            seed=asked.seed,
        )
        if control.threshold > 1:
            notes.append(
                f"no image is answered: {format_count(control.n, unit)} could not show that at most "
                f"{control.error:.1%} of the answers are wrong at any threshold"
            )
    abstention = Abstention(sets=sets, error=control) if sets is not None or control is not None else None
    return Decisions(tuple(points), abstention, tuple(notes))


def _describe_sets(sets: ConformalSets, labels: Sequence[str], unit: str) -> list[str]:
    """What a reader of sets must know: what counted once, and where too little was there for what is promised."""
    once = []
    if unit == "group":
        each = "each group once in each class" if sets.per_class else f"each of {format_count(sets.n[0], unit)} once"
        once = [f"sets of labels count {each}"]
    wide = [label for label, one in zip(labels, sets.quantiles, strict=sets.per_class) if one >= 1]
    if not wide:
        return once
    if min(sets.quantiles) >= 1:
        n = max(sets.n)
        few = sets.coverage * (n + 1) > n
        why = f"{format_count(n, unit)} are too few for" if few else f"{sets.method} would put every label in, at"
        return [f"no sets of labels: {why} a coverage of {sets.coverage:g}"]
    return [*once, f"every set holds {brief(wide)}: too few {unit}s of the class for a coverage of {sets.coverage:g}"]


def choose_anew(
    manifest: Manifest,
    logits: NDArray[Any],
    images: ImageSet,
    *,
    noun: str = "validation image",
    before: float | None = None,
) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest of a file that answers otherwise than the one it was made of, its decisions settled on its answers.

    What these images cannot settle, the file does not decide by; what is to be said of that comes second. Novelty alone
    stays, because it is of the features.

    Args:
        manifest: what is asked for is what it holds.
        logits: (n, K), what the new file answers to `images`.
        images: validation images, or those of another site.
        noun: what notes call one of them.
        before: the temperature that the old decisions were settled at, where the images are of another site. Without a
            class they cannot settle what is promised of all classes: it stays with the temperature, or goes.

    Raises:
        DataError: a rule cannot be followed any more.
    """
    old = manifest.abstention
    kept, said = _spare_promises(manifest, images, before)
    sets, control = (None, None) if old is None or said else (old.sets, old.error)
    asked = Asked(
        operating=tuple(f"{point.rule}:{point.label}" for point in manifest.operating),
        coverage=0.0 if sets is None else sets.coverage,
        sets="lac" if sets is None else sets.method,
        sets_per_class=sets is not None and sets.per_class,
        error=None if control is None else control.error,
        seed=manifest.provenance.config.seed,
    )
    found = settle(logits, images, manifest.labels, asked, temperature=manifest.temperature, strict=True, noun=noun)
    abstention = add_novelty(kept or found.abstention, manifest.novelty)
    return msgspec.structs.replace(manifest, operating=found.operating, abstention=abstention), (*said, *found.notes)


def _spare_promises(
    manifest: Manifest, images: ImageSet, before: float | None
) -> tuple[Abstention | None, tuple[str, ...]]:
    """Sets of labels and the bound of the error that stay as they were, and why they are not settled anew; or nothing.

    They are of images of all classes. Settled on some classes alone, they would be wrong on the others, unsaid.
    """
    old = manifest.abstention
    if before is None or old is None or (old.sets is None and old.error is None) or images.targets.ndim != 1:
        return None, ()
    absent = [label for k, label in enumerate(manifest.labels) if not (images.targets == k).any()]
    if not absent:
        return None, ()
    what = [word for word, one in (("sets of labels", old.sets), ("the bound of the error", old.error)) if one]
    why = f"no image to fit on is of {brief(absent)}"
    if manifest.temperature == before:
        return old, (f"{' and '.join(what)} stay as they were: {why}",)
    return None, (f"{' and '.join(what)} are given up: {why}, and the temperature changed",)


def judge_decisions(
    report: EvalReport,
    logits: NDArray[Any],
    images: ImageSet,
    manifest: Manifest,
    *,
    prevalence: Sequence[str] = (),
    scores: NDArray[np.float32] | None = None,
) -> EvalReport:
    """The report with what the images under evaluation say of the file's decisions; nothing is chosen here.

    Args:
        report: metrics of the same answers.
        logits: (n, K), answers to `images`, labels in the order of the manifest.
        images: images under evaluation.
        manifest: what the file decides by.
        prevalence: what `--prevalence` said.
        scores: (n,) novelty scores; None: the file makes none.

    Raises:
        UsageError: a prevalence is not a share, or it is of a label without an operating point.
    """
    from zoo.evaluation import Cases, judge_abstention, judge_points, judge_sets, read_prevalence

    labels, operating, abstention = manifest.labels, manifest.operating, manifest.abstention
    cases = Cases.of(logits, images.targets, manifest.temperature, images.groups)
    sets = None if abstention is None else abstention.sets
    one = cases.task == "multiclass"
    stated = read_prevalence(prevalence, operating, labels if one else ())
    novelty = None if abstention is None else abstention.novelty
    novel = None if scores is None or novelty is None else ~(scores <= novelty.threshold)
    return msgspec.structs.replace(
        report,
        operating=judge_points(cases, labels, operating, stated),
        conformal=judge_sets(cases, labels, sets) if one and sets is not None else None,
        abstention=judge_abstention(cases, labels, operating, abstention, novel) if one else None,
    )


def shares_of(cases: Cases, manifest: Manifest) -> dict[str, Share]:
    """What decisions are worth: sensitivity and specificity at each point, which groups are compared by, and coverage.

    Args:
        cases: targets and answers of n images.
        manifest: labels, operating points, and how the file makes sets.
    """
    from zoo.edge import find_sets
    from zoo.evaluation import Share

    found = {}
    for point in manifest.operating:
        k = manifest.labels.index(point.label)
        called, of = cases.probabilities[:, k] >= point.threshold, cases.truth[:, k]
        found[f"sensitivity for {point.label}"] = Share(called, of)
        found[f"specificity for {point.label}"] = Share(~called, cases.known[:, k] & ~of)
    sets = None if manifest.abstention is None else manifest.abstention.sets
    if sets is not None and cases.task == "multiclass":
        every = np.arange(cases.n)
        held = find_sets(cases.probabilities, sets)[every, cases.targets]
        found["coverage"] = Share(held, np.ones(cases.n, np.bool_), tested=False)
    return found
