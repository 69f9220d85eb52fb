"""Device, number format and layout: asked of the hardware, never assumed, and said."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
from refusals import refused
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net

from zoo._support.machine import Processor
from zoo.errors import ProviderError
from zoo.learn import _precision as precision_module
from zoo.learn import pick_device
from zoo.learn._precision import choose, cpu_has_bf16

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits

PROBE = (torch.rand(8, 1, 16, 16), torch.arange(8) % 3)
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "able"),
    [
        ("fpu sse2 avx avx2 fma", False),
        ("avx512f avx512_vnni", False),
        ("avx2 avx512f avx512_bf16", True),
        ("avx512f amx_bf16 amx_tile", True),
    ],
)
def test_bf16_is_taken_on_a_cpu_only_where_it_computes_it(
    flags: str, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an AVX2 machine bf16 is emulated and some 15 times slower than fp32."""
    cpu = Processor("", frozenset(flags.split()), complete=True)
    monkeypatch.setattr(precision_module, "processor", lambda: cpu)
    assert cpu_has_bf16() is able


def test_the_cpu_decides_about_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in (True, False):
        monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda able=able: able)
        assert choose(tiny_net(), CPU, "auto", PROBE, steps=1).bf16 is able
        assert not choose(tiny_net(), CPU, "fp32", PROBE, steps=1).bf16


def test_bf16_that_will_be_slow_is_granted_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda: False)
    caplog.set_level(logging.WARNING, "zoo")
    assert choose(tiny_net(), CPU, "bf16", PROBE, steps=1).bf16
    assert "slower" in caplog.text


def test_timing_the_layouts_changes_neither_weights_nor_random_numbers() -> None:
    """Else a long run could not be repeated."""
    model = tiny_net()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    numerics = choose(model, CPU, "fp32", PROBE, steps=1000)
    assert "measured" in numerics.text
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_short_run_is_not_held_up_by_timing() -> None:
    assert choose(tiny_net(), CPU, "fp32", PROBE, steps=10).text == "cpu, fp32, contiguous"


@pytest.mark.parametrize("channels_last", [True, False])
def test_training_in_bf16_and_either_layout_gives_back_a_plain_fp32_network(
    stripes: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels_last: bool
) -> None:
    """The exporter and the safetensors file want contiguous fp32."""
    monkeypatch.setattr(precision_module, "PROBE_STEPS", 0)
    gain = 2.0 if channels_last else 0.5
    monkeypatch.setattr(precision_module, "_channels_last_gain", lambda *_, **__: gain)
    config = msgspec.structs.replace(CONFIG, precision="bf16", epochs=1)
    model = tiny_net()
    fitted = learn(model, stripes, SPEC, config, new_run(tmp_path / "run", stripes))
    assert f"bf16, {'channels_last' if channels_last else 'contiguous'} (" in fitted.precision
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    assert model.stem.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with refused("device-unknown", ProviderError, device=name):
        pick_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_trains_and_the_network_comes_back_to_the_cpu(stripes: Splits, tmp_path: Path) -> None:
    config = msgspec.structs.replace(CONFIG, device="cuda", precision="auto", epochs=8)
    model = tiny_net()
    fitted = learn(model, stripes, SPEC, config, new_run(tmp_path / "run", stripes))
    assert "channels_last" in fitted.precision
    assert fitted.best.value is not None
    assert fitted.best.value > 0.8
    assert next(model.parameters()).device == CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_number_that_is_not_there_is_refused() -> None:
    with refused("device-missing", ProviderError, device="cuda:99"):
        pick_device("cuda:99")
