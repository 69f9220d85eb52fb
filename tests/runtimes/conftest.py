"""Bundles that were really trained, and the JavaScript packages that replay them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runtime_cases import deep_pictures, pictures, quantised_bundles, two_findings

import zoo
import zoo.plugin
from zoo._support.files import hold_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

BICUBIC = {"preprocess.interpolation": "bicubic"}
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALL = ["npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--fetch-retries=1"]


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the packages of package.json: named, beside it, or installed into pytest's cache."""
    if named := os.environ.get("ZOO_NODE_MODULES"):
        return Path(named).resolve()
    if (HERE / "node_modules").is_dir():
        return HERE / "node_modules"
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not here")
    cache = getattr(request.config, "cache", None)  # absent with -p no:cacheprovider
    if cache is None:
        pytest.skip("pytest keeps no cache to install the packages into; set ZOO_NODE_MODULES")
    folder = cache.mkdir("node")
    with hold_lock(folder / "guard"):
        lock = (HERE / "package-lock.json").read_bytes()
        installed = folder / "installed-lock.json"  # written last: a half-finished install is done again
        if not installed.is_file() or installed.read_bytes() != lock:
            installed.unlink(missing_ok=True)
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(HERE / name, folder / name)
            try:
                done = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip("npm did not install onnxruntime-node and onnxruntime-web within 300 s")
            if done.returncode:
                pytest.skip(f"npm could not install onnxruntime-node and onnxruntime-web: {done.stderr.strip()[-200:]}")
            installed.write_bytes(lock)
    return folder / "node_modules"


@pytest.fixture(scope="session")
def checkout(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JavaScript of this project where its imports find the installed packages."""
    folder = tmp_path_factory.mktemp("checkout")
    own = ("examples/node/predict.mjs", "examples/node/picture.mjs")
    for name in (*own, *(f"zoo/edge/page/{name}.js" for name in ("bundle", "decide", "golden", "sha256"))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "node_modules").symlink_to(node_modules)
    return folder


def _bundles(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path], **options: Any) -> Path:
    """Train on what `make` draws; write default.zoo, portable.zoo, and own.zoo, whose golden images are of the data.

    Test processes share one training.
    """
    shared = factory.getbasetemp()
    root = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / f"bundles-{name}"
    root.mkdir(exist_ok=True)
    exported: list[onnx.ModelProto] = []
    to_onnx = zoo.plugin._torch._TorchTrained.to_onnx

    def once(trained: zoo.plugin._torch._TorchTrained) -> onnx.ModelProto:
        """The core, which takes torch's exporter seconds and is the same each time."""
        if not exported:
            exported.append(to_onnx(trained))
        copy = type(exported[0])()
        copy.CopyFrom(exported[0])
        return copy

    with hold_lock(root / "guard"), pytest.MonkeyPatch.context() as patch:
        if not (root / "done").exists():
            patch.chdir(root)
            patch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", once)
            run = zoo.train("simple_cnn", make(root / "data"), out=root / "run", **options).run
            zoo.export(run, bundle=True, out=root / "default.zoo")
            zoo.export(run, bundle=True, out=root / "portable.zoo", portable=True)
            zoo.export(run, bundle=True, out=root / "own.zoo", portable=True, golden="own")
            (root / "done").touch()
    return root


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 bit, RGB, cropped, bicubic: pictures of many sizes on a network of 64 px."""
    return _bundles(tmp_path_factory, "photographs", pictures, size=64, epochs=3, settings=BICUBIC)


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 bit, one channel, letterboxed, bilinear."""
    settings = {
        "preprocess.resize": "letterbox",
        "preprocess.interpolation": "bilinear",
        "preprocess.intensity.maximum": 65535,
    }
    return _bundles(tmp_path_factory, "deep", deep_pictures, size=48, epochs=3, settings=settings)


@pytest.fixture(scope="session")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several labels an image; a network larger than the pictures."""
    return _bundles(tmp_path_factory, "findings", two_findings, size=40, epochs=2, settings={"augment": "none"})


@pytest.fixture(scope="session")
def quantised(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8.zoo and fp16.zoo of the portable photographs, without the guard: no network this small gets through it."""
    return quantised_bundles(photographs / "portable.zoo", tmp_path_factory.mktemp("quantised"))
