"""Training throughput as ratios, measured in one run on one machine.

`python benchmarks/training.py FOLDER` trains a ResNet-18 four times over the same number of steps:
ours       zoo.learn.fit on real JPEGs, complete: decoded once, augmentation, clipping, moving average
streamed   the same, every image decoded anew in each epoch (--set cache=stream)
plain      fp32 PyTorch with torchvision's ImageFolder and DataLoader on the same files, as tutorials write it
synthetic  our step on one tensor that is already there: what the loop could do if data cost nothing
The first epoch warms up, the second one counts. The four take turns; the medians of the rounds are compared.
With --cpu images are counted over the processor's time, as many cores as there are threads taken for one second, which
other work on the machine changes little; workers of the plain loop's DataLoader are then none, so that all is counted.
On a CPU with neither AVX512-BF16 nor AMX, bf16 has nothing to give and the bar against plain is out of reach.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import timm
import torch
import torchvision
from torch.nn import functional
from torchvision import transforms

from zoo.data import Splits, decode_all, open_data
from zoo.learn import fit, pick_device
from zoo.learn._averaging import moving_average
from zoo.learn._optim import adamw
from zoo.learn._precision import autocast, choose, layout
from zoo.runs import Callback, RunRecord, Step, TrainContext, create_run
from zoo.spec import ModelCard, PluginOrigin, PreprocessSpec, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VALIDATED = 8
"""Validation is part of neither side."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared/data/pbc8/folder")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=6, help="steps that count, in each round")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--cpu", action="store_true", help="the time computed, not the time that passes")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    options = parser.parse_args()
    global clock  # noqa: PLW0603 - of the program
    if options.smallest:
        options.size, options.steps, options.batch_size, options.workers = 32, 2, 4, 0

    if options.cpu:
        options.workers = 0
        clock = computed
    device = pick_device(options.device)
    config = TrainConfig(epochs=2, batch_size=options.batch_size, device=options.device, patience=0)
    spec = PreprocessSpec(size=(options.size, options.size), mean=MEAN, std=STD)
    images = options.steps * options.batch_size
    data = few(open_data(options.folder), images)
    print(f"{processor()}, {torch.get_num_threads()} threads; torch {torch.__version__}; {device}")
    what = f"{options.steps} steps of {options.batch_size}, {options.rounds} round(s)"
    print(f"ResNet-18, {options.size} px, {what}\n")

    rates: dict[str, list[float]] = {"ours": [], "streamed": [], "plain": [], "synthetic": []}
    decoding, precision = 0.0, ""
    for _ in range(options.rounds):
        decoding = decode_seconds(data, spec)
        rate, precision = ours(data, spec, msgspec.structs.replace(config, cache="memory"))
        rates["ours"].append(rate)
        rates["streamed"].append(ours(data, spec, msgspec.structs.replace(config, cache="stream"))[0])
        rates["plain"].append(plain(options.folder, images, config, options, device))
        rates["synthetic"].append(synthetic(len(data.labels), spec, config, options.steps, device))
    speed = {name: statistics.median(values) for name, values in rates.items()}

    print(f"{'':<12}{'images/s':>9}")
    for name, value in speed.items():
        print(f"{name:<12}{value:>9.1f}")
    print(f"ours took: {precision}; decoding {images} images took {decoding:.2f} s, once a run\n")
    bars = [
        ("ours / synthetic", speed["ours"] / speed["synthetic"], 0.95 if device.type == "cpu" else 0.9),
        ("streamed / ours", speed["streamed"] / speed["ours"], 0.8),
    ]
    if device.type == "cpu":
        bars.insert(0, ("ours / plain", speed["ours"] / speed["plain"], 2.4))
    print(f"{'':<20}{'ratio':>7}{'bar':>7}")
    for name, ratio, bar in bars:
        print(f"{name:<20}{ratio:>7.2f}{bar:>7.2f}  {'met' if ratio >= bar else 'missed'}")


def few(data: Splits, images: int) -> Splits:
    """As many training images as the steps need, spread over the classes."""
    if len(data.train) < images:
        raise SystemExit(f"{len(data.train)} training images, expected at least {images}; take fewer --steps")
    chosen = torch.linspace(0, len(data.train) - 1, images).long().numpy()
    return replace(data, train=data.train.subset(chosen), val=data.val.subset(range(VALIDATED)))


def decode_seconds(data: Splits, spec: PreprocessSpec) -> float:
    start = clock()
    decode_all(data.train, spec)
    return clock() - start


def ours(data: Splits, spec: PreprocessSpec, config: TrainConfig) -> tuple[float, str]:
    """Images per second of the second epoch of a real `fit`, from its own history.csv."""
    with tempfile.TemporaryDirectory() as folder:
        record = RunRecord(
            id="benchmark",
            status="training",
            started="2026-01-01T00:00:00Z",
            card=ModelCard(name="resnet18", plugin="", arch="", family="", summary="", preprocess=spec, train=config),
            labels=data.labels,
            kind=data.kind,
            source="",
            data=data.fingerprint,
            plugin=PluginOrigin(name="", distribution="", version=""),
            versions={},
        )
        run = create_run(Path(folder) / "run", record)
        torch.manual_seed(0)
        model = timm.create_model("resnet18", num_classes=len(data.labels))
        marks = Marks()
        fitted = fit(model, data, spec, config, run, TrainContext(callbacks=(marks,)))
        if clock is computed:
            return marks.rate, fitted.precision
        header, *rows = run.file("history.csv").read_text().splitlines()
        return float(rows[-1].split(",")[header.split(",").index("images_per_second")]), fitted.precision


class Marks(Callback):
    """Images over the clock's time from the first to the last step of an epoch; the last epoch counts."""

    rate = start = images = 0.0

    def step(self, step: Step) -> None:
        """Note the time."""
        if step.step == 1:
            self.start, self.images = clock(), 0.0
        else:
            self.images += step.images
            self.rate = self.images / (clock() - self.start)


def computed() -> float:
    """Seconds of the processor, as if all threads shared them."""
    return time.process_time() / torch.get_num_threads()


clock = time.perf_counter


def plain(folder: Path, images: int, config: TrainConfig, options: argparse.Namespace, device: torch.device) -> float:
    """The loop of a tutorial: every image decoded and resized again in every epoch, fp32, contiguous."""
    steps = transforms.Compose(
        [
            transforms.Resize(options.size),
            transforms.CenterCrop(options.size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    everything = torchvision.datasets.ImageFolder(folder / "train", steps)
    chosen = torch.linspace(0, len(everything) - 1, images).long().tolist()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(everything, chosen),
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    model = timm.create_model("resnet18", num_classes=len(everything.classes)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr)
    seconds = 0.0
    for _ in range(2):
        start = clock()
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x.to(device)), y.to(device))
            loss.backward()
            optimizer.step()
        wait(device)
        seconds = clock() - start
    return images / seconds


def synthetic(classes: int, spec: PreprocessSpec, config: TrainConfig, steps: int, device: torch.device) -> float:
    """Our step in the format and layout that our loop takes, on one batch of noise."""
    model = timm.create_model("resnet18", num_classes=classes).to(device).train()
    x = torch.randn(config.batch_size, 3, *spec.size, device=device)
    y = torch.arange(config.batch_size, device=device) % classes
    numerics = choose(model, device, config, spec)
    model.to(memory_format=layout(numerics))
    x = x.contiguous(memory_format=layout(numerics))
    average, optimizer = moving_average(model, config.ema), adamw(model, config)
    seconds = 0.0
    for _ in range(2):
        wait(device)
        start = clock()
        for _ in range(steps):
            with autocast(numerics):
                logits = model(x)
            functional.cross_entropy(logits.float(), y, label_smoothing=config.label_smoothing).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(model)
        wait(device)
        seconds = clock() - start
    return steps * config.batch_size / seconds


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor() -> str:
    """Name of the CPU and those of its instruction sets that decide about training speed."""
    from zoo._support import machine

    cpu = machine.processor()
    telling = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
    return f"{cpu.name} ({' '.join(flag for flag in telling if flag in cpu.flags) or 'no wide vectors'})"


if __name__ == "__main__":
    main()
