"""An ARM64 Python with the wheels of a device, under an emulator: how the runtime is proven where no ARM machine is.

    python tools/arm64.py DIR        # about 80 MB of packages, a minute
    DIR/python -m zoo.edge verify NAME.zoo

DIR/python starts Debian's arm64 interpreter in qemu-aarch64-static, both taken from the package sources of this machine
without installing them, with the aarch64 wheels of onnxruntime, numpy, Pillow and msgspec, and this checkout. No
rights are needed, and nothing outside DIR changes. ONNX Runtime 1.28 and later crash in QEMU 7.2, so it is 1.27.

Wants: Linux, a Debian with Python 3.11 (bookworm), apt-get, dpkg, pip, and the network.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = "onnxruntime==1.27.0"
WHEELS = (RUNTIME, "numpy", "pillow", "msgspec")
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
DEBS = (
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libgcc-s1", "libstdc++6", "zlib1g",
    "libexpat1", "libffi8", "libssl3", "liblzma5", "libbz2-1.0",
)  # fmt: skip
EMULATOR = "qemu-user-static"


def main() -> int:
    """Make DIR/python, or say in one line why there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path, metavar="DIR")
    place: Path = parser.parse_args().place.resolve()
    if (place / "python").is_file():
        return 0
    try:
        unpack_packages(place)
        unpack_wheels(place)
        python = write_program(place)
        run(python, "-c", "import onnxruntime, numpy, PIL, msgspec")
    except (OSError, subprocess.CalledProcessError) as problem:
        (place / "python").unlink(missing_ok=True)
        said = getattr(problem, "stderr", "") or str(problem)
        sys.stderr.write(f"no ARM64 interpreter: {' '.join(said.split())[-300:]}\n")
        return 1
    return 0


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What a command says on stdout; one that fails is an error."""
    return subprocess.run(list(map(str, command)), cwd=cwd, check=True, capture_output=True, text=True).stdout


def unpack_packages(place: Path) -> None:
    """The interpreter and the emulator, by a state of apt's own: this machine gets no other architecture."""
    host = run("dpkg", "--print-architecture").strip()
    apt, debs = place / "apt", place / "debs"
    for folder in (apt / "lists" / "partial", apt / "archives" / "partial", debs, place / "root"):
        folder.mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    settings = {
        "Dir::State": apt, "Dir::State::status": apt / "status", "Dir::Cache": apt, "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
    }  # fmt: skip
    options = [f"-o{name}={value}" for name, value in settings.items()]
    options += [f"-oAPT::Architectures::={one}" for one in dict.fromkeys((host, "arm64"))]
    run("apt-get", *options, "update", "-qq")
    run("apt-get", *options, "download", "-qq", *(f"{name}:arm64" for name in DEBS), f"{EMULATOR}:{host}", cwd=debs)
    for package in debs.glob("*.deb"):
        if package.name.startswith(EMULATOR):  # it holds one for each of thirty architectures
            run("dpkg", "-x", package, place / "all")
            shutil.move(place / "all/usr/bin/qemu-aarch64-static", place / "emulator")
            shutil.rmtree(place / "all")
        else:
            run("dpkg", "-x", package, place / "root")
    shutil.rmtree(apt)
    shutil.rmtree(debs)


def unpack_wheels(place: Path) -> None:
    """What a device installs, for aarch64."""
    options = [f"--platform={one}" for one in PLATFORMS]
    run(
        sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", place / "wheels", *options,
        "--python-version=3.11", "--implementation=cp", "--only-binary=:all:", *WHEELS,
    )  # fmt: skip
    for wheel in (place / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place / "site")
    shutil.rmtree(place / "wheels")


def write_program(place: Path) -> Path:
    """DIR/python; on an ARM64 machine without the emulator."""
    root = place / "root"
    emulator = [] if platform.machine() == "aarch64" else [place / "emulator", "-L", root]
    command = " ".join(f'"{one}"' for one in (*emulator, root / "usr/bin/python3.11"))
    python = place / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'export PYTHONPATH="{ROOT}:{place / "site"}" PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1\n'
        f'exec {command} "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    return python


if __name__ == "__main__":
    sys.exit(main())
