"""The device's verbs on ARM64: real aarch64 wheels, under an emulator where the machine is another.

Skipped unless ZOO_ARM64 names the folder that `python tools/arm64.py FOLDER` makes.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from runtime_cases import quantised_bundle, small_pictures

import zoo

ARM64 = os.environ.get("ZOO_ARM64", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ARM64, reason="no ARM64 interpreter: 'python tools/arm64.py DIR', then ZOO_ARM64=DIR"),
]

VERBS = """
import sys
from zoo.edge.__main__ import main
sys.exit(max(main([verb, *arguments, "--json"]) for verb, *arguments in {commands!r}))
"""
"""`python -m zoo.edge VERB` for one after the other: the emulated interpreter takes longest to start."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("arm64")
    run = zoo.train("simple_cnn", small_pictures(root / "data"), out=root / "run", size=16, epochs=2).run
    zoo.export(run, bundle=True, out=root / "default.zoo")
    zoo.export(run, bundle=True, out=root / "portable.zoo", portable=True)
    quantised_bundle(root / "default.zoo", root / "int8.zoo", "arm64")
    return root


def test_files_answer_on_arm64_as_here(bundles: Path, tmp_path: Path) -> None:
    """float32 by both forms of the resize, and int8 for ARM: each proves itself, and predicts what it does here."""
    paths = [bundles / f"{form}.zoo" for form in ("default", "portable", "int8")]
    # Each file's own: their answers do not change within its tolerance, those to another file's images may.
    pictures = {path: _write_golden(path, tmp_path / path.stem) for path in paths}
    commands = [
        command
        for path in paths
        for command in (["verify", str(path)], ["predict", str(path), *map(str, pictures[path])])
    ]
    done = subprocess.run(
        [Path(ARM64) / "python", "-c", VERBS.format(commands=commands)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = iter(_documents(done.stdout))
    for path in paths:
        proof = next(answers)
        assert proof["images"] >= 32
        assert proof["max_abs_logit"] <= proof["tolerance"]
        here = zoo.open(path).predict(pictures[path])
        for there, one in zip(next(answers), here, strict=True):
            assert there["label"] == one.row()["label"]
            values = np.array([[there["probabilities"][name], p] for name, p in one.row()["probabilities"].items()])
            assert np.abs(values[:, 0] - values[:, 1]).max() <= proof["tolerance"]


def _write_golden(bundle: Path, folder: Path) -> list[Path]:
    """The first golden images as files."""
    folder.mkdir()
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        for index in range(6):
            Image.fromarray(golden[f"image_{index:04d}"]).save(folder / f"{index}.png")
    return sorted(folder.glob("*.png"))


def _documents(text: str) -> list[Any]:
    """JSON documents, one after the other."""
    found, at, decoder = [], 0, json.JSONDecoder()
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found
