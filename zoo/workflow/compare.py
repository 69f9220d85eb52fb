"""`zoo compare`: several models on the same images; names of the catalogue are trained first, with one budget."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from zoo._support.files import atomic_write, refuse_idle_overwrite, refuse_occupied
from zoo.errors import DataError, UsageError
from zoo.runs import new_id, point_latest
from zoo.spec import check_budget
from zoo.workflow._engine import Engine, as_engine, open_engine
from zoo.workflow._find import MODEL_FILE, find_target, is_run, last_of
from zoo.workflow._settings import settings_of
from zoo.workflow._trainings import Training, train_all
from zoo.workflow.evaluate import look_up, open_target
from zoo.workflow.train import carry_out, train

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from zoo.evaluation.comparison import Comparison
    from zoo.spec import Budget, Reading
    from zoo.workflow._begin import Plan
    from zoo.workflow.evaluate import Target

__all__ = ["compare"]

log = logging.getLogger("zoo")


def compare(
    targets: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
    budget: Budget | None = None,
    resamples: int | None = None,
    per_class: bool = False,
    margin: float | None = None,
    include_seen: bool = False,
    html: str | Path | None = None,
    overwrite: bool = False,
    engine: Engine | Literal["local", "ray"] = "local",
) -> Comparison:
    """Compare models on the same images: intervals, latency and size of each, and a paired test of each pair.

    Every model is checked before the first is trained: its name, its settings, its weights, and the images.

    Args:
        targets: runs, bundles, .onnx files, or names of models, which are trained first with one budget; of a model and
            a run below runs/ that bear one name, the model.
        data: images; None: those of the runs, which must then be the same, or "digits" where nothing was
            trained yet.
        split: train, val or test.
        provider: execution provider.
        skip_bad: leave out images that cannot be read, in trainings and in the comparison.
        budget: what the models that are trained get, such as {"epochs": 5}; its `uncertain` holds for all models.
        resamples: number of shared resamples; None: 1000, or more where many tests need it.
        per_class: test every pair class by class as well.
        margin: difference that would not matter, in (0, 1): says of each pair whether it is equivalent, or not worse,
            within it.
        include_seen: judge images too that a model was trained or validated on; else what any has seen is left out
            for all.
        html: page about all models to write; None: none is written.
        overwrite: replace a page that is there.
        engine: who trains the models that are not: "local", this process, one after the other; "ray", one model a task
            of Ray; or a `zoo.Engine` with more words. This process judges them: all latencies are of one machine.

    Raises:
        OutputError: `html` is there already, or cannot be written.
        UsageError: fewer than two targets, one of them named twice, or a setting that one of the models refuses.
        GateError: of each image some model was made with it, and `include_seen` is off.
        DataError: the targets were not trained on the same data and `data` is None, or do not know the same
            labels.
    """
    from zoo.edge._session import find_provider
    from zoo.evaluation.comparison import check_margin, check_resamples

    if len(targets) < 2:
        raise UsageError(
            f"{len(targets)} model to compare, expected at least two runs, bundles, files or model names; "
            "to judge one: zoo evaluate",
            code="compare-too-few",
            found=len(targets),
            expected=2,
        )
    check_resamples(resamples)
    check_margin(margin)
    find_provider(provider)
    said = budget or {}
    check_budget(said)
    refuse_idle_overwrite(html, "--html", overwrite=overwrite)
    if html is not None:
        refuse_occupied(Path(html), overwrite=overwrite)
    found = _compare(
        targets, data, split=split, provider=provider, skip_bad=skip_bad, said=said, resamples=resamples,
        per_class=per_class, margin=margin, include_seen=include_seen, engine=as_engine(engine),
    )  # fmt: skip
    if html is not None:
        from zoo.evaluation.page import make_comparison_page

        atomic_write(Path(html), make_comparison_page(found))
    return found


def _compare(
    targets: Sequence[str | Path],
    data: str | Path | None,
    *,
    split: str,
    provider: str,
    skip_bad: bool,
    said: Budget,
    resamples: int | None,
    per_class: bool,
    margin: float | None,
    include_seen: bool,
    engine: Engine,
) -> Comparison:
    """As `compare`, which has looked at its arguments."""
    from zoo.workflow._recipe import refuse_options

    # Without data: the runs' own images, read as in training.
    read = frozenset({"uncertain", "columns", "group", "keep_na", "frames"} if data is not None else {"uncertain"})
    asked = cast("Reading", {name: value for name, value in said.items() if name in read})

    hired = dict.fromkeys(engine.options, True)
    places = [find_target(target) for target in targets]
    _refuse_repeated(targets, places)
    if over := _over_folds(targets, places):
        idle = {"data": data is not None, "split": split != "test", "provider": provider != "cpu"}
        why = "runs over folds are compared by the answers that they keep; leave it out"
        refuse_options(said, keep=frozenset(), why=why, **idle, skip_bad=skip_bad, include_seen=include_seen, **hired)
        return _compare_folds(over, resamples=resamples, per_class=per_class, margin=margin)
    source, shared = _share_images(places, data, said)

    def open_all(chosen: Sequence[int], *, undivided: bool = False) -> dict[int, Target]:
        return {
            k: open_target(place, data, split=split, provider=provider, skip_bad=skip_bad, undivided=undivided, **asked)
            for k in chosen
            if (place := places[k]) is not None
        }

    if not any(place is None for place in places):
        why = "of a training, and every model here is trained already; leave it out"
        refuse_options(said, keep=read, why=why, **hired)
    fresh = [k for k, place in enumerate(places) if place is None and not _is_ensemble(targets[k])]
    budgets = {k: _spell(str(targets[k]), shared) for k in fresh}
    plans = {k: _plan(str(targets[k]), source, budgets[k], skip_bad=skip_bad) for k in fresh}
    opened = open_all(range(len(targets)))
    _refuse_early([str(target) for target in targets], opened, plans, data, split)
    # Ensembles first: they take seconds, and may be refused for what their members have seen.
    for k in sorted(set(range(len(targets))) - opened.keys() - plans.keys()):
        places[k] = Path(train(str(targets[k]), data).run)  # nothing to train: its members' images
        opened |= open_all([k])
    for k, run in _train_all(plans, budgets, source, engine, skip_bad=skip_bad):
        places[k] = run
        opened |= open_all([k])
    order = range(len(targets))
    if data is not None and not _same_images([opened[k] for k in order], split):
        # some were trained on parts of it: all of it for all, less what any has seen
        opened = open_all(order, undivided=True)
    paths = [place for place in places if place is not None]
    ready = [opened[k] for k in order]
    return _judge_all(
        ready, paths, split, include_seen=include_seen, resamples=resamples, per_class=per_class, margin=margin
    )


def _train_all(
    plans: Mapping[int, Plan], budgets: Mapping[int, Budget], source: str | Path, engine: Engine, *, skip_bad: bool
) -> Iterator[tuple[int, Path]]:
    """Train what was planned; the number of each and its run, below runs/."""
    if not plans:
        return
    with open_engine(engine) as hands:
        if hands.here:  # which has the images open already
            for k, plan in plans.items():
                log.info("training %s", plan.record.card.name)
                yield k, Path(carry_out(plan).run)
            return
        trainings: list[Training] = []
        for k, plan in plans.items():
            name = plan.record.card.name
            out = _free_place(new_id(name), {one.out for one in trainings})
            trainings.append(Training(name, str(source), out, skip_bad=skip_bad, budget=budgets[k]))
        results = train_all(trainings, hands, Path("runs"))
    point_latest(Path("runs"), trainings[-1].out)
    yield from ((k, Path(result.run)) for k, result in zip(plans, results, strict=True))


def _free_place(name: str, taken: set[Path]) -> Path:
    places = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(place for place in places if place not in taken and not place.exists())


def _refuse_repeated(targets: Sequence[str | Path], places: Sequence[Path | None]) -> None:
    """Refuse a model that is named twice, such as a run and the file in it.

    Raises:
        UsageError: names the second.
    """
    known: dict[str | Path, str] = {}
    for target, place in zip(targets, places, strict=True):
        if place is None:
            what: str | Path = str(target)
        else:
            folder = last_of(place) or place  # of a run over folds, that whose file it ships
            file = folder / MODEL_FILE
            what = (file if file.is_file() else folder).resolve()
        if what in known:
            both = f"{known[what]} and {target} are one model"
            raise UsageError(f"{both}; name each model once", code="name-twice", name=str(target))
        known[what] = str(target)


def _over_folds(targets: Sequence[str | Path], places: Sequence[Path | None]) -> list[Path]:
    """The runs over folds, where all targets are such runs; empty: none is.

    Raises:
        DataError: only some are.
    """
    from zoo.runs import open_run

    found = [one for one in places if one is not None and is_run(one) and open_run(one).record.folds]
    if found and len(found) < len(places):
        other = next(str(target) for target, place in zip(targets, places, strict=True) if place not in found)
        raise DataError(
            f"{found[0].name} is a run over folds, {other} is not: no file of it answers for all images; compare runs "
            "over the same folds, or single files such as those in its folds",
            code="compare-folds",
            model=other,
        )
    return found


def _compare_folds(runs: Sequence[Path], *, resamples: int | None, per_class: bool, margin: float | None) -> Comparison:
    """Pair the pooled answers of runs over the same folds; nothing is run.

    Raises:
        ModelError: a run is not finished.
        DataError: they are of other images or folds.
    """
    from zoo.runs import open_run, refuse_unfinished
    from zoo.workflow._folds import compare_answers, read_answers
    from zoo.workflow._judge import different_names

    opened = [open_run(path) for path in runs]
    for run in opened:
        if run.record.status != "done":
            raise refuse_unfinished(run, "is not finished")
    names = different_names([run.record.card.name for run in opened], runs)
    answers = [read_answers(run.path) for run in opened]
    ordered = [run.record.task == "ordinal" for run in opened]
    return compare_answers(names, answers, ordered=ordered, resamples=resamples, per_class=per_class, margin=margin)


def _refuse_early(
    names: Sequence[str], opened: Mapping[int, Target], plans: Mapping[int, Plan], data: str | Path | None, split: str
) -> None:
    """Refuse what cannot be compared before anything is trained for it.

    Raises:
        DataError: other labels, another kind of images, other test images, or folds of one table.
    """
    from zoo.workflow._judge import Subject, check_comparable, check_takes

    for one in opened.values():
        check_takes(one.runtime.manifest, one.splits)
    ready = list(opened.values())
    if ready and not _same_images(ready, split):
        _refuse_folds(ready, [names[k] for k in opened])
    # Of named data, what all are judged on is decided when all are there.
    known = {k: (one.runtime.labels, one.runtime.manifest.task, one.splits) for k, one in opened.items()}
    known |= {k: (plan.data.labels, plan.data.task, plan.data) for k, plan in plans.items()}
    if known:
        check_comparable([
            Subject(names[k], labels, splits.fingerprint.sha256 if data is None else None, ordered=task == "ordinal")
            for k, (labels, task, splits) in known.items()
        ])  # fmt: skip


def _judge_all(
    opened: Sequence[Target],
    paths: Sequence[Path],
    split: str,
    *,
    include_seen: bool,
    resamples: int | None,
    per_class: bool,
    margin: float | None,
) -> Comparison:
    """Judge all on the same images, without those that any has seen, and compare."""
    from zoo.workflow._images import leave_out_for_all
    from zoo.workflow._judge import compare_judged, different_names, judge
    from zoo.workflow._seen import sift_for_all

    names = different_names([one.runtime.manifest.name for one in opened], paths)
    sets, seen = [one.splits for one in opened], None
    if _same_images(opened, split):  # else the comparison says what differs
        sets = leave_out_for_all(sets, split, [one.left_out for one in opened], names)
        opened = [dataclasses.replace(one, splits=left) for one, left in zip(opened, sets, strict=True)]
        known = [look_up(one, split) for one in opened]
        include = include_seen or all(one.keeps_seen for one in opened)
        sets, seen = sift_for_all(sets, split, known, names, include=include)
    judged = [
        (one.runtime, judge(one.plugin, one.runtime, splits, split, look=False))
        for one, splits in zip(opened, sets, strict=True)
    ]
    return compare_judged(judged, names, seen, resamples=resamples, per_class=per_class, margin=margin)


def _same_images(opened: Sequence[Target], split: str) -> bool:
    """Whether all were given the same images, whatever each cannot take."""
    first, *others = [
        (one.splits.fingerprint.sha256, one.left_out.union(one.splits.split(split).ids)) for one in opened
    ]
    return all(one == first for one in others)


def _refuse_folds(opened: Sequence[Target], names: Sequence[str]) -> None:
    """Refuse models of several folds of one table, each of which was trained on the others' test images.

    Raises:
        DataError: names the folds.
    """
    origins = [one.runtime.manifest.provenance for one in opened]
    folds = [0 if origin.config.fold is None else origin.config.fold for origin in origins]
    if all(one.own for one in opened) and len(set(folds)) > 1 and len({origin.data.name for origin in origins}) == 1:
        listed = ", ".join(f"{name} fold {fold}" for name, fold in zip(names, folds, strict=True))
        raise DataError(
            f"the models are of different folds of the set {origins[0].data.name!r} ({listed}), which have different "
            "test images: they cannot be compared image by image; train each model on the same fold, or name images "
            "that none of them has seen with --data",
            code="compare-folds",
            folds=folds,
        )


def _share_images(places: Sequence[Path | None], data: str | Path | None, budget: Budget) -> tuple[str | Path, Budget]:
    """The images that models are trained on, and their budget: those of a run that is there, divided as they were."""
    from zoo.runs import open_run

    if data is not None:
        return data, budget
    runs = [path for path in places if path is not None and is_run(path)]
    if not runs:
        return "digits", budget
    record = open_run(runs[0]).record
    config = record.card.train
    own = {"leaks": config.leaks, "fold": config.fold, "folds": config.folds, **config.reading}
    if record.task == "ordinal":
        own |= {"task": "ordinal", "order": record.labels}
    said = {name: value for name, value in budget.items() if value is not None}
    silent = {name: value for name, value in own.items() if name not in settings_of(budget)}
    return record.source, cast("Budget", silent | said)


def _spell(name: str, budget: Budget) -> Budget:
    """The budget of a model of the catalogue: without pretrained weights, where it has none."""
    from zoo import registry
    from zoo.workflow._recipe import configure

    if not budget.get("pretrained"):
        return budget
    card = registry.find(name)
    asked = msgspec.structs.replace(card, train=configure(card, budget, settings_of(budget)))
    if registry.load(card.plugin).plugin.starts_from(asked).weights is not None:
        return budget
    log.info("%s has no pretrained weights and starts from scratch", name)
    return cast("Budget", {**budget, "pretrained": False})


def _plan(name: str, source: str | Path, budget: Budget, *, skip_bad: bool) -> Plan:
    """The training of a model of the catalogue, ready to begin."""
    from zoo import registry
    from zoo.workflow._begin import prepare
    from zoo.workflow._folds import refuse_none

    refuse_none(budget, None)
    card = registry.find(name)
    return prepare(card, registry.load(card.plugin), source, budget, skip_bad=skip_bad)


def _is_ensemble(target: str | Path) -> bool:
    from zoo import registry

    return str(target).startswith(registry.ENSEMBLE)
