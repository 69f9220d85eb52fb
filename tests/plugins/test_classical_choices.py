"""What a user chooses of a classical model: its features, the network they come from, data of several labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from refusals import refused

import zoo
from zoo.contract._pictures import two_labels
from zoo.errors import DataError, UsageError
from zoo.plugin._sklearn import _refuse_constant
from zoo.testing import colour_folder

WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_folder(tmp_path_factory.mktemp("pictures") / "colours", per_class=20, side=16)


@pytest.fixture(scope="module")
def network(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained simple_cnn."""
    out = tmp_path_factory.mktemp("runs") / "network"
    zoo.train("simple_cnn", colours, epochs=2, batch_size=8, size=16, out=out)
    return out / WEIGHTS


@pytest.mark.slow
def test_frozen_features_of_a_network_become_one_file(network: Path, colours: Path, tmp_path: Path) -> None:
    """Network and classifier in one graph from raw pixels, and the file says whose weights they are."""
    settings = {"features": "frozen:simple_cnn"}
    done = zoo.train("svm_linear", colours, weights=network, size=16, out=tmp_path / "run", settings=settings)
    assert done.test.metrics["macro_auroc"].value > 0.9
    manifest = zoo.open(done.run).manifest
    assert manifest.parity is not None
    assert manifest.parity.flips == 0
    assert manifest.provenance.weights is not None
    assert manifest.provenance.weights.startswith(f"file:network/{WEIGHTS} sha256:")
    assert manifest.licence == "apache-2.0", "that of the run whose weights these are"
    assert manifest.provenance.config.features == "frozen:simple_cnn"
    assert manifest.preprocess.mean == (0.5, 0.5, 0.5), "the network's own, not that of pixels"
    assert sorted(path.suffix for path in Path(done.run).iterdir() if path.suffix in {".pt", ".pkl"}) == []
    again = zoo.export(done.run, out=tmp_path / "again.onnx")
    batch = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3)).astype(np.uint8)
    assert np.allclose(zoo.open(again.path).logits(batch), zoo.open(done.run).logits(batch), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "features", "code"),
    [
        ("svm", "frozen:simple_cnn", "features-untrained"),
        ("svm", "frozen:random_forest", "features-unknown"),
        ("knn", "hog+frozen:resnet18", "features-unknown"),
        ("knn", "hog+hog", "features-unknown"),
        ("knn", "sift", "features-unknown"),
        ("simple_cnn", "hog", "features-unwanted"),
    ],
)
def test_features_that_can_not_be_are_one_line(
    colours: Path, tmp_path: Path, model: str, features: str, code: str
) -> None:
    with refused(code, UsageError) as caught:
        zoo.train(model, colours, size=16, out=tmp_path / "run", settings={"features": features})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_makes_no_difference_is_said_and_recorded(colours: Path, tmp_path: Path) -> None:
    done = zoo.train("logistic_regression", colours, size=16, epochs=9, out=tmp_path / "run", settings={"ema": 0.5})
    said = "logistic_regression makes no use of epochs, ema"
    assert said in zoo.open(done.run).manifest.provenance.notes
    advised = zoo.train("logistic_regression", "digits", out=tmp_path / "digits")  # whose advice is of augmentation
    assert not any("no use of" in note for note in zoo.open(advised.run).manifest.provenance.notes)


def test_frozen_features_of_an_unknown_network_name_those_near(colours: Path, tmp_path: Path) -> None:
    with refused("model-unknown", model="resnet-18") as caught:
        zoo.train("svm", colours, out=tmp_path / "run", settings={"features": "frozen:resnet-18"})
    assert "resnet18" in caught.value.fields["near"]


@pytest.mark.parametrize("model", ["logistic_regression", "knn", "random_forest"])
def test_several_labels_are_learnt(tmp_path: Path, model: str) -> None:
    done = zoo.train(model, two_labels(tmp_path / "two.npz", side=16), out=tmp_path / "run")
    runtime = zoo.open(done.run)
    assert runtime.manifest.task == "multilabel"
    assert runtime.manifest.parity is not None
    assert runtime.manifest.parity.flips == 0
    assert not any("label_smoothing" in note for note in runtime.manifest.provenance.notes)  # fitted in one step
    assert done.test.metrics["macro_auroc"].value > 0.8


def test_a_label_that_unreadable_images_took_with_them_is_refused_by_name() -> None:
    """With --skip-bad the images of a label may be gone after the data were checked; a forest would then stumble."""
    with refused("split-one-class", DataError, labels=["b"]):
        _refuse_constant(np.array([[1, 0], [0, 0]]), ("a", "b"))
