"""What `class_weight=balanced` does to the loss, and to a class of few images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from pictures import rare_class
from sklearn.utils.class_weight import compute_class_weight
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from torch.nn import functional

from zoo.data import balance, open_data
from zoo.learn import torch_predict
from zoo.learn._distributed import Peers
from zoo.learn._objective import count_known, loss
from zoo.preprocess import normalize_batch
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(60, 3, generator=GENERATOR)
CLASSES = torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
LABELS = torch.randint(UNKNOWN, 2, (60, 3), generator=GENERATOR)


def weigh(targets: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(balance(targets.numpy(), 3)).float()


def test_weights_of_classes_are_those_of_scikit_learn() -> None:
    found = balance(CLASSES.numpy(), 3)
    assert found == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=CLASSES.numpy()))
    assert found[CLASSES.numpy()].mean() == pytest.approx(1), "else the learning rate would mean something else"


def test_weights_of_labels_are_those_of_each_label_alone_where_it_is_known() -> None:
    found = balance(LABELS.numpy(), 3)
    for k in range(3):
        column = LABELS[:, k].numpy()
        column = column[column != UNKNOWN]
        assert found[k] == pytest.approx(compute_class_weight("balanced", classes=np.arange(2), y=column))


def test_a_label_that_no_image_has_gives_a_finite_weight() -> None:
    assert np.isfinite(balance(np.zeros((4, 2), np.int64), 2)).all()


def test_the_loss_of_an_image_is_multiplied_by_the_weight_of_its_class() -> None:
    weights = weigh(CLASSES)
    summed = functional.cross_entropy(LOGITS, CLASSES, weight=weights, reduction="sum")
    torch.testing.assert_close(loss(LOGITS, CLASSES, 0.0, weights), summed / len(CLASSES))
    # Over all training images the weights sum to their number, and torch's own weighted mean is the same.
    mean = functional.cross_entropy(LOGITS, CLASSES, weight=weights)
    torch.testing.assert_close(loss(LOGITS, CLASSES, 0.0, weights), mean)
    smoothed = functional.cross_entropy(LOGITS, CLASSES, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(loss(LOGITS, CLASSES, 0.2, weights), (weights[CLASSES] * smoothed).mean())


def test_the_loss_of_a_label_is_multiplied_where_it_is_known() -> None:
    weights, known = weigh(LABELS), LABELS != UNKNOWN
    expected = sum(
        weights[k, 0]
        * functional.binary_cross_entropy_with_logits(
            LOGITS[known[:, k], k],
            LABELS[known[:, k], k].float(),
            pos_weight=weights[k, 1] / weights[k, 0],
            reduction="sum",
        )
        for k in range(3)
    )
    torch.testing.assert_close(loss(LOGITS, LABELS, 0.0, weights), expected / known.sum())


@pytest.mark.parametrize("targets", [CLASSES, LABELS], ids=["classes", "labels"])
def test_ranks_that_share_a_batch_weigh_it_as_one_process_does(targets: torch.Tensor) -> None:
    """A mean over the weights of a share would let the rank without a rare class pull as hard as the other."""
    weights, counts, batch = weigh(targets), count_known(targets), torch.arange(17)
    matrix = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    inputs = torch.randn(60, 5, generator=torch.Generator().manual_seed(2))

    def gradient(index: torch.Tensor, factor: float) -> torch.Tensor:
        error = loss(inputs[index] @ matrix, targets[index], 0.1, weights) * factor
        return torch.autograd.grad(error, matrix)[0]

    peers = [Peers(rank, 2, torch.device("cpu")) for rank in range(2)]
    parts = [gradient(one.share(batch), one.weight(batch, counts)) for one in peers]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, gradient(batch, 1.0))


def test_a_network_finds_more_of_a_rare_class_where_classes_are_balanced(tmp_path: Path) -> None:
    data = open_data(rare_class(tmp_path / "rare.npz"))
    found = {}
    for how in ("none", "balanced"):
        model = tiny_net(classes=2)
        config = msgspec.structs.replace(CONFIG, epochs=6, class_weight=how)
        learn(model, data, SPEC, config, new_run(tmp_path / how, data, config))
        pixels = np.stack([data.test.read(i).pixels[:, :, :1] for i in range(len(data.test))])
        called = torch_predict(model)(normalize_batch(pixels, SPEC)).argmax(axis=1)
        found[how] = float((called[data.test.targets == 1] == 1).mean())
    assert found["balanced"] > found["none"] + 0.2, found
