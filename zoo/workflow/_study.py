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

from zoo._support.text import file_name, join_lines
from zoo.errors import OutputError, TrainingError, UsageError, ZooError
from zoo.runs import Callback, repair_latest
from zoo.spec import Budget, encode, to_builtins
from zoo.workflow._find import is_run
from zoo.workflow._settings import settings_of
from zoo.workflow._space import Range, Space, combinations, defaults, make_space
from zoo.workflow._trials import TRIALS, Clock, TimeOver, Trial, learn, open_search
from zoo.workflow.tune import describe_point

if TYPE_CHECKING:
    import optuna

    from zoo.spec import TrainConfig

__all__ = ["STUDY", "Study", "round_numbers"]

_STARTUP = 8
"""Trials at random before the model of the sampler begins."""
_UNPRUNED = 4
"""Complete trials that there must be before one is given up, and the first epoch in which one is."""
_FIRST = 0.4
"""Share of the minutes that the recipe without a search may take; its epochs are those of all trials."""
STUDY = "study.db"

log = logging.getLogger("zoo")


class _Watch(Callback):
    """Tells a trial of each epoch, and ends the training of one that is behind."""

    def __init__(self, trial: optuna.trial.Trial, metric: str, known: Mapping[int, float]) -> None:
        self.trial, self.known = trial, known
        self.column = f"val_{metric}"

    def epoch(self, row: Mapping[str, float | None]) -> None:
        value, epoch = row[self.column], int(row["epoch"] or 0)
        if value is None or epoch in self.known:  # known: a kill came between the report and the state
            return
        self.trial.report(value, epoch)
        if self.trial.should_prune():
            raise TrainingError(
                f"given up in epoch {epoch}: behind the median of the trials before", code="trial-pruned", epoch=epoch
            )


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
        chosen, _ = apply_advice(source, self.settings)
        self.config: TrainConfig = configure(card, said, chosen)
        splits = open_as(source, self.config, skip_bad=False)
        check_metric(self.config.metric, splits.labels)
        fixed = {*budget, *chosen}
        fixed |= {"size"} if "preprocess.size" in fixed else set()
        self.space: Space = make_space(plugin, self.config, splits, fixed)
        if not self.space:
            raise UsageError(
                f"{card.name} has no setting that is worth a search here and was not said; train it with zoo train",
                code="tune-nothing",
                model=card.name,
            )
        self.model, self.source, self.budget, self.metric = model, source, budget, self.config.metric
        request = to_builtins(
            {
                "model": card.name,
                "data": lasting_source(source),
                "fingerprint": splits.fingerprint.sha256,
                "settings": self.settings,
                **{name: str(value) if isinstance(value, Path) else value for name, value in budget.items()},
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
        from optuna.trial import Trial as Live
        from optuna.trial import TrialState

        with _quiet():
            if not self.study.trials:
                self.study.enqueue_trial(defaults(self.space, self.config))
                points = combinations(self.space) or []
                for point in points:
                    self.study.enqueue_trial(point, skip_if_exists=True)
                self._remember("points", len(points))
            most = self.attrs["points"] or most if most is None else min(most, self.attrs["points"] or most)
            for unfinished in self.study.get_trials(states=(TrialState.RUNNING,)):  # of a call that was stopped
                if not self._run(Live(self.study, unfinished._trial_id)):  # noqa: SLF001 - Optuna has no other way back to a trial
                    return
            while most is None or self._count_finished() < most:
                if self.clock.left <= self.clock.reserve and self._count_finished():
                    return
                self.study.sampler = _sampler(self.config.seed, len(self.study.trials))
                if not self._run(self.study.ask()):
                    return

    def _count_finished(self) -> int:
        return sum(one.state.is_finished() for one in self.study.trials)

    def _run(self, live: optuna.trial.Trial) -> bool:
        """One trial, new or unfinished; False: the time was over before its end."""
        from optuna.trial import TrialState

        params = {name: _suggest(live, name, one) for name, one in self.space.items()}
        recipe, place = self.recipe(params, again=False, number=live.number), self.place(live.number)
        log.info("trial %d: %s", live.number, describe_point(params))
        known = self.study.trials[live.number].intermediate_values
        watching: tuple[Callback, ...] = (_Watch(live, self.metric, known),)
        if self._count_finished():  # the first one has its own budget, so that there is an answer
            watching += (TimeOver(self.clock),)
        try:
            trial = Trial(name=place.name, model=self.model, budget=recipe)
            job = learn(trial, self.source, place, callbacks=watching, export=False)
        except OutputError:
            raise
        except ZooError as problem:
            if problem.code == "search-time":
                return False
            pruned = problem.code == "trial-pruned"
            if live.number == 0 and not pruned:  # the recipe that nobody varied: what it lacks, all lack
                if self.fresh and not is_run(place):  # else a search continues what is there, or another process does
                    self.study.tell(live, state=TrialState.FAIL)
                    shutil.rmtree(self.folder, ignore_errors=True)
                raise
            live.set_user_attr("why", "" if pruned else join_lines(problem))
            self.study.tell(live, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        else:
            record = job.run.record
            best = record.best
            live.set_user_attr("epochs", record.epochs_done)
            if live.number == 0:
                self._remember("epochs", record.card.train.epochs if self.counts_epochs else None)
            if best is None or best.value is None or best.metric != f"val_{self.metric}":
                live.set_user_attr("why", f"{self.metric} is not defined on the validation images")
                self.study.tell(live, state=TrialState.FAIL)
            else:
                self.study.tell(live, best.value)
        self._tidy()
        self.clock.note()
        return True

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


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """A sampler for one trial: its seed is a function of the trial, so a search that resumes asks the same."""
    import optuna

    return optuna.samplers.TPESampler(seed=(seed + number) % 2**32, n_startup_trials=_STARTUP)


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
