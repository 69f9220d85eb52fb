"""After training, on validation images: logits adjusted for rare classes, the temperature, decisions, what is unlike.

An image of a class that is rare in training is called a frequent one unless it is very typical. Balanced class weights,
balanced sampling and the logit-adjusted loss all have their minimum at log p(y | x) - log pi(y), pi the shares of the
training images (Menon et al. 2021, arXiv 2007.07314, section 4). So what they would decide can be judged without
a second training, by the calibrated logits of plain cross-entropy minus log pi (equation 9). `loss: auto` compares the
two on shared resamples of the validation images, or of their patients. The shift becomes a node of the file, before the
temperature is fitted, so what is judged here is what ships.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.text import format_count
from zoo.data import find_rarest, log_prior
from zoo.workflow._answered import Answered, answer_images
from zoo.workflow._decide import Asked, settle
from zoo.workflow._unlike import add_novelty, learn_space, settle_threshold

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.artefact import Shippable
    from zoo.data import Splits
    from zoo.runs import RunRecord
    from zoo.workflow._folds import Expected

__all__ = ["Calibrated", "calibrate"]

RARE = 0.1
"""A class with a smaller share of the training images may be adjusted for."""
LEAST = 0.01
"""A smaller gain is not worth probabilities that lean towards rare classes."""
_RESAMPLES = 400
_LOW = 0.025
"""Quantile of the gain that must lie above 0: the lower end of a 95 % interval."""
_DEAF = ("macro_auroc", "sensitivity")
"""Metrics that rank the images of each class and hardly hear a shift: balanced accuracy decides in their place, and
they must not lose by it."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What validation settled.

    Attributes:
        trained: the model, its logits adjusted where that was taken.
        changes: fields of the run's record: temperature, decisions, what is unlike training, and what auto took.
        notes: for the record.
        answered: what the model says of the validation images; None: it has learnt from them.
    """

    trained: Shippable
    changes: dict[str, Any]
    notes: tuple[str, ...] = field(default=())
    answered: Answered | None = None


def calibrate(trained: Shippable, record: RunRecord, data: Splits, expected: Expected | None = None) -> Calibrated:
    """Settle on validation images, never on test images, what is left open after training.

    Args:
        trained: the model of the run, adjusted where its record says so already.
        record: record of the run, before anything of this is settled.
        data: train says how rare classes are, val decides.
        expected: what the folds of a model of all images settled, which holds for it too; None: it held some out.
    """
    from zoo.artefact import TrainedNetwork
    from zoo.evaluation import fit_temperature

    if expected is not None and not isinstance(trained, TrainedNetwork):  # nothing is left open of an ensemble of folds
        return Calibrated(trained, {"temperature": expected.temperature})
    changes: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if expected is None and record.card.train.novelty and isinstance(trained, TrainedNetwork):
        notes = learn_space(trained, data.train, record.card.train.seed)
    answered = answer_images(trained, data.val, record.card.train.seed)
    logits = answered.logits
    if record.card.train.loss == "auto" and record.loss is None and isinstance(trained, TrainedNetwork):
        shift, why = _choose(logits, record, data) if expected is None else _follow(expected, data)
        taken = "cross_entropy" if shift is None else "logit_adjusted"
        notes = (*notes, f"loss auto took {taken}: {why}")
        log.info("%s", notes[-1])
        changes["loss"] = taken
        if shift is not None:
            trained, logits = trained.shifted(shift), logits + np.asarray(shift, np.float32)
            best = record.best
            if best is not None:
                best = msgspec.structs.replace(best, value=_judge(logits, record, data))
            changes |= {"shift": shift, "best": best}
    if expected is not None:  # its validation images are among those that it has learnt from
        return Calibrated(trained, changes | {"temperature": expected.temperature}, notes)
    temperature = fit_temperature(logits, data.val.targets)
    asked = Asked.of(record.card.train)
    found = settle(logits, data.val, data.labels, asked, temperature=temperature, strict=False)
    novelty, said = settle_threshold(answered.scores, data.val.groups)
    changes |= {"temperature": temperature, "operating": found.operating}
    changes["abstention"] = add_novelty(found.abstention, novelty)
    return Calibrated(trained, changes, (*notes, *said, *found.notes), replace(answered, logits=logits))


def _follow(expected: Expected, data: Splits) -> tuple[tuple[float, ...] | None, str]:
    """As `_choose`, what most folds took: the model has learnt from all images, so none of them can decide."""
    why = f"{expected.adjusted} of {expected.folds} folds took adjusted logits"
    if 2 * expected.adjusted <= expected.folds:
        return None, why
    shift = -expected.temperature * log_prior(data.train.targets, len(data.labels))
    return tuple(float(value) for value in shift), why


def _choose(logits: NDArray[np.float32], record: RunRecord, data: Splits) -> tuple[tuple[float, ...] | None, str]:
    """What is added to the logits, None for nothing; and why, in words."""
    from zoo.evaluation import draws, fit_temperature, lower_is_better, measure_by, ones, title_of

    config, targets, classes = record.card.train, data.val.targets, len(data.labels)
    k, share = find_rarest(data.train.targets, classes)
    if share >= RARE:
        return None, f"the rarest class, {data.labels[k]}, has {share:.1%} of the training images, {RARE:.0%} or more"
    if config.class_weight == "balanced" or config.sampling == "balanced":
        how = "class_weight" if config.class_weight == "balanced" else "sampling"
        return None, f"{how} balanced makes up for rare classes already"
    asked = config.metric
    metric = "balanced_accuracy" if asked.startswith(_DEAF) else asked
    temperature = fit_temperature(logits, targets)
    shift = -temperature * log_prior(data.train.targets, classes)
    moved = logits + shift.astype(np.float32)

    def measure(name: str, answers: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return measure_by(name, answers, targets, data.labels, weights, ordered=record.task == "ordinal")

    def compare(name: str) -> tuple[float, float]:
        before, after = (float(measure(name, answers, ones(len(targets)))[0]) for answers in (logits, moved))
        return before, after

    before, after = compare(metric)
    title = title_of(metric)
    if np.isnan(before) or np.isnan(after):
        return None, f"{title} is not defined on the validation images"
    sign = -1 if lower_is_better(metric) else 1
    gains = np.concatenate(
        [
            sign * (measure(metric, moved, weights) - measure(metric, logits, weights))
            for weights in draws(len(targets), _RESAMPLES, config.seed, data.val.groups)
        ]
    )
    low = float(np.nanquantile(gains, _LOW)) if not np.isnan(gains).all() else -np.inf
    taken = low > 0 and sign * (after - before) >= LEAST
    others = {name: compare(name) for name in dict.fromkeys((asked, "accuracy")) if name != metric}
    if metric != asked:  # which may not hear of it, but must not lose by it
        taken = taken and not others[asked][0] - others[asked][1] >= LEAST
    beside = "".join(f", {title_of(name)} {was:.3f} and {now:.3f}" for name, (was, now) in others.items())
    return (tuple(float(value) for value in shift) if taken else None), (
        f"the rarest class, {data.labels[k]}, has {share:.1%} of the training images; on "
        f"{format_count(len(targets), 'validation image')}, without and with adjusted logits, {title} is {before:.3f} "
        f"and {after:.3f}{beside}"
    )


def _judge(logits: NDArray[np.float32], record: RunRecord, data: Splits) -> float | None:
    from zoo.evaluation import judge_by

    ordered = record.task == "ordinal"
    return judge_by(record.card.train.metric, logits, data.val.targets, data.labels, ordered=ordered)
