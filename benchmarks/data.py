"""Indexing, caches and shards, measured in one run on one machine.

`python benchmarks/data.py [FOLDER]` makes folders of 10^4 and more small PNGs (28 × 28, each with bytes of its own) and
indexes each three times, in a process of its own: with no index cache (every file opened, read and hashed), writing
one, and reading one (a stat a file). All of them lie in the system's file cache. FOLDER holds real JPEGs in class
folders: decoded for the first time, and taken from the decode cache; as files, and as tar shards. What it takes to
compare all checksums of decoded images stands beside what it takes to read them.
Seconds need a quiet machine; ratios and processor time less so. --files 1000000 needs 5 GB, a million inodes and
minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BAR = 20_000
"""Files per second from a warm file cache."""
PER_FOLDER = 1000
TURNS = 5
CHILD = """
import json, resource, sys, time
from pathlib import Path
import zoo.data
from zoo.data._named import index
from zoo.data import decode_all, open_data
from zoo.spec import PreprocessSpec
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
def busy():  # processor seconds, those of the helper processes too
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
what, source = sys.argv[1], Path(sys.argv[2])
if what == "decode":
    images = open_data(source, for_training=False).split(sys.argv[3])
    spec = PreprocessSpec(size=(224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
before, start, worked = peak(), time.perf_counter(), busy()
if what == "index":
    n = len(index(source).ids)
elif what == "open":
    n = open_data(source).fingerprint.n
else:
    n = len(images)
    decode_all(images, spec).pixels.sum()  # an entry of the cache is only mapped until it is looked at
seconds, worked = time.perf_counter() - start, busy() - worked
print(json.dumps({"n": n, "seconds": seconds, "cpu": worked, "before": before, "peak": peak()}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT.parent / "shared/data/pbc8/folder")
    parser.add_argument("--files", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--split", default="train", help="of FOLDER, for the decode cache")
    parser.add_argument("--scratch", type=Path, help="where the made files go; default: the system's")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    options = parser.parse_args()
    if options.smallest:
        options.files = [60]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{os.cpu_count()} cores, load {load:.1f} before the start\n")
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for n in options.files:
            show(indexing(Path(scratch) / str(n), n))
            show(checking(Path(scratch) / "pixels", n))
        if options.folder.is_dir():
            show(decoding(options.folder, options.split, Path(scratch)))
            show(shards(options.folder, options.split, Path(scratch)))
            show(auditing(options.folder))


def show(rows: Iterator[tuple[str, str, str]]) -> None:
    """Each when it is there: a million files take a while."""
    for name, value, bar in rows:
        print(f"{name:52}  {value:>36}  bar: {bar}", flush=True)


def indexing(folder: Path, n: int) -> Iterator[tuple[str, str, str]]:
    make(folder, n)
    settle()
    home = folder.parent / f"home {n}"
    child("index", folder, home, "0")  # fills the system's file cache
    for name, limit in (("no index cache", "0"), ("writing the index cache", "20"), ("reading it", "20")):
        told = child("index", folder, home, limit)
        grown = f"peak {told['peak']:.0f} MB, {(told['peak'] - told['before']) / told['n'] * 1e6:.0f} B a file"
        bar = f">= {BAR} files/s" if name != "writing the index cache" else "none"
        rate = f"{told['n'] / told['seconds']:,.0f} files/s, {told['cpu'] / told['n'] * 1e6:.0f} µs CPU a file"
        yield f"{n} PNGs, index, {name}", rate, bar
        yield f"{n} PNGs, index, {name}, memory", grown, "flat"
    told = child("open", folder, home, "20")
    yield f"{n} PNGs, index read, then splits made", f"{told['seconds']:.1f} s, peak {told['peak']:.0f} MB", "none"


def checking(path: Path, n: int) -> Iterator[tuple[str, str, str]]:
    """Comparing the checksums of decoded images, beside reading the images alone; in turns, from the file cache."""
    from zoo.data._cache import _check_rows
    from zoo.data._rows import FileRows

    shape = (n, 28, 28, 3)
    pixels = np.memmap(path, np.float32, "w+", shape=shape)
    for start in range(0, n, PER_FOLDER):
        pixels[start : start + PER_FOLDER] = np.random.default_rng(start).random(
            (min(PER_FOLDER, n - start), *shape[1:])
        )
    sums = np.array([zlib.crc32(row) for row in pixels], "<u4")
    settle()
    times: dict[str, list[float]] = {"read": [], "check": []}
    for _ in range(TURNS):
        for name, taken in times.items():
            start = time.process_time()
            if name == "read":
                np.fromfile(path, np.float32)
            else:
                with path.open("rb") as stream:
                    _check_rows(FileRows(stream, shape, np.dtype(np.float32)), sums)
            taken.append(time.process_time() - start)
    path.unlink()
    read, check = (np.median(times[name]) for name in ("read", "check"))
    rate = f"{check / read:.2f} x CPU, {check / n * 1e6:.1f} µs an image"
    yield f"{n} decoded images of 28 px, checksums / reading", rate, "none"


def decoding(folder: Path, split: str, scratch: Path) -> Iterator[tuple[str, str, str]]:
    home = scratch / "decoded"
    without = child("decode", folder, home, "0", split)
    first, second = (child("decode", folder, home, "20", split, "0") for _ in range(2))
    n = without["n"]
    yield f"{n} JPEGs to 224 px, no cache", f"{without['seconds']:.2f} s", "none"
    yield f"{n} JPEGs to 224 px, kept for the first time", f"{first['seconds'] / without['seconds']:.2f} x", "none"
    yield f"{n} JPEGs to 224 px, taken from the cache", f"1/{without['seconds'] / second['seconds']:.0f} of it", "none"


def shards(folder: Path, split: str, scratch: Path) -> Iterator[tuple[str, str, str]]:
    """The images of one split as two tars."""
    target = scratch / "shards"
    target.mkdir()
    files = sorted(path for path in (folder / split).rglob("*.*") if path.is_file())
    for part in range(2):
        with tarfile.open(target / f"{split}-{part:06}.tar", "w") as tar:
            for path in files[part::2]:
                tar.add(path, f"{path.parent.name}/{path.stem}{path.suffix}")
                label = tarfile.TarInfo(f"{path.parent.name}/{path.stem}.cls")
                label.size = len(path.parent.name.encode())
                tar.addfile(label, io.BytesIO(path.parent.name.encode()))
    for what, options in (("index", ()), ("decode", (split,))):
        told = [child(what, source, scratch / "none", "0", *options) for source in (folder, target) for _ in range(2)]
        rates = [one["n"] / one["seconds"] for one in told]
        each = max(rates[2:]) / max(rates[:2])
        yield f"tar shards / files, {what}", f"{each:.2f} x ({max(rates[2:]):,.0f} images/s)", "none"


def auditing(folder: Path) -> Iterator[tuple[str, str, str]]:
    try:
        from zoo.data.audit import audit
    except ImportError:
        return
    start = time.perf_counter()
    n = audit(folder).n
    seconds = (time.perf_counter() - start) / n * 10_000
    yield "audit, real JPEGs", f"{seconds:.0f} s per 10 000 images", "none"


def make(folder: Path, n: int) -> None:
    """`n` PNGs in folders of ten classes; what follows the end of the picture makes each file another."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)).save(stream, "PNG")
    data = stream.getvalue()
    each = min(PER_FOLDER, max(1, n // 10))
    for i in range(n):
        if i % each == 0:
            here = folder / f"class {i // each % 10}" / f"{i // each}"
            here.mkdir(parents=True)
        (here / f"image_{i}.png").write_bytes(data + i.to_bytes(8, "big"))


def settle() -> None:
    """Files that changed in the last seconds are not trusted by an index cache."""
    time.sleep(4)


def child(what: str, source: Path, home: Path, limit: str, *options: str) -> dict[str, Any]:
    environment = {**os.environ, "ZOO_HOME": str(home), "ZOO_CACHE_GB": limit}
    command = [sys.executable, "-c", CHILD, what, str(source), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{what} {source.name}: {done.stderr[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    main()
