"""What is said of a run that is there: what it was begun with is compared, what may change is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from made_runs import make_run
from safetensors.numpy import save_file

from zoo import registry
from zoo._support.files import sha256_file
from zoo.runs import RunRecord, open_run
from zoo.spec import Budget, ModelCard
from zoo.workflow import _begin, _resume
from zoo.workflow._changed import find_changed
from zoo.workflow._recipe import configure

HUB = "hf-hub:timm/resnet18.a1_in1k"


def start_of_another(folder: Path, value: float) -> Path:
    """A run with weights of its own."""
    save_file({"w": np.full(3, value, np.float32)}, make_run(folder) / "weights.safetensors")
    return folder


def begun_with(place: Path, name: str, budget: Budget, weights: str) -> tuple[RunRecord, ModelCard]:
    """The record of a run that began so, and the card of the catalogue."""
    card = registry.find(name)
    own = msgspec.structs.replace(card, train=configure(card, budget, {}))
    return open_run(make_run(place, card=own, weights=weights)).record, card


def test_other_weights_are_another_run_whatever_names_them(tmp_path: Path) -> None:
    """A run was once continued or reported as if it had begun with the weights that were named now."""
    first, other = (start_of_another(tmp_path / name, value) for name, value in (("a", 1.0), ("b", 2.0)))
    file = first / "weights.safetensors"
    began = f"file:a/weights.safetensors sha256:{sha256_file(file)}"
    record, card = begun_with(tmp_path / "run", "simple_cnn", {"weights": first}, began)
    for same in (first, str(first), file):
        assert find_changed(record, card, {"weights": same}) is None
    assert find_changed(record, card, {}) is None
    for changed in (other, other / "weights.safetensors", "hf-hub:someone/else"):
        assert find_changed(record, card, {"weights": changed}) == ("--weights", began, str(changed))
    assert find_changed(record, card, {"pretrained": True}) == ("--pretrained", began, None)


@pytest.mark.parametrize(
    ("began", "budget", "flag"),
    [
        (HUB, {"pretrained": True}, None),
        (HUB, {"weights": HUB}, None),
        (HUB, {"weights": "hf-hub:someone/else"}, "--weights"),
        ("hf-hub:someone/else", {"pretrained": True}, "--pretrained"),
        ("file:w.safetensors", {"pretrained": True}, "--pretrained"),
    ],
)
def test_weights_of_the_hub_are_known_by_their_name_and_not_fetched_again(
    tmp_path: Path, began: str, budget: Any, flag: str | None
) -> None:
    record, card = begun_with(tmp_path / "run", "resnet18", {"pretrained": True}, f"{began} sha256:{'0' * 64}")
    found = find_changed(record, card, budget)
    assert (found and found[0]) == flag


def test_what_may_change_of_a_run_is_taken_however_it_is_said(tmp_path: Path) -> None:
    """A run that began on a GPU which is gone was once resumed on that GPU, whatever --device said."""
    card = registry.find("simple_cnn")
    loaded = registry.load(card.plugin)
    run = _begin.begin(_begin.prepare(card, loaded, "digits", {"epochs": 9}), out=tmp_path / "run").run
    began = msgspec.structs.replace(run.record.card.train, device="cuda")
    run.update(status="trained", card=msgspec.structs.replace(run.record.card, train=began))

    def resume(budget: Budget) -> Any:
        config = _resume.resume(loaded, None, budget, path=run.path, skip_bad=False).run.record.card.train
        return config.epochs, config.patience, config.device

    assert resume({"epochs": "auto"}) == (9, 0, "cuda")
    assert resume({"device": "cpu", "settings": {"train.epochs": 5, "patience": 2}}) == (5, 2, "cpu")
    assert resume({"epochs": 7, "settings": {"device": "auto"}}) == (7, 2, "auto")
