"""Whose images travel in a bundle: drawn ones unless asked otherwise, and it is said wherever people look."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from refusals import refused

import zoo
from zoo.artefact import _ort_web as ort_web
from zoo.errors import ModelError, UsageError
from zoo.runs import open_run
from zoo.spec import Manifest, decode, encode
from zoo.workflow._golden import choose_kind


@pytest.fixture(scope="module")
def bundles(svm_run: zoo.TrainResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """default.zoo and own.zoo of a folder of pictures."""
    root = tmp_path_factory.mktemp("golden")
    made = zoo.export(svm_run.run, bundle=True, out=root / "default.zoo")
    assert (made.golden, made.golden_images) == ("generated", 32)
    own = zoo.export(svm_run.run, bundle=True, golden="own", out=root / "own.zoo")
    assert (own.golden, own.golden_images) == ("own", 32)
    return root


def _golden(bundle: Path) -> list[np.ndarray]:
    with np.load(bundle / "golden.npz") as found:
        return [found[name] for name in found.files if name.startswith("image_")]


def test_images_of_a_folder_stay_at_home_unless_asked_for(bundles: Path, svm_run: zoo.TrainResult) -> None:
    from zoo.workflow._images import images_of

    splits = images_of(open_run(Path(svm_run.run)), None)
    theirs = {
        images.read(row).pixels.tobytes()
        for images in (splits.test, splits.val, splits.train)
        for row in range(len(images))
    }
    assert not theirs & {image.tobytes() for image in _golden(bundles / "default.zoo")}
    assert theirs & {image.tobytes() for image in _golden(bundles / "own.zoo")}


@pytest.mark.parametrize(("name", "kind"), [("default", "generated"), ("own", "own")])
def test_manifest_proof_card_and_parts_list_say_whose(bundles: Path, name: str, kind: str) -> None:
    bundle = bundles / f"{name}.zoo"
    assert json.loads((bundle / "manifest.json").read_bytes())["golden"] == kind
    proof = zoo.verify(bundle)
    assert (proof.golden, proof.images) == (kind, 32)
    section = (bundle / "CARD.md").read_text().partition("## Golden images")[2].partition("\n## ")[0]
    assert ("drawn for the purpose" in section, "unaltered" in section) == (kind == "generated", kind == "own")
    assert ("none of them is in the bundle but" in (bundle / "sbom.cdx.json").read_text()) == (kind == "own")
    assert (bundle / "model.onnx").read_bytes() == (bundles / "own.zoo" / "model.onnx").read_bytes()


def test_a_set_of_the_catalogue_gives_its_own_where_its_licence_lets_anybody_pass_them_on(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    said = {
        ("digits", None): "public",
        ("digits", "generated"): "generated",
        ("digits", "own"): "public",
        ("pathmnist@64", None): "public",
        ("dermamnist", None): "generated",  # CC BY-NC
        (str(tmp_path / "digits"), None): "generated",
        (tmp_path / "digits", "own"): "own",
    }
    assert {given: choose_kind(given[1], given[0]) for given in said} == said  # type: ignore[arg-type]


def test_a_lone_file_has_no_golden_set_to_choose(svm_run: zoo.TrainResult, tmp_path: Path) -> None:
    with refused("option-conflict", UsageError, options=["--golden"]):
        zoo.export(svm_run.run, golden="own", out=tmp_path / "x.onnx")


def test_a_page_publishes_a_users_images_only_when_told_to(
    bundles: Path, svm_run: zoo.TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_web, "engine_files", lambda _given, **_how: {})
    with refused("golden-own", ModelError, golden="own"):
        zoo.export(bundles / "own.zoo", web=tmp_path / "page")
    with refused("golden-own", ModelError, golden="own"):
        zoo.export(bundles / "own.zoo", web=tmp_path / "page", golden="generated")
    assert not list(tmp_path.iterdir())
    told = zoo.export(bundles / "own.zoo", web=tmp_path / "told", golden="own")
    assert (told.golden, told.golden_images) == ("own", 32)
    for number, source in enumerate((bundles / "default.zoo", svm_run.run)):
        page = zoo.export(source, web=tmp_path / f"page{number}")
        assert page.golden == "generated"
        assert zoo.verify(tmp_path / f"page{number}/model.zoo").golden == "generated"


def test_a_bundle_of_an_older_release_verifies_and_becomes_a_page_only_when_told_to(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest does not say whose the images are; they were always the user's."""
    import shutil

    monkeypatch.setattr(ort_web, "engine_files", lambda _given, **_how: {})
    old = tmp_path / "old.zoo"
    shutil.copytree(bundles / "own.zoo", old)
    manifest = decode((old / "manifest.json").read_bytes(), Manifest, "", ModelError)
    (old / "manifest.json").write_bytes(encode(msgspec.structs.replace(manifest, golden=None)))
    assert zoo.verify(old).golden is None
    with refused("golden-own", ModelError, golden=None):
        zoo.export(old, web=tmp_path / "page")
    assert zoo.export(old, web=tmp_path / "page", golden="own").golden is None
