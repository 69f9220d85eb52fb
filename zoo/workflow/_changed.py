"""What the user says of a run that is to be continued or reported, compared with what it was begun with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo.runs import find_run
from zoo.spec import Budget, PreprocessSpec, TrainConfig
from zoo.store.weights import resolve
from zoo.workflow._find import run_that_ships, weights_file
from zoo.workflow._recipe import configure, divide_settings, recipe_fields, say_again
from zoo.workflow._settings import settings_of
from zoo.workflow._teacher import is_same

if TYPE_CHECKING:
    from zoo.runs import RunRecord
    from zoo.spec import ModelCard

__all__ = ["change_free", "find_changed", "is_diverged"]

_FREE = ("epochs", "patience", "device", "parallel")
"""Settings that may change in a run that is continued."""


def find_changed(record: RunRecord, card: ModelCard, budget: Budget) -> tuple[str, Any, Any] | None:
    """What the user says now of a run that it was not begun with: its name, what it was and is; None: nothing.

    What may change is left out: `_FREE`, a window that is fitted to the images, and a rate that is lower than the one
    at which it diverged.

    Raises:
        UsageError: as `configure`, or `start_from` names no run.
        ModelError: the teacher cannot be opened.
        WeightsError: `weights` names none.
    """
    settings = settings_of(budget)
    began, config = record.card.train, configure(card, budget, settings)
    free = {*_FREE, "lr"} if is_diverged(record) and config.lr < began.lr else {*_FREE}
    said = (recipe_fields(budget) | divide_settings(settings)[1]).keys()
    for name in TrainConfig.__struct_fields__:
        if name in said - free and getattr(began, name) != getattr(config, name):
            flag = name.replace("_", "-") if name in Budget.__annotations__ else f"set {name}"
            return f"--{flag}", getattr(began, name), getattr(config, name)
    spec = say_again(record.card.preprocess, budget)
    for name in PreprocessSpec.__struct_fields__:
        was, now = getattr(record.card.preprocess, name), getattr(spec, name)
        if was != now:
            return "--size" if name == "size" and budget.get("size") else f"--set preprocess.{name}", was, now
    teacher = budget.get("teacher")
    if teacher and not is_same(teacher, record.teacher):
        return "--teacher", None if record.teacher is None else record.teacher.name, str(teacher)
    start = budget.get("start_from")
    if start and (record.continues is None or Path(record.continues) != run_that_ships(find_run(start))):
        return "--from", record.continues, str(start)
    begins = config.pretrained and "pretrained" in said and not start
    return _find_other_weights(record, card, budget) if begins else None


def _find_other_weights(record: RunRecord, card: ModelCard, budget: Budget) -> tuple[str, Any, Any] | None:
    """As `find_changed`, of the weights to start from: those of hub and card are known by name, others by content."""
    from zoo.registry import load

    named = str(budget.get("weights") or "")
    source, _, sha256 = (record.weights or "").rpartition(" sha256:")
    card = load(card.plugin).plugin.starts_from(msgspec.structs.replace(card, train=record.card.train))
    if not named:
        own = None if card.weights is None else card.weights.source.partition("#")[0]
        same = source == own or source.startswith("package:")
        return None if same else ("--pretrained", record.weights, own)
    same = named == source if named.startswith("hf-hub:") else resolve(card, weights_file(named)).sha256 == sha256
    return None if same else ("--weights", record.weights, named)


def change_free(config: TrainConfig, budget: Budget) -> TrainConfig:
    """The recipe that a run was begun with, with what may change of it as the user says it now."""
    said = {**budget, **settings_of(budget)}
    free = {name: said[name] for name in _FREE if said.get(name) is not None}
    if free.get("epochs") == "auto":  # the run has the number
        del free["epochs"]
    return msgspec.structs.replace(config, **free)


def is_diverged(record: RunRecord) -> bool:
    """Whether training diverged at the rate that the run has now."""
    return record.diverged is not None and record.diverged.lr == record.card.train.lr
