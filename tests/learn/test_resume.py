"""A run that was stopped, politely or not, goes on as if it had not been."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from refusals import refused
from stopping import Killed, stopping_at
from tiny_learning import CONFIG, LONG, SPEC, TinyNet, learn, new_run, tiny_net

import zoo
import zoo.learn._kept
from zoo.data import Splits, open_data
from zoo.errors import OutputError, TrainingError, WeightsError
from zoo.learn import STATE_FILE, WEIGHTS_FILE, load_weights, read_tensors
from zoo.learn import _precision as precision_module
from zoo.learn._checkpoint import read_state
from zoo.runs import open_run

CHILD = Path(__file__).with_name("tiny_learning.py")


class Stops(TinyNet):
    """Raises, or signals its own process, at one training step; an epoch has 4."""

    def __init__(self, at: int, action: signal.Signals | type[BaseException]) -> None:
        super().__init__()
        self.at, self.action, self.calls = at, action, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.calls == self.at:
            if isinstance(self.action, signal.Signals):
                os.kill(os.getpid(), self.action)
            else:
                raise self.action
        return super().forward(x)


def stopping(at: int, action: signal.Signals | type[BaseException] = KeyboardInterrupt) -> Stops:
    torch.manual_seed(0)
    return Stops(at, action)


@pytest.fixture(scope="module")
def unbroken(stripes: Splits, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    run = new_run(tmp_path_factory.mktemp("unbroken") / "run", stripes)
    learn(tiny_net(), stripes, SPEC, CONFIG, run)
    return run.file(WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize("steps", [2, 9, 16], ids=["in epoch 1", "in epoch 3", "in the last step"])
def test_a_resumed_run_ends_with_the_same_bytes(stripes: Splits, tmp_path: Path, unbroken: bytes, steps: int) -> None:
    """Else a result depends on whether the laptop slept. The learn network starts from another seed."""
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(steps), stripes, SPEC, CONFIG, run)
    assert open_run(run.path).record.status == "interrupted"
    assert open_run(run.path).record.epochs_done == (steps - 1) // 4
    fitted = learn(tiny_net(seed=99), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert run.file(WEIGHTS_FILE).read_bytes() == unbroken
    assert fitted.epochs_done == 4
    assert len((run.path / "history.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_loadable_weights_and_an_honest_record(
    stripes: Splits, tmp_path: Path, which: signal.Signals
) -> None:
    """A cluster ends jobs with SIGTERM; hours of training must survive it."""
    before = signal.getsignal(signal.SIGTERM)
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(10, which), stripes, SPEC, CONFIG, run)
    load_weights(tiny_net(), run.file(WEIGHTS_FILE))
    assert open_run(run.path).record.status == "interrupted"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
@pytest.mark.parametrize("every", [45.0, 0.002], ids=["at the end of an epoch", "within an epoch"])
def test_kill_9_at_any_moment_loses_at_most_what_was_not_written(
    images: Path, stripes: Splits, tmp_path: Path, every: float
) -> None:
    """No handler runs then; only what was written whole counts, and the bytes stay the same."""
    whole, broken = new_run(tmp_path / "whole", stripes, LONG), tmp_path / "broken"
    learn(tiny_net(), stripes, SPEC, LONG, whole)
    delays = np.random.default_rng()  # other moments in every run of this test
    epoch = (whole.record.seconds or 0.0) / LONG.epochs  # on this machine
    paths = [str(Path(zoo.__path__[0]).parent), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [sys.executable, str(CHILD), str(images), str(broken), str(every)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdin is not None
        assert starter.stdout is not None
        verb, state, status, kills, within = "begin", broken / STATE_FILE, -signal.SIGKILL, 0, 0
        while status == -signal.SIGKILL:
            old = state.stat().st_mtime_ns if state.exists() else 0
            starter.stdin.write(f"{verb}\n")
            starter.stdin.flush()
            child = int(starter.stdout.readline())
            while kills < 5:  # wait for a state by this process, then any moment of the next epoch or two
                if state.exists() and state.stat().st_mtime_ns != old:
                    time.sleep(delays.uniform(0, 2 * epoch))
                    os.kill(child, signal.SIGKILL)
                    kills += 1
                    break
                if select.select([starter.stdout], [], [], 0.001)[0]:  # it ended by itself
                    break
            status = int(starter.stdout.readline())
            left = read_state(state)
            within += left is not None and left.step > 0
            verb = "resume"
        starter.stdin.close()
    assert status == 0
    assert kills == 5
    assert (within > 0) == (every < 1)
    assert (broken / WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()
    assert not list(broken.glob(".*.part"))


def test_killed_at_any_write_a_run_ends_with_the_same_bytes(
    stripes: Splits, tmp_path: Path, unbroken: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its last epoch it could never be ended."""
    for number in (2, 3, *range(12, 99)):
        run = new_run(tmp_path / str(number), stripes)
        try:
            with stopping_at(monkeypatch, number, Killed()) as written:
                learn(tiny_net(), stripes, SPEC, CONFIG, run)
        except Killed:
            pass
        else:
            break  # it came to its end before this write
        again = open_run(run.path)
        if not again.file(STATE_FILE).exists():  # before the first step
            continue
        fitted = learn(tiny_net(seed=99), stripes, SPEC, CONFIG, again, resuming=True)
        assert run.file(WEIGHTS_FILE).read_bytes() == unbroken, written.names
        record = open_run(run.path).record
        assert (record.best, record.epochs_done) == (fitted.best, 4), written.names
        assert len((run.path / "history.csv").read_text().splitlines()) == 5
    assert number > 15


def test_a_flipped_bit_anywhere_in_the_state_is_refused(stripes: Splits, tmp_path: Path) -> None:
    """17 of 25 flips once became other weights in silence."""
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(10), stripes, SPEC, CONFIG, run)
    place = run.file(STATE_FILE)
    whole = place.read_bytes()
    random = np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    for position in (*range(0, header, 7), *random.integers(header, len(whole), 200).tolist()):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(random.integers(8))
        place.write_bytes(damaged)
        with refused("checkpoint-damaged", TrainingError, path=str(place)):
            read_state(place)
    place.write_bytes(whole)
    assert learn(tiny_net(), stripes, SPEC, CONFIG, open_run(run.path), resuming=True).epochs_done == 4


def test_damaged_weights_are_refused_or_written_again_from_the_state(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(10), stripes, SPEC, CONFIG, run)
    place = run.file(WEIGHTS_FILE)
    whole, good, refusals = place.read_bytes(), read_tensors(place), 0
    for position in np.random.default_rng(0).integers(0, len(whole), 100).tolist():
        damaged = bytearray(whole)
        damaged[position] ^= 1
        place.write_bytes(damaged)
        try:
            found = read_tensors(place)
        except WeightsError:
            refusals += 1
        else:  # of the header's own keys, which no weight hangs on
            assert all(torch.equal(found[name], tensor) for name, tensor in good.items())
    assert refusals > 90
    with monkeypatch.context() as patch:
        patch.setattr(zoo.learn._kept, "best_epoch", lambda history: history[0])  # and so not in the state
        with refused("weights-hash", WeightsError, path=str(place)):
            learn(tiny_net(), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    monkeypatch.setattr(zoo.learn._kept, "best_epoch", lambda history: history[-1])
    learn(tiny_net(), stripes, SPEC, msgspec.structs.replace(CONFIG, epochs=2), open_run(run.path), resuming=True)
    assert place.read_bytes() != damaged


def test_another_number_of_threads_is_said_and_recorded(stripes: Splits, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(6), stripes, SPEC, CONFIG, run)
    before = open_run(run.path)
    assert before.record.threads == torch.get_num_threads()
    before.update(threads=torch.get_num_threads() + 1)
    learn(tiny_net(), stripes, SPEC, CONFIG, before, resuming=True)
    record = open_run(run.path).record
    assert record.threads == torch.get_num_threads()
    assert any("threads" in note for note in record.notes)


def test_epochs_patience_and_device_may_change_and_nothing_else(stripes: Splits, tmp_path: Path) -> None:
    """Half a run at one learning rate and half at another is not a run that run.json can describe."""
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(6), stripes, SPEC, CONFIG, run)
    for change in ({"lr": 0.5}, {"augment": "none"}, {"seed": 3}, {"batch_size": 8}):
        config = msgspec.structs.replace(CONFIG, **change)
        with refused("resume-changed", TrainingError, name=f"--set {next(iter(change))}"):
            learn(tiny_net(), stripes, SPEC, config, open_run(run.path), resuming=True)
    spec = msgspec.structs.replace(SPEC, mean=(0.1,))
    with refused("resume-changed", TrainingError, name="preprocess"):
        learn(tiny_net(), stripes, spec, CONFIG, open_run(run.path), resuming=True)
    config = msgspec.structs.replace(CONFIG, epochs=2, patience=5, device="auto")
    assert learn(tiny_net(), stripes, SPEC, config, open_run(run.path), resuming=True).epochs_done == 2


def test_number_format_and_layout_stay_what_the_run_began_with(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may resume on another processor, or after an update of the rule."""
    config = msgspec.structs.replace(CONFIG, precision="auto", epochs=2)
    run = new_run(tmp_path / "run", stripes, config)
    monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda: False)
    monkeypatch.setattr(precision_module, "gains_by_channels_last", lambda _: False)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(6), stripes, SPEC, config, run)
    monkeypatch.undo()
    monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda: True)
    fitted = learn(tiny_net(), stripes, SPEC, config, open_run(run.path), resuming=True)
    assert fitted.precision == open_run(run.path).record.precision == "cpu, fp32, contiguous"
    for change in ({"precision": "bf16"}, {"layout": "channels_last"}):
        other = new_run(tmp_path / next(iter(change)), stripes, config)
        with pytest.raises(KeyboardInterrupt):
            learn(stopping(6), stripes, SPEC, config, other)
        with refused("resume-changed", TrainingError, name=f"--set {next(iter(change))}"):
            asked = msgspec.structs.replace(config, **change)
            learn(tiny_net(), stripes, SPEC, asked, open_run(other.path), resuming=True)


def test_other_data_is_refused(stripes: Splits, tmp_path: Path) -> None:
    """Validation images of the first half could be training images of the second."""
    from tiny_learning import write_images

    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(6), stripes, SPEC, CONFIG, run)
    other = open_data(write_images(tmp_path / "other.npz", seed=5))
    with refused("resume-changed", TrainingError) as caught:
        learn(tiny_net(), other, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert "sha256" in caught.value.fields["name"]


def test_a_finished_run_is_not_resumed_nor_touched(stripes: Splits, tmp_path: Path) -> None:
    """Starting over in its directory would overwrite good weights."""
    run = new_run(tmp_path / "run", stripes)
    learn(tiny_net(), stripes, SPEC, CONFIG, run)
    run.update(status="done")
    weights = run.file(WEIGHTS_FILE).read_bytes()
    with refused("checkpoint-missing", TrainingError, run=str(run.path)):
        learn(tiny_net(), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert run.file(WEIGHTS_FILE).read_bytes() == weights
    assert open_run(run.path).record.status == "done"


def test_a_damaged_state_is_an_error_of_one_line(stripes: Splits, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(6), stripes, SPEC, CONFIG, run)
    state = run.file(STATE_FILE)
    state.write_bytes(state.read_bytes()[:-100])
    with refused("checkpoint-damaged", TrainingError, path=str(state)) as caught:
        learn(tiny_net(), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of a file as Linux does")
def test_a_full_disk_is_said_and_leaves_the_last_state_whole(stripes: Splits, tmp_path: Path) -> None:
    """A half-written state in place of a whole one would lose the run."""
    import resource

    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(6), stripes, SPEC, CONFIG, run)
    before = run.file(STATE_FILE).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with refused("output-unwritable", OutputError):
            learn(tiny_net(), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert run.file(STATE_FILE).read_bytes() == before
    state = read_state(run.file(STATE_FILE))
    assert state is not None
    assert len(state.history) == 1
