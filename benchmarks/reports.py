"""How long a DICOM report takes, by the number of classes, of which each has a measurement in it.

    python benchmarks/reports.py MODEL [--smallest]

The image is none that exists, and the answer is made up: what is timed writes only what it is given.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import msgspec

from zoo.edge import Prediction, Runtime
from zoo.edge.clinical._author import Author
from zoo.edge.clinical._source import DicomSource
from zoo.edge.clinical._sr import write_report

CT = "1.2.840.10008.5.1.4.1.1.2"
IMAGE = DicomSource("1.2.3", "1.2.3.4", CT, "1.2.3.4.5", 1, {}, ())


def main() -> None:
    """Print a row for each number of classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--smallest", action="store_true")
    given = parser.parse_args()
    runtime = Runtime.open(given.model, threads=1)
    print(f"load {os.getloadavg()[0]:.1f}; the least and the most seconds of a report\n\n| classes | least | most |")
    for classes in (2, 10) if given.smallest else (2, 10, 100, 300):
        labels = tuple(f"class {at}" for at in range(classes))
        plain = msgspec.structs.replace(runtime.manifest, labels=labels, operating=(), abstention=None)
        answer = Prediction("image", labels[0], 1 / classes, dict.fromkeys(labels, 1 / classes))
        took = []
        for _ in range(6):
            began = time.perf_counter()
            write_report(IMAGE, answer, Author(plain, runtime.sha256))
            took.append(time.perf_counter() - began)
        print(f"| {classes} | {min(took[1:]):.3f} | {max(took[1:]):.3f} |")  # the first imports highdicom


if __name__ == "__main__":
    main()
