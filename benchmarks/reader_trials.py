"""Every file of folders read, and damaged copies of each: what was read, refused, and what should never happen.

`python benchmarks/reader_trials.py FOLDER… [--mutations N] [--seed S]` reads as `zoo predict` does, native decoders in
companions. Other exceptions than a refusal of one line must be 0; a companion that dies costs its file and is counted.
A process that dies ends the program, so its last line says that none did.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random

from zoo.errors import ImageError
from zoo.readers import read

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 300_000
"""Bytes; larger files are read, and not damaged: they would take the time of all others."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--mutations", type=int, default=10, help="damaged copies of each file of up to 300 kB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smallest", action="store_true", help="a run of seconds on a picture of its own")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from damage import damage

    warnings.simplefilter("ignore")  # Pillow's
    with tempfile.TemporaryDirectory() as scratch:
        if options.smallest:
            make_picture(Path(scratch))
            options.folders = [Path(scratch)]
        paths = [path for folder in options.folders for path in sorted(folder.rglob("*")) if path.is_file()]
        whole, damaged = Trial("whole files"), Trial("damaged copies")
        random = Random(options.seed)  # noqa: S311 - the same faults each time
        for path in paths:
            data = path.read_bytes()
            whole.try_out(path, data)
            for _ in range(options.mutations if 0 < len(data) <= LARGEST else 0):
                damaged.try_out(path, damage(data, random))
    for trial in (whole, damaged):
        trial.show()
    print("the process lived")
    sys.exit(bool(whole.others or damaged.others))


class Trial:
    """What came of many files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.codes: Counter[str] = Counter()
        self.others: list[str] = []
        self.slowest = (0.0, "")
        self.seconds = 0.0

    def try_out(self, path: Path, data: bytes) -> None:
        """Read one file."""
        start = time.perf_counter()
        try:
            read(data, name=path.name)
            code = "read"
        except ImageError as problem:
            code = problem.code
            if "\n" in str(problem):
                self.others.append(f"{path.name}: more than one line")
        except Exception as problem:  # what the trial is for
            code = "other"
            self.others.append(f"{path.name}: {type(problem).__name__}")
        taken = time.perf_counter() - start
        self.codes[code] += 1
        self.seconds += taken
        self.slowest = max(self.slowest, (taken, f"{path.name}, {code}"))

    def show(self) -> None:
        """Print it."""
        n = self.codes.total()
        deaths = self.codes["image-decoder-ended"]
        refused = n - self.codes["read"] - self.codes["other"]
        print(f"{self.name}: {n} in {self.seconds:.0f} s, {n / max(self.seconds, 1e-9):.0f} a second")
        print(f"  read {self.codes['read']}, refused {refused}, other exceptions {len(self.others)}")
        print(f"  files over which a companion died {deaths}; slowest {self.slowest[0]:.2f} s ({self.slowest[1]})")
        print("  " + ", ".join(f"{code} {count}" for code, count in self.codes.most_common()))
        for line in sorted(set(self.others))[:20]:
            print(f"  {line}")


def make_picture(folder: Path) -> None:
    """A small compressed TIFF."""
    from PIL import Image

    Image.linear_gradient("L").resize((40, 30)).save(folder / "a.tif", compression="tiff_lzw")


if __name__ == "__main__":
    main()
