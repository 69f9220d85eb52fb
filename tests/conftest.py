"""Fixtures every layer shares."""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import buckets
import msgspec
import pictures
import pytest
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # One process for each core already; more threads than cores would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs deaf to Ctrl-C, and their children inherit that; these tests press it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A developer's own cache is none of the tests' business; those of the caches turn them on, elsewhere.
os.environ["ZOO_CACHE_GB"] = "0"

# Modules and eight thousand tests come to stay: to look for garbage among them is a quarter of collecting the tests.
gc.disable()

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`-m ray` imports the files alone that name the mark: few of six hundred."""
    if config.option.markexpr != "ray" or not collection_path.name.startswith("test_"):
        return None
    return "mark.ray" not in collection_path.read_text(encoding="utf-8") or None


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """What was imported and collected stays to the end, and is not looked at again."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """torch's exporter parses the source of its 500 operators anew for each network; once a process is enough."""
    exporter = sys.modules.get("torch.onnx._internal.exporter._registration")  # no test imports torch for this
    made = getattr(getattr(exporter, "ONNXRegistry", None), "from_torchlib", None)
    if made is not None and not hasattr(made, "cache_info"):
        exporter.ONNXRegistry.from_torchlib = staticmethod(functools.cache(made))  # type: ignore[union-attr]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray takes all cores of a machine, and gives up a start that takes 30 s: it is not tested beside other tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            if item.get_closest_marker("ray"):
                item.add_marker(pytest.mark.skip(reason="Ray wants the machine alone: pytest -m ray"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images and weights beside a developer's checkout.

    Only for tests whose point is a published set, a device's file or pretrained weights; the others take
    pictures of `pictures`, which everybody has.
    """
    if not (SHARED / "data").is_dir():
        pytest.skip("the real images of ../shared are not here")
    return SHARED


@pytest.fixture(scope="module")
def bucket() -> Iterator[buckets.Bucket]:
    """A bucket of an S3 server on loopback, to which the environment leads."""
    with buckets.serve() as served:
        yield served


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of several kinds in one folder; not to be changed."""
    return pictures.photo_folder(tmp_path_factory.mktemp("pictures") / "photos")


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of JPEGs in split folders, none twice; not to be changed."""
    return pictures.class_folder(tmp_path_factory.mktemp("pictures") / "scenes")


@pytest.fixture(scope="session")
def tabled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of PNGs in split folders with labels.csv; one training image is a test image; not to be changed."""
    return pictures.table_folder(tmp_path_factory.mktemp("pictures") / "tabled")


@pytest.fixture(scope="session")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes in train and test, 15 images in both; not to be changed."""
    return pictures.leaky_folder(tmp_path_factory.mktemp("pictures") / "leaky")


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the catalogue of named sets takes for the published breastmnist."""
    from zoo.store import sets
    from zoo.store.sets import _catalogue

    path = pictures.breast_archive(tmp_path_factory.mktemp("published") / "breastmnist.npz")
    content, known = path.read_bytes(), _catalogue.catalogue()
    about = known["breastmnist"]
    digest = hashlib.new("md5", content, usedforsecurity=False).hexdigest()
    assert about.files["28"] is not None
    file = msgspec.structs.replace(about.files["28"], checksum=f"md5:{digest}", size=len(content))
    changed = {**known, "breastmnist": msgspec.structs.replace(about, files={**about.files, "28": file})}
    for module in (_catalogue, sets):
        if hasattr(module, "catalogue"):
            monkeypatch.setattr(module, "catalogue", lambda: changed)
    return path
