"""A device whose ONNX Runtime is older than the one that a file is proven from is told so, whatever else it is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnxruntime
import pytest
from edge_models import make_bundle, make_manifest

from zoo._support.versions import is_older
from zoo.edge import verify
from zoo.edge.__main__ import main
from zoo.edge.serve import ServedPath, Settings
from zoo.edge.serve._models import open_served
from zoo.spec import OldestRuntime

if TYPE_CHECKING:
    from pathlib import Path

NEWER = "900.1.0"


def proven_from(folder: Path, version: str) -> Path:
    oldest = OldestRuntime(onnxruntime=version, proven="operators")
    return make_bundle(folder / f"{version}.zoo", manifest=make_manifest(runtime=oldest))


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [
        ("1.9.2", "1.17.3", True),
        ("1.17.3", "1.9.2", False),
        ("1.18", "1.18.0", False),
        ("1.18.0", "1.18", False),
        ("1.18", "1.18.1", True),
        ("1.18.1+cu12", "1.18.1", False),
    ],
)
def test_versions_are_compared_by_their_numbers(one: str, other: str, older: bool) -> None:
    assert is_older(one, other) is older


@pytest.mark.parametrize("isolated", [True, False])
def test_verify_warns_and_proves_the_golden_images_all_the_same(
    tmp_path: Path, isolated: bool, caplog: pytest.LogCaptureFixture
) -> None:
    proof = verify(proven_from(tmp_path, NEWER), isolated=isolated)
    assert (proof.older, proof.images) == (True, 4)
    assert proof.runtime is not None
    assert (proof.onnxruntime, proof.runtime.onnxruntime) == (onnxruntime.__version__, NEWER)
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"onnxruntime {onnxruntime.__version__} is here" in said
    assert f"proven from {NEWER} on" in said


def test_no_warning_where_the_version_is_proven(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for version in ("1.17.3", onnxruntime.__version__):
        assert not verify(proven_from(tmp_path, version), isolated=False).older
    assert not verify(make_bundle(tmp_path / "silent.zoo"), isolated=False).older
    assert not caplog.records


def test_the_command_says_both_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = proven_from(tmp_path, NEWER)
    assert main(["verify", str(bundle)]) == 0
    printed = capsys.readouterr()
    (line,) = [line for line in printed.out.splitlines() if line.startswith("onnxruntime")]
    assert line.split(None, 1)[1].startswith(f"{onnxruntime.__version__} here, which is older; proven from {NEWER} on")
    assert printed.err.count("\n") == 1
    assert main(["verify", str(bundle), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["onnxruntime"], document["runtime"]["onnxruntime"]) == (onnxruntime.__version__, NEWER)
    assert document["older"] is True


def test_a_server_that_proves_its_model_warns_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_served(ServedPath(proven_from(tmp_path, NEWER)), Settings())
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"proven from {NEWER} on" in said
