"""The promise that a device needs no training framework, in a real environment made from the real wheel."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.edge.page import assets

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TRAINING = (
    "torch",
    "torchvision",
    "timm",
    "sklearn",
    "scipy",
    "onnx",
    "skl2onnx",
    "safetensors",
    "matplotlib",
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        check=True,
    )
    return next(folder.glob("edgezoo-*.whl"))


@pytest.fixture(scope="session")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of programs of a fresh environment that holds the wheel and its base dependencies only."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([str(programs / "python"), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return programs


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle made here, and a folder with two pictures and a text that calls itself one."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = zoo.train("simple_cnn", "digits", epochs=1, out=folder / "run")
        bundle = Path(zoo.export(result.run, bundle=True, out=folder / "digits.zoo").path)
    images = folder / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (20, 30)), ("b.png", (64, 64))):
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(images / name)
    (images / "text.png").write_text("this is no picture")
    return bundle, images


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


def test_wheel_holds_the_catalogue_and_no_stray_packages(wheel: Path) -> None:
    """Anything named `cli` or `plugins` in site-packages would clash with other people's."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "zoo/registry.yaml" in names
    assert {f"zoo/edge/page/{name}" for name in assets()} <= set(names), "the page comes with the package"
    assert {name.split("/")[0] for name in names} - {"zoo", "zoo_cli", "zoo_plugins"} == {
        next(name.split("/")[0] for name in names if ".dist-info" in name)
    }


def test_environment_really_lacks_the_training_packages(device: Path) -> None:
    code = f"import importlib.util as u; print([n for n in {TRAINING!r} if u.find_spec(n)])"
    assert run(device / "python", "-c", code).stdout.strip() == "[]"


def test_list_works_and_says_what_is_missing(device: Path) -> None:
    done = run(device / "zoo", "list", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert len(rows) >= 25
    assert "edgezoo[train]" in rows["resnet18"]["status"]


@pytest.mark.parametrize("program", ["zoo", "edge"])
def test_predict_answers_as_where_it_was_trained(device: Path, shipped: tuple[Path, Path], program: str) -> None:
    bundle, images = shipped
    command = [device / "zoo"] if program == "zoo" else [device / "python", "-m", "zoo.edge"]
    done = run(*command, "predict", bundle, images, "--json")
    assert done.returncode == 1, "the text named .png must show in the exit code"
    rows = {Path(row["image"]).name: row for row in json.loads(done.stdout)}
    assert "error" in rows["text.png"]
    here = {Path(answer.image).name: answer.row() for answer in zoo.open(bundle).predict(images)}
    for name in ("a.png", "b.png"):
        assert rows[name]["label"] == here[name]["label"]
        assert rows[name]["probabilities"] == pytest.approx(here[name]["probabilities"], abs=1e-6)


def test_verify_replays_the_golden_set(device: Path, shipped: tuple[Path, Path]) -> None:
    done = run(device / "zoo", "verify", shipped[0], "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] >= 32


def test_edge_works_with_no_typer_and_no_rich(device: Path, shipped: tuple[Path, Path]) -> None:
    code = (
        "import sys, runpy; sys.modules['typer'] = sys.modules['rich'] = sys.modules['yaml'] = None; "
        f"sys.argv = ['zoo.edge', 'verify', {str(shipped[0])!r}]; runpy.run_module('zoo.edge', run_name='__main__')"
    )
    done = run(device / "python", "-c", code)
    assert done.returncode == 0, done.stderr


def test_train_names_the_extra_to_install(device: Path, tmp_path: Path) -> None:
    done = run(device / "zoo", "train", "simple_cnn", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "pip install 'edgezoo[train]'" in done.stderr
    assert not (tmp_path / "run").exists()
