"""Versions of ONNX Runtime, each in an environment of its own, and what bundles answer there; for runtimes.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from zoo._support.text import join_lines

__all__ = ["VERSIONS", "environment", "known", "replay", "say"]

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = (
    "1.17.3", "1.18.1", "1.19.2", "1.20.1", "1.21.1", "1.22.1", "1.23.2", "1.24.4", "1.25.1", "1.26.0", "1.28.0",
    "1.32.0",
)  # fmt: skip
NUMPY_2 = (1, 19)
"""The first version whose wheels were built for numpy 2."""

REPLAY = """
import json, sys
from zoo.edge import verify
from zoo.errors import ZooError
for bundle in sys.argv[1:]:
    print(json.dumps({"bundle": bundle}), flush=True)
    try:
        proof = verify(bundle, isolated=False)
        print(json.dumps({"bundle": bundle, "apart": proof.max_abs_logit}), flush=True)
    except ZooError as problem:
        print(json.dumps({"bundle": bundle, "why": str(problem)}), flush=True)
"""
"""Runs in the environment of a version: one line when it begins with a bundle, one with what came of it."""


def environment(place: Path, version: str) -> Path | None:
    """The interpreter of a virtual environment with that version; None: pip could not fill it."""
    python = place / version / "bin" / "python"
    if (place / version / "filled").is_file():
        return python
    say(f"installing onnxruntime {version}")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / version], check=True)
    numpy = "numpy" if tuple(map(int, version.split(".")[:2])) >= NUMPY_2 else "numpy<2"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile",
         "--disable-pip-version-check", f"onnxruntime=={version}", numpy, "pillow", "msgspec"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        say(f"onnxruntime {version} cannot be had: {join_lines(done.stderr, 200)}")
        return None
    (place / version / "filled").touch()
    return python


def replay(python: Path, version: str, bundles: list[Path], results: Path) -> None:
    """Prove the bundles on that version; what came of each is a line of `results`."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    while bundles:
        say(f"onnxruntime {version}: {len(bundles)} bundles")
        done = subprocess.run(
            [python, "-c", REPLAY, *bundles], env=kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        finished = [line for line in lines if len(line) > 1]
        if len(finished) < len(bundles):  # it ended over the one after these
            last = join_lines(done.stderr, 200) or "it said nothing"
            if not lines:
                sys.exit(f"onnxruntime {version}: zoo.edge does not start: {last}")
            finished.append({"bundle": str(bundles[len(finished)]), "why": f"crashed: {done.returncode}, {last}"})
        with results.open("a", encoding="utf-8") as stream:
            for line in finished:
                stream.write(json.dumps({"version": version, **line, "bundle": Path(line["bundle"]).name}) + "\n")
        bundles = bundles[len(finished) :]


def known(results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(version, bundle) → what came of it."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    return {(line["version"], line["bundle"]): line for line in map(json.loads, lines)}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
