"""Sound files, damaged at random: whatever comes out of opening them, it is an answer or a `ZooError`.

    python tests/edge/mutations.py --seconds 300 --seed 7

tries for five minutes and prints each file that made another error, with the seed that makes it again. The suite tries
a few hundred with fixed seeds; what was once found is a plain test in test_mutations.py.
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))

from edge_models import make_bundle, make_manifest, make_model

from zoo.edge import Runtime
from zoo.edge._replay import read_golden
from zoo.edge.bundle import open_model
from zoo.errors import ModelError, ZooError
from zoo.spec import Manifest, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    Target = tuple[bytes, Callable[[bytes, random.Random], bytes], Callable[[bytes], object]]

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def dice(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - accidents, no secrets


def mutated(data: bytes, chance: random.Random, others: bytes) -> bytes:
    """`data` after one to four accidents."""
    damaged = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(damaged) + 1), chance.choice((1, 1, 2, 4, 8, 16, 64))
        accident = chance.randrange(8)
        if accident == 0:
            damaged[at : at + length] = chance.randbytes(length)
        elif accident == 1:
            del damaged[at : at + length]
        elif accident == 2:
            damaged[at:at] = damaged[at : at + length] * chance.choice((1, 2, 50))
        elif accident == 3 and at < len(damaged):
            damaged[at] ^= 1 << chance.randrange(8)
        elif accident == 4:
            number = chance.choice(NUMBERS)
            damaged[at : at + 8] = number.to_bytes(8, chance.choice(("little", "big")))
        elif accident == 5:
            start = chance.randrange(len(others))
            damaged[at : at + length] = others[start : start + length]
        elif accident == 6:
            damaged[at : at + length] = varint(chance.choice(NUMBERS))
        elif accident == 7 and chance.random() < 0.2:
            del damaged[at:]
    return bytes(damaged)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def golden_set(*, packed: bool = False) -> bytes:
    stream = io.BytesIO()
    images = {f"image_{i:04d}": np.full((4, 5, 3), i, np.uint8) for i in range(3)}
    save = np.savez_compressed if packed else np.savez
    save(stream, logits=np.ones((3, 3), np.float32), tolerance=np.float32(1e-3), **images)
    return stream.getvalue()


def golden_header(data: bytes, chance: random.Random) -> bytes:
    """A golden set whose one array is damaged inside an archive that is whole."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(stream, "w") as after:
        victim = chance.choice(before.namelist())
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, mutated(content, chance, content) if name == victim else content)
    return stream.getvalue()


def open_file(data: bytes, folder: Path) -> None:
    path = folder / "m.onnx"
    path.write_bytes(data)
    runtime = Runtime.open(path)
    runtime.logits(np.zeros((1, 4, 5, 3), np.uint8))


def open_manifest(data: bytes, folder: Path) -> None:
    (folder / "m.zoo" / "manifest.json").write_bytes(data)
    open_model(folder / "m.zoo")


def targets(folder: Path) -> dict[str, Target]:
    """What is damaged: a sound file, how, and what opens it."""
    bundle = make_bundle(folder / "m.zoo")
    model, manifest = make_model().SerializeToString(), (bundle / "manifest.json").read_bytes()
    document = encode(make_manifest())

    def plain(data: bytes, chance: random.Random) -> bytes:
        return mutated(data, chance, model + manifest)

    return {
        "onnx": (model, plain, lambda data: open_file(data, folder)),
        "manifest": (manifest, plain, lambda data: open_manifest(data, folder)),
        "metadata": (document, plain, lambda data: decode(data, Manifest, "m", ModelError)),
        "golden": (golden_set(), plain, lambda data: read_golden(data, "golden.npz", 3)),
        "packed golden": (golden_set(packed=True), plain, lambda data: read_golden(data, "golden.npz", 3)),
        "golden array": (golden_set(), golden_header, lambda data: read_golden(data, "golden.npz", 3)),
    }


def attempt(opened: Callable[[bytes], object], data: bytes) -> BaseException | None:
    """What went wrong beside an honest refusal of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened(data)
    except ZooError as problem:
        return None if "\n" not in str(problem) else problem
    except Exception as problem:  # finding them is what this is for
        return problem
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found: set[str] = set()
    tries = 0
    with tempfile.TemporaryDirectory() as temporary:
        kinds = targets(Path(temporary))
        end = time.monotonic() + asked.seconds
        while time.monotonic() < end:
            tries += 1
            chance = dice(f"{asked.seed} {tries}")
            kind = chance.choice(sorted(kinds))
            sound, damage, opened = kinds[kind]
            data = damage(sound, chance)
            begun = time.monotonic()
            problem = attempt(opened, data)
            if time.monotonic() - begun > 5:
                problem = problem or TimeoutError(f"{time.monotonic() - begun:.1f} s")
            if problem is not None and (key := f"{kind} {type(problem).__name__} {str(problem)[:40]}") not in found:
                found.add(key)
                traceback.print_exception(problem, limit=-3)
                encoded = base64.b64encode(data).decode()[:6000]
                sys.stdout.write(f"seed {asked.seed} try {tries}: {key}\n{encoded}\n")
    sys.stderr.write(f"{tries} files, {len(found)} kinds of error\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
