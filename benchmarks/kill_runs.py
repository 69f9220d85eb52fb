"""`zoo train` stopped at random moments and started again: what is left, and whether it ends with the same bytes.

`python benchmarks/kill_runs.py` stops trainings of the smallest network by SIGKILL, SIGTERM and SIGINT, at moments
drawn over the whole time of a training, and repeats `zoo train … --resume auto` until it ends. It does so again with
long epochs, whose state is written every half second here and every 45 seconds elsewhere. Then it does the same to
`--overwrite` over a run that is done. Counted is how often the weights and predictions are those of an uninterrupted
training with nothing left beside the run, and how often the old run was there after a stop. A moment may come after the
end; a start that ended by itself does not count as a stop. Each start is a copy of this process, which has trained
nothing and knows of a run what its files say.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import multiprocessing.process
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from zoo.learn import _saving
from zoo.learn._checkpoint import read_state
from zoo.runs import STATE, replaced_run
from zoo.testing import colour_folder
from zoo_cli.main import main as zoo

OVERWRITE = "--overwrite of a run that is done"
SAID = "said.txt"
"""What the last command printed."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SAME = ("weights.safetensors", "predictions.csv", "report.json")
"""What must not depend on stops; model.onnx and run.json name the run, and history.csv holds seconds."""


@dataclass
class Count:
    """What became of some trainings."""

    runs: int = 0
    right: int = 0
    """They ended, with the bytes of an uninterrupted training and nothing beside them."""
    starts: int = 0
    stops: int = 0
    """Starts that were ended by the signal."""
    kept: int = 0
    """Stops after which the old run was there, at its place or where it waits."""
    within: int = 0
    """Stops that left the state of an unfinished epoch."""


def main() -> None:
    """Print the table; the exit status is 1 where a run was lost or differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="trainings that are stopped, and overwrites that are")
    parser.add_argument("--stops", type=int, default=3, help="at most, of each training")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    parser.add_argument("--images", type=int, default=600, help="a class, of the training with long epochs")
    parser.add_argument("--only", choices=("short", "long", "overwrite"), help="one of the three rows")
    parser.add_argument("--smallest", action="store_true", help="one run of each, to see that it works")
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs, stops, epochs = (1, 1, 2) if given.smallest else (given.runs, given.stops, given.epochs)
    drawn = random.Random(given.seed)  # noqa: S311 - moments, not secrets
    images = 40 if given.smallest else given.images
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        colour_folder(Path("colours"), per_class=20, side=16)
        colour_folder(Path("many"), per_class=images, side=16)
        options = ["--data", "colours", "--size", "16", "--epochs", str(epochs), "--set", "patience=0"]
        long = ["--data", "many", "--size", "16", "--epochs", "3", "--batch-size", "8", "--set", "patience=0"]
        every = {"short", "overwrite"} if given.smallest else {"short", "long", "overwrite"}
        wanted = {given.only} if given.only else every
        counts: dict[str, Count] = {}
        if wanted & {"short", "overwrite"}:
            whole = time_whole(options, "new")
            if "short" in wanted:
                counts[f"training, {epochs} epochs"] = count_stops(
                    runs, stops, options, whole, drawn, new="new", old=None
                )
            if "overwrite" in wanted:
                finish(["train", "simple_cnn", *options, "--seed", "7", "--out", "old"])
                counts[OVERWRITE] = count_stops(runs, stops, options, whole, drawn, new="new", old=Path("old"))
        if "long" in wanted:
            whole = time_whole(long, "long")
            counts["training, 3 long epochs"] = count_stops(runs, stops, long, whole, drawn, new="long", old=None)
    print(f"{'what':34} runs  right  starts  stops  within an epoch  old run there")
    for name, count in counts.items():
        kept = f"{count.kept} of {count.stops}" if name == OVERWRITE else "-"
        print(
            f"{name:34} {count.runs:4}  {count.right:5}  {count.starts:6}  {count.stops:5}  {count.within:15}  {kept}"
        )
    wrong = [name for name, one in counts.items() if one.right < one.runs]
    lost = counts.get(OVERWRITE, Count())
    sys.exit(1 if wrong or lost.kept < lost.stops else 0)


def time_whole(options: list[str], name: str) -> float:
    """Seconds of a training into `name` that nobody stops."""
    start = time.perf_counter()
    finish(["train", "simple_cnn", *options, "--out", name])
    return time.perf_counter() - start


def count_stops(
    runs: int, most: int, options: list[str], whole: float, drawn: random.Random, *, new: str, old: Path | None
) -> Count:
    """Stop trainings into a fresh place, or over a copy of `old`, and take each to its end.

    Each ends as the run in `new`, which took `whole` seconds.
    """
    count = Count()
    for number in range(runs):
        place = Path("runs here") / str(number)
        place.parent.mkdir(exist_ok=True)
        if old is not None:
            shutil.copytree(old, place)
        again = ["--resume", "auto"] if old is None else ["--overwrite"]
        for _ in range(drawn.randint(1, most)):
            count.starts += 1
            which, moment = drawn.choice(SIGNALS), drawn.uniform(0, 1.1 * whole)
            stopped = stop(["train", "simple_cnn", *options, *again, "--out", str(place)], which, moment)
            count.stops += stopped
            count.within += stopped and steps_of(place) > 0
            if old is not None and stopped:
                waits = replaced_run(place)
                count.kept += same(waits or place, old) or same(place, Path(new))
            if old is not None and drawn.random() < 0.5:
                again = ["--resume", "auto"]  # the seed of the run that is done is another
                if same(place, old):
                    break
        count.runs += 1
        if old is not None and same(place, old) and replaced_run(place) is None:
            finish(["train", "simple_cnn", *options, "--overwrite", "--out", str(place)])
        else:
            finish(["train", "simple_cnn", *options, "--resume", "auto", "--out", str(place)])
        done = json.loads((place / "run.json").read_text())["status"] == "done"
        beside = [one.name for one in place.parent.iterdir() if one.name.startswith(".")]
        inside = [one.name for one in place.iterdir() if one.name.startswith((".", "state"))]
        right = done and same(place, Path(new)) and not beside and not inside
        count.right += right
        if not right:
            print(f"{place}: done {done}, same {same(place, Path('new'))}, left {beside + inside}", flush=True)
        shutil.rmtree(place)
    return count


def steps_of(place: Path) -> int:
    """Steps of an unfinished epoch that the state in a run holds."""
    state = read_state(place / STATE)
    return 0 if state is None else state.step


def same(place: Path, other: Path) -> bool:
    """Whether two runs hold the same weights, predictions and report."""
    return all((place / name).is_file() and (place / name).read_bytes() == (other / name).read_bytes() for name in SAME)


def finish(words: Sequence[str]) -> None:
    """Run a command to its end."""
    with started(words) as child:
        child.join()
    if child.exitcode:
        print(Path(SAID).read_text(encoding="utf-8"))
        sys.exit(f"{' '.join(words)}: exit status {child.exitcode}")


def stop(words: Sequence[str], which: signal.Signals, moment: float) -> bool:
    """Start a command and send it a signal after so many seconds; whether it was ended by that."""
    with started(words) as child:
        child.join(moment)
        if child.exitcode is None and child.pid is not None:
            os.kill(child.pid, which)
            child.join()
    return child.exitcode != 0


@contextmanager
def started(words: Sequence[str]) -> Iterator[multiprocessing.process.BaseProcess]:
    """A `zoo` command as a copy of this process, which has imported torch: few moments are lost on imports."""
    child = multiprocessing.get_context("fork").Process(target=run_zoo, args=(words,))
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join()


def run_zoo(words: Sequence[str]) -> None:
    """The command; it writes the state of an epoch as often in a second as another does in a minute."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # heard even where this program is deaf to it
    _saving.EVERY, _saving.SHARE = 0.5, 1.0
    with Path(SAID).open("w", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        sys.argv = ["zoo", *words]
        zoo()


if __name__ == "__main__":
    main()
