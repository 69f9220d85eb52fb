"""What a work costs past one machine, and what grows with the number of images.

    python benchmarks/scale.py                                          # the tables of docs/scale.md, in Markdown
    python benchmarks/scale.py --images 1e8 --nodes 64 --cores 32 --hour 1.36    # a plan of your own
    python benchmarks/scale.py --measure --sizes 10000 100000 1000000   # measure anew into docs/scale/rates.json
    python benchmarks/scale.py --page docs/scale.md                     # put the tables into the page

Rates are measured on one node, in processor time: decoding and answering an image, a training step, a task of Ray. The
calculation is in `planning.py`. What grows is measured in processes of its own: the index of a folder, the search for
copies, the listing of a batch, the report with its bootstrap. Each gets an exponent and the value at 10^8.
The search runs by buckets at every size, as it does beyond 100 000 images; its pictures are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
from planning import (
    Layout,
    Machine,
    Plan,
    Prices,
    Rates,
    extrapolate,
    fit_power,
    is_flat,
    plan_prediction,
    plan_training,
    say_bytes,
    say_time,
)

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "scale" / "rates.json"
CPU = Machine("16 cores", 16, 0, 10, 0.68)
"""c5.4xlarge on demand, in an example of the Amazon EC2 Auto Scaling User Guide; its network is "up to 10 Gigabit"."""
GPU = Machine("96 cores, 8 A100", 96, 8, 400, 14.75, predicts=3382, trains=2470)
"""p4d.24xlarge as a capacity block, AWS price list of late 2024. NVIDIA DeepLearningExamples, ResNet-50 in PyTorch with
mixed precision: training on one A100; answers of one V100, because that page has none of an A100."""
NODES = (1, 8, 64)
TARGET = 1e8
BEGIN, END = "<!-- scale.py: begin -->\n", "<!-- scale.py: end -->\n"
STEP = "resnet18:224:16"
SIDE, DRAWN, LINKED = 512, 64, 1000
WARM = 60
TASKS = 50, 350
"""Few and many tasks of Ray; what starting takes drops out of their difference."""
LISTING = "listing of a batch, from a table"
WORDS = {"folder": "a folder", "table": "a table of paths", "shards": "tar shards"}
LAYOUTS: tuple[tuple[Machine, Layout, int], ...] = (
    (CPU, "folder", 1), (CPU, "table", 1), (CPU, "shards", 1), (CPU, "table", 16), (GPU, "table", 16),
)  # fmt: skip
"""Machine, layout and prefixes of the rows that the page shows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=float, help="to be labelled; to train on, with --epochs")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=CPU.cores, help="of a node")
    parser.add_argument("--gpus", type=int, default=0, help="of a node")
    parser.add_argument("--gpu-rate", type=float, default=0.0, metavar="X", help="images a second of one GPU")
    parser.add_argument("--gigabits", type=float, default=CPU.gigabits, help="a second, of a node's network")
    parser.add_argument("--hour", type=float, default=CPU.hour, help="price of a node for an hour")
    parser.add_argument("--gigabyte", type=float, default=0.0, help="price of 10^9 bytes out of the storage")
    parser.add_argument("--layout", choices=get_args(Layout), default="table", help="how images lie in the storage")
    parser.add_argument("--prefixes", type=int, default=1, help="parts of the bucket that S3 serves apart")
    parser.add_argument("--epochs", type=int, help="train instead of predict")
    parser.add_argument("--rates", type=Path, default=KEPT, help="the file of what was measured")
    parser.add_argument("--measure", action="store_true", help="measure, and write the file of --rates")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--machine", default="this machine", help="its name, for the tables")
    parser.add_argument("--page", type=Path, help="the Markdown page that gets the tables")
    parser.add_argument("--grow", nargs=2, metavar=("WHAT", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    if asked.grow:
        GROWS[asked.grow[0]](WARM)  # what is imported is not what grows
        print(json.dumps(GROWS[asked.grow[0]](int(asked.grow[1]))))
        return
    if asked.measure or asked.smallest:
        sizes = [60, 120] if asked.smallest else asked.sizes
        found = measure(sizes, asked.machine, smallest=asked.smallest)
        asked.rates.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(asked.rates.read_text(encoding="utf-8"))
    if asked.images:
        print("\n".join(one_plan(asked, read_rates(kept))))
        return
    text = "\n".join(tables(kept)) + "\n"
    if asked.page:
        asked.page.write_text(renew(asked.page.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(text, end="")


def read_rates(kept: dict[str, Any]) -> Rates:
    """The rates of the file."""
    last = kept["growth"][LISTING][-1]
    line = last["seconds"] / last["n"] * 1e3
    return Rates(**kept["rates"], line=line)


def renew(page: str, text: str) -> str:
    """The page with `text` between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def tables(kept: dict[str, Any]) -> Iterator[str]:
    """All tables of the page."""
    rates, prices = read_rates(kept), Prices()
    yield f"Measured on {kept['machine']}, {kept['date']}, load {kept['load']:.1f}, in processor time:"
    yield from ("", "| what | rate |", "|---|---|")
    yield f"| decode one JPEG of {SIDE} px | {rates.decode:.1f} ms |"
    yield f"| answer it by the exported file, {kept['model']} | {rates.answer:.1f} ms |"
    yield f"| train on it, {kept['model']}, as the training chooses number format and layout | {rates.step:.1f} ms |"
    yield f"| hand out one task, Ray's driver | {rates.task:.1f} ms |"
    yield f"| a file; a row of its answer | {say_bytes(rates.image)}; {say_bytes(rates.row)} |"
    head = "time | limited by | next | cost |\n|---|---|---|---|---|---|"
    yield f"\nLabel 10^8 images, in parts of 1000:\n\n| nodes | of | images lie in | {head}---|"
    for machine, layout, prefixes in LAYOUTS:
        for nodes in NODES:
            plan = plan_prediction(1e8, nodes, machine, rates, prices, layout=layout, prefixes=prefixes)
            yield _row(plan, machine, f"{WORDS[layout]}{f', {prefixes} prefixes' if prefixes > 1 else ''} | ")
    yield f"\nTrain on 10^7 images for 20 epochs, from tar shards:\n\n| nodes | of | {head}"
    for machine in (CPU, GPU):
        for nodes in NODES:
            yield _row(plan_training(1e7, nodes, machine, rates, prices), machine, "")
    yield from _show_growth(kept["growth"])


def _show_growth(growth: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    sizes = sorted({one["n"] for rows in growth.values() for one in rows})
    yield "\nWhat grows with the number of images n, on one machine:\n"
    measured = " | ".join(f"n = {size:,}".replace(",", " ") for size in sizes)
    yield f"| what | {measured} | grows as | at 10^8 |\n|---|{'---|' * len(sizes)}---|---|"
    for name, rows in growth.items():
        run = [one["n"] for one in rows]
        for unit, say in (("bytes", say_bytes), ("seconds", say_time)):
            values = [one[unit] for one in rows]
            known = dict(zip(run, map(say, values), strict=True))
            told = "flat", "flat"
            if not is_flat(run, values):
                told = f"n^{fit_power(run, values)[1]:.2f}", say(extrapolate(run, values, TARGET))
            what = f"{name}, {'memory' if unit == 'bytes' else 'processor time'}"
            yield f"| {what} | {' | '.join(known.get(size, '–') for size in sizes)} | {' | '.join(told)} |"


def _row(plan: Plan, machine: Machine, lie: str) -> str:
    order = sorted({**plan.stages, "listing": plan.listing}.items(), key=lambda stage: -stage[1])
    return (
        f"| {plan.nodes} | {machine.name} | {lie}{say_time(plan.seconds)} | {order[0][0]} | "
        f"{order[1][0]}, {say_time(order[1][1])} | ${plan.cost:,.0f} |"
    )


def one_plan(asked: argparse.Namespace, rates: Rates) -> Iterator[str]:
    """Every stage of one plan."""
    rate = asked.gpu_rate
    machine = Machine("yours", asked.cores, asked.gpus, asked.gigabits, asked.hour, predicts=rate, trains=rate)
    if asked.gpus and not rate:
        sys.exit("--gpus needs --gpu-rate: how many images a second one of them answers, or trains on")
    prices = Prices(gigabyte=asked.gigabyte)
    if asked.epochs:
        plan = plan_training(asked.images, asked.nodes, machine, rates, prices, epochs=asked.epochs)
    else:
        plan = plan_prediction(
            asked.images, asked.nodes, machine, rates, prices, layout=asked.layout, prefixes=asked.prefixes
        )
    yield "| stage | time |\n|---|---|"
    yield from (f"| {stage} | {say_time(seconds)} |" for stage, seconds in plan.stages.items())
    yield f"| listing, before them | {say_time(plan.listing)} |"
    yield f"\n{say_time(plan.seconds)}, limited by {plan.bottleneck}"
    yield f"${plan.cost:,.2f}, ${plan.requests:,.2f} of it requests and traffic"


def measure(sizes: Sequence[int], machine: str, *, smallest: bool) -> dict[str, Any]:
    """Everything that the file of rates holds."""
    step, tasks = ("simple_cnn:8:2", (2, 4)) if smallest else (STEP, TASKS)
    rates = {**measure_images(step), "step": measure_step(step), "task": measure_tasks(*tasks)}
    growth = {}
    for what in GROWS:
        growth[what] = [{"n": size, **child(what, size)} for size in sizes]
        print(f"{what}: {growth[what]}", file=sys.stderr, flush=True)
    return {
        "machine": machine,
        "date": f"{datetime.now(UTC):%-d %B %Y}",
        "load": os.getloadavg()[0],
        "model": "{}, {} px".format(*step.split(":")),
        "rates": {name: float(f"{value:.3g}") for name, value in rates.items()},
        "growth": growth,
    }


def measure_images(step: str) -> dict[str, float]:
    """Decoding, answering, and what files, rows and the network weigh."""
    import zoo
    from zoo.readers import read

    name, size, _ = step.split(":")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        draw_images(folder, DRAWN)
        run = zoo.train(name, folder, size=int(size), epochs=1, out=Path(scratch) / "run", batch_size=4)
        files = sorted(folder.rglob("*.jpg"))
        start = time.process_time()
        for file in files:
            read(file)
        decoded = time.process_time()
        model = zoo.open(Path(run.run) / "model.onnx")
        opened = time.process_time()
        rows = [answer.row() for answer in model.predict(files)]
        done = time.process_time()
        weights = Path(run.run) / "weights.safetensors"
        return {
            "decode": (decoded - start) / len(files) * 1e3,
            "answer": max(done - opened - (decoded - start), 1e-6) / len(files) * 1e3,
            "image": sum(file.stat().st_size for file in files) / len(files),
            "row": len(json.dumps(rows)) / len(rows),
            "parameters": weights.stat().st_size / 4,
        }


def draw_images(folder: Path, n: int) -> None:
    """`n` JPEGs of two classes; noise of several scales makes them as large as photographs."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(n):
        layers = [
            np.asarray(Image.fromarray(rng.integers(0, 256, (k, k, 3), np.uint8)).resize((SIDE, SIDE)), np.float32)
            for k in (4, 16, 64, 256)
        ]
        picture = np.average(layers, axis=0, weights=(4, 3, 2, 1)) * (0.7 + 0.3 * (i % 2))
        place = folder / f"class {i % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(place / f"{i}.jpg", quality=90)


def measure_step(step: str) -> float:
    """Milliseconds of one core that a training step takes for an image."""
    import torch
    from formats import build

    torch.set_num_threads(1)
    network, batch = build(step), int(step.rpartition(":")[2])
    network()
    times = []
    for _ in range(3):
        start = time.process_time()
        network()
        times.append(time.process_time() - start)
    return float(np.median(times)) / batch * 1e3


def measure_tasks(few: int, many: int) -> float:
    """Milliseconds that pass for one more task of an actor of Ray Data that does nothing.

    Driver, scheduler and actor share this machine, so on a cluster it is less.
    """
    from zoo.workflow._ray import connect

    with connect() as ray:
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False

        class Nothing:
            def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
                return batch

        def run(tasks: int) -> float:
            start = time.perf_counter()
            parts = ray.data.from_items([{"part": k} for k in range(tasks)], override_num_blocks=tasks)
            answered = parts.map_batches(Nothing, batch_size=1, compute=ActorPoolStrategy(size=1))
            for _ in answered.iter_rows():
                pass
            return time.perf_counter() - start

        run(few)
        return (run(many) - run(few)) / (many - few) * 1e3


def child(what: str, size: int) -> dict[str, float]:
    """One measurement of growth, in a process of its own."""
    command = [sys.executable, __file__, "--grow", what, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{what} of {size}: {done.stderr[-500:]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _watch(work: Callable[[], object]) -> dict[str, float]:
    """Memory that `work` adds at its peak, and its processor time, helper processes included."""

    def read_time() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(sum(one[:2]) for one in used)

    def read_peak() -> float:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024.0

    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is what is there now
    before, start = read_peak(), read_time()
    held = work()
    peak, busy = read_peak() - before, read_time() - start
    del held
    return {"bytes": max(peak, 1.0), "seconds": float(f"{max(busy, 1e-4):.3g}")}


def grow_index(n: int) -> dict[str, float]:
    """A folder of small PNGs, from the system's file cache, without an index cache; a thousand files, linked again."""
    from data import make

    from zoo.data._named import index

    os.environ["ZOO_CACHE_GB"] = "0"
    with tempfile.TemporaryDirectory() as scratch:
        first = min(n, LINKED)
        make(Path(scratch), first)
        files = sorted(Path(scratch).rglob("*.png"))
        for k in range(1, -(-n // first)):
            for file in files[: n - k * first]:
                place = file.parent / str(k)
                place.mkdir(exist_ok=True)
                os.link(file, place / file.name)
        return _watch(lambda: index(Path(scratch)))


def grow_search(n: int) -> dict[str, float]:
    """The search for near copies among drawn pictures."""
    from zoo.data.audit._search import near_pairs
    from zoo.data.audit._spectrum import TERMS, whiten

    spectra = np.random.default_rng(0).standard_normal((n, TERMS, TERMS), np.float32).astype(np.float16)
    return _watch(lambda: near_pairs(whiten(spectra, TERMS), 0.9, exhaustive=0))


def grow_listing(n: int) -> dict[str, float]:
    """A table of paths, read and dealt into the parts of a batch."""
    from zoo.store.place import Place
    from zoo.workflow._batch.listing import write_listing
    from zoo.workflow._batch.sources import list_images

    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "images.csv"
        with table.open("w", encoding="utf-8") as stream:
            stream.write("image,site\n")
            stream.writelines(f"s3://scans/2026/{i // 1000:06}/{i:09}.jpg,{i % 7}\n" for i in range(n))
        place = Place(str(Path(scratch) / "answers"))
        return _watch(lambda: write_listing(place, list_images([str(table)], None), 1000, lambda: None))


def grow_report(n: int) -> dict[str, float]:
    """Metrics and their intervals of drawn answers to two classes: 1000 resamples."""
    from zoo.evaluation import report
    from zoo.spec import Fingerprint

    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, n)
    logits = rng.standard_normal((n, 2), np.float32)
    logits[np.arange(n), targets] += 1.5
    drawn = Fingerprint(name="drawn", sha256="0" * 64, n=n, splits={"test": n})
    return _watch(
        lambda: report(logits, targets, ("a", "b"), model="drawn", split="test", temperature=1.0, fingerprint=drawn)
    )


GROWS: dict[str, Callable[[int], dict[str, float]]] = {
    "index of a folder": grow_index,
    "search for copies": grow_search,
    LISTING: grow_listing,
    "report with its bootstrap": grow_report,
}
"""What grows: its name in the tables, and its measurement."""


if __name__ == "__main__":
    main()
