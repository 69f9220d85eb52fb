"""ONNX Runtime's packages report to their maker unless told not to in time; nothing that we start may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# ONNX Runtime is silent of its own accord where these tell it that it is being tested.
_TESTED = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILD_ID", "ORT_DISABLE_TELEMETRY")


def _left_in_home(program: list[str], home: Path) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name not in _TESTED}
    kept |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, *program], env=kept, check=True, capture_output=True)
    return sorted(path.name for path in home.rglob("*") if path.is_file())


@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="a device id is kept in a file there only")
@pytest.mark.parametrize(
    "verb",
    ["predict BUNDLE PICTURE", "predict BUNDLE PICTURE --workers 1", "explain BUNDLE PICTURE", "verify BUNDLE"],
)
def test_no_verb_leaves_a_device_id_behind(bundle: Path, tmp_path: Path, verb: str) -> None:
    """Nor does a process that it starts."""
    picture = tmp_path / "a.png"
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(picture)
    home = tmp_path / "home"
    home.mkdir()
    places = {"BUNDLE": str(bundle), "PICTURE": str(picture)}
    words = [places.get(word, word) for word in verb.split()]
    out = ["--out", str(tmp_path / "maps")] if verb.startswith("explain") else []
    assert _left_in_home(["-m", "zoo.edge", *words, *out], home) == []


def test_an_import_that_comes_too_late_is_said(tmp_path: Path) -> None:
    both = "import warnings; warnings.simplefilter('error'); import onnxruntime; import zoo"
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        _left_in_home(["-c", both], tmp_path)
    assert b"import zoo first or set ORT_DISABLE_TELEMETRY=1" in stopped.value.stderr
