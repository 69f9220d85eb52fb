"""One model in every format that `zoo export --format` writes: how far its answers are, its size, its time.

    python benchmarks/file_formats.py RUN [FORMAT ...] [--data D]

Each format is exported as a user does it, and its own runtime answers the golden images. Formats whose packages are not
installed are said and passed over, so the table may be put together from several environments.

A file is timed beside an ONNX file of ours with the same input: raw pixels, resized ones, or preprocessed numbers. One
golden image at a time goes through both in turns, after a warm-up, on all cores. The last column is the median time
over that of ONNX Runtime in the same run: below 1 the format is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import zoo
from zoo._support.machine import cores, processor
from zoo.artefact.formats import FORMATS, read_folder
from zoo.artefact.formats._proof import prepare
from zoo.edge._session import open_session
from zoo.errors import ZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zoo.spec import FormatManifest

STAGES = {"raw": "full", "resized": "normalize", "tensor": "none"}
"""What a file's input is to the option that makes an ONNX file with it."""
SECONDS = 10.0
PAIRS = (20, 300)
WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", default=list(FORMATS))
    parser.add_argument("--data", help="the run's images, if they have moved")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    seconds, pairs = (0.1, (3, 3)) if asked.smallest else (SECONDS, PAIRS)
    print(f"{processor().name}, {cores()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| format | runtime | input | images | logits within | probabilities within | flips | size | p50 | ratio |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for name in asked.formats:
            print(measure(asked, name, Path(place), seconds, pairs), flush=True)


def measure(asked: argparse.Namespace, name: Any, place: Path, seconds: float, pairs: tuple[int, int]) -> str:
    """One row."""
    try:
        made = zoo.export_format(asked.run, format=name, data=asked.data, out=place / f"model.{name}")
    except ZooError as problem:
        return f"| {name} | not here: {problem.code} |" + " - |" * 8
    said, size = read_folder(Path(made.path)), f"{made.size_bytes / 1e6:.1f} MB"
    if made.parity is None:
        return f"| {name} | not proven here | {said.input.stage} |" + " - |" * 4 + f" {size} | - | - |"
    ours = place / f"{said.input.stage}.onnx"
    if not ours.exists():
        zoo.export(asked.run, preprocess=STAGES[said.input.stage], data=asked.data, out=ours)  # type: ignore[arg-type]
    session = open_session(ours.read_bytes(), name, provider="cpu", threads=None)
    outputs = ["probabilities", "logits"]
    answers: tuple[Callable[[Mapping[str, Any]], Any], ...] = (
        lambda feed: session.run(outputs, dict(feed)),
        FORMATS[said.format].open(Path(made.path)),
    )
    reference, own = time_in_turns(answers, feeds(Path(made.path), said), seconds, pairs)
    proof = made.parity
    return (
        f"| {name} | {proof.runtime} | {said.input.stage} | {proof.images} | {proof.max_abs_logit:.1e} | "
        f"{proof.max_abs_probability:.1e} | {proof.flips} | {size} | {own:.2f} ms | {own / reference:.2f} |"
    )


def feeds(folder: Path, said: FormatManifest) -> list[dict[str, Any]]:
    """The golden images as the file takes them."""
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        images = [golden[name] for name in sorted(golden.files) if name.startswith("image_")]
    return [{said.input.name: prepare(image, said.preprocess, said.input)} for image in images]


def time_in_turns(
    answers: tuple[Callable[[Mapping[str, Any]], Any], ...],
    given: list[dict[str, Any]],
    seconds: float,
    pairs: tuple[int, int],
) -> list[float]:
    """Median milliseconds of each, one image at a time."""
    begin = time.perf_counter()
    for _ in range(WARM_UP):
        for answer in answers:
            answer(given[0])
    once = (time.perf_counter() - begin) / WARM_UP
    times: list[list[float]] = [[] for _ in answers]
    for pair in range(int(np.clip(seconds / once, *pairs))):
        for which in range(len(answers)) if pair % 2 else reversed(range(len(answers))):
            begin = time.perf_counter()
            answers[which](given[pair % len(given)])
            times[which].append((time.perf_counter() - begin) * 1e3)
    return [statistics.median(one) for one in times]


if __name__ == "__main__":
    main()
