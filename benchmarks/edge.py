"""What running a model costs beside the bars of DESIGN section 7: python benchmarks/edge.py MODEL FOLDER.

MODEL is a .onnx file or a bundle, FOLDER holds images (the bar is set on 40 JPEGs and ResNet-18 at 224 px).
Ratios compare rounds that alternate inside one run, so that a busy machine slows both sides; seconds need a
quiet one, and the CPU seconds beside them do not.

With --stream TINY IMAGES a small model also labels 100 000 images, hard links of those in the folder IMAGES, into a
table while its memory is watched, and finds its way through one directory of a million names.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from zoo.edge import Prediction, Runtime
from zoo.edge._session import open_session
from zoo.edge._stream import expand
from zoo.edge.bundle import MODEL, open_model
from zoo.readers import read

ROUNDS = 5
STREAMED = 100_000
ONE_DIRECTORY = 1_000_000
STREAM = """
import json, sys, time
from pathlib import Path
from zoo.edge import Runtime, predict_csv
def resident(which):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) * 1024 / 1e6
model, folder, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
runtime = Runtime.open(model)
early, start, spent = None, time.perf_counter(), time.process_time()
for n, _ in enumerate(predict_csv(runtime, folder, Path(folder + ".csv")), 1):
    if n == most // 10:
        early = resident("VmRSS:")
    if n == most:
        break
print(json.dumps({
    "early": early, "peak": resident("VmHWM:"), "n": n,
    "seconds": time.perf_counter() - start, "cpu": time.process_time() - spent,
}))
"""
AT_REST = """
import json, sys, time
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) * 1024 / 1e6
start = time.perf_counter()
import numpy, onnxruntime, PIL.Image
from zoo.edge import Runtime
imported = time.perf_counter() - start
runtime = Runtime.open(sys.argv[1])
print(json.dumps({"import": imported, "rest": resident()}))
"""
LISTING = """
import json, sys, time
sys.argv = ["zoo", "list", "--json"]
from zoo_cli.main import main
try:
    main()
except SystemExit:
    pass
heavy = {"torch", "numpy", "onnxruntime", "PIL", "sklearn", "pandas"}
print(json.dumps(sorted(heavy & set(sys.modules))), file=sys.stderr)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stream", type=Path, nargs=2, metavar=("TINY", "IMAGES"))
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    rounds = 1 if asked.smallest else ROUNDS
    rows = [*predicting(asked.model, asked.folder, rounds), *process(asked.model, rounds), *listing(rounds)]
    if asked.stream:
        rows += streaming(*asked.stream, *((100, 200) if asked.smallest else (STREAMED, ONE_DIRECTORY)))
    width = max(len(name) for name, _, _ in rows)
    for name, value, bar in rows:
        print(f"{name:{width}}  {value:>20}  bar: {bar}")
    return 0


def predicting(model: Path, folder: Path, rounds: int) -> list[tuple[str, str, str]]:
    paths = [Path(name) for name, _ in expand(folder)]
    command = ("-m", "zoo.edge", "predict", str(model), str(folder), "--json")
    cold = median_seconds(lambda: child(*command), rounds)
    spent = cpu_seconds(lambda: child(*command), rounds)
    runtime = Runtime.open(model)
    session = open_session(open_model(model).model, str(model), provider="cpu", threads=None)
    if runtime.manifest.input.stage != "raw":
        sys.exit("the bare run needs a model with its preprocessing in the graph (stage raw)")

    def bare() -> None:
        for path in paths:
            session.run(["probabilities"], {runtime.manifest.input.name: read(path).pixels[None]})

    def ours() -> None:
        answers = [result for result in runtime.predict(folder) if isinstance(result, Prediction)]
        if len(answers) != len(paths):
            sys.exit(f"{len(paths) - len(answers)} of {len(paths)} images got no answer; choose another folder")

    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    cpu: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(rounds + 1):
        for name, work in (("bare", bare), ("ours", ours)):
            before = time.process_time()
            seconds[name].append(timed(work))
            cpu[name].append(time.process_time() - before)
    ratios = [own / base for own, base in zip(seconds["ours"][1:], seconds["bare"][1:], strict=True)]
    of_cpu = [own / base for own, base in zip(cpu["ours"][1:], cpu["bare"][1:], strict=True)]
    each = statistics.median(seconds["ours"][1:]) / len(paths) * 1e3
    return [
        (f"predict, cold process, {len(paths)} images", f"{cold:.2f} s, CPU {spent:.2f} s", "<= 1.2 s for 40 JPEGs"),
        (
            "predict, steady / (decode + bare run)",
            f"{statistics.median(ratios):.2f} ×, of CPU time {statistics.median(of_cpu):.2f} ×",
            "<= 1.15 ×",
        ),
        ("predict, steady", f"{each:.1f} ms an image", "none"),
    ]


def process(model: Path, rounds: int) -> list[tuple[str, str, str]]:
    size = (model / MODEL if model.is_dir() else model).stat().st_size / 1e6
    answers = [json.loads(child("-c", AT_REST, str(model)).stdout) for _ in range(rounds)]
    rest = statistics.median(answer["rest"] for answer in answers)
    imports = statistics.median(answer["import"] for answer in answers)
    return [
        ("edge process at rest - model", f"{rest:.0f} - {size:.0f} = {rest - size:.0f} MB", "<= 60 MB"),
        ("edge imports", f"{imports:.2f} s", "<= 0.4 s"),
    ]


def listing(rounds: int) -> list[tuple[str, str, str]]:
    if importlib.util.find_spec("zoo_cli") is None or importlib.util.find_spec("zoo_cli.main") is None:
        return [("zoo list", "not installed", "<= 0.25 s")]
    seconds = median_seconds(lambda: child("-c", LISTING), rounds)
    spent = cpu_seconds(lambda: child("-c", LISTING), rounds)
    heavy = json.loads(child("-c", LISTING).stderr.splitlines()[-1])
    return [
        ("zoo list", f"{seconds:.2f} s, CPU {spent:.2f} s", "<= 0.25 s"),
        ("zoo list, heavy imports", ", ".join(heavy) or "none", "none"),
    ]


def streaming(model: Path, images: Path, streamed: int, one_directory: int) -> list[tuple[str, str, str]]:
    sources = [path for name, _ in expand(images) if (path := Path(name)).is_file()]
    with tempfile.TemporaryDirectory(dir=images.parent) as folder:  # hard links need one file system
        deep, flat = Path(folder, "deep"), Path(folder, "flat")
        for part in range(10):
            linked(sources, deep / f"{part}", streamed // 10)
        linked(sources, flat, one_directory)
        many = json.loads(child("-c", STREAM, str(model), str(deep), str(streamed)).stdout)
        one = json.loads(child("-c", STREAM, str(model), str(flat), str(one_directory // 1000 or 1)).stdout)
    each = many["cpu"] / many["n"] * 1e6
    return [
        (
            f"memory at {streamed // 10} and at most to {streamed} images",
            f"{many['early']:.0f}, {many['peak']:.0f} MB",
            "flat",
        ),
        ("streaming into a table", f"{many['n'] / many['seconds']:.0f} images/s, CPU {each:.0f} us each", "none"),
        (f"memory, {one_directory} names in one directory", f"{one['peak']:.0f} MB", "+ 100 MB"),
    ]


def linked(sources: list[Path], folder: Path, n: int) -> None:
    folder.mkdir(parents=True)
    for i in range(n):
        source = sources[i % len(sources)]
        os.link(source, folder / f"img_{i:07d}{source.suffix}")


def cpu_seconds(work: Any, rounds: int) -> float:
    """User and system time of the children that `work` starts, median; a busy machine hardly changes it."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(rounds):
        before = spent()
        work()
        times.append(spent() - before)
    return statistics.median(times)


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)[:80]}: exit {done.returncode}: {done.stderr[-500:]}")
    return done


def median_seconds(work: Any, rounds: int) -> float:
    return statistics.median(timed(work) for _ in range(rounds))


def timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
