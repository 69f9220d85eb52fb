"""Whole trainings as tasks of an engine: `zoo train --folds` and `zoo compare` make lists of them.

A training ends with its report, and the run folder holds all that it gave. So nothing but its end comes back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zoo.errors import UsageError, ZooError
from zoo.runs import open_run
from zoo.workflow._find import is_run
from zoo.workflow._tasks import Task
from zoo.workflow.train import read_result, train

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zoo.runs import Callback
    from zoo.spec import Budget
    from zoo.workflow._engine import Hands
    from zoo.workflow.train import TrainResult

__all__ = ["Training", "refuse_listeners", "train_all", "train_one"]

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class Training:
    """One training of several, which depends on none of the others.

    Attributes:
        model: as for `zoo.train`.
        data: the images.
        out: its run folder; a training that is repeated continues there, or reports what is done.
        skip_bad: leave unreadable images out.
        budget: recipe; of a fold with `folds` and `fold`.
        callbacks: who hears of it, as for `zoo.train`; objects hear in this process only.
    """

    model: str
    data: str
    out: Path
    skip_bad: bool
    budget: Budget
    callbacks: tuple[str | Callback, ...] = ()


def refuse_listeners(callbacks: Sequence[str | Callback], hands: Hands) -> None:
    """Refuse objects that would hear nothing.

    Raises:
        UsageError: there are some, and other processes train.
    """
    deaf = [type(one).__name__ for one in callbacks if not isinstance(one, str)]
    if deaf and not hands.here:
        raise UsageError(
            f"the callback {deaf[0]} hears of trainings in this process, and --jobs and --engine ray train in others; "
            "give names of loggers, or leave the engine out",
            code="engine-callbacks",
            callback=deaf[0],
        )


def train_all(trainings: Sequence[Training], hands: Hands, place: Path) -> list[TrainResult]:
    """Take trainings to their ends, and give their results in the order of the list.

    What one of them refuses, the others would refuse as well: none is begun any more, those under way come to their
    ends. A worker that dies costs its own training only.

    Args:
        trainings: each continues what its folder holds; one that is done is not opened again.
        hands: who trains.
        place: a folder that is there, around those of the trainings.

    Raises:
        ZooError: the first one that a training raised, or that its worker died (code task-died).
    """
    problems: list[ZooError] = []

    def tasks() -> Iterator[Task]:
        for number, one in enumerate(trainings, 1):
            if any(problem.code != "task-died" for problem in problems):
                return
            if is_run(one.out) and open_run(one.out).record.status == "done":
                continue
            log.info("training %d of %d: %s", number, len(trainings), one.out)
            yield _task(one)

    objects = tuple(one for one in trainings[0].callbacks if not isinstance(one, str))
    for done in hands.run(tasks(), place, listening=objects):
        if done.problem is not None:
            problems.append(done.problem)
        elif not hands.here:
            log.info("trained: %s", done.task.name)
    if problems:
        raise problems[0]
    return [read_result(one.out) for one in trainings]


def _task(one: Training) -> Task:
    given = {
        "model": one.model,
        "data": one.data,
        "out": str(one.out),
        "skip_bad": one.skip_bad,
        "budget": {name: value for name, value in one.budget.items() if value is not None},
        "log": [name for name in one.callbacks if isinstance(name, str)],
    }
    return Task(name=str(one.out), call="zoo.workflow._trainings:train_one", given=given)


def train_one(given: dict[str, Any], listening: tuple[Callback, ...]) -> None:
    """One training, begun or continued; as a task."""
    train(
        given["model"],
        given["data"],
        out=given["out"],
        resume="auto",
        skip_bad=given["skip_bad"],
        callbacks=(*given["log"], *listening),
        **cast("Budget", given["budget"]),
    )
