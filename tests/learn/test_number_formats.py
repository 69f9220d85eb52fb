"""Device, number format and layout: asked of the hardware, never assumed, and said."""

from __future__ import annotations

import copy
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
import torch
from refusals import refused
from tiny_learning import CONFIG, SPEC, learn, new_run, tiny_net
from torch import nn

from zoo._support.machine import Processor
from zoo.errors import ProviderError
from zoo.learn import _precision as precision_module
from zoo.learn import pick_device
from zoo.learn._counting import Arithmetic, count_kinds
from zoo.learn._images import Feed
from zoo.learn._precision import choose, cpu_has_bf16
from zoo.spec import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.data import Splits

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


class Mixed(nn.Module):
    """A depthwise convolution and a dense one, of which `dense` says how many channels it gives."""

    def __init__(self, dense: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.dense = nn.Conv2d(32, dense, 3, padding=1)
        self.head = nn.Linear(dense, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dense(self.deep(x.expand(-1, 32, -1, -1))).mean((2, 3)))


def of(model: nn.Module, *, size: tuple[int, int] = (16, 16), **config: Any) -> str:
    """What is chosen, in words."""
    spec = msgspec.structs.replace(SPEC, size=size)
    return choose(model, CPU, msgspec.structs.replace(TrainConfig(), **config), spec).text


def test_the_rule_looks_at_processor_and_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two timed steps once decided: 35 starts of one seed gave two models."""
    attention = nn.Sequential(nn.Flatten(), nn.Linear(256, 512), nn.Linear(512, 3))
    for able, dense in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda able=able: able)
        assert of(tiny_net()) == f"cpu, {dense}, channels_last"
        assert of(attention) == f"cpu, {dense}, contiguous"
        assert of(Mixed(64)) == f"cpu, {dense}, channels_last"
        assert of(Mixed(8)) == "cpu, fp32, channels_last"  # most of its time is memory
        assert of(tiny_net(), size=(224, 224)) == of(tiny_net(), size=(8, 8))


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda: True)
    for precision, layout in itertools.product(("fp32", "bf16"), ("contiguous", "channels_last")):
        assert of(tiny_net(), precision=precision, layout=layout) == f"cpu, {precision}, {layout}"
    assert of(tiny_net(), precision="fp32") == "cpu, fp32, channels_last"
    assert of(tiny_net(), layout="contiguous") == "cpu, bf16, contiguous"


def test_no_clock_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for clock in ("time", "perf_counter", "monotonic", "process_time", "thread_time", "time_ns", "perf_counter_ns"):
        monkeypatch.setattr(time, clock, lambda: pytest.fail("a clock decides"))
    of(tiny_net())


def test_bf16_that_will_be_slow_is_granted_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda: False)
    caplog.set_level(logging.WARNING, "zoo")
    assert "bf16" in of(tiny_net(), precision="bf16")
    assert "slower" in caplog.text


def test_a_look_at_the_network_changes_neither_weights_nor_random_numbers() -> None:
    """Else a run whose format is asked for would differ from one that takes the same by the rule."""
    model = tiny_net()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    of(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(part.training for part in model.modules())


def test_kinds_of_arithmetic_are_those_of_the_layers() -> None:
    made = count_kinds(Mixed(8), channels=1, size=(16, 16))
    assert made == Arithmetic(convolved=16 * 16 * 8 * 32 * 9, multiplied=8 * 3, depthwise=16 * 16 * 32)
    upwards = count_kinds(nn.ConvTranspose2d(1, 4, 2, stride=2), channels=1, size=(16, 16))
    assert upwards == Arithmetic(convolved=16 * 16 * 4 * 4, multiplied=0, depthwise=0)
    attention = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.5))
    n, d = 4, 16  # tokens and width: four projections, scores and their use, two layers of the MLP
    assert count_kinds(attention, channels=n, size=(4, 4)).multiplied == 4 * n * d * d + 2 * n * n * d + 2 * n * d * 32


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_training_in_bf16_and_either_layout_gives_back_a_plain_fp32_network(
    stripes: Splits, tmp_path: Path, layout: Literal["contiguous", "channels_last"]
) -> None:
    """The exporter and the safetensors file want contiguous fp32."""
    config = msgspec.structs.replace(CONFIG, precision="bf16", layout=layout, epochs=1)
    model, run = tiny_net(), new_run(tmp_path / "run", stripes)
    fitted = learn(model, stripes, SPEC, config, run)
    assert fitted.precision == run.record.precision == f"cpu, bf16, {layout}"
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    assert model.stem.weight.dtype == torch.float32


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:", "xpu:", "mps:0", "metal", "CUDA", "cpu:0", "", "0"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with refused("device-unknown", ProviderError, device=name):
        pick_device(name)


@pytest.mark.parametrize("name", ["mps", "xpu", "xpu:1"])
def test_another_kind_of_gpu_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with refused("device-missing", ProviderError, device=name):
        pick_device(name)


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU of Apple and two of Intel, as far as torch is asked."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, _: major <= 14)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda _: "Arc")


@pytest.mark.usefixtures("everywhere")
def test_other_kinds_of_gpu_are_taken_by_name_and_never_by_themselves() -> None:
    """Nobody has run them for us."""
    assert [str(pick_device(name)) for name in ("mps", "xpu", "xpu:1")] == ["mps", "xpu:0", "xpu:1"]
    assert pick_device("auto").type in {"cpu", "cuda"}
    with refused("device-missing", ProviderError, device="xpu:2", gpus=2):
        pick_device("xpu:2")


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_several_processes_do_not_share_a_gpu_of_another_kind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with refused("device-alone", ProviderError, device=name):
        pick_device(name)


@pytest.mark.usefixtures("everywhere")
def test_formats_on_other_kinds_of_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def on(name: str, **config: Any) -> str:
        return choose(tiny_net(), torch.device(name), msgspec.structs.replace(TrainConfig(), **config), SPEC).text

    assert on("mps") == "mps (Apple GPU), fp32, contiguous"
    assert on("mps", precision="bf16", layout="channels_last") == "mps (Apple GPU), bf16, channels_last"
    assert on("xpu:1") == "xpu:1 (Arc), bf16, channels_last"
    assert on("xpu:1", precision="fp32", layout="contiguous") == "xpu:1 (Arc), fp32, contiguous"
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: False)
    with refused("precision-unsupported", ProviderError, precision="bf16"):
        on("mps", precision="bf16")


def test_batches_come_in_order_where_images_wait_elsewhere() -> None:
    """Rows in the machine's memory, and a device that is not it: they are fetched ahead in a thread."""
    rows = torch.arange(12.0).view(6, 1, 2, 1)
    order = [torch.tensor([4, 1, 0]), torch.tensor([2]), torch.tensor([5, 3]), torch.tensor([0, 0])]
    found = list(Feed(rows, 3, torch.device("meta"), len(rows)).batches(order))
    assert [(batch.device.type, *batch.shape) for batch in found] == [("meta", len(one), 1, 2, 3) for one in order]


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
