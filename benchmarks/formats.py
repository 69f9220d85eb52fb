"""What each number format and memory layout of a training step gains on this processor, and what our rule takes.

`python benchmarks/formats.py [MODEL:SIZE:BATCH ...]` builds each network untrained and times whole steps (forward,
backward, clipping, AdamW, moving average) in fp32 and bf16, contiguous and channels_last. The four take turns step by
step, so that other work on the machine hits all alike, and each gain is the median over turns of fp32 contiguous over
the form. By default one thread is timed by the time it computes, which a busy machine changes least; `--threads 2
--wall` times as a user waits. `kept` is the gain of what `zoo.learn._precision` takes over the best of the four:
1.00 is the best choice.

The instructions of an older processor are tried on a newer one by ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
and --flags "avx2 fma", which tells the rule.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import msgspec
import torch
from torch import nn
from torch.nn import functional

from zoo import info
from zoo._support import machine
from zoo.learn import _precision
from zoo.learn._averaging import moving_average
from zoo.learn._optim import adamw
from zoo.learn._precision import Numerics, autocast, choose, layout
from zoo.registry import load
from zoo.spec import PreprocessSpec, TrainConfig

CPU = torch.device("cpu")
CLASSES = 10
MODELS = (
    "simple_cnn:28:32", "simple_cnn:64:32", "simple_cnn:224:4", "resnet18:28:16", "resnet18:64:8", "resnet18:224:4",
    "vgg11_bn:224:2", "densenet121:224:2", "regnety_004:224:4", "resnext50_32x4d:224:2", "cs3darknet_focus_s:224:4",
    "tf_efficientnet_lite0:96:16", "tf_efficientnet_lite0:224:4", "mobilenetv2_100:96:16",
    "mobilenetv3_small_100:224:8", "ghostnet_100:224:4", "convnext_atto:224:4", "vit_tiny_patch16_224:224:4",
    "swin_tiny_patch4_window7_224:224:2", "mobilevit_xxs:256:2", "unet_resnet18:224:2", "vig_mini:64:8",
)  # fmt: skip
WARM_UP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL:SIZE:BATCH", default=MODELS)
    parser.add_argument("--seconds", type=float, default=20, help="for each network")
    parser.add_argument("--turns", type=int, default=5, help="at least as many, however long they take")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="the time that passes, not the time computed")
    parser.add_argument("--flags", help="what the rule is told of the processor")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    if asked.smallest:
        asked.models, asked.seconds, asked.turns = ["simple_cnn:8:2"], 0.0, 1
    torch.set_num_threads(asked.threads)
    if asked.flags is not None:
        told = machine.processor()._replace(flags=frozenset(asked.flags.split()))
        _precision.processor = lambda: told  # type: ignore[assignment]
    clock = time.perf_counter if asked.wall else time.process_time
    what = "wall" if asked.wall else "CPU"
    print(f"{machine.processor().name}; torch {torch.__version__}; {asked.threads} threads, {what} time of a step\n")
    forms = "fp32 contiguous | fp32 channels_last | bf16 contiguous | bf16 channels_last"
    print(f"| network, px, batch | {forms} | rule | kept |\n{'|---' * 7}|")
    for model in asked.models:
        print(measure(model, clock, asked.seconds, asked.turns), flush=True)


def measure(model: str, clock: object, seconds: float, turns: int) -> str:
    """One row of the table."""
    network, spec, batch = untrained(model)
    taken = choose(network, CPU, TrainConfig(), spec)
    forms = [Numerics(device="cpu", bf16=b, channels_last=c, text="") for b in (False, True) for c in (False, True)]
    steps = [Step(network, form, spec, batch) for form in forms]
    times: list[list[float]] = [[] for _ in forms]
    end, turn = time.perf_counter() + seconds, 0
    while turn < WARM_UP + turns or time.perf_counter() < end:
        for k in range(len(forms)):
            which = (k + turn) % len(forms)
            start = clock()  # type: ignore[operator]
            steps[which]()
            times[which].append(clock() - start)  # type: ignore[operator]
        turn += 1
    counted = [one[WARM_UP:] for one in times]
    gains = [statistics.median(base / own for base, own in zip(counted[0], one, strict=True)) for one in counted]
    at = next(k for k, one in enumerate(forms) if (one.bf16, one.channels_last) == (taken.bf16, taken.channels_last))
    cells = [f"{statistics.median(counted[0]) * 1e3:.0f} ms", *(f"{gain:.2f}" for gain in gains[1:])]
    kept = f"{gains[at] / max(gains):.2f}"
    return f"| {model.replace(':', ', ')} | {' | '.join((*cells, taken.text.partition(', ')[2], kept))} |"


def untrained(model: str) -> tuple[nn.Module, PreprocessSpec, int]:
    """The network that MODEL:SIZE:BATCH names, its input and its batch."""
    name, size, batch = model.split(":")
    card = info(name)
    card = msgspec.structs.replace(
        card, preprocess=msgspec.structs.replace(card.preprocess, size=(int(size), int(size)))
    )
    torch.manual_seed(0)
    network = load(card.plugin).plugin.build(card, classes=CLASSES, channels=len(card.preprocess.mean))
    return network, card.preprocess, int(batch)


def build(model: str) -> Step:
    """A step of MODEL:SIZE:BATCH as the rule takes it."""
    network, spec, batch = untrained(model)
    return Step(network, choose(network, CPU, TrainConfig(), spec), spec, batch)


class Step:
    """A whole step of training on one batch of noise.

    Args:
        network: copied.
        numerics: number format and layout.
        spec: what the input is.
        batch: images.
    """

    def __init__(self, network: nn.Module, numerics: Numerics, spec: PreprocessSpec, batch: int) -> None:
        self.model = copy.deepcopy(network).train().to(memory_format=layout(numerics))  # type: ignore[call-overload]
        self.numerics, self.config = numerics, TrainConfig()
        self.optimizer, self.average = adamw(self.model, self.config), moving_average(self.model, self.config.ema)
        self.x = torch.randn(batch, len(spec.mean), *spec.size).contiguous(memory_format=layout(numerics))
        self.y = torch.arange(batch) % CLASSES

    def __call__(self) -> None:
        """Do it."""
        with autocast(self.numerics):
            logits = self.model(self.x)
        functional.cross_entropy(logits.float(), self.y, label_smoothing=self.config.label_smoothing).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.model)


if __name__ == "__main__":
    main()
