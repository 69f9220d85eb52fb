"""What each way in which OpenMP's threads wait gains or costs, alone on the machine and beside another training.

`python benchmarks/waiting.py [MODEL:SIZE:BATCH ...]` trains each network on noise. Every way has a process of its own,
because OpenMP reads its variables once, and a second process of the same way that trains `--beside`. They take turns of
a second and less, and whoever has none is stopped, so that other work on the machine hits all alike. Each ratio is the
median over turns of a way over the first one; the second ratio is that of the best tenths of turns, in which the rest
of the machine was most quiet. Ways are names of `WAYS`; "unset" is what OpenMP does by itself, and
"ours" is what `zoo` sets.

What the machine does beside is part of every number, so the median load is printed, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
WAYS = {
    "unset": {"GOMP_SPINCOUNT": "300000"},  # what libgomp takes where nothing is set; set, so that zoo sets nothing
    "active": {"OMP_WAIT_POLICY": "ACTIVE"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin100": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "100"},
    "spin1000": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
    "spin10000": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
    "ours": {},
}
ENDLESS = 1e9
"""Seconds."""
MODELS = ("simple_cnn:28:32", "resnet18:64:8", "tf_efficientnet_lite0:96:16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL:SIZE:BATCH", default=MODELS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=("unset", "ours"))
    parser.add_argument("--seconds", type=float, default=0.6, help="of each turn")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--beside", default="simple_cnn:28:32", metavar="MODEL:SIZE:BATCH", help="the other training")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train:
        train(asked.models[0])
        return
    if asked.smallest:
        asked.models, asked.ways, asked.seconds, asked.turns = ["simple_cnn:8:2"], ("unset", "ours"), 0.05, 2
        asked.beside = "simple_cnn:8:2"
    print(
        f"{asked.turns} turns of {asked.seconds:g} s; images/s, median and best tenth; their ratios to the first way\n"
    )
    heads = " | ".join(f"{way} | ratio" for way in asked.ways)
    print(f"| network, px, batch | beside | {heads} |\n{'|---' * (2 + 2 * len(asked.ways))}|")
    for model in asked.models:
        for line in rows(model, asked):
            print(line, flush=True)


def rows(model: str, asked: argparse.Namespace) -> list[str]:
    """Two lines of the table: alone, and beside the other training."""
    with contextlib.ExitStack() as stack:
        pairs = {way: [stack.enter_context(Trainer(one, way)) for one in (model, asked.beside)] for way in asked.ways}
        cases = [(way, crowded) for crowded in (False, True) for way in asked.ways]
        rates: dict[tuple[str, bool], list[float]] = {case: [] for case in cases}
        loads = []
        for turn in range(asked.turns):
            at = turn % len(cases)
            for case in cases[at:] + cases[:at]:
                way, crowded = case
                own, other = pairs[way]
                if crowded:
                    other.begin(ENDLESS)
                own.begin(asked.seconds)
                rates[case].append(own.end())
                other.halt()
            loads.append(os.getloadavg()[0])
    lines = []
    for crowded in (False, True):
        cells = []
        for way in asked.ways:
            found, first = rates[way, crowded], rates[asked.ways[0], crowded]
            ratio = statistics.median(own / base for own, base in zip(found, first, strict=True))
            best, best_first = (statistics.quantiles(one, n=10)[-1] for one in (found, first))
            cells.append(f"{statistics.median(found):.0f}, {best:.0f} | {ratio:.2f}, {best / best_first:.2f}")
        other = asked.beside.replace(":", ", ") if crowded else "nothing"
        shown = f"{other}, load {statistics.median(loads):.1f}"
        lines.append(f"| {model.replace(':', ', ')} | {shown} | {' | '.join(cells)} |")
    return lines


class Trainer:
    """A process that trains a network when it is told to, and is stopped else: threads that spin do it there, too."""

    def __init__(self, model: str, way: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | WAYS[way]
        command = [sys.executable, __file__, "--train", model]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._asked: Any = self.process.stdin
        self._told: Any = self.process.stdout
        self.busy = False

    def __enter__(self) -> Trainer:
        if not self._told.readline():
            raise SystemExit("a training did not start")
        self.process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def begin(self, seconds: float) -> None:
        """Train for so long."""
        if not self.busy:
            self._asked.write(f"{seconds}\n")
            self._asked.flush()
        self.busy = True
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> float:
        """Wait for the end of the turn: images per second."""
        rate = float(self._told.readline())
        self.busy = False
        self.halt()
        return rate

    def halt(self) -> None:
        """Let it stop where it is; what is left of its turn waits for the next one."""
        self.process.send_signal(signal.SIGSTOP)


def train(model: str) -> None:
    """A network's steps for as many seconds as each line of stdin says."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from formats import build

    step = build(model)
    step()
    print("ready", flush=True)
    for line in sys.stdin:
        step()
        start, steps = time.perf_counter(), 0
        while (spent := time.perf_counter() - start) < float(line) or not steps:
            step()
            steps += 1
        print(steps * len(step.y) / spent, flush=True)


if __name__ == "__main__":
    main()
