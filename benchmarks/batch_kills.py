"""Batches on Ray whose processes are killed at random: rows lost, rows doubled. python benchmarks/batch_kills.py MODEL.

A folder of drawn images is answered by `zoo predict --out --resume`. At random moments one of its processes is
killed by SIGKILL: a worker, the driver, or Ray's process that is the node. Ray starts a worker again; after the others
the same command is given again, until the batch is finished. Then another begins, until there were enough kills.
Counted are the rows of each image over all batches.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

VICTIMS = {"ray": ("worker", "worker", "driver", "node"), "local": ("driver",)}
"""Of each engine, as often as they are drawn."""
LONGEST = 40.0
"""Seconds after a start that a kill comes at the latest."""


def main() -> None:
    """Print the counts; the exit status is 1 where a row was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--part-size", type=int, default=10)
    parser.add_argument("--engine", choices=sorted(VICTIMS), default="ray")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims")
    parser.add_argument("--smallest", action="store_true", help="one kill of few images, to see that it works")
    given = parser.parse_args()
    kills, images = (1, 200) if given.smallest else (given.kills, given.images)
    drawn = random.Random(given.seed)  # noqa: S311 - moments, not secrets
    killed: collections.Counter[str] = collections.Counter()
    batches = starts = lost = doubled = wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        names = draw(Path(folder, "images"), images)
        model = str(given.model.resolve())
        expected = answer_whole(model, Path(folder))
        while killed.total() < kills:
            batches += 1
            place = Path(folder, f"out-{batches}")
            command = ["predict", model, "images", "--out", str(place), "--engine", given.engine, "--format", "csv"]
            command += ["--part-size", str(given.part_size), "--resume"]
            while not (place / "manifest.json").exists():
                starts += 1
                victims = VICTIMS[given.engine]
                run_and_kill(command, Path(folder), place, victims, kills=kills, killed=killed, drawn=drawn)
            rows = [row for path in sorted(place.glob("part-*.csv")) for row in read(path)]
            counts = collections.Counter(row[0] for row in rows)
            lost += sum(counts[name] == 0 for name in names)
            doubled += sum(counts[name] > 1 for name in counts)
            wrong += rows != expected
            print(f"batch {batches}: {dict(killed)}, {starts} starts, {len(rows)} rows", flush=True)
    said = ", ".join(f"{number} of {one}s" for one, number in sorted(killed.items()))
    print(f"{killed.total()} kills ({said}) in {batches} batches: {lost} rows lost, {doubled} doubled, {wrong} differ")
    sys.exit(1 if lost or doubled or wrong else 0)


def run_and_kill(
    command: list[str],
    folder: Path,
    place: Path,
    victims: tuple[str, ...],
    *,
    kills: int,
    killed: collections.Counter[str],
    drawn: random.Random,
) -> None:
    """Start the batch once, kill until it ends, and wait until Ray's processes are gone."""
    child = subprocess.Popen(
        [sys.executable, "-m", "zoo_cli", *command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while child.poll() is None and killed.total() < kills:
        wait(child, place, drawn)
        victim = drawn.choice(victims)
        nodes = find(b"raylet/raylet", child.pid)
        workers = [pid for node in nodes for pid in find(b"MapBatches(Answerer)", node)]
        found = {"worker": workers, "driver": [child.pid], "node": nodes}
        if child.poll() is None and found[victim]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(drawn.choice(found[victim]), signal.SIGKILL)
                killed[victim] += 1
                print(f"kill {killed.total()}: {victim}, {len(list(place.glob('part-*')))} parts are there", flush=True)
    child.wait()
    until = time.monotonic() + 60
    while time.monotonic() < until and find(b"MapBatches(Answerer)"):
        time.sleep(0.1)


def wait(child: subprocess.Popen[bytes], place: Path, drawn: random.Random) -> None:
    """Until a random moment: some time after the start, or some parts further on."""
    until = time.monotonic() + LONGEST * drawn.random() ** 2
    parts = drawn.choice((None, drawn.randrange(1, 100), drawn.randrange(1, 100)))
    enough = None if parts is None else len(list(place.glob("part-*"))) + parts
    while child.poll() is None:
        if enough is None and time.monotonic() > until:
            return
        if enough is not None and len(list(place.glob("part-*"))) >= enough:
            time.sleep(0.1 * drawn.random())
            return
        time.sleep(0.01)


def find(words: bytes, parent: int | None = None) -> list[int]:
    """Processes whose command line holds these words, of one parent or of all."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            born = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in (None, born) and words in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def answer_whole(model: str, folder: Path) -> list[list[str]]:
    """The rows of a call that nobody kills, without Ray."""
    command = [sys.executable, "-m", "zoo_cli", "predict", model, "images", "--csv", "whole.csv"]
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return read(folder / "whole.csv")


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1:]


def draw(folder: Path, count: int) -> list[str]:
    """Small PNGs, each another one; their names as rows have them."""
    folder.mkdir()
    numbers = np.random.default_rng(0)
    for at in range(count):
        Image.fromarray(numbers.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(folder / f"{at}.png")
    return [f"images/{at}.png" for at in range(count)]


if __name__ == "__main__":
    main()
