"""Columns beside the image in the loop: whatever is done to a batch or to weights, an image keeps its own columns.

If these failed, a model would learn from the age of another patient, and nothing would show it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from stopping import Killed
from tiny_learning import CONFIG, SPEC, TinyNet, learn, new_run

import zoo.learn._saving
from zoo.learn import EMBEDDING, WEIGHTS_FILE, NetworkWithColumns, mirrored, module_to_onnx, price_mirror, read_tensors
from zoo.learn._mixing import mix
from zoo.learn._probing import set_learning
from zoo.learn._transfer import find_probed
from zoo.runs import open_run
from zoo.spec import Categorical, Numeric, TableSpec, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import ImageSet, Splits

TABLE = TableSpec(columns=(Numeric(name="age", mean=50.0, std=10.0), Categorical(name="ward", values=("a", "b"))))


class Dies(TinyNet):
    """Ends the program in one forward pass of training, counted from 1; 0: never."""

    def __init__(self, at: int, classes: int) -> None:
        super().__init__(classes)
        self.at, self.calls = at, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.training and self.calls == self.at:
            raise Killed
        return super().forward(x)


class Blind(TinyNet):
    """Sees nothing, so that all there is to learn is in the columns."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.zeros_like(x))


def network(seed: int = 0, at: int = 0) -> NetworkWithColumns:
    torch.manual_seed(seed)
    return NetworkWithColumns(Dies(at, 3 + EMBEDDING), 3, TABLE)


def with_columns(images: ImageSet) -> ImageSet:
    """The age says whether it is class 2, the ward nothing."""
    ages = [str(60 + at % 7 if target == 2 else 40 - at % 7) for at, target in enumerate(images.targets)]
    return dataclasses.replace(images, columns={"age": ages, "ward": ["ab"[at % 2] for at in range(len(ages))]})


@pytest.fixture(scope="module")
def beside(stripes: Splits) -> Splits:
    return dataclasses.replace(stripes, train=with_columns(stripes.train), val=with_columns(stripes.val))


def changed(**fields: Any) -> TrainConfig:
    return msgspec.structs.replace(CONFIG, **fields)


RECIPES = {
    "plain": CONFIG,
    "stream": changed(cache="stream"),
    "mixed": changed(augment="strong", mixup=0.2, cutmix=1.0, erase=0.5),
    "sharp soup": changed(sam=0.05, average="soup", flips=True),
    "probe": changed(pretrained=True, probe=0.5),
    "sampled": changed(sampling="balanced", loss="focal"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_with_columns_resumes_within_an_epoch_with_the_same_bytes(
    beside: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    monkeypatch.setattr(zoo.learn._saving, "EVERY", 0.0)
    monkeypatch.setattr(zoo.learn._saving, "SHARE", 1e9)
    config = RECIPES[recipe]
    whole, broken = (new_run(tmp_path / name, beside, config) for name in ("whole", "broken"))
    learn(network(), beside, SPEC, config, whole)
    with pytest.raises(Killed):
        learn(network(at=7), beside, SPEC, config, broken)
    learn(network(seed=9), beside, SPEC, config, open_run(broken.path), resuming=True)
    assert broken.file(WEIGHTS_FILE).read_bytes() == whole.file(WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize(
    "more", [{}, {"mixup": 0.2, "cutmix": 1.0}, {"sam": 0.02, "average": "soup", "flips": True}], ids=str
)
def test_each_image_learns_with_its_own_columns(beside: Splits, tmp_path: Path, more: dict[str, Any]) -> None:
    torch.manual_seed(0)
    first, second = (NetworkWithColumns(Blind(3 + EMBEDDING), 3, TABLE) for _ in range(2))
    config = changed(epochs=10, ema=0.9, **more)
    run = new_run(tmp_path / "run", beside, config)
    fitted = learn(first, beside, SPEC, config, run)
    assert (fitted.best.value or 0) > 0.8  # class 2 is told apart, the others by chance: (1 + 0.75 + 0.75) / 3
    shuffled = np.random.default_rng(0).permutation(len(beside.train))
    wrong = {name: [cells[at] for at in shuffled] for name, cells in beside.train.columns.items()}
    mistaken = dataclasses.replace(beside, train=dataclasses.replace(beside.train, columns=wrong))
    lost = learn(second, mistaken, SPEC, config, new_run(tmp_path / "lost", mistaken, config))
    assert (lost.best.value or 1) < 0.7


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0)])
def test_columns_are_mixed_by_the_share_of_the_label(mixup: float, cutmix: float) -> None:
    x, rows = torch.rand(6, 1, 16, 16), torch.arange(12.0).view(6, 2)
    for seed in range(10):
        _, mixture = mix(x, mixup=mixup, cutmix=cutmix, random=np.random.default_rng(seed))
        assert mixture is not None
        expected = mixture.share * rows + (1 - mixture.share) * rows[mixture.partner]
        torch.testing.assert_close(mixture.blend(rows), expected)


def test_a_mirrored_network_gives_the_mean_of_both_logits_in_its_file_too() -> None:
    own = network().eval()
    x, columns = torch.rand(4, 1, 16, 16), torch.randn(4, TABLE.width)
    with torch.inference_mode():
        expected = (own(x, columns) + own(x.flip(3), columns)) / 2
        torch.testing.assert_close(mirrored(own)(x, columns), expected)
        assert not torch.allclose(own(x, columns), expected)
    core = module_to_onnx(mirrored(own), channels=1, size=(16, 16))
    given = {"input": x.numpy(), "columns": columns.numpy()}
    session = onnxruntime.InferenceSession(core.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(["logits"], given)
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-5)
    assert own.network is not mirrored(own).get_submodule("network")
    assert "mirror image" in price_mirror(own, core, channels=1, size=(16, 16))


def test_the_probe_moves_the_head_and_what_joins_columns_alone() -> None:
    model = network()
    assert find_probed(model) == ("network.head", "beside", "joined")
    set_learning(model, torch.optim.AdamW(model.parameters()), head_only=True)
    learning = {name.rpartition(".")[0] for name, one in model.named_parameters() if one.requires_grad}
    assert learning == {"network.head", "beside.0", "beside.2", "joined"}
    assert not model.network.get_submodule("norm").training


def test_a_budget_counts_epochs_of_a_network_with_columns(beside: Splits, tmp_path: Path) -> None:
    config = changed(epochs="auto", steps=8, budget="10m")
    run = new_run(tmp_path / "run", beside, config)
    fitted = learn(network(), beside, SPEC, config, run)
    assert fitted.epochs_done == 2
    assert "joined.weight" in read_tensors(run.file(WEIGHTS_FILE))


def test_columns_of_mixed_images_are_mixed(beside: Splits, tmp_path: Path) -> None:
    config = changed(epochs=1, mixup=1.0)
    model, wards = network(), list[torch.Tensor]()
    model.register_forward_pre_hook(lambda _, given: wards.append(given[1][:, 1:]))
    learn(model, beside, SPEC, config, new_run(tmp_path / "run", beside, config))
    assert all(torch.allclose(one.sum(dim=1), torch.ones(len(one))) for one in wards)
    assert any(bool((one[:, 0].frac() > 0).any()) for one in wards)
