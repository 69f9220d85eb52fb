"""What the user says of a run that is to be continued or reported, compared with what it was begun with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo._support.files import sha256_file
from zoo.runs import find_run
from zoo.spec import Budget, PreprocessSpec, TrainConfig
from zoo.workflow._find import run_that_ships
from zoo.workflow._recipe import configure, divide_settings, recipe_fields, say_again
from zoo.workflow._settings import settings_of
from zoo.workflow._teacher import is_same

if TYPE_CHECKING:
    from zoo.runs import RunRecord
    from zoo.spec import ModelCard

__all__ = ["find_changed", "is_diverged"]


def find_changed(record: RunRecord, card: ModelCard, budget: Budget) -> tuple[str, Any, Any] | None:
    """What the user says now of a run that it was not begun with: its name, what it was and is; None: nothing.

    What may change is left out: epochs, patience, device, parallel, a window that is fitted to the images, and a rate
    that is lower than the one at which it diverged.
    """
    settings = settings_of(budget)
    began, config = record.card.train, configure(card, budget, settings)
    free = {"epochs", "patience", "device", "parallel"}
    if is_diverged(record) and config.lr < began.lr:
        free.add("lr")
    said = (recipe_fields(budget) | divide_settings(settings)[1]).keys() - free
    for name in TrainConfig.__struct_fields__:
        if name in said and getattr(began, name) != getattr(config, name):
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
    weights = budget.get("weights")
    if weights and Path(weights).is_file() and sha256_file(Path(weights)) not in (record.weights or ""):
        return "--weights", record.weights, str(weights)
    return None


def is_diverged(record: RunRecord) -> bool:
    """Whether training diverged at the rate that the run has now."""
    return record.diverged is not None and record.diverged.lr == record.card.train.lr
