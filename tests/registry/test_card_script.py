"""benchmarks/cards.py writes measured numbers into registry.yaml and touches nothing else there."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zoo.errors import CatalogueError
from zoo.registry._catalogue import Distribution, read
from zoo.registry._strict_yaml import read as read_text
from zoo.spec import Latency

ROOT = Path(__file__).resolve().parents[2]
MACHINE = "a CPU, 2 threads, onnxruntime 1.31.1"
LATENCY = f'{{fp32_ms: 12.5, int8_ms: null, machine: "{MACHINE}"}}'


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("cards")


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Ours, as if no latency had been measured yet."""
    copy = tmp_path / "registry.yaml"
    text = (ROOT / "registry.yaml").read_text(encoding="utf-8")
    copy.write_text(re.sub(r", latency: \{fp32_ms[^}]*\}", "", text), encoding="utf-8")
    return copy


def cards(path: Path) -> Any:
    return read(path, Distribution("edgezoo", "0"))


def test_a_latency_is_added_to_its_card_and_nothing_else_changes(script: Any, registry: Path) -> None:
    before = registry.read_text(encoding="utf-8")
    script.write(registry, "mobilenetv2_100", {"latency": LATENCY})
    after = registry.read_text(encoding="utf-8")
    assert after.replace(f", latency: {LATENCY}", "", 1) == before
    found = cards(registry)["mobilenetv2_100"].latency
    assert found == Latency(fp32_ms=12.5, machine=MACHINE)


def test_a_number_that_is_measured_again_takes_the_place_of_the_old_one(script: Any, registry: Path) -> None:
    for value in ("{fp32_ms: 1, machine: m}", LATENCY):
        script.write(registry, "resnet18", {"latency": value, "macs": "1814073344"})
    card = cards(registry)["resnet18"]
    assert card.latency.fp32_ms == 12.5
    assert registry.read_text(encoding="utf-8").count("latency: {fp32_ms") == 1
    assert card.macs == 1814073344


def test_a_machine_that_the_family_names_is_not_written_again(script: Any, registry: Path) -> None:
    machine = read_text(registry.read_text(encoding="utf-8"))["families"]["resnet"]["latency"]["machine"]
    script.write(registry, "resnet18", {"latency": f'{{fp32_ms: 24, int8_ms: 13, machine: "{machine}"}}'})
    assert "latency: {fp32_ms: 24, int8_ms: 13}}" in registry.read_text(encoding="utf-8")
    assert cards(registry)["resnet18"].latency == Latency(fp32_ms=24, int8_ms=13, machine=machine)


def test_a_card_without_numbers_gets_its_first(script: Any, registry: Path) -> None:
    before = cards(registry)["svm"]
    script.write(registry, "svm", {"parameters": "5", "macs": "7"})
    after = cards(registry)
    assert (after["svm"].parameters, after["svm"].macs) == (5, 7)
    assert msgspec.structs.replace(after["svm"], parameters=None, macs=None) == before


def test_writing_what_is_there_already_changes_nothing(script: Any, tmp_path: Path) -> None:
    ours = (ROOT / "registry.yaml").read_bytes()
    copy = tmp_path / "registry.yaml"
    copy.write_bytes(ours)
    for name, card in [*cards(copy).items()][::9]:
        if card.latency is not None:
            latency = card.latency
            int8 = "null" if latency.int8_ms is None else f"{latency.int8_ms:.3g}"
            said = f"{{fp32_ms: {latency.fp32_ms:.3g}, int8_ms: {int8}, machine: {json.dumps(latency.machine)}}}"
            script.write(
                copy, name, {"parameters": f"{card.parameters:.0f}", "macs": f"{card.macs:.0f}", "latency": said}
            )
    assert copy.read_bytes() == ours


def test_a_catalogue_that_would_not_load_is_not_written(script: Any, registry: Path) -> None:
    before = registry.read_text(encoding="utf-8")
    with pytest.raises(CatalogueError, match="latency"):
        script.write(registry, "resnet18", {"latency": "{fp32_ms: soon, machine: m}"})
    assert registry.read_text(encoding="utf-8") == before


def test_no_branch_of_a_network_stays_closed(script: Any) -> None:
    """timm's residual branches begin multiplied by 0 or 1e-6; a gate on such a network proves nothing of them."""
    torch = pytest.importorskip("torch")
    import numpy as np

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    module[1].weight.data.zero_()
    pictures = [np.random.default_rng(seed).normal(seed, 2, (1, 3, 8, 8)).astype(np.float32) for seed in range(4)]
    script.awaken(module, pictures)
    assert not module.training
    factors = module[1].weight.detach()
    assert float(factors.min()) >= 0.1
    with torch.inference_mode():
        answers = module(torch.from_numpy(np.concatenate(pictures)))
    # The statistics are those of the pictures: each channel is as wide as its factor.
    assert torch.allclose(answers.std(dim=(0, 2, 3)), factors, rtol=0.02)
