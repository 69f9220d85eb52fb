"""`--portable`: the same file without a Resize operator, through the same gate."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import onnx
import pytest
from export_cases import Case
from refusals import refused

import zoo
import zoo.plugin
from zoo.artefact import assemble
from zoo.errors import GateError, UsageError
from zoo.spec import Manifest, decode, encode
from zoo_cli.main import main


@pytest.fixture
def core(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core that was exported once, so that the tests need not wait for the exporter."""
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())


@pytest.mark.usefixtures("core")
def test_the_file_says_so_and_passes_gate_and_golden_set(case: Case, tmp_path: Path) -> None:
    result = zoo.export(case.run.path, bundle=True, portable=True, out=tmp_path / "colours.zoo")
    assert result.parity.images >= 64
    assert result.parity.flips == 0
    assert zoo.open(result.path).manifest.portable
    assert zoo.verify(result.path).images >= 32
    operators = {node.op_type for node in onnx.load(tmp_path / "colours.zoo/model.onnx").graph.node}
    assert "Resize" not in operators


@pytest.mark.usefixtures("core")
def test_both_files_give_the_same_answers(case: Case, tmp_path: Path) -> None:
    paths = [
        zoo.export(case.run.path, portable=portable, out=tmp_path / f"{portable}.onnx").path
        for portable in (False, True)
    ]
    default, portable = (zoo.open(path) for path in paths)
    assert not default.manifest.portable
    for image in case.images:
        assert portable.logits(image[None]) == pytest.approx(default.logits(image[None]), abs=1e-4)


def test_the_gate_refuses_another_filter(case: Case) -> None:
    spec = case.manifest.preprocess
    other = msgspec.structs.replace(spec, interpolation="bilinear" if spec.interpolation == "bicubic" else "bicubic")
    temperature = case.manifest.temperature
    case.prove(assemble(case.fresh_core(), spec, case.given, temperature=temperature, portable=True))
    with pytest.raises(GateError, match="resized pixels"):
        case.prove(assemble(case.fresh_core(), other, case.given, temperature=temperature, portable=True))


@pytest.mark.parametrize("stage", ["normalize", "none"])
def test_a_file_that_does_not_resize_can_not_be_asked_for_it(case: Case, stage: str) -> None:
    with refused("option-conflict", UsageError, options=["--portable", "--preprocess"]):
        zoo.export(case.run.path, preprocess=stage, portable=True)


@pytest.mark.usefixtures("core")
def test_the_verb_takes_it(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "colours.onnx"
    assert main(["export", str(case.run.path), "--onnx", "--portable", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parity"]["flips"] == 0
    assert zoo.open(out).manifest.portable


def test_a_manifest_of_an_older_release_is_not_portable(case: Case) -> None:
    document = json.loads(encode(case.manifest))
    del document["portable"]
    old = decode(json.dumps(document).encode(), Manifest, "manifest.json", UsageError)
    assert not old.portable
