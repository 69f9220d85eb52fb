"""`zoo pick`: the best model for these images within a device's limits, and the table that shows why.

What is cheap comes first: linear models on frozen features and classical models. Networks follow by successive halving.
Validation images alone choose. The winner's file meets the test images once, at the end.
"""

from __future__ import annotations

import hashlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

import msgspec

from zoo.errors import UsageError
from zoo.spec import Budget, Display, EvalReport, Interval, Reading, Table, encode, is_licence_of, pick_reading
from zoo.workflow._engine import Engine, open_engine
from zoo.workflow._settings import settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zoo.data import Splits
    from zoo.spec import TrainConfig
    from zoo.workflow._candidates import Limits
    from zoo.workflow._engine import Hands
    from zoo.workflow._halving import Tried

__all__ = ["PickResult", "PickRow", "pick", "read_limits"]

MINUTES = 30.0
"""Where nothing is said: a coffee, and three rounds of nine networks on small images."""

_OWN = ("budget", "epochs", "features", "freeze", "pretrained", "steps")
"""Settings that candidates and rounds are made of."""

_LONGEST = 0.25
"""Share of the time that the longest training has: of three rounds, the last."""


class PickRow(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate in one round."""

    model: str
    """With the features that it sees, where it is not a network."""
    stage: str
    """"quick", or "round N" of the networks."""
    value: Interval | None
    """The metric on the validation images, by the exported file."""
    latency_ms: float | None
    size_mb: float | None
    """10^6 bytes."""
    minutes: float
    epochs: int
    pretrained: bool
    dropped: str
    """Why it is not the pick; empty: it is."""
    run: str | None


class PickResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """The best model within the limits."""

    model: str
    run: str
    """Its run folder."""
    budget: dict[str, float | None]
    """latency_ms, size_mb and minutes."""
    metric: str
    """What chose, on the validation images."""
    value: Interval
    """Of the pick; the largest of several, and so optimistic."""
    latency_ms: float
    size_mb: float
    minutes: float
    """Of all calls together."""
    table: tuple[PickRow, ...]
    untried: dict[str, int]
    """Reason to number of models of the catalogue that were not trained."""
    test: EvalReport
    """Of the pick's file, on the test images, which chose nothing."""
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """The model, what it costs, and what its file did on the test images."""
        return f"{self.model}: {self.latency_ms:.2f} ms, {self.size_mb:.1f} MB; {self.test.headline()}"

    def tables(self) -> dict[str, Table]:
        """candidates: one row each. Then those of the report."""
        return {"candidates": Table([msgspec.structs.asdict(row) for row in self.table]), **self.test.tables()}


def read_limits(text: str) -> dict[str, float]:
    """What `--budget` says, such as "latency_ms=10,size_mb=20,minutes=30".

    Raises:
        UsageError: a part is not NAME=NUMBER, a name is none of these or comes twice, or a number is not above 0.
    """
    found: dict[str, float] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, number = (one.strip() for one in part.partition("="))
        if not equals or name in found:
            raise _bad_budget(text, f"{part!r} is not NAME=NUMBER, or comes twice")
        try:
            found[name] = float(number)
        except ValueError:
            raise _bad_budget(text, f"{name} is {number!r}, not a number") from None
    return _check_limits(found, text)


def pick(
    data: str | Path | None = None,
    *,
    budget: str | Mapping[str, float] | None = None,
    out: str | Path | None = None,
    models: Sequence[str] = (),
    licence: Sequence[str] = (),
    metric: str | None = None,
    task: Literal["auto", "ordinal"] | None = None,
    order: Sequence[str] | None = None,
    seed: int | None = None,
    device: str | None = None,
    skip_bad: bool = False,
    leaks: Literal["drop", "keep", "refuse"] | None = None,
    fold: int | None = None,
    freeze: bool = False,
    settings: Mapping[str, Any] | None = None,
    engine: Engine | Literal["local", "ray"] = "local",
    **reading: Unpack[Reading],
) -> PickResult:
    """The best model for these images that meets a device's limits, chosen on validation, judged once on test.

    The same call continues where an earlier one was stopped, and with more minutes: what is trained is not trained
    again.

    Args:
        data: a folder of class folders, a table, a MedMNIST-style .npz, or a name; None: "digits".
        budget: latency_ms, of one image on this machine; size_mb, of the file in 10^6 bytes; minutes, of the search.
            Each may be missing: no limit, and 30 minutes. Or one text, "latency_ms=10,size_mb=20,minutes=30".
        out: folder of the search; None: runs/pick-NAME-HASH, the hash being of what is asked for.
        models: candidates; empty: the catalogue.
        licence: only models whose code is under one of these licences; a network whose weights are under another one
            starts from random weights. Empty: all.
        metric: what chooses, see `TrainConfig.metric`; None: macro AUROC.
        task: "ordinal": classes are grades in order, see `Budget.task`.
        order: grades that are not numbers, all of them from the lowest to the highest.
        seed: seed of every training.
        device: what networks are trained on.
        skip_bad: leave unreadable images out of every training, instead of refusing the set.
        leaks: training images that are copies of held-out ones, see `Budget.leaks`.
        fold: number of the fold that is test, of data with folds.
        freeze: candidates are pretrained networks of which the head alone is trained, see `TrainConfig.freeze`.
        settings: other settings of every training, as in `Budget.settings`, such as {"preprocess.intensity": "fitted"}.
        engine: who trains: "local", this process, one after the other; "ray", one training a task of Ray; or a
            `zoo.Engine` with more words. Minutes are those of a clock on the wall.
        **reading: columns, group, keep_na, uncertain, frames; see `zoo.spec.Reading`.

    Raises:
        UsageError: a limit that there is not, or is not above 0 (code pick-budget); `freeze`, and no weights are here;
            a setting that the search chooses itself, or none of `models` is under a licence (option-conflict); or the
            engine cannot be had.
        CatalogueError: one of `models` is unknown, or no model is under a licence.
        ResumeError: `out` holds a search for something else, or other files.
        TrainingError: no candidate meets the limits (code pick-none), or another process conducts this search
            (run-busy).
        DataError: as `zoo.train`; what no candidate can take, such as images without a range (intensity-range), is
            refused before the first is trained.
    """
    from zoo.registry import models as list_models
    from zoo.workflow._candidates import Limits
    from zoo.workflow._folds import refuse_none

    began = time.monotonic()
    said = read_limits(budget) if isinstance(budget, str) else _check_limits(dict(budget or {}), str(budget))
    minutes, limits = said.get("minutes", MINUTES), Limits(said.get("latency_ms"), said.get("size_mb"))
    list_models(licence=licence)  # refuses one that no model is under
    _refuse_licence(models, licence)
    source = "digits" if data is None else data
    shared: dict[str, Any] = {
        "metric": metric, "task": task, "order": order, "seed": seed, "device": device, "leaks": leaks, "fold": fold,
        "settings": dict(settings or {}) or None, **pick_reading(reading),
    }  # fmt: skip
    shared = {name: value for name, value in shared.items() if value is not None}
    _refuse_own(settings_of(shared))
    refuse_none(cast("Budget", shared), None)
    with open_engine(engine) as hands:
        return _pick(
            source, minutes, limits, began, hands, out=out, models=models, licence=licence, shared=shared,
            freeze=freeze, skip_bad=skip_bad,
        )  # fmt: skip


def _pick(
    source: str | Path,
    minutes: float,
    limits: Limits,
    began: float,
    hands: Hands,
    *,
    out: str | Path | None,
    models: Sequence[str],
    licence: Sequence[str],
    shared: dict[str, Any],
    freeze: bool,
    skip_bad: bool,
) -> PickResult:
    """As `pick`, which has looked at its arguments."""
    from zoo.runs import open_run, point_latest, weights_licence
    from zoo.workflow._candidates import find_candidates, refuse_unfit
    from zoo.workflow._clock import open_search
    from zoo.workflow._halving import PLAN, Plan, Search, read_plan
    from zoo.workflow._images import lasting_source
    from zoo.workflow.train import train

    splits, config = _open(source, cast("Budget", shared), skip_bad=skip_bad)
    request = {
        "data": lasting_source(source),
        "fingerprint": splits.fingerprint.sha256,
        "latency_ms": limits.latency_ms,
        "size_mb": limits.size_mb,
        "models": list(models),
        **shared,
        **({"licence": sorted(map(str.lower, licence))} if licence else {}),
        **({"freeze": True} if freeze else {}),
        **({"skip_bad": True} if skip_bad else {}),
    }
    folder = Path(out) if out is not None else _default_folder(splits, request)
    plan = None
    if not (folder / PLAN).is_file():  # else the candidates are those of the first call
        slot = _LONGEST * 60 * minutes
        found = find_candidates(
            splits, limits, slot=slot, models=models, licence=licence, device=config.device, freeze=freeze
        )
        refuse_unfit(found, splits, cast("Budget", shared))  # while the mended call may still take the folder
        plan = Plan(found, tuple(licence))
    clock = open_search(folder, request, minutes, began)
    with clock.alone():
        plan = plan or read_plan(folder)
        search = Search(folder, source, clock, limits, shared, config.metric, hands, splits, plan, skip_bad=skip_bad)
        search.conduct()
        best = search.best()
        asked = cast("Budget", best.budget)
        result = train(best.model, source, out=best.outcome.run, resume="auto", skip_bad=skip_bad, **asked)
    clock.note()
    point_latest(Path("runs"), Path(result.run))
    outcome, begun = best.outcome, weights_licence(open_run(Path(result.run)).record)
    of_weights = () if begun is None else (f"the pick was made from pretrained weights, whose licence is {begun}",)
    if outcome.value is None or outcome.latency_ms is None or outcome.size_bytes is None:
        raise search.none_fits()  # `best` has all three
    return PickResult(
        model=best.model,
        run=result.run,
        budget={"latency_ms": limits.latency_ms, "size_mb": limits.size_mb, "minutes": minutes},
        metric=search.metric,
        value=outcome.value,
        latency_ms=outcome.latency_ms,
        size_mb=outcome.size_bytes / 1e6,
        minutes=clock.spent / 60,
        table=tuple(_row(one, best) for one in search.tried),
        untried=search.untried(),
        test=result.test,
        notes=(*search.notes(best), *of_weights),
    )


def _row(one: Tried, best: Tried) -> PickRow:
    outcome = one.outcome
    return PickRow(
        model=one.candidate.label,
        stage=one.stage,
        value=outcome.value,
        latency_ms=outcome.latency_ms,
        size_mb=None if outcome.size_bytes is None else outcome.size_bytes / 1e6,
        minutes=outcome.seconds / 60,
        epochs=outcome.epochs,
        pretrained=bool(one.budget.get("pretrained")),
        dropped="" if one is best else one.dropped,
        run=outcome.run,
    )


def _refuse_licence(models: Sequence[str], licence: Sequence[str]) -> None:
    """Refuse models that are not there, and those of which none is under the licences.

    Raises:
        CatalogueError: one is unknown.
        UsageError: none is under them.
    """
    from zoo.registry import find

    known = [find(name).licence for name in models]
    if known and not any(is_licence_of(one, licence) for one in known):
        raise UsageError(
            f"--models and --licence: none of these models is under {' or '.join(licence)}, but under "
            f"{', '.join(sorted(set(known)))}; name other models or licences",
            code="option-conflict",
            options=["--models", "--licence"],
            known=sorted(set(known)),
        )


def _refuse_own(settings: Mapping[str, Any]) -> None:
    """Refuse settings that each trial has from the search.

    Raises:
        UsageError: names them.
    """
    if own := [f"--set {name}" for name in _OWN if name in settings]:
        raise UsageError(
            f"{' and '.join(own)}: zoo pick chooses that for each model; leave it out, or train one model with zoo "
            "train",
            code="option-conflict",
            options=own,
        )


def _open(source: str | Path, budget: Budget, *, skip_bad: bool = False) -> tuple[Splits, TrainConfig]:
    """The images as every trial will open them, and what all trials are told."""
    from zoo.data import apply_advice
    from zoo.evaluation import check_metric
    from zoo.registry import find
    from zoo.workflow._images import open_as
    from zoo.workflow._recipe import configure

    card, said = find("logistic_regression"), settings_of(budget)
    splits = open_as(source, configure(card, budget, said), skip_bad=skip_bad)
    config = configure(card, budget, apply_advice(splits, said)[0])
    check_metric(config.metric, splits.labels)
    return splits, config


def _default_folder(splits: Splits, request: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(encode(dict(request))).hexdigest()[:8]
    return Path("runs") / f"pick-{Path(splits.fingerprint.name).stem or 'data'}-{digest}"


def _check_limits(given: dict[str, float], text: str) -> dict[str, float]:
    known = ("latency_ms", "size_mb", "minutes")
    for name, value in given.items():
        if name not in known:
            near = [one for one in known if name.lower()[:4] == one[:4]]
            raise _bad_budget(text, f"no limit {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise _bad_budget(text, f"{name} is {value}, not above 0")
    return {name: float(value) for name, value in given.items()}


def _bad_budget(text: str, why: str) -> UsageError:
    return UsageError(
        f"--budget {text}: {why}; expected such as latency_ms=10,size_mb=20,minutes=30, in milliseconds, 10^6 bytes "
        "and minutes",
        code="pick-budget",
        budget=text,
    )
