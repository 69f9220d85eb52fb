"""What a teacher's answers do to the loss and to a run: Hinton's formula, by index, and never other bytes."""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from refusals import refused
from scipy.special import expit, softmax
from test_resume import stopping
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net

from zoo.errors import TrainingError
from zoo.learn import WEIGHTS_FILE
from zoo.learn._lesson import Lesson, distance
from zoo.learn._objective import Objective, loss, objective_of
from zoo.runs import TAUGHT, open_run
from zoo.spec import UNKNOWN, Teacher, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits
    from zoo.runs import RunFolder

RNG = np.random.default_rng(0)
Z, A = (torch.from_numpy(RNG.normal(0, 2, (20, 3)).astype(np.float32)) for _ in range(2))
CLASSES = torch.from_numpy(RNG.integers(0, 3, 20))
LABELS = torch.from_numpy(RNG.integers(UNKNOWN, 2, (20, 3)))
TEACHER = Teacher(name="t", run="r", sha256="0" * 64, licence="unknown", data="0" * 64, seen="known")


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_distance_is_that_of_the_paper(temperature: float) -> None:
    ours, theirs = (softmax(x.numpy().astype(np.float64) / temperature, axis=1) for x in (Z, A))
    expected = temperature**2 * (theirs * np.log(theirs / ours)).sum(axis=1).mean()
    assert float(distance(Z, A, CLASSES, temperature)) == pytest.approx(expected, rel=1e-5)
    assert float(distance(A, A, CLASSES, temperature)) == pytest.approx(0, abs=1e-6)


def test_of_several_labels_each_is_compared_alone_where_it_is_known() -> None:
    ours, theirs = (expit(x.numpy().astype(np.float64) / 2) for x in (Z, A))
    each = theirs * np.log(theirs / ours) + (1 - theirs) * np.log((1 - theirs) / (1 - ours))
    known = LABELS.numpy() != UNKNOWN
    assert float(distance(Z, A, LABELS, 2.0)) == pytest.approx(4 * each[known].mean(), rel=1e-5)
    assert float(distance(Z, A, torch.full_like(LABELS, UNKNOWN), 2.0)) == 0


def test_the_gradient_is_as_large_at_any_temperature() -> None:
    """Else a warmer teacher would be a weaker one."""

    def pull(temperature: float) -> float:
        z = (Z / 100).clone().requires_grad_()
        distance(z, A / 100, CLASSES, temperature).backward()
        assert z.grad is not None
        return float(z.grad.norm())

    assert pull(8.0) == pytest.approx(pull(2.0), rel=0.02)


@pytest.mark.parametrize("targets", [CLASSES, LABELS], ids=["one label", "several"])
def test_a_batch_is_compared_with_the_answers_of_its_own_images(targets: torch.Tensor) -> None:
    index = torch.tensor([7, 0, 19, 3])
    found = Objective(targets, 0.1, lesson=Lesson(A, 0.75, 2.0))(Z[index], index)
    hard, soft = loss(Z[index], targets[index], 0.1), distance(Z[index], A[index], targets[index], 2.0)
    torch.testing.assert_close(found, 0.25 * hard + 0.75 * soft)


RECIPES: list[dict[str, Any]] = [{}, {"loss": "logit_adjusted"}, {"class_weight": "balanced"}]
TARGETS = [(several, recipe) for several in (False, True) for recipe in RECIPES]


@pytest.mark.parametrize(("several", "recipe"), [*TARGETS, (False, {"sampling": "balanced"})])
@pytest.mark.parametrize("balanced", [False, True])
def test_labels_and_teacher_have_one_optimum(several: bool, recipe: dict[str, Any], balanced: bool) -> None:
    """A teacher with the exact posterior: it is log p, or log p minus the prior where classes are to count alike."""
    targets = np.repeat([0, 1, 2], [70, 20, 10])
    prior = torch.tensor([0.7, 0.2, 0.1]).log()
    if several:
        targets = np.eye(3, dtype=np.int64)[targets]
        prior = torch.logit(prior.exp())
    exact = prior.repeat(100, 1)  # of images that say nothing of their class
    answers = exact - prior if balanced else exact
    config = TrainConfig(label_smoothing=0.0, **recipe)
    lesson = Lesson(answers, 0.5, 2.0, balanced)
    taught = objective_of(targets, 3, config, torch.device("cpu"), ordered=False, lesson=lesson)
    index = torch.arange(100)
    if "sampling" in recipe:
        index = torch.cat([index[:70], index[70:90].repeat(7)[:70], index[90:].repeat(7)])
    best = (exact - prior if recipe else exact)[:1].clone().requires_grad_()
    for objective in (taught, dataclasses.replace(taught, lesson=None)):
        error = objective(best.expand(len(index), 3), index)
        (gradient,) = torch.autograd.grad(error, best)
        assert float(gradient.abs().max()) < 1e-5


# --- a run


def taught_run(path: Path, data: Splits, answers: Any) -> RunFolder:
    """A run of a teacher that answered so."""
    run = new_run(path, data)
    buffer = io.BytesIO()
    np.savez(buffer, logits=np.asarray(answers, np.float32))
    run.update(teacher=TEACHER, taught=run.write(TAUGHT, buffer.getvalue()))
    return run


def answers_of(data: Splits) -> Any:
    return 4 * np.eye(3)[data.train.targets] + np.random.default_rng(1).normal(0, 1, (len(data.train), 3))


def test_a_student_learns_what_its_teacher_says_and_not_what_the_labels_say(stripes: Splits, tmp_path: Path) -> None:
    from dataclasses import replace

    answers = answers_of(stripes)
    wrong = replace(stripes.train, targets=(stripes.train.targets + 1) % 3)
    run = taught_run(tmp_path / "run", stripes, answers)
    learn(tiny_net(), replace(stripes, train=wrong), SPEC, CONFIG, run)
    assert open_run(run.path).record.best.value > 0.9  # type: ignore[union-attr, operator]


def test_a_taught_run_that_is_resumed_ends_with_the_same_bytes(stripes: Splits, tmp_path: Path) -> None:
    answers = answers_of(stripes)
    whole = taught_run(tmp_path / "whole", stripes, answers)
    learn(tiny_net(), stripes, SPEC, CONFIG, whole)
    run = taught_run(tmp_path / "run", stripes, answers)
    with pytest.raises(KeyboardInterrupt):
        learn(stopping(9), stripes, SPEC, CONFIG, run)
    learn(tiny_net(seed=9), stripes, SPEC, CONFIG, open_run(run.path), resuming=True)
    assert run.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()
    plain = new_run(tmp_path / "plain", stripes)
    learn(tiny_net(), stripes, SPEC, CONFIG, plain)
    assert plain.file(WEIGHTS_FILE).read_bytes() != whole.file(WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize("fault", ["missing", "changed", "of other images"])
def test_answers_that_are_not_those_of_the_run_are_refused(stripes: Splits, tmp_path: Path, fault: str) -> None:
    answers = answers_of(stripes)
    run = taught_run(tmp_path / "run", stripes, answers[1:] if fault == "of other images" else answers)
    if fault == "missing":
        run.file(TAUGHT).unlink()
    elif fault == "changed":
        content = bytearray(run.file(TAUGHT).read_bytes())
        content[-200] ^= 1
        run.file(TAUGHT).write_bytes(content)
    with refused("teacher-answers", TrainingError, expected=run.record.taught):
        learn(tiny_net(), stripes, SPEC, CONFIG, run)


def test_an_image_that_the_teacher_could_not_read_is_refused_by_name(stripes: Splits, tmp_path: Path) -> None:
    answers = answers_of(stripes)
    answers[[5, 8]] = np.nan
    with refused("teacher-unanswered", TrainingError, count=2, of=60, image=stripes.train.ids[5]):
        learn(tiny_net(), stripes, SPEC, CONFIG, taught_run(tmp_path / "run", stripes, answers))
