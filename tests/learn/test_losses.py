"""Focal and logit-adjusted loss, grades in order and balanced epochs, by their formulas and what they do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from zoo.data import balance, log_prior
from zoo.learn._objective import loss, objective_of
from zoo.learn._order import Order
from zoo.spec import UNKNOWN, TrainConfig

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(60, 4, generator=GENERATOR)
CLASSES = torch.tensor([0] * 36 + [1] * 15 + [2] * 6 + [3] * 3)
LABELS = torch.randint(UNKNOWN, 2, (60, 4), generator=GENERATOR)
CPU = torch.device("cpu")


def prior(targets: Tensor) -> Tensor:
    return torch.from_numpy(log_prior(targets.numpy(), 4)).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("targets", [CLASSES, LABELS], ids=["classes", "labels"])
def test_focal_loss_of_gamma_0_is_cross_entropy(targets: Tensor, smoothing: float) -> None:
    nearly = loss(LOGITS, targets, smoothing, gamma=1e-6)
    torch.testing.assert_close(nearly, loss(LOGITS, targets, smoothing), rtol=1e-4, atol=1e-5)


def test_focal_loss_is_the_papers() -> None:
    p = LOGITS.softmax(1)[torch.arange(60), CLASSES]
    torch.testing.assert_close(loss(LOGITS, CLASSES, gamma=2.0), (-((1 - p) ** 2) * p.log()).mean())
    known = LABELS != UNKNOWN
    p = torch.where(LABELS == 1, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())[known]
    torch.testing.assert_close(loss(LOGITS, LABELS, gamma=2.0), (-((1 - p) ** 2) * p.log()).mean())


@pytest.mark.parametrize("how", [{"gamma": 2.0}, {"gamma": 0.5}, {"ordered": True}, {"ordered": True, "gamma": 2.0}])
@pytest.mark.parametrize("sure", [50.0, -50.0])
def test_an_image_that_the_network_is_sure_of_gives_a_finite_gradient(how: dict[str, Any], sure: float) -> None:
    """In float32 a probability is exactly 1 then, and the derivative of a power of 0 is not a number."""
    logits = torch.tensor([[sure, 0.0, -sure]], requires_grad=True)
    loss(logits, torch.tensor([0]), **how).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_logit_adjustment_is_cross_entropy_of_logits_and_log_prior() -> None:
    shares = torch.bincount(CLASSES) / 60
    expected = functional.cross_entropy(LOGITS + shares.log(), CLASSES)
    torch.testing.assert_close(loss(LOGITS, CLASSES, prior=prior(CLASSES)), expected)


@pytest.mark.parametrize(
    "targets", [CLASSES, LABELS.clamp(max=1) * (LABELS.cumsum(0) % 3 == 0)], ids=["classes", "labels"]
)
def test_adjusted_logits_take_classes_for_equally_frequent(targets: Tensor) -> None:
    """A network that sees nothing must end with equal logits, where plain cross-entropy ends with the shares."""
    found = {}
    for name, given in (("plain", None), ("adjusted", prior(targets))):
        bias = torch.zeros(4, requires_grad=True)
        optimizer = torch.optim.LBFGS([bias], max_iter=200)

        def step(bias: Tensor = bias, given: Tensor | None = given, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            error = loss(bias.expand(60, 4), targets, prior=given)
            error.backward()  # type: ignore[no-untyped-call]
            return error

        optimizer.step(step)
        found[name] = bias.detach()
    level = found["adjusted"] - (found["adjusted"].mean() if targets.ndim == 1 else 0)
    torch.testing.assert_close(level, torch.zeros(4), atol=2e-3, rtol=0)
    assert found["plain"].std() > 0.5 if targets.ndim == 1 else found["plain"].abs().max() > 0.5


def test_a_loss_of_two_grades_is_cross_entropy() -> None:
    two, grades = LOGITS[:, :2], CLASSES.clamp(max=1)
    for smoothing in (0.0, 0.1):
        torch.testing.assert_close(
            loss(two, grades, smoothing, ordered=True), loss(two, grades, smoothing), rtol=1e-5, atol=1e-6
        )


def test_a_loss_of_grades_asks_at_each_threshold_whether_the_grade_is_above() -> None:
    p = LOGITS.double().softmax(1).numpy()
    expected = 0.0
    for row, grade in zip(p, CLASSES.tolist(), strict=True):
        for k in range(3):
            above = row[k + 1 :].sum()
            expected -= np.log(above if grade > k else 1 - above)
    assert float(loss(LOGITS, CLASSES, ordered=True)) == pytest.approx(expected / 60, rel=1e-5)


def test_a_mistake_by_two_grades_costs_more_than_one_by_a_single_grade() -> None:
    truth = torch.tensor([0])
    near, far = torch.tensor([[0.0, 3.0, 0.0]]), torch.tensor([[0.0, 0.0, 3.0]])
    assert loss(far, truth, ordered=True) > loss(near, truth, ordered=True) + 0.5
    torch.testing.assert_close(loss(far, truth), loss(near, truth))


def test_a_loss_of_grades_is_least_at_the_true_probabilities() -> None:
    """Else the probabilities of the file would mean something else than those of a model of classes."""
    true = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = true.log().clone().requires_grad_()
    error = sum(share * loss(logits[None], torch.tensor([grade]), ordered=True) for grade, share in enumerate(true))
    (gradient,) = torch.autograd.grad(error, logits)
    torch.testing.assert_close(gradient, torch.zeros(4), atol=1e-6, rtol=0)


def test_the_recipe_says_which_loss_it_is() -> None:
    targets = CLASSES.numpy()
    every = torch.arange(60)
    asked: dict[str, tuple[TrainConfig, Tensor]] = {
        "plain": (TrainConfig(), loss(LOGITS, CLASSES, 0.1)),
        "auto": (TrainConfig(loss="auto"), loss(LOGITS, CLASSES, 0.1)),
        "focal": (TrainConfig(loss="focal", focal_gamma=3), loss(LOGITS, CLASSES, 0.1, gamma=3)),
        "adjusted": (TrainConfig(loss="logit_adjusted"), loss(LOGITS, CLASSES, 0.1, prior=prior(CLASSES))),
        "weighed": (
            TrainConfig(class_weight="balanced", loss="focal"),
            loss(LOGITS, CLASSES, 0.1, torch.from_numpy(balance(targets, 4)).float(), gamma=2),
        ),
    }
    for name, (config, expected) in asked.items():
        found = objective_of(targets, 4, config, CPU, ordered=False)(LOGITS, every)
        torch.testing.assert_close(found, expected, msg=name)
    grades = objective_of(targets, 4, TrainConfig(), CPU, ordered=True)(LOGITS, every)
    torch.testing.assert_close(grades, loss(LOGITS, CLASSES, 0.1, ordered=True))


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "logit_adjusted", "class_weight": "balanced"},
        {"loss": "logit_adjusted", "sampling": "balanced"},
        {"sampling": "balanced", "class_weight": "balanced"},
        {"focal_gamma": -1},
        {"focal_gamma": float("nan")},
        {"metric": "auroc"},
        {"order": ("a", "b")},
        {"order": ("a", "a"), "task": "ordinal"},
        {"order": ("a",), "task": "ordinal"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=" is "):
        TrainConfig(**fields)


def test_a_balanced_epoch_holds_each_class_equally_often() -> None:
    classes = CLASSES.numpy()
    for epoch in range(1, 9):
        batches = Order.deal(60, 16, 0, classes=classes).batches(epoch)
        assert [len(batch) for batch in batches] == [len(batch) for batch in Order.deal(60, 16, 0).batches(epoch)]
        drawn = classes[torch.cat(batches).numpy()]
        assert np.bincount(drawn).tolist() == [15, 15, 15, 15]
        assert len({tuple(classes[batch.numpy()]) for batch in batches}) == len(batches), "classes must be mixed"


def test_a_rest_goes_to_another_class_in_each_epoch() -> None:
    classes = np.repeat([0, 1, 2], [50, 8, 3])
    counts = [
        np.bincount(classes[torch.cat(Order.deal(61, 16, 0, classes=classes).batches(e)).numpy()]) for e in (1, 2, 3)
    ]
    assert all(sorted(row.tolist()) == [20, 20, 21] for row in counts)
    assert len({tuple(row.tolist()) for row in counts}) == 3


def test_no_image_of_a_frequent_class_is_passed_over_for_long() -> None:
    """All 36 take their turn: 15 an epoch, so each is seen two or three times in six epochs."""
    order = Order.deal(60, 16, 0, classes=CLASSES.numpy())
    seen = torch.cat([torch.cat(order.batches(epoch)) for epoch in range(1, 7)])
    often = np.bincount(seen.numpy(), minlength=60)
    assert set(often[:36]) <= {2, 3}
    assert set(often[57:]) == {30}


def test_a_balanced_epoch_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(Order.deal(60, 16, seed, classes=CLASSES.numpy()).batches(epoch)).tolist()

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
