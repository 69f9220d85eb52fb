"""Training on images that may have several labels or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from tiny_learning import CONFIG, SPEC, TinyNet, learn, new_run, tiny_net

from zoo.data import open_data
from zoo.errors import DataError
from zoo.learn import WEIGHTS_FILE, torch_predict
from zoo.learn._distributed import Peers
from zoo.learn._objective import count_known, loss, score
from zoo.preprocess import normalize_batch
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits
from zoo.runs import open_run


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    """16 × 16 pictures with stripes along, across, both or none."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"label_names": np.array(["along", "across"])}
    for split, count in (("train", 80), ("val", 40), ("test", 9)):
        targets = (rng.random((count, 2)) < 0.4).astype(np.uint8)
        targets[:2] = [[1, 0], [0, 1]]
        images = rng.normal(100, 40, (count, 16, 16))
        images[targets[:, 0] == 1, ::2] += 60
        images[targets[:, 1] == 1, :, ::2] += 60
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images.clip(0, 255).astype(np.uint8), targets
    path = tmp_path_factory.mktemp("several") / "stripes.npz"
    np.savez(path, **arrays)
    return open_data(path)


def test_the_loss_is_the_mean_cross_entropy_over_labels_with_both_ends_smoothed() -> None:
    """s = 0.2 turns 1 into 0.9 and 0 into 0.1; smoothing one end only would push every probability up or down."""
    logits, targets = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), torch.arange(21).reshape(7, 3) % 2
    p = torch.sigmoid(logits).numpy()
    y = targets.numpy()
    assert float(loss(logits, targets)) == pytest.approx(oracle.log_loss(y.ravel(), p.ravel()), rel=1e-5)
    soft = np.where(y == 1, 0.9, 0.1)
    expected = -(soft * np.log(p) + (1 - soft) * np.log(1 - p)).mean()
    assert float(loss(logits, targets, 0.2)) == pytest.approx(expected, rel=1e-5)


def test_an_epoch_is_judged_by_the_labels_that_can_be_judged() -> None:
    logits = torch.tensor([[2.0, -1.0, 1.0], [-1.0, -2.0, 1.0], [0.5, -1.0, -1.0], [-3.0, -1.0, 1.0]])
    targets = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 1]])  # nobody has the second label
    found = score(logits, targets)
    assert found.accuracy == pytest.approx((3 + 4 + 2) / 12)
    assert found.macro_auroc == pytest.approx((1.0 + oracle.roc_auc_score(targets[:, 2], logits[:, 2])) / 2)
    assert score(logits, torch.zeros_like(targets)).macro_auroc is None
    assert score(logits * float("nan"), targets).macro_auroc is None


def test_unknown_labels_move_neither_loss_nor_gradient_nor_score() -> None:
    """Taken for 0 they would teach that nobody has what nobody knows."""
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(40, 3, generator=generator), torch.randint(-1, 2, (40, 3), generator=generator)
    known = targets != UNKNOWN
    y, p = targets[known].numpy(), torch.sigmoid(logits)[known].numpy()
    assert float(loss(logits, targets)) == pytest.approx(oracle.log_loss(y, p), rel=1e-5)
    soft = np.where(y == 1, 0.9, 0.1)
    expected = -(soft * np.log(p) + (1 - soft) * np.log(1 - p)).mean()
    assert float(loss(logits, targets, 0.2)) == pytest.approx(expected, rel=1e-5)
    weights = logits.clone().requires_grad_()
    loss(weights, targets, 0.2).backward()
    assert weights.grad is not None
    assert ((weights.grad != 0) == known).all()
    of_label = [(logits[known[:, k], k] >= 0).long().eq(targets[known[:, k], k]).double().mean() for k in range(3)]
    found = score(logits, targets)
    assert found.accuracy == pytest.approx(float(torch.stack(of_label).mean()))
    areas = [oracle.roc_auc_score(targets[known[:, k], k], logits[known[:, k], k]) for k in range(3)]
    assert found.macro_auroc == pytest.approx(np.mean(areas), abs=1e-6)
    assert float(loss(logits, torch.full_like(targets, UNKNOWN))) == 0
    assert count_known(targets).tolist() == known.sum(dim=1).tolist()


def test_ranks_share_a_batch_by_what_is_known_of_its_images() -> None:
    """Else a rank with few known labels would pull as hard as one with many."""
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(-1, 2, (9, 4), generator=generator)
    weights = torch.randn(5, 4, generator=generator, requires_grad=True)
    inputs, batch = torch.randn(9, 5, generator=generator), torch.arange(9)
    counts = count_known(targets)
    (whole,) = torch.autograd.grad(loss(inputs @ weights, targets), weights)
    parts = []
    for rank in range(2):
        peers = Peers(rank, 2, torch.device("cpu"))
        mine = peers.share(batch)
        error = loss(inputs[mine] @ weights, targets[mine]) * peers.weight(batch, counts)
        parts.append(torch.autograd.grad(error, weights)[0])
    torch.testing.assert_close((parts[0] + parts[1]) / 2, whole)


def test_it_learns_both_labels_on_their_own(stripes: Splits, tmp_path: Path) -> None:
    """A softmax could not say of one picture that it has both."""
    model = tiny_net(classes=2)
    fitted = learn(model, stripes, SPEC, msgspec.structs.replace(CONFIG, epochs=15), new_run(tmp_path / "run", stripes))
    assert fitted.best.value is not None
    assert fitted.best.value > 0.9
    pixels = np.stack([stripes.val.read(i).pixels[:, :, :1] for i in range(len(stripes.val))])
    logits = torch_predict(model)(normalize_batch(pixels, SPEC))
    assert oracle.roc_auc_score(stripes.val.targets, logits) == pytest.approx(fitted.best.value, abs=1e-4)
    both = stripes.val.targets.all(axis=1)
    assert (logits[both] >= 0).all(axis=1).mean() > 0.5


def test_a_resumed_run_ends_with_the_same_bytes(stripes: Splits, tmp_path: Path) -> None:
    class Stops(TinyNet):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += self.training
            if self.calls == 8:  # an epoch has 5 steps
                raise KeyboardInterrupt
            return super().forward(x)

    whole, broken = new_run(tmp_path / "whole", stripes), new_run(tmp_path / "broken", stripes)
    learn(tiny_net(classes=2), stripes, SPEC, CONFIG, whole)
    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        learn(Stops(classes=2), stripes, SPEC, CONFIG, broken)
    learn(tiny_net(seed=9, classes=2), stripes, SPEC, CONFIG, open_run(broken.path), resuming=True)
    assert broken.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()


def test_a_label_whose_images_can_not_be_read_is_no_label_to_train_on(stripes: Splits, tmp_path: Path) -> None:
    """With --skip-bad a label could silently lose its only images and be learned as never there."""
    import dataclasses

    targets = stripes.train.targets.copy()
    targets[:, 1] = 0
    targets[3, 1] = 1

    class Unreadable:
        def read(self, row: int, *, voi: bool = False) -> object:
            from zoo.errors import ImageError

            if row == 3:
                raise ImageError("train/3", "broken")
            return stripes.train.source.read(row, voi=voi)

    train = dataclasses.replace(stripes.train, targets=targets, source=Unreadable())
    run = new_run(tmp_path / "run", stripes)
    with pytest.raises(DataError, match="train/3"):
        learn(tiny_net(classes=2), dataclasses.replace(stripes, train=train), SPEC, CONFIG, run, skip_bad=True)
