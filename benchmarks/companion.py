"""What the companion process costs a folder of DICOM files, measured in one run on one machine.

`python benchmarks/companion.py` makes 1000 files of 512 × 512 pixels, a quarter each native, JPEG baseline, JPEG 2000,
and JPEG-LS or RLE, and reads them with native decoders in companions and in the process itself, in turns. The files lie
in the system's file cache. Printed is the ratio of wall times, the start of the companions included, as one thread
reads and as the threads of a prediction do, one for each core and four at most.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BAR = 1.10
"""Wall time with companions over wall time without."""
CHILD = """
import resource, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zoo._support import processes
from zoo.readers import _companion as companion, read
where, threads, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
processes._Role.companion = where == "here"
paths = sorted(folder.iterdir())
start = time.perf_counter()
with ThreadPoolExecutor(threads) as pool:
    sum(image.pixels.size for image in pool.map(read, paths))
print(time.perf_counter() - start)
companion._companions().stop()
companion._companions().close()  # so that their time is counted
print(sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    options = parser.parse_args()
    if options.smallest:
        options.files, options.side, options.turns = 8, 64, 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{os.cpu_count()} cores, load {load:.1f} before the start\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder, options.files, options.side)
        for threads in (1, min(4, os.cpu_count() or 1)):
            show(folder, threads, options.turns, options.files)


def show(folder: Path, threads: int, turns: int, files: int) -> None:
    seconds: dict[str, list[tuple[float, float]]] = {"here": [], "apart": []}
    for turn in range(turns):
        for where in ("here", "apart") if turn % 2 else ("apart", "here"):
            command = [sys.executable, "-c", CHILD, where, str(threads), str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            wall, busy = map(float, done.stdout.split())
            seconds[where].append((wall, busy))
    for where, name in (("here", "without"), ("apart", "with")):
        wall, busy = (statistics.median(one[i] for one in seconds[where]) for i in (0, 1))
        print(f"{threads} threads, {name} companions: {wall / files * 1000:.2f} ms a file, processors {busy:.2f} s")
    turned = list(zip(seconds["apart"], seconds["here"], strict=True))
    clock, busy = (statistics.median(a[i] / b[i] for a, b in turned) for i in (0, 1))
    verdict = "met" if clock <= BAR else "missed"
    print(f"{threads} threads, with / without: wall {clock:.2f} x, bar {BAR:.2f} x, {verdict}; CPU {busy:.2f} x\n")


def make(folder: Path, files: int, side: int) -> None:
    """A quarter of the files in each form; all pictures differ."""
    import pydicom.uid as uids

    noise = np.random.default_rng(0)
    base = make_picture(side)
    forms = (
        (uids.ExplicitVRLittleEndian, 16),
        (uids.JPEGBaseline8Bit, 8),
        (uids.JPEG2000Lossless, 16),
        (uids.JPEGLSLossless, 16),
        (uids.ExplicitVRLittleEndian, 16),
        (uids.JPEGBaseline8Bit, 8),
        (uids.JPEG2000Lossless, 16),
        (uids.RLELossless, 16),
    )
    for i in range(files):
        syntax, bits = forms[i % len(forms)]
        values = np.roll(base, i * 7, axis=1) + noise.integers(0, 12, base.shape)
        pixels = np.clip(values, 0, 4095).astype(np.uint16)
        write(folder / f"{i:04}.dcm", pixels if bits == 16 else (pixels >> 4).astype(np.uint8), syntax)


def make_picture(side: int) -> np.ndarray:
    """Smooth values of 12 bits, as of a slice."""
    y, x = np.mgrid[:side, :side] / side
    return ((np.sin(9 * x) * np.cos(7 * y) + 1) * 1800).astype(np.int64)


def write(path: Path, pixels: np.ndarray, syntax: str) -> None:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

    content = pydicom.Dataset()
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.SOPClassUID = SecondaryCaptureImageStorage
    content.SOPInstanceUID = content.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    content.Rows, content.Columns = pixels.shape
    content.SamplesPerPixel, content.PhotometricInterpretation = 1, "MONOCHROME2"
    content.BitsAllocated = pixels.itemsize * 8
    content.BitsStored = 12 if pixels.itemsize == 2 else 8
    content.HighBit, content.PixelRepresentation = content.BitsStored - 1, 0
    content.PixelData = pixels.tobytes()
    content["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    if syntax == JPEGBaseline8Bit:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=90)
        content.PixelData = encapsulate([stream.getvalue()])
        content.file_meta.TransferSyntaxUID = syntax
    elif syntax != ExplicitVRLittleEndian:
        content.compress(syntax, generate_instance_uid=False)
    content.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    main()
