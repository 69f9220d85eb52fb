"""A training whose loss is no number: what is said of it, what is kept, and the ways out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from refusals import refused
from torch import Tensor

import zoo
from zoo.errors import TrainingError, UsageError
from zoo.learn._checkpoint import read_state
from zoo.learn._objective import Objective
from zoo.runs import STATE, Callback, RunFolder, Step, open_run
from zoo.testing import colour_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS: dict[str, Any] = {"size": 16, "epochs": 3, "batch_size": 16, "settings": {"patience": 0, "precision": "fp32"}}


class Breaks:
    """The loss of one step is nan, as long as the rate is high."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int) -> None:
        self.calls, self.at = 0, at
        real = Objective.__call__

        def call(objective: Objective, logits: Tensor, index: Tensor) -> Tensor:
            self.calls += 1
            return real(objective, logits, index) * (float("nan") if self.calls == self.at else 1.0)

        patch.setattr(Objective, "__call__", call)


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingError]:
    """In step 2 of epoch 2, in the run "a" of the working folder; an epoch has 3 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("diverged"))
        colour_folder(Path("colours"), per_class=20, side=16)
        with patch.context() as inside:
            Breaks(inside, at=5)
            with pytest.raises(TrainingError) as caught:
                zoo.train("simple_cnn", "colours", out="a", lr=0.01, **OPTIONS)
        yield caught.value


def test_step_and_images_are_named_and_the_last_good_state_is_kept(diverged: TrainingError) -> None:
    fields = diverged.fields
    assert (diverged.code, fields["epoch"], fields["step"], fields["lr"]) == ("training-diverged", 2, 2, 0.01)
    assert len(fields["files"]) == 8 < fields["images"] <= 16
    assert all(Path("colours", name).is_file() for name in fields["files"])
    assert "zoo train simple_cnn --resume --lr 0.0033 --out a" in str(diverged)
    run = open_run(Path("a"))
    assert run.record.status == "interrupted"
    assert run.record.best is not None
    state = read_state(run.file(STATE))
    assert state is not None
    assert (len(state.history), state.step) == (1, 0)


def test_the_same_rate_would_diverge_again_and_is_refused(diverged: TrainingError) -> None:  # noqa: ARG001
    """A cluster that repeats its command would burn its hours on the same step."""
    repeated: dict[str, Any] = {"resume": "auto", **OPTIONS}
    for again in ({"resume": True}, repeated, repeated | {"lr": 0.01}):
        with refused("resume-diverged", TrainingError, lr=0.01) as caught:
            zoo.train("simple_cnn", "colours", out="a", **again)
        assert "--lr 0.0033" in str(caught.value)
    for lr in (0.02, 0.5):
        with refused("resume-changed", TrainingError, name="--lr", was=0.01, now=lr):
            zoo.train("simple_cnn", out="a", resume=True, lr=lr)


class Counts(Callback):
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, float]] = []

    def step(self, step: Step) -> None:
        self.steps.append((step.epoch, step.step, step.lr))


def test_a_lower_rate_continues_from_the_last_good_state_and_is_recorded(diverged: TrainingError) -> None:  # noqa: ARG001
    """The night before the bad step is not lost."""
    heard = Counts()
    result = zoo.train("simple_cnn", out="a", resume=True, lr=0.003, callbacks=[heard])
    assert [place[:2] for place in heard.steps] == [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2), (3, 3)]
    assert all(rate <= 0.003 for _, _, rate in heard.steps)
    record = open_run(Path("a")).record
    assert (record.status, record.epochs_done, record.card.train.lr) == ("done", 3, 0.003)
    assert result.best is not None
    assert any("0.01" in note and "0.003" in note and "epoch 2, step 1" in note for note in record.notes)


def test_a_run_that_did_not_diverge_keeps_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a run at one rate and half at another, for no reason, is no run that anybody can repeat."""
    monkeypatch.chdir(tmp_path)
    colour_folder(Path("colours"), per_class=20, side=16)

    class Stops(Callback):
        def epoch(self, row: object) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zoo.train("simple_cnn", "colours", out="b", lr=0.01, callbacks=[Stops()], **OPTIONS)
    with refused("resume-changed", TrainingError, name="--lr", was=0.01, now=0.003):
        zoo.train("simple_cnn", out="b", resume=True, lr=0.003)
    with refused("option-ignored", UsageError):
        zoo.train("simple_cnn", out="b", resume=True, batch_size=4)


def test_in_the_first_steps_there_is_nothing_to_keep_and_the_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    colour_folder(Path("colours"), per_class=20, side=16)
    Breaks(monkeypatch, at=2)
    heard: list[object] = []

    class Ends(Callback):
        def start(self, run: RunFolder) -> None:
            heard.append(run.record.status)

        def end(self, report: object) -> None:
            heard.append(report)

    with refused("training-diverged", TrainingError, epoch=1, step=2) as caught:
        zoo.train("simple_cnn", "colours", out="c", lr=0.01, callbacks=[Ends()], **OPTIONS)
    assert "--resume" not in str(caught.value)
    assert not Path("c").exists()
    assert heard == ["training", None]
