"""On which device, in which number format and memory layout a run trains; chosen once, then recorded.

bf16 is taken where the hardware computes it, found by asking the hardware: on a CPU without such instructions
it is emulated and many times slower. Channels-last is a gain on some CPUs and a loss on others, and only
a trial tells which; so a few steps are timed. The run's state records the choice, and a resumed run
keeps it.
"""

from __future__ import annotations

import copy
import logging
import os
import time
from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from zoo._support.machine import processor
from zoo.errors import ProviderError
from zoo.learn._objective import loss

__all__ = ["Numerics", "autocast", "choose", "cpu_has_bf16", "layout", "pick_device"]

PROBE_STEPS = 60
"""A run of fewer steps is over before timing the layouts would have paid."""
PROBE_IMAGES = 16
TIMED_STEPS = 2
WORTH_IT = 1.03
"""A gain below this is within what two steps can be timed to."""

log = logging.getLogger("zoo")


class Numerics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a run computes. `text` says it to the user and goes into run.json."""

    device: Literal["cpu", "cuda"]
    bf16: bool
    channels_last: bool
    text: str


def pick_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "cuda:N"; under torchrun each local rank takes its own GPU.

    Raises:
        ProviderError: a GPU was asked for and is not there, or the name is not known.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if name == "cpu":
        return torch.device("cpu")
    if kind != "cuda" or (":" in name and not index.isdecimal()):
        raise ProviderError(
            f"device is '{name}', expected auto, cpu, cuda or cuda:N", code="device-unknown", device=name
        )
    if not torch.cuda.is_available():
        built = "this PyTorch has no CUDA support" if torch.version.cuda is None else "PyTorch finds no usable GPU"
        raise ProviderError(
            f"device '{name}' was asked for, but {built}; give --device cpu or mend the driver",
            code="device-missing",
            device=name,
        )
    number = int(index or os.environ.get("LOCAL_RANK", "0"))
    if number >= torch.cuda.device_count():
        raise ProviderError(
            f"device cuda:{number} was asked for, but there are {torch.cuda.device_count()} GPUs; they count from 0",
            code="device-missing",
            device=name,
            gpus=torch.cuda.device_count(),
        )
    return torch.device("cuda", number)


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 itself (AVX512-BF16 or AMX); no where that is not known: fp32 is never wrong."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(processor().flags)


def choose(
    model: nn.Module,
    device: torch.device,
    precision: Literal["auto", "fp32", "bf16"],
    probe: tuple[Tensor, Tensor],
    *,
    steps: int,
) -> Numerics:
    """Decide number format and layout; neither `model` nor the state of any random generator changes.

    Args:
        model: on `device`.
        device: where it trains.
        precision: what was asked for.
        probe: (N, C, H, W) float32 and its targets, int64 as `zoo.learn._objective.loss` takes them: a batch to time
            on.
        steps: length of the whole run.

    Raises:
        ProviderError: bf16 was asked for on a GPU that cannot compute it.
    """
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bf16" and not able:
            raise ProviderError(
                f"{torch.cuda.get_device_name(device)} cannot compute bf16; give --precision fp32 or auto",
                code="precision-unsupported",
                precision="bf16",
            )
        bf16 = able and precision != "fp32"
        name = f"{device} ({torch.cuda.get_device_name(device)})"
        return Numerics(
            device="cuda",
            bf16=bf16,
            channels_last=True,
            text=f"{name}, {'bf16' if bf16 else 'fp32'}, channels_last",
        )
    able = cpu_has_bf16()
    bf16 = precision == "bf16" or (precision == "auto" and able)
    if bf16 and not able:
        log.warning("bf16 was asked for, but this CPU has no instructions for it; expect it to be slower than fp32")
    form = "bf16" if bf16 else "fp32"
    if steps <= PROBE_STEPS:
        return Numerics(device="cpu", bf16=bf16, channels_last=False, text=f"cpu, {form}, contiguous")
    gain = _channels_last_gain(model, device, probe, bf16=bf16)
    if gain > WORTH_IT:
        text = f"cpu, {form}, channels_last ({gain:.2f} × contiguous, measured)"
    else:
        text = f"cpu, {form}, contiguous (channels_last is {gain:.2f} × as fast, measured)"
    return Numerics(device="cpu", bf16=bf16, channels_last=gain > WORTH_IT, text=text)


def autocast(numerics: Numerics) -> torch.autocast:
    """The context in which the network runs forward."""
    return torch.autocast(numerics.device, dtype=torch.bfloat16, enabled=numerics.bf16)


def layout(numerics: Numerics) -> torch.memory_format:
    """The memory format of weights and batches."""
    return torch.channels_last if numerics.channels_last else torch.contiguous_format


def _channels_last_gain(model: nn.Module, device: torch.device, probe: tuple[Tensor, Tensor], *, bf16: bool) -> float:
    """Time of a contiguous step divided by that of a channels-last step."""
    images, targets = probe[0][:PROBE_IMAGES], probe[1][:PROBE_IMAGES]
    seconds = {}
    with torch.random.fork_rng(devices=[]):  # dropout in the probe must not move the run's own random numbers
        for form in (torch.contiguous_format, torch.channels_last):
            trial = copy.deepcopy(model).train().to(memory_format=form)
            x = images.contiguous(memory_format=form)
            times = []
            for _ in range(1 + TIMED_STEPS):
                start = time.perf_counter()
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                    error = loss(trial(x).float(), targets)
                error.backward()  # type: ignore[no-untyped-call]
                times.append(time.perf_counter() - start)
            seconds[form] = min(times[1:])  # the first step also builds its kernels
    return seconds[torch.contiguous_format] / seconds[torch.channels_last]
