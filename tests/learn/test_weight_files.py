"""weights.safetensors: what is read is what was written, or an error says why not."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused
from tiny_learning import tiny_net

from zoo.errors import WeightsError
from zoo.learn import load_weights, read_tensors, save_weights, torch_predict


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_weights(tiny_net(seed=1).to(memory_format=torch.channels_last), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_weights_come_back_as_they_were(weights: Path) -> None:
    """Also from a network that was laid out channels-last."""
    model = tiny_net(seed=2)
    load_weights(model, weights)
    for name, tensor in tiny_net(seed=1).state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_truncated_file_is_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-10])
    with refused("weights-damaged", WeightsError, path=str(weights)):
        load_weights(tiny_net(), weights)


def test_a_pickle_with_the_right_name_is_never_opened(tmp_path: Path) -> None:
    """Opening it could run whatever its author wanted."""
    opened = tmp_path / "opened"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (opened,)

    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with refused("weights-damaged", WeightsError):
        load_weights(tiny_net(), path)
    assert not opened.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with refused("weights-file-missing", WeightsError, path=str(tmp_path / "none.safetensors")):
        read_tensors(tmp_path / "none.safetensors")


def test_weights_of_another_width_are_refused(weights: Path) -> None:
    with refused("weights-shape", WeightsError) as caught:
        load_weights(tiny_net(classes=4), weights)
    assert caught.value.fields["tensor"].startswith("head.")


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    with refused("weights-names", WeightsError):
        load_weights(torch.nn.Linear(3, 2), weights)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = tiny_net()
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    save_weights(model, tmp_path / "w.safetensors")
    with refused("weights-not-finite", WeightsError, tensor="head.bias"):
        load_weights(tiny_net(), tmp_path / "w.safetensors")


def test_predictions_do_not_depend_on_the_batch_and_ignore_dropout() -> None:
    """The first half of 'what is evaluated is what ships': a Predict is a function of the image alone."""
    images = np.random.default_rng(0).normal(size=(7, 1, 16, 16)).astype(np.float32)
    model = tiny_net().train()
    whole = torch_predict(model)(images)
    assert whole.dtype == np.float32
    assert whole.shape == (7, 3)
    assert np.allclose(torch_predict(model, batch_size=2)(images), whole, atol=1e-6)
    assert torch_predict(model)(images[:0]).shape == (0, 3)
