"""Trials: a list of independent trainings, each to what validation says of it, and none to the test images.

`zoo pick` and `zoo tune` are built of them. A trial is plain data, and `conduct` needs no other one, so any engine
calls it anywhere. What it found is written beside its run, so a trial that is there is not repeated. A run that a trial
leaves has the status "trained": `zoo.train(resume="auto", out=run)` judges it on the test images, once.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from zoo._support.files import atomic_write
from zoo._support.text import join_lines
from zoo.errors import CatalogueError, OutputError, PluginError, ResumeError, WeightsError, ZooError
from zoo.spec import Interval, decode, encode, to_builtins
from zoo.workflow._clock import TimeOver
from zoo.workflow._find import MODEL_FILE, is_run
from zoo.workflow._settings import settings_of, words_of
from zoo.workflow._tasks import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zoo.data import Splits
    from zoo.runs import Callback
    from zoo.spec import Budget, TrainConfig
    from zoo.workflow._begin import Job
    from zoo.workflow._clock import Clock
    from zoo.workflow._engine import Hands

__all__ = [
    "TRIALS",
    "Outcome",
    "Trial",
    "conduct",
    "conduct_all",
    "conduct_task",
    "learn",
    "read_outcome",
]

TRIALS = "trials"
"""Folder of a search that holds the runs of its trials, and beside each what it found."""
_MEASURED = 3
"""Medians of latency, of which the least counts: what another process takes is not the model's."""

log = logging.getLogger("zoo")


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One training that is asked for."""

    name: str
    """Of its run, below `TRIALS`."""
    model: str
    budget: dict[str, Any] = {}
    """As `zoo.train` takes it."""
    skip_bad: bool = False
    """Leave unreadable images out."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial found."""

    trial: str
    run: str | None
    """The run folder; None: it left none."""
    value: Interval | None = None
    """The metric on the validation images, by the exported file; None: it is not defined there, or `why` says it."""
    latency_ms: float | None = None
    """One image on the machine of the search, from raw pixels, by the exported file: the least of three medians; None:
    it is not measured yet, or no file came of it."""
    size_bytes: int | None = None
    seconds: float = 0.0
    """All of the trial, from its images to its file."""
    epochs: int = 0
    whole: bool = True
    """The training had all the epochs that the recipe wants; False: the time gave fewer."""
    needs: float | None = None
    """Seconds that a training of one epoch takes, where the time did not hold it."""
    why: str = ""
    """Why it failed; empty: it did not."""
    code: str = ""
    """Code of that error."""


def read_outcome(folder: Path, name: str) -> Outcome | None:
    """What the trial of this name found, from its file; None: it is not finished."""
    path = folder / TRIALS / f"{name}.json"
    return decode(path.read_bytes(), Outcome, str(path), ResumeError) if path.is_file() else None


def conduct_all(
    trials: Sequence[Trial],
    data: str | Path,
    folder: Path,
    clock: Clock,
    hands: Hands,
    *,
    images: Splits,
    reserve: float = 0.0,
    least: int = 0,
) -> dict[str, Outcome]:
    """Conduct trials until the time is over; name to what each found, in their order, without those left out.

    Latencies are taken at the end, on this machine, when nothing of ours trains on it.

    Args:
        trials: what is asked for; each is independent of the others.
        data: their images.
        folder: place of the search.
        clock: its time.
        hands: who trains.
        images: those of `data`; of validation one is read.
        reserve: seconds that must be left for a trial to begin.
        least: so many are conducted to their end whatever the clock says.
    """
    found: dict[str, Outcome] = {}

    def tasks() -> Iterator[Task]:
        for place, trial in enumerate(trials):
            known = read_outcome(folder, trial.name)
            if known is not None:
                found[trial.name] = known
                continue
            if clock.left <= reserve and place >= least:
                return
            log.info("trial %s: %s", trial.name, _describe(trial))
            until = None if place < least else clock.until
            given = {"trial": to_builtins(trial), "data": str(data), "folder": str(folder), "until": until}
            yield Task(name=trial.name, call="zoo.workflow._trials:conduct_task", given=given)

    for done in hands.run(tasks(), folder, look=clock.note):
        if isinstance(done.problem, OutputError):
            raise done.problem
        if done.problem is not None:  # it is not written down: the same command tries it again
            outcome = Outcome(trial=done.task.name, run=None, why=join_lines(done.problem), code=done.problem.code)
        else:
            outcome = msgspec.convert(done.answer, Outcome)
        if not hands.here:
            log.info("trial %s: %s", outcome.trial, outcome.why or outcome.value or "undefined")
        found[outcome.trial] = outcome
        clock.note()
    return {one.name: _measure_here(found[one.name], folder, images) for one in trials if one.name in found}


def conduct_task(given: dict[str, Any], listening: tuple[Callback, ...]) -> Any:
    """As a task: `conduct`, and what it found as plain data."""
    trial, until = msgspec.convert(given["trial"], Trial), given["until"]
    heard = listening if until is None else (*listening, TimeOver(until))
    return to_builtins(conduct(trial, given["data"], Path(given["folder"]), heard))


def _measure_here(outcome: Outcome, folder: Path, images: Splits) -> Outcome:
    """With the latency on this machine, where the trial has a file and it is not known yet."""
    if outcome.why or outcome.run is None or outcome.latency_ms is not None:
        return outcome
    import numpy as np

    from zoo.edge import Runtime
    from zoo.workflow._images import read_some
    from zoo.workflow._judge import check_takes, measure_latencies

    runtime = Runtime.open(Path(outcome.run) / MODEL_FILE)
    val = check_takes(runtime.manifest, images).val
    image = next(read_some((val,), len(val), skip_bad=True)).pixels
    latency = min(float(np.median(measure_latencies([runtime], image))) for _ in range(_MEASURED))
    measured = msgspec.structs.replace(outcome, latency_ms=latency)
    atomic_write(folder / TRIALS / f"{outcome.trial}.json", encode(measured))
    return measured


def _describe(trial: Trial) -> str:
    said = {**trial.budget, **settings_of(trial.budget)}
    parts = [f"{name} {value}" for name, value in words_of(said).items() if name != "settings"]
    return ", ".join([trial.model, *parts])


def conduct(trial: Trial, data: str | Path, folder: Path, callbacks: tuple[Callback, ...] = ()) -> Outcome:
    """One trial to its proven file and what validation says of it.

    A refusal is an outcome, too: this model cannot be had, and others may. It is written down, unless the time or
    another process was in the way, or the machine lacks a plugin or weights, which may come.

    Raises:
        OutputError: nothing can be written.
        TrainingError: another process trains it now.
    """
    began, lasts = time.monotonic(), True
    run = folder / TRIALS / trial.name
    try:
        job = learn(trial, data, run, callbacks=callbacks, export=True)
        outcome = _judge(trial, job, time.monotonic() - began)
    except OutputError:
        raise
    except ZooError as problem:
        if problem.code == "run-busy":  # which says nothing of the model
            raise
        lasts = problem.code != "search-time" and not isinstance(problem, CatalogueError | PluginError | WeightsError)
        outcome = Outcome(
            trial=trial.name,
            run=str(run) if is_run(run) else None,
            seconds=time.monotonic() - began,
            needs=_read_needs(problem, time.monotonic() - began),
            why=join_lines(problem),
            code=problem.code,
        )
    if lasts:
        atomic_write(folder / TRIALS / f"{trial.name}.json", encode(outcome))
    return outcome


def _read_needs(problem: ZooError, spent: float) -> float | None:
    if problem.code != "budget-too-small":
        return None
    return spent + float(problem.fields["epoch"]) + float(problem.fields["finish"])


def learn(
    trial: Trial,
    data: str | Path,
    place: Path,
    *,
    callbacks: tuple[Callback, ...] = (),
    export: bool,
) -> Job:
    """Train what a trial asks for in `place`, or continue it there; the test images are not looked at.

    Args:
        trial: model and budget.
        data: its images.
        place: the run folder.
        callbacks: who hears of the training.
        export: whether a proven file is made.

    Returns:
        The training, whose run has the status "trained" after an export.

    Raises:
        ZooError: any that `zoo.train` raises.
    """
    from zoo import registry
    from zoo.workflow import _begin, _resume
    from zoo.workflow._ship import ship
    from zoo.workflow.train import fit, watch

    began, budget = time.monotonic(), cast("Budget", trial.budget)
    with watch(trial.model, first=True) as watched:
        card = registry.find(trial.model)
        loaded = registry.load(card.plugin)
        watched.hold(place)
        if _resume.choose_step(card, budget, place, resume="auto") == "begin":
            plan = _begin.prepare(card, loaded, data, budget, skip_bad=trial.skip_bad, began=began)
            watched.job = _begin.begin(plan, out=place, hold=watched.hold)
        else:
            watched.job = _resume.resume(loaded, data, budget, path=place, skip_bad=trial.skip_bad)
        context = dataclasses.replace(watched.job.context, callbacks=callbacks)
        job = watched.job = dataclasses.replace(watched.job, context=context)
        for one in callbacks:
            one.start(job.run)
        trained = fit(loaded.plugin, job)
        if export:
            ship(trained, job)
    return job


def _judge(trial: Trial, job: Job, seconds: float) -> Outcome:
    """What the exported file says of the validation images, and how large it is."""
    from zoo.edge import Runtime
    from zoo.evaluation import predict_set
    from zoo.spec import count_epochs
    from zoo.workflow._images import without_bad
    from zoo.workflow._judge import check_takes

    run = job.run
    runtime = Runtime.open(run.file(MODEL_FILE))
    data = check_takes(runtime.manifest, without_bad(job.data, run.record.skipped))
    start = time.monotonic()
    logits = predict_set(runtime.logits, data.val)
    config = run.record.card.train
    wanted = count_epochs(msgspec.structs.replace(config, epochs="auto"), len(data.train))
    cut = config.budget is not None and isinstance(config.epochs, int) and config.epochs < wanted
    return Outcome(
        trial=trial.name,
        run=str(run.path),
        value=measure_validation(logits, data, config, ordered=run.record.task == "ordinal"),
        size_bytes=runtime.size_bytes,
        seconds=seconds + time.monotonic() - start,
        epochs=run.record.epochs_done,
        whole=not cut,
    )


def measure_validation(logits: Any, data: Splits, config: TrainConfig, *, ordered: bool) -> Interval | None:
    """The metric that chooses, on the validation images, with its 95 % interval; None: it is not defined.

    Args:
        logits: (n, K) float32, of the validation images.
        data: val is read, as its labels and groups.
        config: its metric and seed.
        ordered: labels are grades.
    """
    import numpy as np

    from zoo.evaluation import count_units, draws, interval, measure_by, ones

    targets, groups = data.val.targets, data.val.groups

    def measure(weights: Any) -> Any:
        return measure_by(config.metric, logits, targets, data.labels, weights, ordered=ordered)

    value = float(measure(ones(len(targets)))[0])
    if np.isnan(value):
        return None
    resampled = np.concatenate([measure(chunk) for chunk in draws(len(targets), seed=config.seed, groups=groups)])
    trials = count_units(len(targets), groups)
    found = interval(value, resampled, trials, units=trials, to_unit=lambda one: min(1.0, max(0.0, one)))
    return found or Interval(value=value, low=value, high=value)
