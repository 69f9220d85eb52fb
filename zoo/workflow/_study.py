"""The search of `zoo tune`: a study of Optuna in one SQLite file, and a run for its best trial.

A search that was stopped resumes, also with the trial that it was in, whose training continues. A trial that is behind
the median of the others at the same epoch ends there (Golovin et al. 2017, "Google Vizier", section 3.2.2).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from zoo._support.text import file_name, join_lines
from zoo.errors import OutputError, TrainingError, UsageError
from zoo.runs import Callback, repair_latest
from zoo.spec import Budget, encode, to_builtins
from zoo.workflow._clock import Clock, TimeOver, open_search
from zoo.workflow._find import is_run
from zoo.workflow._settings import settings_of
from zoo.workflow._space import Range, Space, combinations, defaults, make_space
from zoo.workflow._tasks import Task
from zoo.workflow._trials import TRIALS, Trial, learn
from zoo.workflow.tune import describe_point

if TYPE_CHECKING:
    import optuna

    from zoo.spec import TrainConfig
    from zoo.workflow._engine import Hands
    from zoo.workflow._tasks import Done

__all__ = ["STUDY", "Study", "round_numbers", "try_recipe"]

_STARTUP = 8
"""Trials at random before the model of the sampler begins."""
_UNPRUNED = 4
"""Complete trials that there must be before one is given up, and the first epoch in which one is."""
_FIRST = 0.4
"""Share of the minutes that the recipe without a search may take; its epochs are those of all trials."""
STUDY = "study.db"

log = logging.getLogger("zoo")


class _Tell(Callback):
    """Writes down the metric of each epoch, for the study, which may be in another process."""

    def __init__(self, path: Path, metric: str) -> None:
        self.path, self.column = path, f"val_{metric}"

    def epoch(self, row: Mapping[str, float | None]) -> None:
        value, epoch = row[self.column], int(row["epoch"] or 0)
        if value is not None:
            with self.path.open("ab") as stream:
                stream.write(msgspec.json.encode((epoch, value)) + b"\n")


class _GiveUp(Callback):
    """Ends a training that the study has given up."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def epoch(self, row: Mapping[str, float | None]) -> None:
        if self.mark.exists():
            raise TrainingError(
                f"given up in epoch {row['epoch']:.0f}: behind the median of the trials before",
                code="trial-pruned",
                epoch=int(row["epoch"] or 0),
            )


def try_recipe(given: dict[str, Any], listening: tuple[Callback, ...]) -> Any:
    """As a task: one trial up to its best epoch, and what its record says."""
    trial, place, metric = msgspec.convert(given["trial"], Trial), Path(given["place"]), given["metric"]
    heard = (_Tell(_values_of(place), metric), *listening, _GiveUp(_mark_of(place)))
    if given["until"] is not None:
        heard += (TimeOver(given["until"]),)
    record = learn(trial, given["data"], place, callbacks=heard, export=False).run.record
    best = record.best
    value = None if best is None or best.metric != f"val_{metric}" else best.value
    return {"value": value, "epochs_done": record.epochs_done, "epochs": record.card.train.epochs}


def _values_of(place: Path) -> Path:
    """Beside the run of a trial: the metric of each epoch."""
    return place.with_name(f"{place.name}.values")


def _mark_of(place: Path) -> Path:
    """Beside the run of a trial: it is given up."""
    return place.with_name(f"{place.name}.over")


class Study:
    """One search: the study, and what its trials are made of."""

    def __init__(  # noqa: PLR0917 - what was asked for
        self,
        model: str,
        source: str | Path,
        budget: dict[str, Any],
        minutes: float | None,
        out: str | Path | None,
        began: float,
        hands: Hands,
        *,
        skip_bad: bool = False,
    ) -> None:
        from zoo import registry
        from zoo.data import apply_advice
        from zoo.evaluation import check_metric
        from zoo.workflow._images import lasting_source, open_as
        from zoo.workflow._recipe import configure

        card = registry.find(model)
        if card.members:
            raise UsageError(
                f"{model} has nothing to learn by a recipe; tune its members", code="tune-nothing", model=model
            )
        plugin = registry.load(card.plugin).plugin
        self.settings = settings_of(budget)
        budget.pop("settings", None)
        said = cast("Budget", {**budget, "settings": self.settings})
        splits = open_as(source, configure(card, said, self.settings), skip_bad=skip_bad)
        chosen, _ = apply_advice(splits, self.settings)
        self.config: TrainConfig = configure(card, said, chosen)
        check_metric(self.config.metric, splits.labels)
        fixed = {*budget, *chosen}
        fixed |= {"size"} if "preprocess.size" in fixed else set()
        self.space: Space = make_space(plugin, msgspec.structs.replace(card, train=self.config), splits, fixed)
        if not self.space:
            raise UsageError(
                f"{card.name} has no setting that is worth a search here and was not said; train it with zoo train",
                code="tune-nothing",
                model=card.name,
            )
        self.hands, self.over, self.skip_bad = hands, False, skip_bad
        self.open: dict[str, optuna.trial.Trial] = {}
        self.model, self.source, self.budget, self.metric = model, source, budget, self.config.metric
        request = to_builtins(
            {
                "model": card.name,
                "data": lasting_source(source),
                "fingerprint": splits.fingerprint.sha256,
                "settings": self.settings,
                **{name: str(value) if isinstance(value, Path) else value for name, value in budget.items()},
                **({"skip_bad": True} if skip_bad else {}),
            }
        )
        name = f"tune-{file_name(card.name)}-{hashlib.sha256(encode(request)).hexdigest()[:8]}"
        self.folder = Path(out) if out is not None else Path("runs") / name
        self.clock: Clock = open_search(self.folder, request, minutes, began)
        seconds = self.clock.seconds or 0.0
        self.study = _open_study(self.folder / STUDY, self.metric)
        self.fresh = not self.study.trials  # no earlier call has begun a trial, and no other process
        self.attrs = self.study.user_attrs
        if "first" not in self.attrs:
            timed = minutes is not None and "epochs" not in fixed and "steps" not in fixed
            timed = timed and "epochs" not in plugin.unused_settings
            self._remember("first", f"{max(1, int(_FIRST * seconds))}s" if timed else "")
        self.counts_epochs = "epochs" not in plugin.unused_settings

    def _remember(self, name: str, value: Any) -> None:
        self.study.set_user_attr(name, value)
        self.attrs = self.study.user_attrs

    def place(self, number: int) -> Path:
        """Run folder of a trial."""
        return self.folder / TRIALS / f"{number:04d}"

    def recipe(self, params: Mapping[str, Any], *, again: bool, number: int = 1) -> dict[str, Any]:
        """What `zoo.train` is told for a point of the space; `again`: on its own, else as trial `number`."""
        params = round_numbers(params)
        named = {name: value for name, value in params.items() if name in Budget.__annotations__}
        settings = {**self.settings, **{name: value for name, value in params.items() if name not in named}}
        found: dict[str, Any] = {**self.budget, **named, "settings": settings}
        if number == 0 and self.attrs["first"] and not again:
            return {**found, "budget": self.attrs["first"]}
        if self.attrs.get("epochs") and "epochs" not in found and "steps" not in settings:
            found["epochs"] = self.attrs["epochs"]
        return found

    def conduct(self, most: int | None) -> None:
        """Trials until there are `most`, or the time is over."""
        with _quiet():
            if not self.study.trials:
                self.study.enqueue_trial(defaults(self.space, self.config))
                points = combinations(self.space) or []
                for point in points:
                    self.study.enqueue_trial(point, skip_if_exists=True)
                self._remember("points", len(points))
            most = self.attrs["points"] or most if most is None else min(most, self.attrs["points"] or most)
            (self.folder / TRIALS).mkdir(exist_ok=True)
            for until in (1, most):  # the first one alone: all others take its epochs
                for done in self.hands.run(self._tasks(until), self.folder, look=self._look):
                    self._settle(self.open.pop(done.task.name), done)

    def _tasks(self, most: int | None) -> Iterator[Task]:
        """Trials that were stopped, then new ones, as long as there is time."""
        from optuna.trial import Trial as Live
        from optuna.trial import TrialState

        for unfinished in self.study.get_trials(states=(TrialState.RUNNING,)):  # of a call that was stopped
            if not self.over:
                yield self._task(Live(self.study, unfinished._trial_id))  # noqa: SLF001 - Optuna has no other way back to a trial
        while not self.over and (most is None or self._count_finished() + len(self.open) < most):
            if self.clock.left <= self.clock.reserve and self._count_finished():
                return
            self.study.sampler = _sampler(self.config.seed, len(self.study.trials), several=self.hands.lanes() > 1)
            yield self._task(self.study.ask())

    def _count_finished(self) -> int:
        return sum(one.state.is_finished() for one in self.study.trials)

    def _task(self, live: optuna.trial.Trial) -> Task:
        params = {name: _suggest(live, name, one) for name, one in self.space.items()}
        recipe, place = self.recipe(params, again=False, number=live.number), self.place(live.number)
        log.info("trial %d: %s", live.number, describe_point(params))
        self.open[place.name] = live
        _mark_of(place).unlink(missing_ok=True)
        trial = Trial(name=place.name, model=self.model, budget=recipe, skip_bad=self.skip_bad)
        # the first one has its own budget, so that there is an answer
        until = self.clock.until if self._count_finished() else None
        given = {
            "trial": to_builtins(trial),
            "data": str(self.source),
            "place": str(place),
            "metric": self.metric,
            "until": until,
        }
        return Task(name=place.name, call="zoo.workflow._study:try_recipe", given=given)

    def _look(self) -> None:
        """Tell the study of the epochs of trials under way, and end those that are behind."""
        self.clock.note()
        for live in self.open.values():
            place = self.place(live.number)
            with contextlib.suppress(FileNotFoundError):
                self._hear(live, _values_of(place).read_bytes().splitlines(keepends=True), _mark_of(place))

    def _hear(self, live: optuna.trial.Trial, lines: list[bytes], mark: Path) -> None:
        known = self.study.trials[live.number].intermediate_values
        for line in lines:
            if not line.endswith(b"\n"):  # it is being written
                return
            epoch, value = msgspec.json.decode(line, type=tuple[int, float])
            if epoch not in known:
                live.report(value, epoch)
                known[epoch] = value
                if live.should_prune():
                    mark.touch()
                    return

    def _settle(self, live: optuna.trial.Trial, done: Done) -> None:
        """Tell the study what became of a trial."""
        from optuna.trial import TrialState

        problem = done.problem
        if isinstance(problem, OutputError) or (problem is not None and problem.code == "run-busy"):
            raise problem  # busy: a process of a call that was killed still trains it
        if problem is not None and problem.code == "search-time":
            self.over = True
            return
        self.open[done.task.name] = live
        self._look()  # of its last epochs nobody has heard where it was elsewhere
        del self.open[done.task.name]
        if problem is not None:
            pruned = problem.code == "trial-pruned"
            if live.number == 0 and not pruned:  # the recipe that nobody varied: what it lacks, all lack
                if self.fresh and not is_run(self.place(0)):  # else a search continues what is there, or another does
                    self.study.tell(live, state=TrialState.FAIL)
                    shutil.rmtree(self.folder, ignore_errors=True)
                raise problem
            live.set_user_attr("why", "" if pruned else join_lines(problem))
            self.study.tell(live, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        else:
            found = done.answer
            live.set_user_attr("epochs", found["epochs_done"])
            if live.number == 0:
                self._remember("epochs", found["epochs"] if self.counts_epochs else None)
            if found["value"] is None:
                live.set_user_attr("why", f"{self.metric} is not defined on the validation images")
                self.study.tell(live, state=TrialState.FAIL)
            else:
                self.study.tell(live, found["value"])
        for path in (_values_of(self.place(live.number)), _mark_of(self.place(live.number))):
            path.unlink(missing_ok=True)
        if not self.hands.here:
            log.info("trial %d: %s", live.number, problem or found["value"])
        self._tidy()
        self.clock.note()

    def _tidy(self) -> None:
        """Remove the runs of trials that are over and not the best: each holds three times its weights."""
        best = self._best()
        for one in self.study.trials:
            if one.state.is_finished() and (best is None or one.number != best.number):
                shutil.rmtree(self.place(one.number), ignore_errors=True)
        repair_latest()

    def _best(self) -> optuna.trial.FrozenTrial | None:
        try:
            return self.study.best_trial
        except ValueError:
            return None

    def best(self) -> optuna.trial.FrozenTrial:
        """The best trial.

        Raises:
            TrainingError: none came to its end.
        """
        best = self._best()
        if best is None:
            why = next((one.user_attrs["why"] for one in self.study.trials if one.user_attrs.get("why")), "no time")
            raise TrainingError(
                f"none of {len(self.study.trials)} trials came to its end: {why}; give more --minutes, or train the "
                "model alone to see what it needs",
                code="tune-none",
                trials=len(self.study.trials),
            )
        return best


def _open_study(path: Path, metric: str) -> optuna.Study:
    import optuna
    from sqlalchemy import URL

    from zoo.evaluation import lower_is_better

    with _quiet():
        return optuna.create_study(
            storage=URL.create("sqlite", database=str(path.resolve())).render_as_string(),
            study_name="tune",
            load_if_exists=True,
            direction="minimize" if lower_is_better(metric) else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED, n_warmup_steps=_UNPRUNED),
        )


def _sampler(seed: int, number: int, *, several: bool) -> optuna.samplers.BaseSampler:
    """A sampler for one trial: its seed is a function of the trial, so a search that resumes asks the same.

    `several` at a time: those under way count as bad ones, so that the next is not asked for beside them.
    """
    import optuna

    seed = (seed + number) % 2**32
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP, constant_liar=several)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's own log lines are ours, told twice."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _suggest(live: optuna.trial.Trial, name: str, one: Any) -> Any:
    if isinstance(one, Range):
        return live.suggest_float(name, one.low, one.high, log=True)
    return live.suggest_categorical(name, one.values)


def round_numbers(params: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers with four digits: the recipe is typed again, and must then be the same."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in params.items()}
