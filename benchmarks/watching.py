"""What a watched folder costs: python benchmarks/watching.py MODEL [--files 100000] [--answered 500] [--place FOLDER].

Looks at a folder with very many small images, all in it directly: before any is known to be whole, and after all were
answered, where the first look asks the ledger once for each. Each is made in a fresh process, whose peak memory is
read. Beside them stands a bare walk that asks the system for each file's size and times. Then some images are answered
from end to end, with every flush to the disk. `--place` says which disk.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.edge import Runtime, watch
from zoo.edge._watch.arrivals import Arrivals, stamp_of
from zoo.edge._watch.ledger import LEDGER, Ledger

BEGUN = {"folder": "benchmark"}
TURNS = 3
KINDS = {
    "walk": "bare walk",
    "new": "all of them new",
    "first": "all of them answered, the first after a start",
    "later": "all of them answered, each later one",
}


def draw(folder: Path, count: int) -> None:
    """So many copies of one small picture."""
    folder.mkdir(parents=True)
    first = folder / "0000000.png"
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(first)
    content = first.read_bytes()
    for number in range(1, count):
        (folder / f"{number:07}.png").write_bytes(content)


def fill(folder: Path, out: Path) -> None:
    """A ledger in which all files of the folder are answered, in one transaction."""
    out.mkdir()
    with Ledger(out / LEDGER, BEGUN):
        pass
    answer = '{"image": "0000000.png", "label": "one", "probability": 0.9, "probabilities": {"one": 0.9, "two": 0.1}}'
    rows = ((os.fsencode(one.name), stamp_of(one.path), "0" * 64, "now", answer) for one in os.scandir(folder))
    ledger = sqlite3.connect(out / LEDGER)
    ledger.executemany("INSERT INTO answers (path, stamp, sha256, at, answer, written) VALUES (?, ?, ?, ?, ?, 1)", rows)
    ledger.commit()
    ledger.close()


def look(kind: str, folder: Path, out: Path) -> None:
    """One look, in this process; prints its seconds and the peak memory."""
    begun, found = time.perf_counter(), 0
    if kind == "walk":
        for entry in os.scandir(folder):
            os.stat(entry.path)  # noqa: PTH116 - as bare as can be
    elif kind == "new":
        found = len(list(Arrivals(str(folder), settle=3600).look(lambda _: None)))
    else:
        with Ledger(out / LEDGER, BEGUN) as ledger:

            def known(name: str) -> str | None:
                entry = ledger.last(name)
                return None if entry is None else entry.stamp

            arrivals = Arrivals(str(folder), settle=0)
            for _ in range(1 if kind == "first" else 2):
                begun = time.perf_counter()
                found = len(list(arrivals.look(known)))
    seconds = time.perf_counter() - begun
    if found:
        raise SystemExit(f"{found} files were given to the model")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    print(seconds, peak)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--answered", type=int, default=500)
    parser.add_argument("--place", type=Path)
    parser.add_argument("--smallest", action="store_true")
    parser.add_argument("--look", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.look:
        look(asked.look[0], *map(Path, asked.look[1:]))
        return 0
    files, few = (50, 10) if asked.smallest else (asked.files, asked.answered)
    with tempfile.TemporaryDirectory(dir=asked.place) as name:
        place = Path(name)
        draw(place / "in", files)
        fill(place / "in", place / "out")
        print("| a look at | files | seconds | peak memory |\n|---|---|---|---|")
        for kind, words in KINDS.items():
            command = [sys.executable, __file__, "none", "--look", kind, place / "in", place / "out"]
            turns = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(TURNS)]
            found = [tuple(map(float, line.split())) for line in turns]
            seconds, peak = (statistics.median(column) for column in zip(*found, strict=True))
            print(f"| {words} | {files} | {seconds:.3f} | {peak:.0f} MB |", flush=True)
        draw(place / "some", few)
        runtime = Runtime.open(asked.model)
        begun = time.perf_counter()
        answered = sum(1 for _ in watch(runtime, place / "some", place / "answers", settle=0, once=True))
        seconds = time.perf_counter() - begun
        begun = time.perf_counter()
        list(runtime.predict(place / "some"))
        alone = time.perf_counter() - begun
    each, bare = (1000 * one / answered for one in (seconds, alone))
    print(f"an image answered: {each:.2f} ms, of it {bare:.2f} ms for the model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
