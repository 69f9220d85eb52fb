"""NAME.zoo: complete, listed by hash, replaced whole, and never over something else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_cases import Case
from refusals import refused

import zoo
import zoo.plugin
from zoo._support.files import sha256_file
from zoo.errors import GateError, OutputError, UsageError

FILES = {"model.onnx", "manifest.json", "golden.npz", "report.json", "CARD.md", "sbom.cdx.json", "seen.bin"}


@pytest.fixture
def bundle(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())
    return Path(zoo.export(case.run.path, bundle=True, out=tmp_path / "colours.zoo").path)


def test_every_file_is_listed_with_hash_and_size(bundle: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == FILES
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert set(manifest["files"]) == set(manifest["sizes"]) == FILES - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert sha256_file(bundle / name) == digest
        assert (bundle / name).stat().st_size == manifest["sizes"][name]


def test_it_verifies(bundle: Path) -> None:
    found = zoo.verify(bundle)
    assert found.images >= 32
    assert found.files == 6
    assert found.max_abs_logit <= found.tolerance


def test_golden_answers_are_of_this_very_file(bundle: Path) -> None:
    with np.load(bundle / "golden.npz", allow_pickle=False) as golden:
        runtime = zoo.open(bundle)
        images = sorted(name for name in golden.files if name.startswith("image_"))
        assert len(images) == len(golden["logits"]) >= 32
        for name, logits in zip(images, golden["logits"], strict=True):
            assert np.allclose(runtime.logits(golden[name][None])[0], logits, atol=1e-4)


@pytest.mark.parametrize("name", sorted(FILES - {"manifest.json"}))
def test_a_changed_byte_is_found(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(GateError, match=name):
        zoo.verify(bundle)


def test_the_card_states_numbers_with_intervals_and_limits(bundle: Path, case: Case) -> None:
    card = (bundle / "CARD.md").read_text()
    for part in (
        "# simple_cnn",
        "macro AUROC",
        "95 % intervals",
        "| blue |",
        "Not a medical device",
        "## Limits",
    ):
        assert part in card
    assert case.manifest.provenance.data.sha256[:16] in card


def test_a_bundle_is_replaced_when_asked_for_and_nothing_else_is_left(bundle: Path, case: Case) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()}
    with refused("out-occupied", OutputError, path=str(bundle), holds="bundle"):
        zoo.export(case.run.path, bundle=True, out=bundle)
    assert {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()} == before
    zoo.export(case.run.path, bundle=True, out=bundle, overwrite=True)
    assert {path.name for path in bundle.iterdir()} == FILES
    assert list(bundle.parent.iterdir()) == [bundle]
    zoo.verify(bundle)


@pytest.mark.parametrize("content", [{}, {"notes.txt": "mine"}, {"manifest.json": '{"name": "a web app"}'}])
def test_a_foreign_folder_is_never_replaced(bundle: Path, case: Case, tmp_path: Path, content: dict[str, str]) -> None:
    """A folder that happens to end in .zoo, or to hold a manifest.json of a web app, is the user's."""
    foreign = tmp_path / "photos.zoo"
    foreign.mkdir()
    for name, text in content.items():
        (foreign / name).write_text(text)
    for overwrite in (False, True):
        with refused("out-occupied", OutputError):
            zoo.export(case.run.path, bundle=True, out=foreign, overwrite=overwrite)
    assert {path.name: path.read_text() for path in foreign.iterdir()} == content
    assert {path.name for path in tmp_path.iterdir()} == {"photos.zoo", bundle.name}


def test_a_bundle_with_files_of_the_user_is_never_replaced(bundle: Path, case: Case) -> None:
    (bundle / "my-notes.txt").write_text("do not delete")
    for overwrite in (False, True):
        with refused("out-occupied", OutputError):
            zoo.export(case.run.path, bundle=True, out=bundle, overwrite=overwrite)
    assert (bundle / "my-notes.txt").read_text() == "do not delete"


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_file_that_is_there_is_found_before_any_work(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantize: Any
) -> None:
    """int8 may end as fp16: both names are looked for."""
    monkeypatch.setattr("zoo.workflow._images.images_of", lambda *_: pytest.fail("images were opened"))
    run = tmp_path / "run"
    (run / "export").mkdir(parents=True)
    shutil.copy(case.run.file("run.json"), run)
    there = run / "export" / ("simple_cnn-fp16.onnx" if quantize else "simple_cnn.onnx")
    there.write_bytes(b"mine")
    with refused("out-occupied", OutputError, path=str(there.resolve()), holds="file"):
        zoo.export(run, quantize=quantize)
    assert there.read_bytes() == b"mine"


def test_a_file_is_replaced_when_asked_for(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", lambda _: case.fresh_core())
    (tmp_path / "m.onnx").write_bytes(b"old")
    zoo.export(case.run.path, out=tmp_path / "m.onnx", overwrite=True)
    assert zoo.open(tmp_path / "m.onnx").labels == case.manifest.labels


def test_a_failed_replacement_leaves_the_old_bundle(bundle: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if Path(target) == bundle and not self.name.endswith(".old"):
            raise OSError(28, os.strerror(28))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with refused("output-unwritable", OutputError, path=str(bundle)):
        zoo.export(case.run.path, bundle=True, out=bundle, overwrite=True)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_bundle_has_a_name_of_its_kind(case: Case, tmp_path: Path) -> None:
    with refused("out-name", UsageError, path=str(tmp_path / "model")):
        zoo.export(case.run.path, bundle=True, out=tmp_path / "model")
    with refused("out-name", UsageError, path=str(tmp_path)):
        zoo.export(case.run.path, out=tmp_path)


def test_the_origin_names_the_very_weights_licences_and_versions(bundle: Path, case: Case) -> None:
    """And nothing of the machine: who asks later must find the run, not the person who ran it."""
    origin = zoo.open(bundle).manifest.provenance
    assert origin.trained == {"weights.safetensors": sha256_file(case.run.file("weights.safetensors"))}
    assert (origin.weights, origin.weights_licence, origin.code_licence) == (None, None, "apache-2.0")
    assert {"edgezoo", "numpy", "onnxruntime", "pillow", "msgspec"} <= origin.exported.keys()
    assert origin.created == case.run.record.started
    for path in bundle.iterdir():
        assert str(case.run.path).encode() not in path.read_bytes()
