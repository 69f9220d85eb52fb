"""`zoo.pick` and `zoo.tune`: what they choose by, what they look at, and how they resume."""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pictures
import pytest
from refusals import refused

import zoo
from zoo import registry
from zoo.data import open_data
from zoo.errors import ResumeError, TrainingError, UsageError
from zoo.runs import Callback, hold_run, open_run
from zoo.spec import Interval
from zoo.store.weights import is_here
from zoo.workflow import _trials
from zoo.workflow._candidates import Limits, find_candidates
from zoo.workflow._clock import open_search
from zoo.workflow._engine import Hands, open_engine
from zoo.workflow._halving import Plan, Search, Tried, count_rounds, read_plan
from zoo.workflow._recipe import OWN_SIZE
from zoo.workflow._space import make_space
from zoo.workflow.pick import read_limits

QUICK = {"latency_ms": 1000.0, "size_mb": 50.0, "minutes": 5.0}
CLASSICAL = ("logistic_regression", "random_forest")


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 × 12 gray pictures, with or without faint stripes."""
    return pictures.striped(tmp_path_factory.mktemp("stripes") / "stripes.npz", train=120, others=60)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def alone() -> Iterator[Hands]:
    """The engine of this process."""
    with open_engine("local") as hands:
        yield hands


def test_weights_under_another_licence_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for a product must not pick what may be used in research alone."""
    monkeypatch.setattr("zoo.store.weights.is_here", lambda card: card.weights is not None)
    other, own = "convnextv2_atto", "convnext_atto"
    images, names = open_data("digits"), (other, own, "svm")
    free = find_candidates(images, Limits(), slot=10**6, models=names, licence=("Apache-2.0",))
    every = find_candidates(images, Limits(), slot=10**6, models=names)
    begun = [{one.model: bool(one.budget.get("pretrained")) for one in found.networks} for found in (every, free)]
    assert begun == [{other: True, own: True}, {other: False, own: True}]
    assert not any(other in one.label for one in free.quick)
    assert any(other in one.label for one in every.quick)
    head = find_candidates(images, Limits(), slot=10**6, models=names[:2], licence=("apache-2.0",), freeze=True)
    assert [one.model for one in head.quick] == [own]
    assert head.left_out == {"has weights under another licence": 1}
    none = find_candidates(images, Limits(), slot=10**6, models=names, licence=("dinov3-license",))
    assert not none.quick
    assert not none.networks
    with refused("freeze-untrained", UsageError, licence=["mit"]):
        find_candidates(images, Limits(), slot=10**6, models=names[:2], licence=("mit",), freeze=True)


@pytest.mark.usefixtures("here")
def test_weights_left_out_for_their_licence_are_not_called_late(
    stripes: Path, monkeypatch: pytest.MonkeyPatch, alone: Hands
) -> None:
    """The note advised another --out, which takes them no more than this one."""
    monkeypatch.setattr("zoo.store.weights.is_here", lambda _: False)
    other, own = "convnextv2_atto", "convnext_atto"
    images = open_data("digits")
    found = find_candidates(images, Limits(), slot=10**6, models=(other, own), licence=("apache-2.0",))
    monkeypatch.setattr("zoo.store.weights.is_here", lambda card: card.weights is not None)
    clock = open_search(Path("search"), {}, 10.0, time.monotonic())
    late = []
    for licence in ((), ("apache-2.0",)):
        plan = Plan(found, licence)
        search = Search(Path("search"), stripes, clock, Limits(), {}, "macro_auroc", alone, images, plan)
        search._keep()
        search.plan = read_plan(Path("search"))
        outcome = _trials.Outcome(trial="one", run="run", value=Interval(value=0.5, low=0.4, high=0.6), latency_ms=1.0)
        search.tried = [Tried(found.networks[0], "round 1", {}, outcome)]
        (note,) = (one for one in search.notes(search.tried[0]) if "came after" in one)
        late.append((other in note, own in note))
    assert late == [(True, True), (False, True)]


@pytest.mark.usefixtures("here")
def test_a_licence_that_leaves_no_model_is_named_as_the_cause(stripes: Path) -> None:
    """The device's limits were blamed."""
    with refused("option-conflict", UsageError, options=["--models", "--licence"], known=["apache-2.0"]):
        zoo.pick(stripes, budget=QUICK, models=["convnext_atto"], licence=["dinov3-license"])
    with refused("pick-none", TrainingError, tried=0) as caught:
        zoo.pick(stripes, budget=QUICK, licence=["dinov3-license"])
    assert caught.value.fields["other_licence"] > 100


def listen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(run, split) of each file that is judged with a report."""
    judge_module = importlib.import_module("zoo.workflow._judge")
    judged: list[tuple[str, str]] = []
    judge: Callable[..., Any] = judge_module.judge

    def listening(plugin: Any, runtime: Any, data: Any, split: str, **more: Any) -> Any:
        judged.append((runtime.manifest.provenance.run, split))
        return judge(plugin, runtime, data, split, **more)

    monkeypatch.setattr(judge_module, "judge", listening)
    return judged


def test_the_pick_alone_meets_the_test_images_and_the_same_call_trains_nothing_again(
    stripes: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of test results of all candidates would be a choice by the test images."""
    judged = listen(monkeypatch)
    found = zoo.pick(stripes, budget=QUICK, models=CLASSICAL)
    assert [row.model for row in found.table] == ["logistic_regression on hog", "random_forest on pixels"]
    best = max(found.table, key=lambda row: row.value.value if row.value else 0)
    assert (best.dropped, best.run, best.model.split()[0]) == ("", found.run, found.model)
    assert all(row.dropped for row in found.table if row is not best)
    assert judged == [(Path(found.run).name, "test")]
    assert found.test.split == "test"
    assert found.value == best.value
    assert not any("licence" in note for note in found.notes), "no weights were brought"
    other = next(row for row in found.table if row is not best)
    assert other.run is not None
    assert open_run(Path(other.run)).record.status == "trained"
    assert not (Path(other.run) / "report.json").exists()
    assert (here / "runs" / "latest").resolve() == Path(found.run).resolve()

    monkeypatch.setattr(_trials, "learn", None)  # a training would fail
    again = zoo.pick(stripes, budget=QUICK, models=CLASSICAL)
    assert (again.run, again.table, again.test) == (found.run, found.table, found.test)
    assert len(judged) == 1


@pytest.mark.usefixtures("here")
def test_a_search_that_was_stopped_goes_on_where_it_was(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conduct, begun = _trials.conduct, []

    def stopped(trial: _trials.Trial, *rest: Any) -> _trials.Outcome:
        begun.append(trial.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return conduct(trial, *rest)

    monkeypatch.setattr(_trials, "conduct", stopped)
    with pytest.raises(KeyboardInterrupt, match="the same command continues it"):
        zoo.pick(stripes, budget=QUICK, models=CLASSICAL, out="search")
    with refused("run-busy", TrainingError, run="search"), hold_run(Path("search")):
        zoo.pick(stripes, budget=QUICK, models=CLASSICAL, out="search")
    found = zoo.pick(stripes, budget=QUICK, models=CLASSICAL, out="search")
    first, second = "quick-logistic_regression-hog", "quick-random_forest-pixels"
    assert begun == [first, second, second]
    assert len(found.table) == 2
    with refused("search-changed", ResumeError, name="size_mb", was=50.0, now=40.0):
        zoo.pick(stripes, budget={**QUICK, "size_mb": 40.0}, models=CLASSICAL, out="search")


@pytest.mark.usefixtures("here")
def test_a_classical_model_that_was_fitted_before_a_stop_is_not_fitted_again(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in its export once made the whole search refuse it: frozen features had lost their network."""
    train = importlib.import_module("zoo.workflow.train")
    plugin = importlib.import_module("zoo_plugins.logistic_regression").LogisticRegression

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "ship", stop)
        with pytest.raises(KeyboardInterrupt):
            zoo.pick(stripes, budget=QUICK, models=["logistic_regression"], out="search")
    monkeypatch.setattr(plugin, "build", stop)
    found = zoo.pick(stripes, budget=QUICK, models=["logistic_regression"], out="search")
    assert found.table[0].value is not None


@pytest.mark.usefixtures("here")
def test_what_is_over_the_limits_is_not_the_pick_however_good(stripes: Path) -> None:
    free = zoo.pick(stripes, budget=QUICK, models=CLASSICAL, out="free")
    sizes = {row.model.split()[0]: row.size_mb or 0 for row in free.table}
    small, large = sorted(sizes, key=lambda name: sizes[name])
    limit = (sizes[small] + sizes[large]) / 2
    found = zoo.pick(stripes, budget={**QUICK, "size_mb": limit}, models=CLASSICAL, out="tight")
    assert found.model == small
    assert found.size_mb <= limit
    (dropped,) = (row.dropped for row in found.table if row.model.startswith(large))
    assert "MB, over" in dropped
    with refused("pick-none", TrainingError, nearest="logistic_regression on hog"):
        zoo.pick(stripes, budget={"size_mb": 0.001, "minutes": 5}, models=["logistic_regression"], out="none")


@pytest.mark.usefixtures("here")
def test_networks_train_within_the_time_and_their_files_are_measured(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = importlib.import_module("zoo.spec._schedule")
    for name, value in (("SCRATCH_STEPS", 8), ("FEWEST_EPOCHS", 1), ("MOST_EPOCHS", 2)):
        monkeypatch.setattr(schedule, name, value)
    found = zoo.pick(stripes, budget="latency_ms=1000,minutes=10", models=["simple_cnn"])
    (row,) = found.table
    assert (found.model, row.stage, row.epochs, row.dropped) == ("simple_cnn", "round 1", 2, "")
    assert row.latency_ms is not None
    assert 0 < row.latency_ms < 1000
    assert row.size_mb is not None
    assert 0.1 < row.size_mb < 1


@pytest.mark.usefixtures("here")
def test_without_time_there_is_an_answer_all_the_same(stripes: Path) -> None:
    found = zoo.pick(stripes, budget={"minutes": 0.001})
    assert [row.model for row in found.table] == ["logistic_regression on hog"]
    assert found.untried["no time was left"] > 10


@pytest.mark.usefixtures("here")
def test_rounds_give_fewer_networks_more_time(stripes: Path, monkeypatch: pytest.MonkeyPatch, alone: Hands) -> None:
    """With fake trainings: the order, the times and the reasons are those of successive halving."""
    asked: list[tuple[str, str]] = []
    values = {name: 0.5 + 0.01 * place for place, name in enumerate(("resnet10t", "simple_cnn", "vig_mini"))}

    def fake(trial: _trials.Trial, data: Any, folder: Path, callbacks: Any = ()) -> _trials.Outcome:
        del data, folder, callbacks
        asked.append((trial.model, trial.budget.get("budget", "")))
        longer = 0.001 if trial.name.startswith("round2") else 0
        value = Interval(value=values[trial.model] + longer, low=0.4, high=0.7)
        return _trials.Outcome(
            trial=trial.name, run="run", value=value, latency_ms=1, size_bytes=1000, seconds=1, whole=False
        )

    monkeypatch.setattr(_trials, "conduct", fake)
    pick = importlib.import_module("zoo.workflow.pick")
    limits, images = Limits(), pick._open(stripes, {})[0]
    clock = open_search(Path("search"), {}, 10.0, time.monotonic())
    plan = Plan(find_candidates(images, limits, slot=600, models=tuple(values)))
    search = Search(Path("search"), stripes, clock, limits, {}, "macro_auroc", alone, images, plan)
    search.conduct()
    names, times = zip(*asked, strict=True)
    seconds = [float(one.removesuffix("s")) for one in times]
    assert sorted(names[:3]) == sorted(values)
    assert names[3:] == ("vig_mini",)
    assert len({*seconds[:3]}) == 1
    assert seconds[3] > 2 * seconds[0]
    assert search.best().stage == "round 2"
    dropped = {one.model: one.dropped for one in search.tried if one.stage == "round 1"}
    assert "best 1 of 3" in dropped["resnet10t"]
    assert "later round" in dropped["vig_mini"]


@pytest.mark.parametrize(("minutes", "size"), [(2, 1), (3, 2), (6, 3), (30, 9), (600, 27)])
@pytest.mark.usefixtures("here")
def test_more_time_begins_with_more_networks(stripes: Path, minutes: int, size: int, alone: Hands) -> None:
    images = importlib.import_module("zoo.workflow.pick")._open(stripes, {})[0]
    found = find_candidates(images, Limits(), slot=600)
    clock = open_search(Path("search"), {}, 0.7 * minutes, time.monotonic())  # classical models took the rest
    search = Search(Path("search"), stripes, clock, Limits(), {}, "macro_auroc", alone, images, Plan(found))
    assert len(search._next_group(found.networks)) == size


@pytest.mark.parametrize(("megabytes", "named"), [(30, True), (90, False)])
@pytest.mark.usefixtures("here")
def test_a_better_network_that_int8_may_bring_within_the_limits_is_named(
    stripes: Path, monkeypatch: pytest.MonkeyPatch, alone: Hands, megabytes: int, *, named: bool
) -> None:
    """It was called over the limits, and nothing said that a file of a quarter of the size was never made."""
    values = {"resnet10t": (0.9, megabytes), "simple_cnn": (0.6, 1)}

    def fake(trial: _trials.Trial, data: Any, folder: Path, callbacks: Any) -> _trials.Outcome:
        del data, folder, callbacks
        value, size = values[trial.model]
        found = Interval(value=value, low=0.4, high=0.95)
        return _trials.Outcome(trial=trial.name, run="its run", value=found, latency_ms=1, size_bytes=size * 10**6)

    monkeypatch.setattr(_trials, "conduct", fake)
    images = importlib.import_module("zoo.workflow.pick")._open(stripes, {})[0]
    clock = open_search(Path("search"), {}, 10.0, time.monotonic())
    plan = Plan(find_candidates(images, Limits(), slot=600, models=tuple(values)))
    search = Search(Path("search"), stripes, clock, Limits(size_mb=10), {}, "macro_auroc", alone, images, plan)
    search.conduct()
    best = search.best()
    assert best.model == "simple_cnn"
    said = [note for note in search.notes(best) if 'zoo export "its run" --int8' in note]
    assert len(said) == named
    search.limits = Limits(size_mb=0.5)
    assert search.none_fits().fields["int8"] == "its run", "that of simple_cnn"


@pytest.mark.parametrize(("n", "rounds"), [(1, 1), (2, 2), (3, 2), (9, 3), (27, 4)])
def test_a_third_of_the_networks_stays(n: int, rounds: int) -> None:
    assert count_rounds(n) == rounds


def test_cards_far_beyond_the_limits_are_not_trained(stripes: Path) -> None:
    images = importlib.import_module("zoo.workflow.pick")._open(stripes, {})[0]
    small = find_candidates(images, Limits(size_mb=6), slot=600)
    everything = find_candidates(images, Limits(), slot=600)
    names = {one.model for one in small.networks}
    assert "simple_cnn" in names
    assert not names & {"vgg16", "resnet50", "convnext_base"}
    assert {"vgg16", "resnet50"} <= {one.model for one in everything.networks}
    assert small.left_out["too large for the device"] > 50
    assert all(one.model != "knn" for one in everything.quick), "its file holds the training images"


def test_with_freeze_the_heads_of_pretrained_networks_are_the_candidates(stripes: Path) -> None:
    """All are fitted in one step; a search of the rest of the catalogue was not asked for."""
    images, name = importlib.import_module("zoo.workflow.pick")._open(stripes, {})[0], "tf_efficientnet_lite0"
    with refused("freeze-untrained", UsageError):
        zoo.pick(stripes, budget={"size_mb": 0.001}, freeze=True)
    if not is_here(zoo.info(name)):
        pytest.skip(f"the weights of {name} are not installed")
    found = find_candidates(images, Limits(), slot=600, freeze=True)
    (one,) = (one for one in found.quick if one.model == name)
    assert one.budget == {"pretrained": True, "freeze": True, "size": 96}
    assert one.budget["size"] > OWN_SIZE, "up to there a ResNet's first convolution would stay random"
    assert all(one.budget["freeze"] for one in found.quick)
    assert not found.networks
    assert found.left_out["has no features of trained weights"] >= len(CLASSICAL)


@pytest.mark.usefixtures("here")
def test_the_licence_of_the_weights_of_the_pick_is_named(stripes: Path) -> None:
    """It holds for the file, and nobody who searched had chosen the weights."""
    name = "tf_efficientnet_lite0"
    if not is_here(zoo.info(name)):
        pytest.skip(f"the weights of {name} are not installed")
    found = zoo.pick(stripes, budget=QUICK, models=[name], freeze=True)
    licence = zoo.info(name).weights.licence
    assert any(f"licence is {licence}" in note for note in found.notes)


def space_of(model: str, images: Path, **recipe: Any) -> dict[str, Any]:
    """What a search of a pretrained network varies."""
    card = zoo.info(model)
    card = msgspec.structs.replace(card, train=msgspec.structs.replace(card.train, pretrained=True, **recipe))
    splits = importlib.import_module("zoo.workflow.pick")._open(images, {})[0]
    return make_space(registry.load(card.plugin).plugin, card, splits, ())


@pytest.mark.parametrize(("model", "known"), [("resnet18", True), ("unet_resnet18", False), ("simple_cnn", False)])
def test_rates_of_layers_are_searched_where_the_network_says_its_layers(model: str, known: bool, stripes: Path) -> None:
    """Every trial with them failed at once, and counted."""
    assert ("layer_decay" in space_of(model, stripes)) is known


def test_tuning_a_head_varies_nothing_that_a_fit_in_one_step_leaves_out(stripes: Path) -> None:
    space = space_of("resnet18", stripes, freeze=True)
    assert "label_smoothing" in space
    assert not space.keys() & {"lr", "weight_decay", "mixup", "layer_decay", "erase"}


@pytest.mark.parametrize(
    "text",
    ["latency=10", "latency_ms", "latency_ms=ten", "size_mb=0", "minutes=-3", "minutes=1,minutes=2", "size_mb=nan",
     "latency_ms=10ms", "epochs=3", "minutes=inf"],
)  # fmt: skip
def test_a_budget_that_says_nothing_is_refused(text: str) -> None:
    with refused("pick-budget", UsageError, budget=text):
        read_limits(text)


def test_a_budget_is_read_as_it_is_typed() -> None:
    assert read_limits("latency_ms=10, size_mb=20,minutes=1.5") == {"latency_ms": 10, "size_mb": 20, "minutes": 1.5}


optuna_missing = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")


@optuna_missing
def test_tuning_begins_with_the_recipe_as_it_is_and_keeps_the_best_run_alone(
    stripes: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = listen(monkeypatch)
    found = zoo.tune("simple_cnn", stripes, trials=3, epochs=2, seed=1)
    assert [one.number for one in found.trials] == [0, 1, 2]
    first = found.trials[0].settings
    assert (first["lr"], first["weight_decay"], first["mixup"]) == (0.001, 0.05, 0)
    assert found.best.value == max(one.value for one in found.trials if one.value is not None)
    assert judged == [(Path(found.run).name, "test")]
    kept = [path.name for path in Path(found.run).parent.iterdir() if path.is_dir()]
    assert kept == [Path(found.run).name]
    assert (here / "runs" / "latest").resolve() == Path(found.run).resolve()
    assert (Path(found.run).parent.parent / "study.db").is_file()

    again = zoo.train("simple_cnn", stripes, out=here / "again", **found.recipe)
    bytes_of = [(Path(run) / "weights.safetensors").read_bytes() for run in (found.run, again.run)]
    assert bytes_of[0] == bytes_of[1], "the recipe that is shown trains the run that was judged"

    more = zoo.tune("simple_cnn", stripes, trials=4, epochs=2, seed=1)
    assert [one.settings for one in more.trials[:3]] == [one.settings for one in found.trials]
    assert len(more.trials) == 4


@optuna_missing
@pytest.mark.usefixtures("here")
def test_a_trial_that_was_killed_continues_with_the_same_settings(
    stripes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after kill -9: nobody tells the study that the trial has ended."""
    study = importlib.import_module("zoo.workflow._study")
    learn, stops = study.learn, []

    def stopped(trial: _trials.Trial, data: Any, place: Path, *, callbacks: Any, export: bool) -> Any:
        class Stop(Callback):
            def epoch(self, row: Any) -> None:
                if trial.name == "0001" and row["epoch"] == 2 and not stops:
                    stops.append(trial.budget)
                    raise KeyboardInterrupt

        return learn(trial, data, place, callbacks=(*callbacks, Stop()), export=export)

    monkeypatch.setattr(study, "learn", stopped)
    with pytest.raises(KeyboardInterrupt, match="the same command continues it"):
        zoo.tune("simple_cnn", stripes, trials=2, epochs=3, out="stopped")
    busy = Path("stopped/trials/0001")
    with refused("run-busy", TrainingError, run=str(busy)), hold_run(busy):  # by a child of the call that was killed
        zoo.tune("simple_cnn", stripes, trials=2, epochs=3, out="stopped")
    found = zoo.tune("simple_cnn", stripes, trials=2, epochs=3, out="stopped")
    whole = zoo.tune("simple_cnn", stripes, trials=2, epochs=3, out="whole")
    assert found.trials == whole.trials


@optuna_missing
@pytest.mark.usefixtures("here")
def test_a_search_that_another_process_conducts_is_left_alone(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call met the lock of a trial, told the study that it had failed, and removed its folder."""
    study = importlib.import_module("zoo.workflow._study")
    learn, refusals = study.learn, []

    def held(trial: _trials.Trial, data: Any, place: Path, **options: Any) -> Any:
        with refused("run-busy", TrainingError, run="search"), hold_run(place):
            zoo.tune("simple_cnn", stripes, trials=2, epochs=1, out="search")
        refusals.append(trial.name)
        return learn(trial, data, place, **options)

    monkeypatch.setattr(study, "learn", held)
    found = zoo.tune("simple_cnn", stripes, trials=2, epochs=1, out="search")
    assert refusals == ["0000", "0001"]
    assert Path(found.run).parts[:2] == ("search", "trials")
    assert [one.state for one in found.trials] == ["complete", "complete"]


@optuna_missing
@pytest.mark.usefixtures("here")
def test_a_trial_behind_the_others_is_given_up(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    asked: list[int] = []

    def prune(self: Any) -> bool:
        asked.append(self.number)
        return bool(self.number == 1)

    monkeypatch.setattr(optuna.trial.Trial, "should_prune", prune)
    found = zoo.tune("simple_cnn", stripes, trials=3, epochs=2)
    assert [one.state for one in found.trials] == ["complete", "pruned", "complete"]
    assert asked == [0, 0, 1, 2, 2]
    assert found.trials[1].epochs == 1


@optuna_missing
@pytest.mark.usefixtures("here")
def test_the_study_itself_gives_up_what_is_behind_the_median(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs that the study never heard of, or heard of upside down, would give up the best trial or none."""
    import optuna

    study = importlib.import_module("zoo.workflow._study")
    monkeypatch.setattr(study, "_UNPRUNED", 2)
    found = zoo.tune("simple_cnn", stripes, trials=8, epochs=4, out="search")
    trials = optuna.load_study(study_name="tune", storage=f"sqlite:///{Path('search', study.STUDY).resolve()}").trials
    pruned = [one for one in trials if one.state.name == "PRUNED"]
    assert pruned
    assert len(trials) == 8
    for one in pruned:
        before = [other for other in trials[: one.number] if other.state.name == "COMPLETE"]
        last = max(one.intermediate_values)
        assert len(before) >= 2
        assert last >= 2
        median = statistics.median(other.intermediate_values[last] for other in before)
        assert max(one.intermediate_values.values()) < median
        assert found.trials[one.number].epochs == last, "its training ended there"
    for one in trials:
        assert one.state.name == "PRUNED" or len(one.intermediate_values) == 4


@optuna_missing
@pytest.mark.usefixtures("here")
def test_a_model_without_a_learning_rate_is_tuned_by_its_features(stripes: Path) -> None:
    found = zoo.tune("logistic_regression", stripes)
    assert {one.settings["features"] for one in found.trials} == {"pixels", "hog", "lbp", "hog+lbp"}
    assert len(found.trials) == 4, "each once, although 20 is the default"
    assert "features" in found.recipe["settings"]


@optuna_missing
@pytest.mark.usefixtures("here")
def test_what_the_user_says_is_not_varied(stripes: Path) -> None:
    found = zoo.tune("simple_cnn", stripes, trials=1, epochs=1, lr=0.002, settings={"mixup": 0.1})
    assert not {"lr", "mixup"} & found.best.settings.keys()
    assert (found.recipe["lr"], found.recipe["settings"]["mixup"]) == (0.002, 0.1)
    with refused("tune-nothing", UsageError):
        zoo.tune("logistic_regression", stripes, settings={"features": "hog"})
    with refused("option-conflict", UsageError):
        zoo.tune("simple_cnn", stripes, budget="10m")
    with refused("option-conflict", UsageError):
        zoo.tune("simple_cnn", stripes, settings={"budget": "10m"})
    with refused("folds-none", UsageError):
        zoo.tune("simple_cnn", stripes, settings={"fold": "none"})
    with refused("option-value", UsageError, option="--trials"):
        zoo.tune("simple_cnn", stripes, trials=0)


def test_tuning_without_optuna_says_how_to_get_it(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else find(name, *rest)
    )
    with refused("tune-missing", UsageError, package="optuna"):
        zoo.tune("simple_cnn", stripes)


@pytest.mark.usefixtures("here")
def test_a_folder_with_something_else_is_left_alone(stripes: Path) -> None:
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    with refused("search-occupied", ResumeError):
        zoo.pick(stripes, budget=QUICK, out="mine")
    assert [path.name for path in Path("mine").iterdir()] == ["letter.txt"]
    with refused("model-unknown"):
        zoo.pick(stripes, budget=QUICK, models=["resnet19"], out="other")
    assert not Path("other").exists()


@pytest.mark.usefixtures("here")
def test_a_slow_machine_trains_fewer_networks_and_not_none(
    stripes: Path, monkeypatch: pytest.MonkeyPatch, alone: Hands
) -> None:
    """On a busy machine every network of the first round had too little time, and so did the next ones."""
    asked: list[tuple[str, float]] = []

    def fake(trial: _trials.Trial, data: Any, folder: Path, callbacks: Any = ()) -> _trials.Outcome:
        del data, folder, callbacks
        seconds = float(trial.budget["budget"].removesuffix("s"))
        asked.append((trial.model, seconds))
        if seconds < 150:
            return _trials.Outcome(trial=trial.name, run=None, needs=150, why="too little", code="budget-too-small")
        value = Interval(value=0.8, low=0.7, high=0.9)
        return _trials.Outcome(trial=trial.name, run="run", value=value, latency_ms=1, size_bytes=1000)

    monkeypatch.setattr(_trials, "conduct", fake)
    images = importlib.import_module("zoo.workflow.pick")._open(stripes, {})[0]
    clock = open_search(Path("search"), {}, 6.0, time.monotonic())
    plan = Plan(find_candidates(images, Limits(), slot=600, models=("resnet10t", "simple_cnn", "vig_mini")))
    search = Search(Path("search"), stripes, clock, Limits(), {}, "macro_auroc", alone, images, plan)
    search.conduct()
    assert len(asked) > 3
    assert search.best().model == asked[0][0]
    assert asked[3][1] > 150
