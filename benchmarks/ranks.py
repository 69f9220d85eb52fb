"""What a training by several processes costs: two of one thread each, beside one of two threads on the same cores.

`python benchmarks/ranks.py` trains one network on made images in memory, in rounds that take turns: first one process,
then two by torchrun, then the other way round. The number is `images_per_second` of the run, which leaves out start,
decoding, validation and export. The last line is the median of the rounds' ratios, with the least and the greatest. The
bar is .85. Run it on a quiet machine of two cores, or under `taskset -c 0,1`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BAR = 0.85


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="resnet18")
    parser.add_argument("--size", type=int, default=64, help="pixels of a side")
    parser.add_argument("--images", type=int, default=2000, help="to train on")
    parser.add_argument("--batch-size", type=int, default=32, help="of both processes together")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--smallest", action="store_true", help="a run whose numbers say nothing")
    asked = parser.parse_args()
    if asked.smallest:
        asked.model, asked.size, asked.images, asked.epochs, asked.rounds = "simple_cnn", 8, 64, 1, 1

    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        data = make_images(Path(folder) / "made.npz", asked.images, asked.size)
        print("| round | one process, images/s | several, images/s | ratio |\n|---|---|---|---|")
        for number in range(1, asked.rounds + 1):
            counts = [1, asked.processes] if number % 2 else [asked.processes, 1]
            speed = {count: train(asked, data, count, Path(folder) / f"run{number}-{count}") for count in counts}
            ratios.append(speed[asked.processes] / speed[1])
            print(f"| {number} | {speed[1]:.1f} | {speed[asked.processes]:.1f} | {ratios[-1]:.3f} |", flush=True)
    middle = statistics.median(ratios)
    verdict = "met" if middle >= BAR else "missed"
    print(
        f"{asked.processes} processes of one thread / one of {asked.processes}: {middle:.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}) over {len(ratios)} rounds of {asked.model}, bar {BAR} {verdict}"
    )
    return 0


def make_images(path: Path, n: int, size: int) -> Path:
    """Noise of two levels of light, in an archive: what there is to learn is of no account here."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", n), ("val", 32), ("test", 32)):
        targets = np.arange(count) % 2
        pixels = random.integers(0, 200, (count, size, size, 3)) + 55 * targets.reshape(-1, 1, 1, 1)
        arrays |= {f"{split}_images": pixels.astype(np.uint8), f"{split}_labels": targets}
    np.savez(path, **arrays)
    return path


def train(asked: argparse.Namespace, data: Path, processes: int, run: Path) -> float:
    """Images a second of one training on as many threads in all, whatever the number of processes."""
    threads = asked.processes // processes
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    words = [
        *("-m", "zoo_cli", "train", asked.model, "--data", str(data), "--out", str(run), "--size", str(asked.size)),
        *("--epochs", str(asked.epochs), "--batch-size", str(asked.batch_size), "--device", "cpu"),
        *("--precision", asked.precision, "--set", "cache=memory", "--set", "layout=contiguous"),
    ]
    if processes > 1:
        words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *words]
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    record = run / "run.json"
    if done.returncode or not record.is_file():
        raise SystemExit(f"{processes} process(es) failed: {done.stderr.strip()[-2000:]}")
    found: float = json.loads(record.read_text(encoding="utf-8"))["images_per_second"]
    return found


if __name__ == "__main__":
    raise SystemExit(main())
