"""Trials: a list of independent trainings, each to what validation says of it, and none to the test images.

`zoo pick` and `zoo tune` are built of them. A trial is plain data, and `conduct` needs no other one, so any engine may
call it anywhere. What it found is written beside its run, so a trial that is there is not repeated. A run that a trial
leaves has the status "trained": `zoo.train(resume="auto", out=run)` judges it on the test images, once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from zoo._support.files import atomic_write
from zoo._support.text import join_lines, quote_path
from zoo.errors import OutputError, ResumeError, TrainingError, ZooError
from zoo.runs import Callback, Step
from zoo.spec import Interval, decode, encode
from zoo.workflow._find import MODEL_FILE, is_run
from zoo.workflow._settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from zoo.data import Splits
    from zoo.spec import Budget, TrainConfig
    from zoo.workflow._begin import Job

__all__ = [
    "TRIALS",
    "Clock",
    "Outcome",
    "TimeOver",
    "Trial",
    "conduct",
    "conduct_all",
    "learn",
    "open_search",
    "read_outcome",
]

TRIALS = "trials"
"""Folder of a search that holds the runs of its trials, and beside each what it found."""
REQUEST = "request.json"
"""What a search was asked for; another question needs another folder."""

_RESERVE, _RESERVE_S, _RESERVE_MOST = 0.08, 15.0, 0.25
"""Share of the time of a search, or seconds if that is more, that is kept for its end; never more than the last share.
"""

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


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial found."""

    trial: str
    run: str | None
    """The run folder; None: it left none."""
    value: Interval | None = None
    """The metric on the validation images, by the exported file; None: it is not defined there, or `why` says it."""
    latency_ms: float | None = None
    """One image on this machine, from raw pixels, by the exported file: the least of three medians."""
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


@dataclass
class Clock:
    """The time that a search may take, over all of its calls.

    Attributes:
        path: file that remembers what was spent.
        seconds: what it may take; None: as long as it needs.
        began: when this call began, on the clock of `time.monotonic`.
        before: seconds that earlier calls spent.
    """

    path: Path
    seconds: float | None
    began: float
    before: float = 0.0

    @property
    def spent(self) -> float:
        """Seconds until now."""
        return self.before + time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds that there are still; infinite where nothing was said."""
        return float("inf") if self.seconds is None else self.seconds - self.spent

    @property
    def reserve(self) -> float:
        """Seconds that are kept for the export of the best model and its test; 0 where it has no end."""
        if self.seconds is None:
            return 0.0
        return min(max(_RESERVE * self.seconds, _RESERVE_S), _RESERVE_MOST * self.seconds)

    def note(self) -> None:
        """Remember what was spent."""
        atomic_write(self.path, encode({"seconds": round(self.spent, 3)}))

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Ctrl-C in the block says that the same call continues."""
        try:
            yield
        except KeyboardInterrupt:
            self.note()
            place = quote_path(self.path.parent)
            raise KeyboardInterrupt(f"interrupted; the same command continues it, with what is in {place}") from None


class TimeOver(Callback):
    """Ends a training when the time of the search is over; its state is whole, and the same search continues it."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.noted = clock, time.monotonic()

    def step(self, step: Step) -> None:
        """Look at the clock, and remember what it says every few seconds: a kill forgets little."""
        if time.monotonic() - self.noted > 5:
            self.noted = time.monotonic()
            self.clock.note()
        if self.clock.left < self.clock.reserve:
            raise TrainingError(
                f"the time of the search was over in epoch {step.epoch}", code="search-time", epoch=step.epoch
            )


def open_search(folder: Path, request: Mapping[str, Any], minutes: float | None, began: float) -> Clock:
    """Make the folder of a search, or continue the one that is there.

    Args:
        folder: its place.
        request: what is asked for, as plain data.
        minutes: time for all calls together; None: no end.
        began: when this call began, on the clock of `time.monotonic`.

    Raises:
        ResumeError: the folder holds a search for something else, or other files.
        OutputError: it cannot be written.
    """
    place = folder / REQUEST
    if place.is_file():
        was = decode(place.read_bytes(), dict, str(place), ResumeError)
        now = msgspec.json.decode(encode(dict(request)))
        changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
        if changed:
            name = changed[0]
            raise ResumeError(
                f"{folder} holds a search with {name} {was.get(name)}, and {now.get(name)} is asked for now; ask as "
                "then to continue it, or choose another --out",
                code="search-changed",
                name=name,
                was=was.get(name),
                now=now.get(name),
            )
    else:
        if folder.is_dir() and any(folder.iterdir()):
            raise ResumeError(
                f"{folder} holds files that are not a search; choose an empty folder with --out",
                code="search-occupied",
                path=str(folder),
            )
        atomic_write(place, encode(dict(request)))
    clock = Clock(folder / "time.json", None if minutes is None else 60 * minutes, began)
    if clock.path.is_file():
        clock.before = float(decode(clock.path.read_bytes(), dict, str(clock.path), ResumeError)["seconds"])
    return clock


def read_outcome(folder: Path, name: str) -> Outcome | None:
    """What the trial of this name found, from its file; None: it is not finished."""
    path = folder / TRIALS / f"{name}.json"
    return decode(path.read_bytes(), Outcome, str(path), ResumeError) if path.is_file() else None


def conduct_all(
    trials: Iterable[Trial],
    data: str | Path,
    folder: Path,
    clock: Clock,
    *,
    reserve: float = 0.0,
    least: int = 0,
) -> dict[str, Outcome]:
    """Conduct trials one after the other until the time is over; name to what each found, without those left out.

    Args:
        trials: what is asked for; each is independent of the others.
        data: their images.
        folder: place of the search.
        clock: its time.
        reserve: seconds that must be left for a trial to begin.
        least: so many are conducted to their end whatever the clock says.
    """
    found: dict[str, Outcome] = {}
    for trial in trials:
        known = read_outcome(folder, trial.name)
        if known is None:
            must = len(found) < least
            if clock.left <= reserve and not must:
                break
            log.info("trial %s: %s", trial.name, _describe(trial))
            known = conduct(trial, data, folder, () if must else (TimeOver(clock),))
            clock.note()
        found[trial.name] = known
    return found


def _describe(trial: Trial) -> str:
    said = {**trial.budget, **settings_of(trial.budget)}
    parts = [f"{name} {value}" for name, value in said.items() if name != "settings" and value not in (None, False)]
    return ", ".join([trial.model, *parts])


def conduct(trial: Trial, data: str | Path, folder: Path, callbacks: tuple[Callback, ...] = ()) -> Outcome:
    """One trial to its proven file and what validation says of it; it is written down unless the time ended it.

    A refusal is an outcome, too: this model cannot be had, and others may.

    Raises:
        OutputError: nothing can be written.
    """
    began = time.monotonic()
    run = folder / TRIALS / trial.name
    try:
        job = learn(trial, data, run, callbacks=callbacks, export=True)
        outcome = _judge(trial, job, time.monotonic() - began)
    except OutputError:
        raise
    except ZooError as problem:
        outcome = Outcome(
            trial=trial.name,
            run=str(run) if is_run(run) else None,
            seconds=time.monotonic() - began,
            needs=_read_needs(problem, time.monotonic() - began),
            why=join_lines(problem),
            code=problem.code,
        )
    if outcome.code != "search-time":
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
            plan = _begin.prepare(card, loaded, data, budget, began=began)
            watched.job = _begin.begin(plan, out=place, hold=watched.hold)
        else:
            watched.job = _resume.resume(loaded, data, budget, path=place, skip_bad=False)
        context = dataclasses.replace(watched.job.context, callbacks=callbacks)
        job = watched.job = dataclasses.replace(watched.job, context=context)
        for one in callbacks:
            one.start(job.run)
        trained = fit(loaded.plugin, job)
        if export:
            ship(trained, job)
    return job


def _judge(trial: Trial, job: Job, seconds: float) -> Outcome:
    """What the exported file says of the validation images, how fast it is, and how large."""
    import numpy as np

    from zoo.edge import Runtime
    from zoo.evaluation import predict_set
    from zoo.spec import count_epochs
    from zoo.workflow._judge import check_takes, measure_latencies

    run = job.run
    runtime = Runtime.open(run.file(MODEL_FILE))
    data = check_takes(runtime.manifest, job.data)
    start, image = time.monotonic(), data.val.read(0).pixels
    logits = predict_set(runtime.logits, data.val)
    config = run.record.card.train
    wanted = count_epochs(msgspec.structs.replace(config, epochs="auto"), len(data.train))
    cut = config.budget is not None and isinstance(config.epochs, int) and config.epochs < wanted
    return Outcome(
        trial=trial.name,
        run=str(run.path),
        value=measure_validation(logits, data, config, ordered=run.record.task == "ordinal"),
        latency_ms=min(float(np.median(measure_latencies([runtime], image))) for _ in range(_MEASURED)),
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
