"""Trainings handed out: the same files and numbers whoever does them, and a worker that dies costs nobody else."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pictures
import pytest
from refusals import refused

import zoo
from zoo._support.processes import Ended
from zoo.errors import ImageError, TrainingError, UsageError
from zoo.runs import Callback, open_run
from zoo.runs._lock import hold_run, is_live
from zoo.testing import colour_folder
from zoo.workflow import _tasks
from zoo.workflow._clock import open_search
from zoo.workflow._engine import _describe_death, _Elsewhere, open_engine
from zoo.workflow._ray import connect
from zoo.workflow._tasks import Task, answer, ask, read
from zoo.workflow._trainings import Training, train_all
from zoo.workflow._trials import Trial, conduct, conduct_all

MODEL = "logistic_regression"
CHILDREN = zoo.Engine(jobs=2)
RAY = zoo.Engine(kind="ray", cpus=1)
ray_missing = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
optuna_missing = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_folder(tmp_path_factory.mktemp("pictures") / "colours", per_class=12, side=12)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small gray pictures, with or without faint stripes."""
    return pictures.striped(tmp_path_factory.mktemp("stripes") / "stripes.npz", train=48, others=24)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def meanwhile(does: Callable[[], bool]) -> Iterator[None]:
    """Calls a function again and again while the block runs, until it says that it is done."""
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError, TrainingError):  # a run that is not there yet
                if does():
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def trainer_of(place: Path) -> int | None:
    """The process that trains a run, once it has an epoch behind it."""
    record = open_run(place).record
    trainer = record.trainer if record.status == "training" and record.epochs_done else None
    return None if trainer is None else trainer.pid


def training(data: Path, out: Path, model: str = "simple_cnn", **budget: Any) -> Training:
    return Training(model, str(data), out, skip_bad=False, budget=budget)


# --- before Ray is started


def test_options_of_the_other_engine_are_refused() -> None:
    with refused("option-ignored", UsageError, options=["--address", "--cpus-per-trial"]):
        zoo.Engine(address="head:6379", cpus=2)
    with refused("option-ignored", UsageError, options=["--jobs"]):
        zoo.Engine(kind="ray", jobs=2)
    with refused("option-value", UsageError, option="--jobs"):
        zoo.Engine(jobs=0)
    with refused("option-value", UsageError, option="--gpus-per-trial"):
        zoo.Engine(kind="ray", gpus=-1)
    with refused("engine-unknown", UsageError, engine="dask"):
        zoo.train_folds(MODEL, folds=3, engine="dask")  # type: ignore[arg-type]


def test_without_ray_the_engine_says_what_to_install(
    colours: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with refused("package-missing", UsageError, package="ray", extra="scale"):
        zoo.train_folds(MODEL, colours, folds=3, out=here / "over", engine="ray")
    assert not (here / "over").exists()


@ray_missing
def test_a_cluster_that_does_not_answer_is_said_before_anything_is_written(colours: Path, here: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"  # bound, and nobody listens
        with refused("ray-unreachable", UsageError, address=address):
            zoo.pick(colours, out="search", engine=zoo.Engine(kind="ray", address=address))
    assert not list(here.iterdir())


def test_several_processes_of_torchrun_hand_nothing_out(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refused("engine-processes", UsageError):
        zoo.pick(colours, engine=CHILDREN)


def test_a_worker_of_another_version_or_without_the_folder_does_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would train with other code, or write where nobody looks."""
    task = Task(name="one", call="zoo.workflow._trainings:train_one", given={})
    with refused("engine-storage", UsageError, path=str(here)):
        read(task, answer(ask(task, here / "token")))
    message = ask(task, None)
    monkeypatch.setattr(_tasks, "_version", lambda: "0.0.1")
    with refused("engine-version", UsageError, found="0.0.1", expected=zoo.__version__):
        read(task, answer(message))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("again", "busy", "waited"), [(True, 2, 10), (True, 99, 120), (False, 1, 0)])
def test_a_task_that_is_begun_again_waits_for_the_lock_of_a_lost_node(
    monkeypatch: pytest.MonkeyPatch, again: bool, busy: int, waited: float
) -> None:
    """A network file system frees it a while after the node is gone."""
    tries, waits = list[int](), list[float]()

    def train(*_: Any) -> str:
        tries.append(1)
        if len(tries) <= busy:
            raise TrainingError("it is being trained now", code="run-busy")
        return "trained"

    monkeypatch.setattr(_tasks, "find", lambda _: train)
    clock = types.SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append)
    monkeypatch.setattr(_tasks, "time", clock)
    task = Task(name="one", call="", given={})
    done = read(task, answer(ask(task, None, again=again)))
    assert sum(waits) == waited
    assert done.answer == ("trained" if busy == 2 else None)
    assert (done.problem and done.problem.code) == (None if busy == 2 else "run-busy")


def test_a_task_whose_worker_died_is_begun_again_as_such(here: Path) -> None:
    asked = list[bytes]()

    class Dying:
        tries, proves = 2, False

        def lanes(self) -> int:
            return 1

        def submit(self, message: bytes) -> Future[bytes]:
            asked.append(message)
            future = Future[bytes]()
            future.set_result(b"{}")
            return future

        def read(self, future: Future[bytes]) -> bytes:
            if len(asked) == 1:
                raise Ended("signal 9")
            return future.result()

        def stop(self) -> None:
            pass

    list(_Elsewhere(Dying()).run([Task(name="one", call="", given={})], here))
    assert [msgspec.json.decode(one)["again"] for one in asked] == [False, True]


def test_a_trial_that_another_process_trains_is_not_written_down(colours: Path, here: Path) -> None:
    """The same command would take it for a model that cannot be had."""
    with hold_run(here / "trials" / "one"), refused("run-busy", TrainingError):
        conduct(Trial(name="one", model=MODEL), colours, here)
    assert not (here / "trials" / "one.json").exists()


@pytest.mark.usefixtures("here")
def test_an_error_of_a_worker_is_the_error_here(colours: Path) -> None:
    def done(call: str, **given: Any) -> Any:
        task = Task(name="one", call=call, given=given)
        return read(task, answer(ask(task, None))).problem

    given = {"model": "nosuch", "data": str(colours), "out": "run", "skip_bad": False, "budget": {}, "log": []}
    unknown = done("zoo.workflow._trainings:train_one", **given)
    assert (type(unknown).__name__, unknown.code) == ("CatalogueError", "model-unknown")
    defect = done("zoo.workflow._trainings:train_one")
    assert (type(defect).__name__, defect.code) == ("TrainingError", "task-failed")
    lost = _tasks.rebuild(ImageError("a.png", "no pixels", code="image-empty", size=3).document())
    assert (str(lost), lost.code, lost.fields["size"]) == ("a.png: no pixels", "image-empty", 3)


def test_a_callback_that_would_hear_nothing_is_refused(colours: Path, here: Path) -> None:
    with refused("engine-callbacks", UsageError, callback="Callback"):
        zoo.train_folds(MODEL, colours, folds=3, out=here / "over", callbacks=[Callback()], engine=CHILDREN)
    assert not (here / "over").exists()


# --- children of this process


@pytest.fixture(scope="module")
def over(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> zoo.FoldsResult:
    """Folds by this process."""
    return zoo.train_folds(MODEL, colours, folds=3, out=tmp_path_factory.mktemp("runs") / "over")


def same_folds(found: zoo.FoldsResult, over: zoo.FoldsResult) -> None:
    """The files of one are those of the other, and so are the answers."""
    one, other = Path(found.run), Path(over.run)
    assert found.test == over.test
    names = [sorted(str(path.relative_to(root)) for path in root.rglob("*")) for root in (one, other)]
    assert names[0] == names[1]
    for name in ("report.json", "predictions.csv", "fold-1/report.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert [one.metrics for one in found.each] == [other.metrics for other in over.each]


@pytest.mark.usefixtures("here")
def test_folds_by_children_are_those_of_this_process(colours: Path, over: zoo.FoldsResult) -> None:
    same_folds(zoo.train_folds(MODEL, colours, folds=3, out="over", engine=CHILDREN), over)


def test_models_that_children_train_are_compared_as_those_of_this_process(colours: Path, here: Path) -> None:
    models = ("knn", MODEL)
    documents = []
    for engine in ("local", CHILDREN):
        (here / str(len(documents))).mkdir()
        os.chdir(here / str(len(documents)))
        said = msgspec.to_builtins(zoo.compare(models, colours, engine=engine))  # type: ignore[arg-type]
        documents.append(_without_times(said))
        assert (Path("runs") / "latest").resolve().name.startswith(MODEL)
    assert documents[0] == documents[1]


def _without_times(value: Any) -> Any:
    """The same without latencies, and the time of day, which names of runs and so the sizes of files hang on."""
    if isinstance(value, dict):
        timed = {"pareto", "run", "size_bytes"}
        return {k: _without_times(v) for k, v in value.items() if "latency" not in k and k not in timed}
    if isinstance(value, list | tuple):
        return [_without_times(one) for one in value]
    return "name" if isinstance(value, str) and value.startswith(f"{MODEL} (") else value


def test_a_trial_that_always_dies_is_reported_and_the_others_are_there(stripes: Path, here: Path) -> None:
    killed: list[int] = []

    def kill() -> bool:
        pid = trainer_of(here / "search" / "trials" / "bad")
        if pid is not None and pid not in killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
        return False

    trials = [
        Trial(name="bad", model="simple_cnn", budget={"epochs": 5000}),
        Trial(name="good", model=MODEL),
    ]
    clock = open_search(Path("search"), {}, None, time.monotonic())
    images = importlib.import_module("zoo.workflow.pick")._open(stripes, {})[0]
    with meanwhile(kill), open_engine(CHILDREN) as hands:
        found = conduct_all(trials, stripes, Path("search"), clock, hands, images=images)
    assert list(found) == ["bad", "good"], "in their order, and not that of their ends"
    assert (found["bad"].code, found["bad"].run) == ("task-died", None)
    assert len(killed) == 2
    assert found["good"].value is not None
    assert found["good"].latency_ms is not None
    assert not (here / "search" / "trials" / "bad.json").exists(), "the same command tries it again"


def test_a_death_advises_what_is_true_of_every_list() -> None:
    """The same command trains all anew in `compare`, and leaves out the trial of a `tune`."""
    problem = _describe_death(Task(name="fold2", call="", given={}), 2, "signal 9")
    assert str(problem).startswith("fold2: its worker died 2 times, the last time by signal 9")
    assert "more memory" in str(problem)
    assert "command" not in str(problem)


@optuna_missing
@pytest.mark.usefixtures("here")
def test_a_trial_elsewhere_is_given_up_as_one_here(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda self: self.number == 1)
    begun: list[int] = []
    epochs = {0: 2, 1: 3000, 2: 2}  # a trial that is not given up would take minutes
    study = importlib.import_module("zoo.workflow._study")
    recipe = study.Study.recipe

    def lengthened(self: Any, params: Any, *, again: bool, number: int = 1) -> Any:
        begun.append(number)
        return {**recipe(self, params, again=again, number=number), "epochs": epochs[number]}

    monkeypatch.setattr(study.Study, "recipe", lengthened)
    found = zoo.tune("simple_cnn", stripes, trials=3, engine=CHILDREN)
    assert [one.state for one in found.trials] == ["complete", "pruned", "complete"]
    assert begun[:3] == [0, 1, 2]
    assert found.trials[1].value is not None
    trials = Path(found.run).parent
    assert [path.name for path in trials.iterdir() if not path.name.startswith(".")] == [Path(found.run).name]


# --- Ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine."""
    pytest.importorskip("ray", reason="--engine ray needs ray")
    with connect() as ray:
        yield ray


@pytest.mark.ray
def test_ray_reports_nothing_and_asks_for_its_token(cluster: Any) -> None:
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert cluster._private.authentication.authentication_utils.is_token_auth_enabled()


@pytest.mark.ray
def test_a_cluster_that_is_there_is_joined_by_its_address(cluster: Any) -> None:
    """It asks for the token, which the one who joins has."""
    program = "import sys; from zoo.workflow._ray import connect\n"
    program += "with connect(sys.argv[1]) as ray: print(ray.cluster_resources()['CPU'])"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", program, cluster.get_runtime_context().gcs_address]
    joined = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(joined.stdout) == cluster.cluster_resources()["CPU"]


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_what_no_node_has_is_refused(colours: Path, here: Path) -> None:
    with refused("engine-resources", UsageError, cpus=4096):
        zoo.pick(colours, out="search", engine=zoo.Engine(kind="ray", cpus=4096))
    assert not list(here.iterdir())


@pytest.mark.ray
@pytest.mark.usefixtures("cluster", "here")
def test_folds_by_ray_are_those_of_this_process(colours: Path, over: zoo.FoldsResult) -> None:
    same_folds(zoo.train_folds(MODEL, colours, folds=3, out="over", engine=RAY), over)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster", "here")
def test_the_pick_of_ray_is_that_of_this_process(stripes: Path) -> None:
    models, limits = (MODEL, "random_forest"), {"minutes": 5.0}
    there = zoo.pick(stripes, budget=limits, models=models, out="there", engine=RAY)
    alone = zoo.pick(stripes, budget=limits, models=models, out="alone")
    assert [(row.model, row.stage, row.value) for row in there.table] == [
        (row.model, row.stage, row.value) for row in alone.table
    ]
    assert (there.model, there.test) == (alone.model, alone.test)
    assert all(row.latency_ms for row in there.table)
    assert zoo.pick(stripes, budget=limits, models=models, out="there").table == there.table, "whoever continues it"


@optuna_missing
@pytest.mark.ray
@pytest.mark.usefixtures("cluster", "here")
def test_the_trials_of_ray_are_those_of_this_process(stripes: Path) -> None:
    there = zoo.tune(MODEL, stripes, out="there", engine=RAY)
    alone = zoo.tune(MODEL, stripes, out="alone")
    assert there.trials == alone.trials
    assert (there.best, there.test) == (alone.best, alone.test)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_killed_costs_nothing_but_time(stripes: Path, here: Path) -> None:
    """Its training continues in another one, and ends with the bytes of one that nobody disturbed."""
    killed: list[int] = []

    def kill() -> bool:
        pid = trainer_of(here / "killed")
        if pid is None:
            return False
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)
        return True

    pair = [training(stripes, here / name, epochs=40, seed=1) for name in ("killed", "whole")]
    with meanwhile(kill), open_engine(RAY) as hands:
        results = train_all(pair, hands, here)
    assert len(killed) == 1
    assert results[0].test.metrics == results[1].test.metrics
    weights = [(here / name / "weights.safetensors").read_bytes() for name in ("killed", "whole")]
    assert weights[0] == weights[1]
    assert not [path.name for path in here.iterdir() if path.name.startswith(".engine")]


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_after_ctrl_c_what_is_done_stays_and_the_rest_continues(stripes: Path, here: Path) -> None:
    def press() -> bool:
        if open_run(here / "short").record.status != "done" or trainer_of(here / "long") is None:
            return False
        os.kill(os.getpid(), signal.SIGINT)
        return True

    both = [training(stripes, here / "long", epochs=5000), training(stripes, here / "short", MODEL)]
    with pytest.raises(KeyboardInterrupt), meanwhile(press), open_engine(RAY) as hands:
        train_all(both, hands, here)
    record = open_run(here / "long").record
    assert record.status == "interrupted", "it wrote its state, as after Ctrl-C here"
    assert not is_live(here / "long")
    before = (here / "short" / "model.onnx").stat().st_mtime_ns
    whole = zoo.train("simple_cnn", stripes, out=here / "long", resume=True, epochs=record.epochs_done + 1)
    assert whole.epochs == record.epochs_done + 1
    assert (here / "short" / "model.onnx").stat().st_mtime_ns == before
