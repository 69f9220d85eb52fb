"""The search of `zoo pick`: quick models, then networks by successive halving, and the best within the limits.

Each round gives the same time to fewer networks (Jamieson and Talwalkar 2016, arXiv 1502.07943). A network is trained
anew for each round, because its learning rate falls to zero at the end of the time that it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.files import atomic_write
from zoo._support.text import brief, file_name, quote_path
from zoo.errors import ResumeError, TrainingError
from zoo.evaluation import lower_is_better
from zoo.spec import decode, encode
from zoo.workflow._candidates import OTHER_LICENCE, Candidates, list_late
from zoo.workflow._settings import settings_of
from zoo.workflow._trials import Trial, conduct_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.data import Splits
    from zoo.workflow._candidates import Candidate, Limits
    from zoo.workflow._clock import Clock
    from zoo.workflow._engine import Hands
    from zoo.workflow._trials import Outcome

__all__ = ["PLAN", "Plan", "Search", "Tried", "count_rounds", "read_plan"]

ETA = 3
"""One of so many comes into the next round (Li et al. 2018, Hyperband, section 3: 3 or 4)."""
FIRST = (1, 2, 3, 9, 27)
"""Networks in the first of the rounds, of which a third is a whole number."""
SLOT_S = 25.0
"""Shortest training of a network that is of use: export and gate alone take 10 s and more."""
_QUICK = 0.3
"""Share of the time after which no further classical model begins."""
_MARGIN = 1.5
"""Times what one epoch and its export take: a network that has so much more time is tried again."""
_INT8 = 4
"""Times at most that an int8 file is smaller or faster: 8 bits in the place of 32."""
PLAN = "plan.json"


@dataclass(slots=True)
class Tried:
    """A candidate in one round, and what became of it.

    Attributes:
        candidate: which.
        stage: "quick", or "round N".
        budget: what it was told.
        outcome: what it found.
        dropped: why it is not the pick; empty: nothing speaks against it.
    """

    candidate: Candidate
    stage: str
    budget: dict[str, Any]
    outcome: Outcome
    dropped: str = ""

    @property
    def model(self) -> str:
        """Its name."""
        return self.candidate.model


class Plan(msgspec.Struct):
    """What was decided by the clock and by what was on the machine, so that a call that continues decides the same."""

    found: Candidates
    licence: tuple[str, ...] = ()
    """Weights under others are not used; empty: under any."""
    rounds: list[_Round] = []
    done: bool = False


class _Round(msgspec.Struct):
    labels: list[str]
    seconds: int
    """Of each training."""


def read_plan(folder: Path) -> Plan:
    """The plan of the search in a folder.

    Raises:
        ResumeError: it cannot be read.
    """
    path = folder / PLAN
    return decode(path.read_bytes(), Plan, str(path), ResumeError)


class Search:
    """One search: what it may take, what was tried, and what came of it."""

    def __init__(  # noqa: PLR0917 - what a search has
        self,
        folder: Path,
        source: str | Path,
        clock: Clock,
        limits: Limits,
        shared: dict[str, Any],
        metric: str,
        hands: Hands,
        images: Splits,
        plan: Plan,
        *,
        skip_bad: bool = False,
    ) -> None:
        self.hands, self.images, self.plan, self.skip_bad = hands, images, plan, skip_bad
        self.folder, self.source, self.clock, self.limits = folder, source, clock, limits
        self.shared, self.metric, self.reserve = shared, metric, clock.reserve
        self.tried: list[Tried] = []
        self.round, self.cut = 0, False
        self.again: set[str] = set()

    def conduct(self) -> None:
        """All of the search: quick models, then networks by rounds, as long as there is time."""
        self._keep()
        found = self.plan.found
        seconds = self.clock.seconds or 0.0
        self._try(found.quick, "quick", {}, reserve=max(self.reserve, (1 - _QUICK) * seconds if found.networks else 0))
        queue = list(found.networks)
        while queue and (self._time_for_more() or not self.tried):  # the first one, whatever the clock says
            group = self._next_group(queue)
            queue = [one for one in queue if one not in group]
            queue = [*self._give_back(self._halve(group)), *queue]
        self.plan.done = not queue and not self.cut
        self._keep()

    def _time_for_more(self) -> bool:
        if self.round < len(self.plan.rounds):
            return True
        return not self.plan.done and self.clock.left - self.reserve > SLOT_S

    def _next_group(self, queue: Sequence[Candidate]) -> list[Candidate]:
        """Networks with which rounds begin, as many as have `SLOT_S` each; one that had too little has all the time."""
        if self.round < len(self.plan.rounds):
            return self._planned()
        if queue[0].label in self.again:
            return [queue[0]]
        fresh = [one for one in queue if one.label not in self.again]
        left = self.clock.left - self.reserve
        fitting = [n for n in FIRST if n <= len(fresh) and left / count_rounds(n) / self._turns(n) >= SLOT_S]
        return fresh[: max(fitting, default=1)]

    def _planned(self) -> list[Candidate]:
        """Networks of this round, as an earlier call has chosen them."""
        named = {one.label: one for one in self.plan.found.networks}
        return [named[label] for label in self.plan.rounds[self.round].labels]

    def _turns(self, n: int) -> int:
        """Trainings that follow each other, where so many are shared out."""
        return math.ceil(n / max(1, self.hands.lanes()))

    def _give_back(self, tried: Sequence[Tried]) -> list[Candidate]:
        """Networks that had too little time for one epoch and could have more now, where no other of them came through.

        This machine is then slower, or busier, than the plan has taken it for.
        """
        if any(not one.outcome.why for one in tried):
            return []
        left = self.clock.left - self.reserve
        short = [one for one in tried if one.outcome.needs and one.outcome.needs * _MARGIN < left]
        short = [one for one in short if one.candidate.label not in self.again]
        self.again |= {one.candidate.label for one in short}
        return [one.candidate for one in sorted(short, key=lambda one: one.outcome.needs or 0.0)]

    def _halve(self, group: Sequence[Candidate]) -> list[Tried]:
        """Rounds of fewer and fewer networks with more and more time, until one is left."""
        rounds, everything = count_rounds(len(group)), list[Tried]()
        for number in range(rounds):
            if self.round < len(self.plan.rounds):
                group = self._planned()
            else:
                if number and not self._time_for_more():
                    self.cut = True
                    break
                share = int((self.clock.left - self.reserve) / (rounds - number) / self._turns(len(group)))
                self.plan.rounds.append(_Round([one.label for one in group], max(1, share)))
                self._keep()
            plan = self.plan.rounds[self.round]
            self.round += 1
            budget = {"budget": f"{plan.seconds}s"}
            tried = self._try(group, f"round {self.round}", budget, reserve=self.reserve)
            self.cut |= len(tried) < len(group) or any(one.outcome.code == "search-time" for one in tried)
            ranked = sorted((one for one in tried if not one.dropped), key=self._rank)
            kept = ranked[: math.ceil(len(group) / ETA)]
            for one in ranked[len(kept) :]:
                one.dropped = f"not among the best {len(kept)} of {len(group)} in this round"
            again = [one for one in kept if not one.outcome.whole]  # more time would give the others nothing
            everything += tried
            if number == rounds - 1 or not again:
                break
            group = [one.candidate for one in again]
        return everything

    def _try(self, group: Sequence[Candidate], stage: str, budget: dict[str, Any], *, reserve: float) -> list[Tried]:
        """Train candidates, each once; the first is tried whatever the clock says, so that there is an answer."""
        trials = []
        for one in group:
            name = f"{stage.replace(' ', '')}-{file_name(one.label.replace(' on ', '-'))}"
            asked = {**_join(self.shared, one.budget), **budget}
            trials.append(Trial(name=name, model=one.model, budget=asked, skip_bad=self.skip_bad))
        least = 0 if self.tried else 1
        outcomes = conduct_all(
            trials, self.source, self.folder, self.clock, self.hands, images=self.images, reserve=reserve, least=least
        )
        tried = []
        for one, trial in zip(group, trials, strict=True):
            if (outcome := outcomes.get(trial.name)) is not None:
                over = self.limits.overrun(outcome.latency_ms, outcome.size_bytes)
                why = outcome.why or over or ("" if outcome.value else f"{self.metric} is not defined on validation")
                tried.append(Tried(one, stage, trial.budget, outcome, why))
        self.tried += tried
        return tried

    def _rank(self, one: Tried) -> tuple[float, float]:
        """The better validation metric first; of two equal ones the faster."""
        value = one.outcome.value
        number = math.inf if value is None else value.value if lower_is_better(self.metric) else -value.value
        return number, one.outcome.latency_ms or math.inf

    def _usable(self) -> list[Tried]:
        """What meets the limits, the best first."""
        usable = (
            one
            for one in self.tried
            if one.outcome.value is not None and not self.limits.overrun(one.outcome.latency_ms, one.outcome.size_bytes)
        )
        return sorted(usable, key=self._rank)

    def best(self) -> Tried:
        """The pick.

        Raises:
            TrainingError: nothing meets the limits.
        """
        usable = self._usable()
        if not usable:
            raise self.none_fits()
        best = usable[0]
        best.dropped = ""
        last = {one.candidate.label: one for one in self.tried}
        for one in usable[1:]:
            later = last[one.candidate.label] is not one
            if not one.dropped:
                one.dropped = "trained longer in a later round" if later else "less on validation than the pick"
        return best

    def none_fits(self) -> TrainingError:
        """The error where nothing meets the limits, with what comes nearest."""
        measured = [one for one in self.tried if one.outcome.value is not None]
        if not measured:
            why = self.tried[0].dropped if self.tried else "no model of the catalogue may meet the limits"
            other = self.plan.found.left_out.get(OTHER_LICENCE, 0)
            if other and not self.tried:
                why = (
                    f"no model under {' or '.join(self.plan.licence)} may meet the limits, and {other} are under other "
                    "licences; name more with --licence"
                )
            return TrainingError(
                f"no candidate could be trained: {why}",
                code="pick-none",
                tried=len(self.tried),
                nearest=None,
                other_licence=other,
            )
        near = min(measured, key=self._excess)
        over = self.limits.overrun(near.outcome.latency_ms, near.outcome.size_bytes)
        smaller = self._find_for_int8()
        return TrainingError(
            f"none of {len(measured)} trained models meets the limits; {near.candidate.label} is nearest: {over}; give "
            f"--budget with more{'' if smaller is None else f'; {self._suggest_int8(smaller)}'}",
            code="pick-none",
            tried=len(self.tried),
            nearest=near.candidate.label,
            latency_ms=near.outcome.latency_ms,
            size_bytes=near.outcome.size_bytes,
            int8=None if smaller is None else smaller.outcome.run,
        )

    def _find_for_int8(self) -> Tried | None:
        """The best network over the limits that its int8 file may meet, which nobody has tried; None: there is none."""
        found = (
            one
            for one in self.tried
            if one.stage != "quick" and one.outcome.value is not None and 1 < self._excess(one) <= _INT8
        )
        return min(found, key=self._rank, default=None)

    def _suggest_int8(self, one: Tried) -> str:
        over = self.limits.overrun(one.outcome.latency_ms, one.outcome.size_bytes)
        return (
            f"int8 files are not tried: 'zoo export {quote_path(one.outcome.run or '')} --int8' makes that of "
            f"{one.candidate.label} (in float32 {over}), and zoo bench measures it"
        )

    def _excess(self, one: Tried) -> float:
        """How many times a limit it takes, the larger of both."""
        ratios = [0.0]
        if self.limits.latency_ms and one.outcome.latency_ms:
            ratios.append(one.outcome.latency_ms / self.limits.latency_ms)
        if self.limits.size_mb and one.outcome.size_bytes:
            ratios.append(one.outcome.size_bytes / 1e6 / self.limits.size_mb)
        return max(ratios)

    def untried(self) -> dict[str, int]:
        """Reason to number of models without a training."""
        found = self.plan.found
        begun = {one.candidate.label for one in self.tried}
        waiting = sum(one.label not in begun for one in (*found.quick, *found.networks))
        return {**found.left_out, **({"no time was left": waiting} if waiting else {})}

    def notes(self, best: Tried) -> tuple[str, ...]:
        """What a reader of the table must know."""
        said = [f"{self.metric} of the pick on validation is the best of {len(self.tried)}, and so optimistic"]
        value = best.outcome.value
        alike = [
            one
            for one in self._usable()
            if one.candidate is not best.candidate
            and value is not None
            and one.outcome.value is not None
            and one.outcome.value.low <= value.value <= one.outcome.value.high
        ]
        if alike:
            quickest = min(alike, key=lambda one: one.outcome.latency_ms or math.inf)
            n = len({one.candidate.label for one in alike})
            said.append(
                f"the validation intervals of {n} other {'model holds' if n == 1 else 'models hold'} that value, too; "
                f"the fastest of them is {quickest.candidate.label}, {quickest.outcome.latency_ms:.2f} ms"
            )
        smaller = self._find_for_int8()
        if smaller is not None and self._rank(smaller) < self._rank(best):
            said.append(f"{smaller.candidate.label} is better on validation; {self._suggest_int8(smaller)}")
        if late := list_late(self.plan.found, self.plan.licence):
            said.append(
                f"weights of {brief(late)} came after the search was begun, which does without them; another --out "
                "begins one that takes them"
            )
        if not self.plan.done:
            said.append("the time was over before the search was; the same command with more minutes continues it")
        return tuple(said)

    def _keep(self) -> None:
        atomic_write(self.folder / PLAN, encode(self.plan))


def _join(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What all trials are told and what this one is, with the settings of both."""
    settings = {**settings_of(shared), **settings_of(own)}
    if "preprocess.size" in settings:  # the user's
        own = {name: value for name, value in own.items() if name != "size"}
    return {**shared, **own, **({"settings": settings} if settings else {})}


def count_rounds(n: int) -> int:
    """Rounds until one of `n` is left."""
    rounds = 1
    while n > 1:
        n, rounds = math.ceil(n / ETA), rounds + 1
    return rounds
