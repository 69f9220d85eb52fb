"""A run that was stopped in the middle of an epoch goes on at its next step, as if it had not been stopped."""

from __future__ import annotations

import csv
import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import torch
from refusals import refused
from stopping import Killed
from tiny_learning import CONFIG, SPEC, TinyNet, learn, new_run, tiny_net

import zoo.learn._fit
import zoo.learn._refusals
import zoo.learn._saving
from zoo.errors import TrainingError
from zoo.learn import STATE_FILE, WEIGHTS_FILE
from zoo.learn._checkpoint import State, read_state
from zoo.runs import RunFolder, open_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zoo.data import Splits

STEPS = 4
"""In each of the four epochs."""


class Acts(TinyNet):
    """Does something in one forward pass of training, counted from 1."""

    def __init__(self, at: int, action: Callable[[], object]) -> None:
        super().__init__()
        self.at, self.action, self.calls = at, action, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.training and self.calls == self.at:
            self.action()
        return super().forward(x)


def acting(at: int, action: Callable[[], object]) -> Acts:
    torch.manual_seed(0)
    return Acts(at, action)


def kill() -> None:
    raise Killed


def ask_to_end(which: signal.Signals) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), which)


def state_of(run: RunFolder) -> State:
    found = read_state(run.file(STATE_FILE))
    assert found is not None
    return found


def losses_of(run: RunFolder) -> list[list[str]]:
    """history.csv without what depends on the clock."""
    with run.file("history.csv").open(newline="") as stream:
        return [row[:-2] for row in csv.reader(stream)]


@pytest.fixture(scope="module")
def unbroken(stripes: Splits, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = new_run(tmp_path_factory.mktemp("unbroken") / "run", stripes)
    learn(tiny_net(), stripes, SPEC, CONFIG, run)
    return run


@pytest.fixture
def _at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.learn._saving, "EVERY", 0.0)
    monkeypatch.setattr(zoo.learn._saving, "SHARE", 1e9)


@pytest.mark.usefixtures("_at_every_step")
@pytest.mark.parametrize("at", range(2, 17))
def test_killed_in_any_step_it_ends_with_the_same_bytes(
    stripes: Splits, tmp_path: Path, unbroken: RunFolder, at: int
) -> None:
    """The hour that a long epoch takes would be lost with every power cut."""
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(Killed):
        learn(acting(at, kill), stripes, SPEC, CONFIG, run)
    state = state_of(run)
    assert len(state.history) * STEPS + state.step == at - 1
    model = acting(0, kill)
    learn(model, stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert model.calls == 4 * STEPS - (at - 1)  # no step is done twice
    assert run.file(WEIGHTS_FILE).read_bytes() == unbroken.file(WEIGHTS_FILE).read_bytes()
    assert losses_of(run) == losses_of(unbroken)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_step_with_its_state_written(
    stripes: Splits, tmp_path: Path, unbroken: RunFolder, which: signal.Signals
) -> None:
    """A cluster's job that is preempted loses nothing."""
    run, before = new_run(tmp_path / "run", stripes), signal.getsignal(which)
    with pytest.raises(KeyboardInterrupt):
        learn(acting(10, ask_to_end(which)), stripes, SPEC, CONFIG, run)
    assert signal.getsignal(which) is before
    record = open_run(run.path).record
    assert (record.status, record.epochs_done, record.steps_done) == ("interrupted", 2, 2)
    learn(tiny_net(seed=99), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert run.file(WEIGHTS_FILE).read_bytes() == unbroken.file(WEIGHTS_FILE).read_bytes()
    assert open_run(run.path).record.steps_done == 0


def test_stopped_while_it_validates_it_trains_no_step_again(
    stripes: Splits, tmp_path: Path, unbroken: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation of many images may take as long as training; Ctrl-C does not wait for it."""
    run = new_run(tmp_path / "run", stripes)

    def stopped(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal was held back")

    with monkeypatch.context() as patch:
        patch.setattr(zoo.learn._fit.Validation, "judge", stopped)
        with pytest.raises(KeyboardInterrupt):
            learn(tiny_net(), stripes, SPEC, CONFIG, run)
    assert state_of(run).step == STEPS
    model = acting(0, kill)
    learn(model, stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert model.calls == 3 * STEPS
    assert run.file(WEIGHTS_FILE).read_bytes() == unbroken.file(WEIGHTS_FILE).read_bytes()
    assert losses_of(run) == losses_of(unbroken)


@pytest.mark.parametrize("long", [True, False])
def test_killed_while_it_validates_long_it_trains_no_step_again(
    stripes: Splits, tmp_path: Path, unbroken: RunFolder, monkeypatch: pytest.MonkeyPatch, *, long: bool
) -> None:
    """A kill leaves no time to write: validation and the minute before it were lost."""
    run = new_run(tmp_path / "run", stripes)
    judge, judged = zoo.learn._fit.Validation.judge, []

    def killed(self: Any, *told: Any) -> Any:
        judged.append(self)
        if len(judged) == 2:
            raise Killed
        return judge(self, *told)

    with monkeypatch.context() as patch:
        patch.setattr(zoo.learn._fit.Validation, "judge", killed)
        patch.setattr(zoo.learn._saving, "LONG", 0.0 if long else 1e9)
        with pytest.raises(Killed):
            learn(tiny_net(), stripes, SPEC, CONFIG, run)
    assert len(state_of(run).history) == 1
    assert state_of(run).step == (STEPS if long else 0)
    model = acting(0, kill)
    learn(model, stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert model.calls == (2 if long else 3) * STEPS
    assert run.file(WEIGHTS_FILE).read_bytes() == unbroken.file(WEIGHTS_FILE).read_bytes()
    assert losses_of(run) == losses_of(unbroken)


def test_whether_validation_is_long_is_told_by_the_last_one_or_by_the_training(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(zoo.learn._saving.Checkpoints, "due_before", lambda _, seconds: asked.append(seconds))
    fitted = learn(tiny_net(), stripes, SPEC, CONFIG, new_run(tmp_path / "run", stripes))
    assert len(asked) == CONFIG.epochs
    assert 0 < sum(asked) < fitted.seconds


def test_what_writing_costs_is_said_once(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(zoo.learn._saving.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(zoo.learn._saving, "save_state", lambda *_: now.__setitem__(0, now[0] + 15.0))
    checkpoints = zoo.learn._saving.Checkpoints(new_run(tmp_path / "run", stripes), *[None] * 4)  # type: ignore[arg-type]
    with caplog.at_level("INFO", "zoo"):
        for _ in range(2):
            checkpoints.write(SimpleNamespace(step=0))  # type: ignore[arg-type]
    assert [record.args for record in caplog.records] == [(15.0, 25.0)]


def test_the_time_before_a_stop_counts(stripes: Splits, tmp_path: Path) -> None:
    """An epoch that was stopped at its end would look as fast as its last step."""
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(acting(3, ask_to_end(signal.SIGTERM)), stripes, SPEC, CONFIG, run)
    place = run.file(STATE_FILE)
    was = state_of(run)
    assert 0 < was.seconds < 100
    with pytest.MonkeyPatch.context() as patch:  # as if these three steps had taken an hour
        patch.setattr(
            zoo.learn._refusals, "read_state", lambda path: msgspec.structs.replace(read_state(path), seconds=3600.0)
        )
        fitted = learn(tiny_net(), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert 3600 < fitted.seconds < 3700
    assert fitted.images_per_second < 60 * 4 / 3600 * 1.01
    assert place.exists()


def test_states_are_spaced_by_what_they_cost(stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash costs a minute, as is promised, up to where writing would take more than a quarter of the time."""
    checkpoints = zoo.learn._saving.Checkpoints(new_run(tmp_path / "run", stripes), *[None] * 4)  # type: ignore[arg-type]
    now = [0.0]
    monkeypatch.setattr(zoo.learn._saving.time, "perf_counter", lambda: now[0])
    checkpoints._last = 0.0
    for cost, wait in ((0.1, 45.0), (2.0, 45.0), (15.0, 45.0), (20.0, 60.0)):
        checkpoints._cost = cost
        now[0] = wait - 1
        assert not checkpoints.due()
        now[0] = wait + 1
        assert checkpoints.due()


@pytest.mark.usefixtures("_at_every_step")
def test_a_bad_state_never_takes_the_place_of_a_good_one(stripes: Splits, tmp_path: Path) -> None:
    """Weights of nan would be all that is left of a night."""
    run = new_run(tmp_path / "run", stripes)

    class Breaks(TinyNet):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            if self.calls == 7 and self.training:
                with torch.no_grad():
                    self.norm.running_mean.fill_(float("nan"))  # neither loss nor gradient shows it in this step
            return super().forward(x)

    with refused("training-diverged", TrainingError, epoch=2, step=3):
        learn(Breaks(), stripes, SPEC, CONFIG, run)
    state = state_of(run)
    assert (len(state.history), state.step) == (1, 2)
    assert open_run(run.path).record.steps_done == 2
