"""Training of the head alone: the backbone stays, the head is the optimum, and a stop costs no feature twice."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from refusals import refused
from sklearn.linear_model import LogisticRegression
from tiny_learning import CONFIG, SPEC, TinyNet, new_run, tiny_net
from torch import nn

from zoo.data import Splits, decode_all
from zoo.errors import OutputError
from zoo.evaluation import Predict
from zoo.learn import _features, find_last_layer, fit_head, torch_features, torch_predict
from zoo.learn._head import _choose, _judge_by
from zoo.learn._objective import Objective, objective_of
from zoo.preprocess import normalize_batch
from zoo.runs import Callback, TrainContext, open_run

PLAIN = msgspec.structs.replace(CONFIG, freeze=True, label_smoothing=0.0, augment="none")


class Counting:
    """Opens features: those of the running network, which counts its batches and may stop like a kill."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.batches, self.stop_after = 0, stop_after

    def __call__(self, network: nn.Module) -> Predict | None:
        layer = find_last_layer(network, channels=1, size=SPEC.size)
        assert layer is not None
        features = torch_features(network, layer)

        def rows(batch: Any) -> Any:
            if self.batches == self.stop_after:
                raise KeyboardInterrupt
            self.batches += 1
            return features(batch)

        return rows


def learn(model: nn.Module, data: Splits, path: Path, config: Any = PLAIN, **told: Any) -> Counting:
    opened = told.pop("opened", None) or Counting()
    run = open_run(path) if told.get("resuming") else new_run(path, data, config)
    fit_head(model, data, SPEC, config, run, TrainContext(**told), open_features=opened)
    return opened


def test_the_backbone_stays_and_the_head_is_the_regularised_optimum(stripes: Splits, tmp_path: Path) -> None:
    """What ships is the whole network with scikit-learn's logistic regression on standardised features as its head."""
    model, before = tiny_net(), tiny_net().state_dict()
    learn(model, stripes, tmp_path / "run")
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["head.weight", "head.bias"]

    bare = tiny_net()
    bare.head = nn.Identity()  # type: ignore[assignment]
    train, val = (decode_all(images, SPEC) for images in (stripes.train, stripes.val))
    rows, held_out = (torch_predict(bare)(normalize_batch(one.pixels, SPEC)) for one in (train, val))
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    (note,) = (note for note in open_run(tmp_path / "run").record.notes if "strength" in note)
    strength = float(note.split("strength ")[1].split()[0])
    exact = min((10.0**-k for k in np.arange(0, 4.5, 0.5)), key=lambda one: abs(one - strength))
    expected = LogisticRegression(C=1 / (len(rows) * exact), tol=1e-7, max_iter=5000)
    expected.fit((rows - mean) / spread, train.targets)
    got = torch.from_numpy(torch_predict(model)(normalize_batch(val.pixels, SPEC))).softmax(1).numpy()
    assert got == pytest.approx(expected.predict_proba((held_out - mean) / spread), abs=0.02)


def test_one_row_of_history_and_a_best_epoch(stripes: Splits, tmp_path: Path) -> None:
    learn(tiny_net(), stripes, tmp_path / "run")
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    record = open_run(tmp_path / "run").record
    assert len(lines) == 2
    assert record.best is not None
    assert (record.best.epoch, record.epochs_done) == (1, 1)
    assert record.best.value is not None
    assert record.best.value > 0.7
    assert not (tmp_path / "run" / _features.FEATURES_FILE).exists()


def test_a_mirror_image_is_learnt_from_where_augmentation_flips(stripes: Splits, tmp_path: Path) -> None:
    """60 and 30 images: 2 and 1 batches of 32, and 2 more of mirror images."""
    for ways, batches in {"horizontal": 5, "both": 7, "none": 3}.items():
        config = msgspec.structs.replace(PLAIN, augment="flip", augment_flip=ways)
        assert learn(tiny_net(), stripes, tmp_path / ways, config).batches == batches
    assert learn(tiny_net(), stripes, tmp_path / "plain").batches == 3


@pytest.mark.parametrize("damage", ["none", "cut", "flipped"])
def test_a_resumed_run_computes_what_is_missing_and_ends_with_the_same_bytes(
    stripes: Splits, tmp_path: Path, damage: str
) -> None:
    unbroken, stopped = tmp_path / "unbroken", tmp_path / "stopped"
    learn(tiny_net(), stripes, unbroken)
    with pytest.raises(KeyboardInterrupt):
        learn(tiny_net(), stripes, stopped, opened=Counting(stop_after=2))
    kept = stopped / _features.FEATURES_FILE
    content = bytearray(kept.read_bytes())
    if damage == "cut":  # a kill in the middle of a write
        kept.write_bytes(content[:-7])
    elif damage == "flipped":  # a disk that lost the last write
        content[-100] ^= 1
        kept.write_bytes(content)
    again = learn(tiny_net(seed=9), stripes, stopped, resuming=True)  # the start comes from the run's state
    assert again.batches == (1 if damage == "none" else 2)
    same = [(one / "weights.safetensors").read_bytes() for one in (unbroken, stopped)]
    assert same[0] == same[1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_of_the_file_of_features(stripes: Splits, tmp_path: Path) -> None:
    kept = tmp_path / "run" / _features.FEATURES_FILE

    def opened(network: nn.Module) -> Predict | None:
        kept.symlink_to("/dev/full")
        return Counting()(network)

    with refused("output-unwritable", OutputError, path=str(kept)):
        learn(tiny_net(), stripes, tmp_path / "run", opened=opened)


def test_what_the_system_refuses_elsewhere_is_not_said_of_the_file_of_features(stripes: Splits, tmp_path: Path) -> None:
    """A cache of images on a disk that fails sent people to look for space."""

    def fail(*_: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        learn(tiny_net(), stripes, tmp_path / "run", opened=lambda *_: fail)


def test_weights_of_classes_hold_for_the_head(stripes: Splits, tmp_path: Path) -> None:
    few = np.flatnonzero((stripes.train.targets != 2) | (np.arange(60) < 12))
    data = only_train(stripes, few)
    balanced = msgspec.structs.replace(PLAIN, class_weight="balanced")
    called = []
    for number, config in enumerate((PLAIN, balanced)):
        model = tiny_net()
        learn(model, data, tmp_path / str(number), config)
        logits = torch_predict(model)(normalize_batch(decode_all(stripes.val, SPEC).pixels, SPEC))
        called.append(torch.from_numpy(logits).softmax(1)[:, 2].mean())
    assert called[1] > called[0]


@pytest.mark.parametrize("remedy", [{"loss": "logit_adjusted"}, {"class_weight": "balanced"}], ids=str)
def test_the_strength_is_judged_by_the_loss_that_is_minimised(remedy: dict[str, Any]) -> None:
    """Plain NLL, which the frequent class decides, takes another strength and stops the search where it likes."""
    random = np.random.default_rng(0)
    targets = [np.repeat([0, 1, 2], [count, count // 16, count // 16]) for count in (320, 160)]
    rows = [torch.from_numpy(random.normal(0.6 * np.eye(3, 12)[one], 1)).float() for one in targets]
    index = torch.arange(len(targets[0]))

    def objective(images: Any, **changes: Any) -> Objective:
        config = msgspec.structs.replace(PLAIN, **changes)
        made = objective_of(targets[0], 3, config, torch.device("cpu"), ordered=False)
        return dataclasses.replace(made, targets=torch.from_numpy(images))

    def judge(head: Any, **changes: Any) -> float:
        return float(objective(targets[1], **changes)(head.answer(rows[1]), torch.arange(len(rows[1]))))

    fitted = objective(targets[0], label_smoothing=0.2, **remedy)
    own = _judge_by(fitted, targets[1], torch.device("cpu"))
    heads = [_choose(rows[0], index, fitted, rows[1], one, classes=3) for one in (own, objective(targets[1]))]
    assert heads[0].strength != heads[1].strength
    assert judge(heads[0], **remedy) < judge(heads[1], **remedy)


def only_train(data: Splits, rows: Any) -> Splits:
    return dataclasses.replace(data, train=data.train.subset(rows))


class Hears(Callback):
    def __init__(self) -> None:
        self.rows: list[Any] = []

    def epoch(self, row: Any) -> None:
        self.rows.append(row)


def test_the_one_epoch_is_told_with_the_metric_that_was_asked_for(stripes: Splits, tmp_path: Path) -> None:
    heard = Hears()
    learn(tiny_net(), stripes, tmp_path / "run", msgspec.structs.replace(PLAIN, metric="kappa"), callbacks=(heard,))
    (row,) = heard.rows
    record = open_run(tmp_path / "run").record
    assert record.best is not None
    assert (record.best.metric, record.best.value) == ("val_kappa", row["val_kappa"])
    assert row["val_kappa"] > 0.3


def test_a_file_that_answers_by_mirror_images_is_judged_by_them(stripes: Splits, tmp_path: Path) -> None:
    losses = []
    for flips in (False, True):
        config, heard = msgspec.structs.replace(PLAIN, flips=flips), Hears()
        learn(tiny_net(), stripes, tmp_path / str(flips), config, callbacks=(heard,))
        losses.append(heard.rows[0]["val_loss"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_a_head_that_is_a_convolution_of_one_pixel_is_trained_too(stripes: Splits, tmp_path: Path) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Conv2d(8, 3, 1), nn.Flatten())

    model, before = network(), network().state_dict()
    learn(model, stripes, tmp_path / "run")
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["3.weight", "3.bias"]


@pytest.mark.parametrize("kind", ["convolution", "after", "no bias"])
def test_a_network_that_does_not_end_in_its_head_is_refused(stripes: Splits, tmp_path: Path, kind: str) -> None:
    class Odd(TinyNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 3 * super().forward(x)

    model: nn.Module = Odd()
    if kind == "no bias":
        model = tiny_net()
        model.head = nn.Linear(32, 3, bias=False)
    elif kind == "convolution":
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with refused("freeze-head"):
        learn(model, stripes, tmp_path / "run")
