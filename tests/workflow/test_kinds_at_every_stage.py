"""A file that leaves preprocessing to its caller still knows which pixels its model was trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from api_folders import canary_folder, deep_folder
from PIL import Image
from refusals import refused

import zoo
from zoo.errors import DataError, ImageError
from zoo.runs import open_run
from zoo.workflow._images import images_of


def measured_folder(root: Path) -> Path:
    """Two classes of float32 images in Hounsfield units."""
    for index, (label, level) in enumerate((("fat", -90), ("liver", 60))):
        (root / label).mkdir(parents=True)
        for seed in range(12):
            values = np.random.default_rng((index, seed)).normal(level, 15, (20, 24)).astype(np.float32)
            np.save(root / label / f"{seed}.npy", values)
    return root


def gray_folder(root: Path) -> Path:
    folder = canary_folder(root, ("blue", "green"), 12)
    for path in [*folder.rglob("*.png"), *folder.rglob("*.jpg")]:
        Image.open(path).convert("L").save(path)
    return folder


WINDOW = {"type": "window", "center": 40, "width": 400}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "uint8 gray": (gray_folder, {}),
    "uint8 rgb": (lambda root: canary_folder(root, ("blue", "green"), 12), {}),
    "float32 rgb": (measured_folder, {"preprocess.intensity": WINDOW, "preprocess.channels": "rgb"}),
}
"""By the kind of the images: how they are made, and how they are learnt."""


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The kind of the images, and the run."""
    make, settings = CASES[request.param]
    root = tmp_path_factory.mktemp("kinds")
    done = zoo.train("svm", make(root / "data"), size=8, out=root / "run", settings=settings)
    return request.param.split()[0], done.run


@pytest.fixture(scope="module", params=["normalize", "none"])
def bundle(request: pytest.FixtureRequest, trained: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "it.zoo"
    made = zoo.export(trained[1], bundle=True, preprocess=request.param, out=out)
    assert (made.golden, made.golden_images) == ("generated", 32)
    return out


def test_a_bundle_of_every_stage_proves_itself_and_takes_its_own_images(trained: tuple[str, str], bundle: Path) -> None:
    kind, run = trained
    assert zoo.verify(bundle).images == 32
    assert json.loads((bundle / "manifest.json").read_bytes())["input"]["kind"] == kind
    assert f"runtime makes them of {kind} pictures" in (card := (bundle / "CARD.md").read_text()) or (
        f"runtime does that to {kind} pictures" in card
    )
    image = images_of(open_run(Path(run)), None).test.read(0).pixels
    assert image.dtype == kind
    whole, found = (zoo.open(path).probabilities(image[None]) for path in (run, bundle))
    assert found == pytest.approx(whole, abs=1e-4)


def test_images_of_another_kind_are_refused_at_every_stage(
    trained: tuple[str, str], bundle: Path, tmp_path: Path
) -> None:
    """An 8-bit picture taken for Hounsfield units gets an answer that looks like any other."""
    kind, _ = trained
    runtime = zoo.open(bundle)
    for found, channels in {"uint8": 3, "uint16": 1, "float32": 1}.items():
        image = np.full((20, 24, channels), 90, found)
        if found == kind:
            runtime.check(runtime.read(image))
            continue
        with refused("image-kind", ImageError, found=found, expected=[kind]):
            runtime.check(runtime.read(image))
        with refused("image-kind", ImageError, found=found, expected=[kind]):
            runtime.logits(image[None])
    folder = gray_folder(tmp_path / "other") if kind != "uint8" else deep_folder(tmp_path / "other")
    classes = sorted(folder.iterdir())
    for index, one in enumerate(classes):
        one.rename(folder / f"{index}")
    for index, label in enumerate(runtime.labels):
        (folder / f"{index}").rename(folder / label)
    with refused("data-kind", DataError, expected=kind):
        zoo.evaluate(bundle, folder)
