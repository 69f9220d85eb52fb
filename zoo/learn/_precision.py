"""On which device, in which number format and memory layout a run trains; chosen once, then recorded.

The choice is a rule without a clock, so that one seed gives the same bytes each time: it looks at what the processor
computes itself and at what the network is made of. `benchmarks/formats.py` measures what the rule gives away, and
BENCHMARKS.md holds the tables that it was found by. The run's state records the choice, and a resumed run keeps it.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Literal

import msgspec
import torch
from torch import nn

from zoo._support.machine import processor
from zoo.errors import ProviderError
from zoo.learn._beside import image_network
from zoo.learn._counting import Arithmetic, count_kinds
from zoo.preprocess import channels_of
from zoo.spec import PreprocessSpec, TrainConfig

__all__ = [
    "Numerics",
    "autocast",
    "choose",
    "cpu_has_bf16",
    "gains_by_bf16",
    "gains_by_channels_last",
    "layout",
    "pick_device",
]

DENSE_PER_DEPTHWISE = 400
"""Multiply-adds in convolutions and matrix products for each value of depthwise convolutions, above which bf16 gains
what its conversions cost. MobileNets and EfficientNets have 110 to 160 and lose by it, ConvNeXts have 870 and gain."""

CONVOLVED = 0.05
"""Share of convolutions in all multiply-adds above which channels_last gains. A plain transformer, whose convolution
only cuts the picture into patches, has less and gains nothing; with 28 % TinyViT gains a seventh."""

_COUNTED = ("cuda", "xpu")
"""Kinds of GPU of which a machine may have several."""

_MACOS_WITH_BF16 = (14, 0)
"""From which macOS on Apple's GPUs compute bf16 (torch.autocast says so)."""

log = logging.getLogger("zoo")


class Numerics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a run computes. `text` says it to the user and goes into run.json."""

    device: Literal["cpu", "cuda", "xpu", "mps"]
    bf16: bool
    channels_last: bool
    text: str


def pick_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda", "cuda:N", "xpu", "xpu:N" or "mps".

    "auto" is a GPU by CUDA or the CPU: the others we did not run, so they are asked for. Under torchrun each local rank
    takes its own GPU.

    Raises:
        ProviderError: a GPU was asked for and is not there, several processes were started on a kind of GPU whose
            processes we cannot join, or the name is not known.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, index = name.partition(":")
    known = (kind in _COUNTED and (index.isdecimal() or not colon)) or name in {"cpu", "mps"}
    if not known:
        raise ProviderError(
            f"device is '{name}', expected auto, cpu, cuda, cuda:N, xpu, xpu:N or mps",
            code="device-unknown",
            device=name,
        )
    if kind == "cpu":
        return torch.device("cpu")
    if why := _why_missing(kind):
        raise ProviderError(
            f"device '{name}' was asked for, but {why}; give --device cpu or mend the driver",
            code="device-missing",
            device=name,
        )
    if kind != "cuda" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ProviderError(
            f"device '{name}' was asked for with several processes, which train together on cpu or cuda only; start "
            "one process, without torchrun",
            code="device-alone",
            device=name,
        )
    if kind == "mps":
        return torch.device("mps")
    number, count = int(index or os.environ.get("LOCAL_RANK", "0")), getattr(torch, kind).device_count()
    if number >= count:
        raise ProviderError(
            f"device {kind}:{number} was asked for, but there are {count} GPUs; they count from 0",
            code="device-missing",
            device=name,
            gpus=count,
        )
    return torch.device(kind, number)


def _why_missing(kind: str) -> str:
    """Why a GPU of that kind cannot be had; "": it can."""
    if kind == "mps":
        if torch.backends.mps.is_available():
            return ""
        built = torch.backends.mps.is_built()
        return "this Mac has no GPU that PyTorch can use" if built else "this PyTorch has no support for Apple's GPUs"
    if kind == "xpu":
        if torch.xpu.is_available():
            return ""
        built = torch.xpu._is_compiled()  # noqa: SLF001 - torch has no public name for it
        return "PyTorch finds no usable GPU of Intel" if built else "this PyTorch has no support for Intel's GPUs"
    if torch.cuda.is_available():
        return ""
    return "this PyTorch has no CUDA support" if torch.version.cuda is None else "PyTorch finds no usable GPU"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 itself (AVX512-BF16 or AMX); no where that is not known: fp32 is never wrong."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(processor().flags)


def choose(model: nn.Module, device: torch.device, config: TrainConfig, spec: PreprocessSpec) -> Numerics:
    """Decide number format and layout; neither `model` nor the state of any random generator changes.

    Args:
        model: on the CPU, or on `device`.
        device: where it trains.
        config: its precision and layout say what was asked for; auto leaves it to the rule.
        spec: shape of the input.

    Raises:
        ProviderError: bf16 was asked for on a GPU that cannot compute it.
    """
    precision, wanted = config.precision, config.layout
    if device.type != "cpu":
        return _on_gpu(device, precision, wanted)
    able = cpu_has_bf16()
    if precision == "bf16" and not able:
        log.warning("bf16 was asked for, but this CPU has no instructions for it; expect it to be slower than fp32")
    bf16, channels_last = precision == "bf16", wanted == "channels_last"
    if "auto" in {precision, wanted}:
        made = count_kinds(image_network(model), channels=channels_of(spec), size=spec.size)
        bf16 = able and gains_by_bf16(made) if precision == "auto" else bf16
        channels_last = gains_by_channels_last(made) if wanted == "auto" else channels_last
    return _name("cpu", "cpu", bf16, channels_last)


def _on_gpu(device: torch.device, precision: str, wanted: str) -> Numerics:
    """bf16 where the GPU computes it, and channels_last; of Apple's, which nobody has measured for us, plain fp32."""
    kind: Any = device.type
    if kind == "mps":
        able, name = torch.backends.mps.is_macos_or_newer(*_MACOS_WITH_BF16), "Apple GPU"
        form = _name(f"{device} ({name})", kind, precision == "bf16", wanted == "channels_last")
    else:
        asked = {} if kind == "xpu" else {"including_emulation": False}
        able, name = getattr(torch, kind).is_bf16_supported(**asked), getattr(torch, kind).get_device_name(device)
        form = _name(f"{device} ({name})", kind, able and precision != "fp32", wanted != "contiguous")
    if precision == "bf16" and not able:
        raise ProviderError(
            f"{name} cannot compute bf16; give --precision fp32 or auto",
            code="precision-unsupported",
            precision="bf16",
        )
    return form


def gains_by_bf16(made: Arithmetic) -> bool:
    """Whether a network trains faster in bf16 on a CPU that computes it."""
    return made.convolved + made.multiplied > DENSE_PER_DEPTHWISE * made.depthwise


def gains_by_channels_last(made: Arithmetic) -> bool:
    """Whether a network trains faster with its channels last on a CPU."""
    return made.convolved > CONVOLVED * (made.convolved + made.multiplied)


def _name(where: str, device: Literal["cpu", "cuda", "xpu", "mps"], bf16: bool, channels_last: bool) -> Numerics:
    form, order = "bf16" if bf16 else "fp32", "channels_last" if channels_last else "contiguous"
    return Numerics(device=device, bf16=bf16, channels_last=channels_last, text=f"{where}, {form}, {order}")


def autocast(numerics: Numerics, *, keeps: bool = True) -> torch.autocast:
    """The context in which the network runs forward; `keeps`: weights that became bf16 stay so to its end."""
    return torch.autocast(numerics.device, dtype=torch.bfloat16, enabled=numerics.bf16, cache_enabled=keeps)


def layout(numerics: Numerics) -> torch.memory_format:
    """The memory format of weights and batches."""
    return torch.channels_last if numerics.channels_last else torch.contiguous_format
