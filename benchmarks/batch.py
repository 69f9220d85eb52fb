"""What Ray costs a batch, and what a batch holds in memory: python benchmarks/batch.py MODEL [--images 20000].

The same drawn images are answered by this tool's local engine and by Ray on this machine, with one worker and one
thread, and with two of each, in turns. Seconds are those of the whole call: listing, Ray's start, answers, files. Then
tables that list a thousand images again and again are answered on Ray, and the most memory (VmHWM) that the driver and
the largest worker held is read. What else the machine does changes times, but no memory. Each call is in a fresh
process.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHILD = """
import json, re, sys
from pathlib import Path
import zoo
if __name__ == "__main__":
    model, source, out, engine, count, part_size = sys.argv[1:]
    count = int(count)
    how = {"threads": count} if engine == "local" else {"workers": count}
    done = zoo.predict_batch(model, source, out, engine=engine, format="csv", part_size=int(part_size), **how)
    most = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    print(json.dumps({"seconds": done.seconds, "images": done.images, "finished": done.finished, "peak": 1024 * most}))
"""
LISTED = 1000
"""Images that the long tables list again and again."""
BARS = {"overhead": 0.10, "efficiency": 0.85}


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=224, help="pixels of these images")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="of the long tables")
    parser.add_argument("--place", type=Path, default=None, help="folder for images and answers")
    parser.add_argument("--smallest", action="store_true", help="few images, to see that it works")
    given = parser.parse_args()
    images, turns, rows = (40, 1, [40]) if given.smallest else (given.images, given.turns, given.rows)
    with tempfile.TemporaryDirectory(dir=given.place) as folder:
        measure_times(given.model.resolve(), Path(folder), images, given.side, turns)
        measure_memory(given.model.resolve(), Path(folder), rows)


def measure_times(model: Path, folder: Path, images: int, side: int, turns: int) -> None:
    """Print seconds of each engine, and the two ratios."""
    draw(folder / "images", images, side)
    ways = [("local", 1), ("ray", 1), ("local", 2), ("ray", 2)]
    taken: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for engine, count in ways:
            told, _ = answer(
                model,
                folder / "images",
                folder / "out",
                engine=engine,
                count=count,
                part_size=max(1, min(1000, images // 8)),
            )
            taken[engine, count].append(told["seconds"])
    middle = {way: statistics.median(values) for way, values in taken.items()}
    print(f"| engine | threads or workers | seconds, median of {turns} | images/s |")
    print("| --- | --- | --- | --- |")
    for (engine, count), seconds in middle.items():
        print(f"| {engine} | {count} | {seconds:.1f} | {images / seconds:.1f} |")
    overhead = middle["ray", 1] / middle["local", 1] - 1
    print(f"overhead of Ray with one worker: {overhead:+.1%}, bar below {BARS['overhead']:.0%}")
    efficiency = middle["local", 2] / middle["ray", 2]
    print(f"two workers / two threads: {efficiency:.2f}, bar {BARS['efficiency']}")


def measure_memory(model: Path, folder: Path, rows: list[int]) -> None:
    """Print the most memory of driver and workers by the rows of a table."""
    draw(folder / "small", LISTED, 8)
    names = sorted(str(path) for path in (folder / "small").iterdir())
    print("| rows | seconds | driver | largest worker |")
    print("| --- | --- | --- | --- |")
    for count in rows:
        with (folder / "table.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(["image"])
            table.writerows([names[at % LISTED]] for at in range(count))
        told, worker = answer(
            model, folder / "table.csv", folder / "out", engine="ray", count=2, part_size=max(1, min(1000, count // 4))
        )
        print(f"| {count} | {told['seconds']:.1f} | {told['peak'] / 1e6:.0f} MB | {worker / 1e6:.0f} MB |", flush=True)


def answer(
    model: Path, source: Path, out: Path, *, engine: str, count: int, part_size: int
) -> tuple[dict[str, Any], int]:
    """What one call says of itself, and the most memory of a worker of it."""
    shutil.rmtree(out, ignore_errors=True)
    asked = [str(model), str(source), str(out), engine, str(count), str(part_size)]
    most = 0
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, "-c", CHILD, *asked], stdout=subprocess.PIPE, stderr=said)
        while child.poll() is None:
            most = max([most, *(peak_of(entry) for entry in Path("/proc").iterdir() if entry.name.isdecimal())])
            time.sleep(0.5)
        printed = child.communicate()[0]
        if child.returncode:
            said.seek(0)
            sys.exit(f"{engine}: {said.read().decode(errors='replace')[-2000:]}")
    told: dict[str, Any] = json.loads(printed)
    if not told["finished"]:
        sys.exit(f"{engine}: the batch is unfinished")
    return told, most


def peak_of(process: Path) -> int:
    """Bytes that a worker of a batch held at most; 0 for any other process."""
    with contextlib.suppress(OSError):
        if b"MapBatches(Answerer)" in (process / "cmdline").read_bytes():
            lines = (process / "status").read_text().splitlines()
            return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    return 0


def draw(folder: Path, count: int, side: int) -> None:
    """PNGs of blurred noise: at most a thousand different ones, linked to under `count` names."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for at in range(count):
        path = folder / f"{at:07}.png"
        if at < LISTED:
            coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3)).astype(np.uint8))
            coarse.resize((side, side), Image.Resampling.BICUBIC).save(path)
        else:
            path.hardlink_to(folder / f"{at % LISTED:07}.png")


if __name__ == "__main__":
    main()
