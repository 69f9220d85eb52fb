"""Whether one seed gives the same bytes: the same training in fresh processes, again and again.

`python benchmarks/same_bytes.py MODEL --runs N` trains N times, each in a new interpreter with another hash seed, and
compares what the runs left. Times of epochs, and what the exported file says of its origin, are left out. Prints how
many different versions each file came in; the last line is the number of different runs, and the exit status is 1
where that is not 1. It reads no clock of its own, so that a busy machine may run it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TIMES = {"images_per_second", "seconds"}
"""Columns of history.csv."""
NOT_LEARNT = {"run.json", "CARD.md", "report.html"}
"""Files with a date or a place in them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="simple_cnn")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", default="2", help="0: as the card says, for classical models")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--threads", help="of torch and scikit-learn; default: all cores")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    asked = parser.parse_args()

    versions: Counter[str] = Counter()
    files: dict[str, Counter[str]] = {}
    began = time.perf_counter()
    with ThreadPoolExecutor(asked.jobs) as pool:
        for done, found in enumerate(pool.map(lambda number: train(asked, number), range(asked.runs)), 1):
            for name, one in found.items():
                files.setdefault(name, Counter())[one] += 1
            versions[json.dumps(found)] += 1
            spent = (time.perf_counter() - began) / done
            print(f"run {done}: {len(versions)} version(s) so far, {spent:.0f} s a run", file=sys.stderr, flush=True)
    for name, counted in files.items():
        print(
            f"{name:<24}{len(counted):>4} version(s)  {', '.join(f'{n} × {one}' for one, n in counted.most_common(4))}"
        )
    print(f"{len(versions)} different of {asked.runs} runs of {asked.model}")
    return 0 if len(versions) == 1 else 1


def train(asked: argparse.Namespace, number: int) -> dict[str, str]:
    """One training in a new interpreter: name of each file to its digest."""
    settings = [part for one in asked.settings for part in ("--set", one)]
    if asked.epochs != "0":
        settings += ["--epochs", asked.epochs]
    environment = os.environ | {"PYTHONHASHSEED": str(number)}
    if asked.threads:
        environment["OMP_NUM_THREADS"] = asked.threads
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "zoo_cli", "train", asked.model, "--data", asked.data, "--out", str(run)]
        done = subprocess.run([*command, *settings], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"run {number + 1} failed: {done.stderr.strip().splitlines()[-1:]}")
        return {path.name: digest(path) for path in sorted(run.iterdir()) if path.name not in NOT_LEARNT}


def digest(path: Path) -> str:
    """The first digits of the sha256 of what was learnt."""
    data = path.read_bytes()
    if path.name == "history.csv":
        rows = csv.DictReader(io.StringIO(data.decode()))
        data = json.dumps([{name: cell for name, cell in row.items() if name not in TIMES} for row in rows]).encode()
    elif path.suffix == ".onnx":
        import onnx

        model = onnx.load_from_string(data)
        del model.metadata_props[:]
        data = model.SerializeToString(deterministic=True)
    return hashlib.sha256(data).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main())
