"""Seconds from the last step of a training to its report, and which part takes them.

`python benchmarks/finishing.py FOLDER` trains a ResNet-18 for one epoch on images of FOLDER, then takes the trained run
to its end `--rounds` times, each in a process of its own: calibration, export, gate, evaluation, files. FOLDER has the
splits train, val and test. Of train `--train` images are taken, of the others at most `--val` and `--test`.

`--tree PATH` adds another checkout of this repository. The trees take turns, so that other work on the machine hits
both alike. On a busy machine look at the processor's seconds, those of all threads together.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "load": "zoo.plugin._torch:TorchPlugin.load",
    "calibrate": "zoo.workflow._calibrate:calibrate",
    "export": "zoo.learn:module_to_onnx",
    "assemble": "zoo.artefact._shippable:assemble",
    "prove": "zoo.artefact._shippable:prove",
    "answer the test images": "zoo.plugin._contract:predict_set",
    "report": "zoo.plugin._contract:report",
    "save": "zoo.workflow._prove:save_model",
    "open": "zoo.edge:Runtime.open",
    "pictures and tables": "zoo.workflow._judge:write_answers",
}
"""A function of each part, from which the time of others inside them is taken off."""

CLOCKS = (time.perf_counter, time.process_time)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared/data/pbc8/folder")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--train", type=int, default=64, help="images that are trained on")
    parser.add_argument("--val", type=int, default=300)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tree", type=Path, action="append", default=[], help="another checkout")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    parser.add_argument("--finish", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.finish:
        print(json.dumps(finish(asked.finish)))
        return
    if asked.smallest:
        asked.model, asked.size, asked.train, asked.val, asked.test, asked.rounds = "simple_cnn", 16, 6, 6, 6, 1
    trees = [ROOT, *(tree.resolve() for tree in asked.tree)]
    with tempfile.TemporaryDirectory() as scratch:
        images, run = Path(scratch) / "images", Path(scratch) / "run"
        counts = {split: take(asked.folder, images, split, getattr(asked, split)) for split in ("train", "val", "test")}
        train(asked.model, images, asked.size, run)
        found: list[list[dict[str, list[float]]]] = [[] for _ in trees]
        for turn in range(asked.rounds):
            for at in range(len(trees)):
                which = (at + turn) % len(trees)
                found[which].append(measure(trees[which], shutil.copytree(run, Path(scratch) / f"run{turn}-{which}")))
    print(f"{asked.model}, {asked.size} px, {counts}; medians of {asked.rounds}: seconds / those of the processor\n")
    print(f"{'':<24}{''.join(f'{tree.name:>18}' for tree in trees)}")
    for part in [*PARTS, "rest", "in all"]:
        cells = (
            " / ".join(f"{statistics.median(one[part][clock] for one in own):.2f}" for clock in range(len(CLOCKS)))
            for own in found
        )
        print(f"{part:<24}{''.join(f'{cell:>18}' for cell in cells)}")


def take(folder: Path, target: Path, split: str, most: int) -> int:
    """Copy up to `most` images of a split, as many of each class; how many they are."""
    classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
    taken = 0
    for at, one in enumerate(classes):
        share = most // len(classes) + (at < most % len(classes))
        (target / split / one.name).mkdir(parents=True)
        for image in sorted(one.iterdir())[:share]:
            shutil.copy(image, target / split / one.name / image.name)
            taken += 1
    return taken


def train(model: str, images: Path, size: int, run: Path) -> None:
    """A run that is trained and not finished; that it is finished here once tries everything out."""
    import zoo
    from zoo.runs import open_run

    zoo.train(model, images, size=size, epochs=1, batch_size=8, out=run)
    opened = open_run(run)
    opened.update(status="trained", proven=None)
    for name in ("model.onnx", "report.json", "predictions.csv", "reliability.png", "confusion.png"):
        run.joinpath(name).unlink(missing_ok=True)


def measure(tree: Path, run: Path) -> dict[str, list[float]]:
    """Seconds of each part, by the code of a tree."""
    paths = os.pathsep.join(str(tree / part) for part in (".", "cli", "plugins"))
    command = [sys.executable, __file__, "--finish", str(run)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def finish(run: Path) -> dict[str, list[float]]:
    """Take a trained run to its end; what a training has imported by then is imported before."""
    import importlib

    import matplotlib.figure  # noqa: F401 - the training has drawn history.png
    import numpy as np
    import timm  # noqa: F401

    import zoo
    import zoo.learn
    import zoo.workflow._judge

    spent = {part: np.zeros(len(CLOCKS)) for part in PARTS}
    inside = [np.zeros(len(CLOCKS))]

    def now() -> Any:
        return np.array([clock() for clock in CLOCKS])

    def time_part(owner: Any, name: str, part: str) -> None:
        own = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)
        plain = own.__func__ if isinstance(own, classmethod) else own

        @functools.wraps(plain)
        def timed(*given: Any, **named: Any) -> Any:
            start = now()
            inside.append(np.zeros(len(CLOCKS)))
            try:
                return plain(*given, **named)
            finally:
                taken = now() - start
                spent[part] += taken - inside.pop()
                inside[-1] += taken

        setattr(owner, name, classmethod(timed) if isinstance(own, classmethod) else timed)

    for part, place in PARTS.items():
        module, _, path = place.partition(":")
        *owners, name = path.split(".")
        time_part(functools.reduce(getattr, owners, importlib.import_module(module)), name, part)
    model = json.loads((run / "run.json").read_text(encoding="utf-8"))["card"]["name"]
    start = now()
    zoo.train(model, out=run, resume=True)
    whole = now() - start
    parts = {**spent, "rest": whole - np.sum(list(spent.values()), axis=0), "in all": whole}
    return {part: seconds.tolist() for part, seconds in parts.items()}


if __name__ == "__main__":
    main()
