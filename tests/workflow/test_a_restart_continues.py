"""A start by torchrun that meets an unfinished run of its own job continues it; another job's run is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

import zoo
from zoo.errors import TrainingError
from zoo.runs import Callback, open_run
from zoo.workflow._resume import see_run


class Counts(Callback):
    """Counts steps, and stops the training after some, as a node that is taken back does."""

    def __init__(self, stop: int = 0) -> None:
        self.done, self.stop = 0, stop

    def step(self, step: object) -> None:  # noqa: ARG002
        self.done += 1
        if self.done == self.stop:
            raise KeyboardInterrupt


def start(out: Path, counts: Counts, **more: bool) -> zoo.TrainResult:
    """The same command, each time."""
    return zoo.train("simple_cnn", "digits", out=out, epochs=2, size=8, batch_size=256, callbacks=[counts], **more)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of the job "night" that stopped in the second of two epochs of five steps."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "night")
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", Counts(stop=7))
    assert open_run(tmp_path / "run").record.epochs_done == 1
    return tmp_path / "run"


def test_the_same_command_of_the_same_job_continues_its_run_and_replaces_nothing(stopped: Path) -> None:
    """torchrun repeats the words that it was given, and nobody is there to add --resume or to take --overwrite away."""
    counts = Counts()
    result = start(stopped, counts, overwrite=True)
    assert counts.done == 5
    assert result.epochs == 2
    assert open_run(stopped).record.status == "done"


@pytest.mark.parametrize(("name", "value"), [("TORCHELASTIC_RUN_ID", "day"), ("TORCHELASTIC_MAX_RESTARTS", "0")])
def test_a_run_of_another_job_or_without_restarts_is_not_taken_over(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Two people may mean the same folder."""
    before = (stopped / "run.json").read_bytes()
    monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError) as caught:
        start(stopped, Counts())
    assert caught.value.code == "run-occupied"
    assert (stopped / "run.json").read_bytes() == before


def test_a_run_that_was_done_when_the_restart_came_is_reported(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last process may end between the last line of the run and the end of the command."""
    first = start(stopped, Counts())
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    counts = Counts()
    assert start(stopped, counts).test.metrics == first.test.metrics
    assert counts.done == 0


def test_a_node_that_does_not_see_the_run_is_refused(tmp_path: Path, stopped: Path) -> None:
    """It would begin from nothing, without a word, once it is the first."""
    see_run(stopped, patience=0)
    with pytest.raises(TrainingError) as caught:
        see_run(tmp_path / "elsewhere", patience=0)
    assert caught.value.code == "run-unshared"
