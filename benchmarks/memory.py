"""Memory of a training by the number of its images, each training in a process of its own under a limit.

`python benchmarks/memory.py` makes tar shards of small PNGs (28 × 28, each another one) and trains `simple_cnn` on
them for one epoch: with decoded images on disk, and with images that are decoded anew for each epoch. Printed are the
most memory that the process ever held (VmHWM) until images were indexed, decoded and trained on, and until the command
ended, which exports and evaluates; the most address space (VmPeak), which the limit is of; and images per second of the
epoch. A twentieth more images validate, and as many test. What else the machine does changes rates, but no memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SIDE, CLASSES = 28, 5
BAR = 2e9
"""Bytes that a training may take beside its batch, however many images it has."""
IN_SHARD = 10_000
WAYS = ("disk", "stream")
SHOWN = ("indexed", "decoded", "trained", "ended", "space")
CHILD = """
import json, logging, re, sys
from pathlib import Path
def told(name):
    return 1024 * int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
marks = {}
class Marks(logging.Handler):
    def emit(self, record):
        text = record.getMessage()
        name = "indexed" if "training image" in text else "decoded" if text.startswith("training ") else None
        name = "trained" if text.startswith("epoch ") else name
        if name:
            marks[name] = told("VmHWM")
log = logging.getLogger("zoo")
log.setLevel(logging.INFO)
log.addHandler(Marks())
import zoo
data, way, epochs, batch, size, out = sys.argv[1:]
result = zoo.train("simple_cnn", data, epochs=int(epochs), batch_size=int(batch), size=int(size), out=out,
                   settings={"cache": way})
print(json.dumps(marks | {"ended": told("VmHWM"), "space": told("VmPeak"), "rate": result.images_per_second}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="*", type=int, default=[1000, 10_000, 50_000, 200_000])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--limit", type=float, default=6.0, help="GB of address space, as ulimit -v")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    asked = parser.parse_args()
    if asked.smallest:
        asked.images, asked.batch_size = [120], 16

    print(
        f"simple_cnn, {SIDE} px, {asked.epochs} epoch(s), batch {asked.batch_size}, "
        f"address space limited to {asked.limit:g} GB\n"
    )
    print(
        f"{'images':>8}  {'way':<8}{'indexed':>9}{'decoded':>9}{'trained':>9}{'ended':>9}{'space':>9}{'images/s':>10}"
    )
    most: dict[str, float] = {}
    for n in asked.images:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "set", n)
            for way in asked.ways:
                told = train(Path(folder), way, asked)
                sizes = "".join(
                    f"{told[name] / 1e6:>6.0f} MB" for name in ("indexed", "decoded", "trained", "ended", "space")
                )
                print(f"{n:>8}  {way:<8}{sizes}{told['rate']:>10.0f}", flush=True)
                most[way] = max(most.get(way, 0), told["trained"])
    print()
    for way, size in most.items():
        print(f"{way}: {size / 1e9:.2f} GB at most, bar {BAR / 1e9:.2f} {'met' if size <= BAR else 'missed'}")


def make(folder: Path, n: int) -> None:
    """Shards of `n` training images, and a twentieth of it to validate and to test; brighter by class."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, count in (("train", n), ("val", max(20, n // 20)), ("test", max(20, n // 20))):
        for start in range(0, count, IN_SHARD):
            with tarfile.open(folder / f"{split}-{start // IN_SHARD:06}.tar", "w") as shard:
                for i in range(start, min(start + IN_SHARD, count)):
                    pixels = random.integers(0, 100, (SIDE, SIDE, 3), np.uint8) + np.uint8(30 * (i % CLASSES))
                    stream = io.BytesIO()
                    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
                    for suffix, content in ((".png", stream.getvalue()), (".cls", str(i % CLASSES).encode())):
                        member = tarfile.TarInfo(f"{split}{i:07}{suffix}")
                        member.size = len(content)
                        shard.addfile(member, io.BytesIO(content))


def train(folder: Path, way: str, asked: argparse.Namespace) -> dict[str, float]:
    """What one training in a process of its own said of its memory, in bytes, and its rate."""

    def limit() -> None:
        size = int(asked.limit * 1e9)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    place = os.pathsep.join((str(ROOT), str(ROOT / "cli"), str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "ZOO_HOME": str(folder / "home"), "PYTHONPATH": place}
    command = [
        sys.executable,
        "-c",
        CHILD,
        str(folder / "set"),
        way,
        str(asked.epochs),
        str(asked.batch_size),
        str(SIDE),
        str(folder / way),
    ]
    done = subprocess.run(command, preexec_fn=limit, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} with the images of {folder} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
