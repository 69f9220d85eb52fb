"""The device's runtime as one file: `python3 zoo.pyz predict MODEL IMAGES`, with nothing installed.

    python tools/device_file.py zoo.pyz

It holds this package and the installed numpy, Pillow, msgspec and ONNX Runtime, without their tests, headers and
converters, packed by shiv. The first start unpacks it below SHIV_ROOT, else ~/.shiv; later starts find it there. The
machine must have the Python version, the system and the processor family of the machine that packed it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path, PurePath

import zoo

NEEDED = ("numpy", "pillow", "msgspec", "onnxruntime")
SPARED = (
    "*/tests/*", "*.pyc", "*.pyi", "*.h", "*.a", "*.pxd", "*/bin/*",
    "numpy/f2py/*", "numpy/distutils/*", "numpy/_pyinstaller/*",
    "onnxruntime/transformers/*", "onnxruntime/quantization/*", "onnxruntime/tools/*", "onnxruntime/datasets/*",
    "onnxruntime/backend/*", "onnxruntime/capi/libonnxruntime.so*",
)  # fmt: skip
"""What no verb of the device reads. libonnxruntime.so is ONNX Runtime a second time, for programs in C."""


def main() -> int:
    """Write the file, and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out.resolve()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "site-packages"
        lines += [
            f"{name} {distribution(name).version}: {copy_distribution(name, place) / 1e6:.0f} MB" for name in NEEDED
        ]
        lines.append(f"zoo {zoo.__version__}: {copy_package(Path(zoo.__path__[0]), place / 'zoo') / 1e6:.1f} MB")
        command = ["--site-packages", str(place), "--entry-point", "zoo.edge.__main__:main", "--output-file", str(out)]
        options = ["--compressed", "--reproducible", "--extend-pythonpath", "--python", "/usr/bin/env python3"]
        subprocess.run([sys.executable, "-m", "shiv", *command, *options], check=True)
        unpacked = sum(one.stat().st_size for one in place.rglob("*") if one.is_file())
    lines.append(f"{out.name}: {out.stat().st_size / 1e6:.0f} MB, {unpacked / 1e6:.0f} MB unpacked")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def copy_distribution(name: str, place: Path) -> int:
    """Copy what is needed of an installed distribution; bytes."""
    found = 0
    for file in distribution(name).files or ():
        if ".." in file.parts or any(PurePath(file).match(pattern) or _below(file, pattern) for pattern in SPARED):
            continue
        target = place / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(str(file.locate()), target)
        found += target.stat().st_size
    return found


def copy_package(source: Path, target: Path) -> int:
    """Copy a package's files; bytes."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    return sum(one.stat().st_size for one in target.rglob("*") if one.is_file())


def _below(file: PurePath, pattern: str) -> bool:
    """Whether a folder of the path is spared: PurePath.match knows no '**' before Python 3.13."""
    return pattern.endswith("/*") and any(parent.match(pattern[:-2]) for parent in file.parents)


if __name__ == "__main__":
    sys.exit(main())
