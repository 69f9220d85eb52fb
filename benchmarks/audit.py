"""What the audit finds and what it costs: python benchmarks/audit.py FOLDER [SET ...].

FOLDER holds photographs or micrographs without near-duplicates of their own (../shared/data/pbc8/folder). For each
way of copying, 200 of its images are copied and the set with the copies is searched: how many copies were found, how
many other pairs were. Each SET (a folder, an .npz file, a named set) is then audited in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance

from zoo.data._index import Arrays, Pool
from zoo.data._named import index
from zoo.data.audit._look import look_at
from zoo.data.audit._search import near_pairs, threshold_for
from zoo.data.audit._spectrum import TERMS, whiten

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

COPIED, SMALLEST = 200, 4
AUDIT = """
import json, sys, time
from zoo.data.audit import audit
from zoo.data._named import index
began = time.perf_counter()
pool = index(sys.argv[1], skip_bad=True, as_is=True)
indexed = time.perf_counter()
found = audit(pool)
done = time.perf_counter()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
kinds = {k: sum(f.kind == k for f in found.findings) for k in sorted({f.kind for f in found.findings})}
print(json.dumps({"n": found.n, "index": indexed - began, "audit": done - indexed, "kinds": kinds,
    "verdict": found.verdict, "cpu": time.process_time(), "mb": int(peak.split()[1]) * 1024 / 1e6}))
"""


def saved(image: Image.Image, quality: int) -> Image.Image:
    """Through JPEG and back."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """By bicubic interpolation."""
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.BICUBIC)


WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 75": lambda image: saved(image, 75),
    "JPEG, quality 50": lambda image: saved(image, 50),
    "half the size": lambda image: scaled(image, 0.5),
    "1.5 times the size": lambda image: scaled(image, 1.5),
    "mirrored left to right": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "mirrored top to bottom": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "20 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "20 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "30 % more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "30 % less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "mirrored, halved, JPEG 60": lambda image: saved(scaled(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0.5), 60),
    # beyond what is promised
    "cropped by 2 % a side": lambda image: image.crop(
        (image.width // 50, image.height // 50, image.width * 49 // 50, image.height * 49 // 50)
    ),
    "turned by 2 degrees": lambda image: image.rotate(2, Image.Resampling.BICUBIC),
}


def planted(folder: str, copied: int, seed: int = 0) -> None:
    """The table of copies found and of other pairs."""
    pool = index(folder)
    originals = look_at(pool).spectra
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pool.ids))[:copied])
    patterns = whiten(originals, TERMS)
    own = near_pairs(patterns, threshold_for(patterns))
    print(f"{pool.name}: {len(pool.ids)} images, {len(own.first)} pairs among them before anything was planted")
    print(f"{'way of copying':28}{'found':>12}{'other pairs':>13}{'lowest correlation':>20}")
    for way, copy in WAYS.items():
        copies = [np.asarray(copy(Image.fromarray(pool.source.read(int(row)).pixels))) for row in chosen]
        patterns = whiten(np.concatenate([originals, spectra_of(copies)]), TERMS)
        pairs = near_pairs(patterns, threshold_for(patterns))
        right = (pairs.second >= len(originals)) & (
            pairs.first == chosen[(pairs.second - len(originals)) % len(chosen)]
        )
        lowest = f"{pairs.correlation[right].min():.3f}" if right.any() else "-"
        print(f"{way:28}{right.sum():>6} of {len(chosen)}{(~right).sum():>13}{lowest:>20}")


def spectra_of(pictures: list[NDArray[np.uint8]]) -> NDArray[np.float16]:
    """Their spectra, through the pass that the audit makes."""
    parts = tuple(picture[np.newaxis] for picture in pictures)
    n, none = len(parts), np.zeros((len(parts), 32), np.uint8)
    ids = tuple(map(str, range(n)))
    return look_at(
        Pool("copies", ("any",), ids, np.zeros(n, np.int64), Arrays(parts), none, {}, "uint8", False, 0)
    ).spectra


def buckets(source: str) -> None:
    """What hash buckets find of the pairs that an exhaustive search finds, with a copy of every image added."""
    looks = look_at(index(source))
    rng = np.random.default_rng(0)
    noisy = looks.spectra + rng.normal(0, 0.006, looks.spectra.shape).astype(np.float16)
    patterns = whiten(np.concatenate([looks.spectra, noisy]), TERMS)
    began = time.perf_counter()
    every = near_pairs(patterns, 0.9)
    between = time.perf_counter()
    some = near_pairs(patterns, 0.9, exhaustive=0)
    done = time.perf_counter()
    keys = {(a, b) for a, b in zip(some.first.tolist(), some.second.tolist(), strict=True)}
    hit = np.array([pair in keys for pair in zip(every.first.tolist(), every.second.tolist(), strict=True)])
    print(f"\n{len(patterns)} patterns: every pair {between - began:.1f} s, buckets {done - between:.1f} s")
    for low, high in ((0.9, 0.925), (0.925, 0.95), (0.95, 0.975), (0.975, 1.01)):
        there = (every.correlation >= low) & (every.correlation < high)
        if there.any():
            print(f"correlation {low} to {min(high, 1)}: {hit[there].sum()} of {there.sum()} pairs found by buckets")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--buckets", metavar="SET", help="measure the search of large sets on this one")
    parser.add_argument("--smallest", action="store_true", help="a run of seconds whose numbers say nothing")
    given = parser.parse_args()
    planted(given.folder, SMALLEST if given.smallest else COPIED)
    if given.buckets:
        buckets(given.buckets)
    for source in given.sets:
        ran = subprocess.run([sys.executable, "-c", AUDIT, source], capture_output=True, text=True, check=True)
        seen = json.loads(ran.stdout)
        per = 10_000 / seen["n"]
        print(
            f"\n{source}: {seen['n']} images, {seen['verdict']}; index {seen['index']:.1f} s, "
            f"audit {seen['audit']:.1f} s ({seen['audit'] * per:.1f} s per 10 000, {seen['cpu'] * per:.1f} s of CPU), "
            f"peak {seen['mb']:.0f} MB\n  {seen['kinds']}"
        )


if __name__ == "__main__":
    main()
