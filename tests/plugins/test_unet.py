"""U-Nets as classifiers: trained by image labels alone, and the map that ships is what the answer is made of."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import pytest
import torch

import zoo
import zoo.plugin
from zoo import info, registry
from zoo.edge.bundle import GOLDEN, open_model
from zoo.edge.golden import replay
from zoo.errors import GateError, WeightsError
from zoo.export import assemble, parity_images, prove
from zoo.learn import EvidenceNetwork, load_pretrained, read_tensors
from zoo.runs import open_run
from zoo.spec import EVIDENCE, Manifest
from zoo.testing import PluginContract
from zoo_cli.main import main
from zoo_plugins.unet import SHARPNESS, UNet, UNetClassifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from zoo.plugin import Trained
    from zoo.runs import Run


@pytest.mark.slow
class TestUNet(PluginContract):
    model = "unet_resnet18"
    epochs = 4


@dataclass(frozen=True)
class Trained28:
    """A U-Net that saw a few blood cells of 28 px."""

    run: Run
    trained: Trained
    core: onnx.ModelProto
    images: list[NDArray[Any]]


@pytest.fixture(scope="module")
def cells(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained28]:
    """Trained once, exported by torch once: `to_onnx` then gives copies."""
    root = tmp_path_factory.mktemp("unet")
    with np.load(shared / "data/pbc8/pbc8_28.npz") as whole:
        some = {}
        for split, count in (("train", 20), ("val", 6), ("test", 6)):
            labels = whole[f"{split}_labels"][:, 0]
            rows = np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(8)])
            for what in ("images", "labels"):
                some[f"{split}_{what}"] = whole[f"{split}_{what}"][rows]
    np.savez(root / "cells.npz", **some)
    real, made = zoo.plugin._torch._TorchTrained.to_onnx, []

    def once(trained: Any) -> onnx.ModelProto:
        made.extend([] if made else [real(trained)])
        copy = onnx.ModelProto()
        copy.CopyFrom(made[0])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", once)
        result = zoo.train("unet_resnet18", root / "cells.npz", epochs=1, batch_size=32, out=root / "run")
        run = open_run(Path(result.run))
        trained = registry.load("unet").plugin.load(run.record.card, run)
        yield Trained28(run, trained, made[0], [np.asarray(image) for image in some["val_images"][::6]])


@pytest.fixture(scope="module")
def evident(cells: Trained28) -> zoo.Runtime:
    return zoo.open(zoo.export(cells.run.path, evidence=True, bundle=True, out="evident.zoo").path)


def _pooled(evidence: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.exp(SHARPNESS * evidence.astype(np.float64)).mean(axis=(2, 3))) / SHARPNESS)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_map_is_as_large_as_any_input(channels: int) -> None:
    """The encoder halves five times; what is no multiple of 32 is filled up inside and cut off again."""
    network = UNetClassifier("resnet18", classes=5, channels=channels).eval()
    for size in ((28, 28), (32, 64), (45, 37), (8, 8)):
        images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            evidence, logits = network.evidence(images), network(images)
        assert tuple(evidence.shape) == (2, 5, *size)
        assert np.allclose(logits, _pooled(evidence.numpy()), atol=1e-4)


def test_even_evidence_is_the_logit_and_a_spot_counts_for_more_than_its_area() -> None:
    """What separates the pooling from the mean, which would ask a small lesion for a hundred times the evidence."""
    network = UNetClassifier("resnet18", classes=2, channels=3)
    even, spot = torch.full((1, 2, 50, 50), 1.5), torch.zeros(1, 2, 50, 50)
    spot[:, :, 5:10, 5:10] = 8.0  # a hundredth of the picture
    assert torch.allclose(network.pooled(even), torch.tensor(1.5))
    assert network.pooled(spot).min() > 3


def test_real_weights_of_an_encoder_fit(shared: Path) -> None:
    """MobileNetV2 of ImageNet: every layer of the encoder, none of the classifier's own, grey input too."""
    tensors = read_tensors(shared / "weights/mobilenetv2_100.features_only.safetensors")
    card = info("unet_mobilenet_v2")
    for channels, last in ((3, 1), (1, 2)):
        module = UNet().build(card, classes=3, channels=channels)
        whole, said = UNet().adapted(module, tensors)
        notes = (*said, *load_pretrained(module, whole))
        assert len(notes) == last
        assert "encoder mobilenetv2_100 from the weights; decoder and evidence map are new" in notes[0]
        own = module.state_dict()
        for name in ("blocks.0.0.conv_dw.weight", "blocks.6.0.bn3.running_var"):
            assert torch.equal(own[f"network.encoder.model.{name}"], tensors[name])
    stem = own["network.encoder.model.conv_stem.weight"]
    assert torch.allclose(stem, tensors["conv_stem.weight"].sum(dim=1, keepdim=True))


def test_weights_that_are_not_the_encoders_are_refused_and_those_of_a_whole_unet_fit() -> None:
    card, plugin = info("unet_resnet18"), UNet()
    module, other = (plugin.build(card, classes=classes, channels=3) for classes in (3, 5))
    tensors = {name: tensor + 1 for name, tensor in module.state_dict().items()}
    whole, said = plugin.adapted(other, tensors)
    notes = load_pretrained(other, whole)
    assert (said, notes) == ((), ("head network.segmentation_head.0 is new: 5 classes instead of 3",))
    encoder = dict(module.network.encoder.model.state_dict())
    with pytest.raises(WeightsError, match=r"blocks\.0.*timm's resnet18 has not; bring weights of that network"):
        plugin.adapted(other, encoder | {"blocks.0.weight": torch.ones(1)})
    del encoder["layer3.0.conv1.weight"]
    with pytest.raises(WeightsError, match=r"1 missing .*layer3\.0\.conv1\.weight"):
        load_pretrained(other, plugin.adapted(other, encoder)[0])


def test_what_ships_is_what_the_answer_is_made_of(cells: Trained28, evident: zoo.Runtime) -> None:
    """The logits of the file are the pooling of the file's own map, and those of the plain file."""
    assert evident.manifest.outputs == ("probabilities", "logits", EVIDENCE)
    assert evident.manifest.parity is not None
    assert evident.manifest.parity.max_abs_evidence is not None
    plain = zoo.open(cells.run.path)
    assert plain.manifest.outputs == ("probabilities", "logits")
    assert plain.manifest.parity is not None
    assert plain.manifest.parity.max_abs_evidence is None
    batch = np.stack(cells.images)
    evidence, logits = evident.evidence(batch), evident.logits(batch)
    assert evidence.shape == (8, 8, 28, 28)
    assert evidence.std(axis=(2, 3)).min() > 1e-3, "a flat map would prove nothing"
    assert np.allclose(logits, _pooled(evidence), atol=1e-4)
    assert np.allclose(logits, plain.logits(batch), atol=1e-5)
    proof = zoo.verify(evident.path)
    assert proof.images >= 32
    assert proof.max_abs_evidence is not None
    assert proof.max_abs_evidence <= proof.tolerance


def test_another_map_on_the_device_is_a_golden_mismatch(evident: zoo.Runtime) -> None:
    """The logits may well be right; a map that points elsewhere must not pass for the one that was proven."""
    contents = open_model(evident.path, keep=(GOLDEN,))
    with np.load(io.BytesIO(contents.files[GOLDEN])) as arrays:
        golden = dict(arrays)
    assert golden["evidence"].shape == (4, 8, 28, 28)
    golden["evidence"] = golden["evidence"][:, :, ::-1]
    stream = io.BytesIO()
    np.savez(stream, **golden)
    with pytest.raises(
        GateError, match=r"4 golden mismatches on cpu: image_0000: evidence map expected within 0\.001, "
    ):
        replay(evident, dataclasses.replace(contents, files={GOLDEN: stream.getvalue()}))


def test_the_gate_compares_the_map(cells: Trained28, evident: zoo.Runtime) -> None:
    """A map that is turned over, pixel by pixel as right as before, has the same logits; only this tells."""
    manifest, spec = evident.manifest, evident.manifest.preprocess
    assert isinstance(cells.trained.module, EvidenceNetwork)  # type: ignore[attr-defined]

    def proven(core: onnx.ModelProto, manifest: Manifest = manifest, evidence: Any = cells.trained.evidence) -> None:  # type: ignore[attr-defined]
        model = assemble(core, spec, manifest.input, temperature=manifest.temperature, evidence=True)
        images = parity_images(cells.images)[:20]
        reference = cells.trained.predict
        prove(model, manifest, spec=spec, labels=manifest.labels, reference=reference, images=images, evidence=evidence)

    turned = onnx.ModelProto()
    turned.CopyFrom(cells.core)
    for node in turned.graph.node:
        node.output[:] = [f"{name}_" if name == EVIDENCE else name for name in node.output]
        node.input[:] = [f"{name}_" if name == EVIDENCE else name for name in node.input]
    turned.graph.node.append(onnx.helper.make_node("Transpose", [f"{EVIDENCE}_"], [EVIDENCE], perm=[0, 1, 3, 2]))
    with pytest.raises(GateError, match="images: evidence maps of half the images differ"):
        proven(turned)
    with pytest.raises(GateError, match=r"outputs are probabilities, logits, evidence, and .* has no map"):
        proven(cells.core, evidence=None)


def test_a_model_without_a_map_is_refused_with_what_would_do(
    cells: Trained28, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "evidence", None)
    assert main(["export", str(cells.run.path), "--onnx", "--evidence", "--out", "never.onnx"]) == 2
    said = capsys.readouterr().err
    assert "unet_resnet18 makes no evidence map; train a model that does ('zoo list --family unet'), or leave" in said
    assert not Path("never.onnx").exists()


def test_a_file_that_shows_is_explained_by_its_map(cells: Trained28, evident: zoo.Runtime) -> None:
    (mapped,) = zoo.explain(evident.path, cells.images[0])
    (hidden,) = zoo.explain(zoo.open(cells.run.path).path, cells.images[0])
    rows = [msgspec.json.decode(msgspec.json.encode(one.row())) for one in (mapped, hidden)]
    assert [row["method"] for row in rows] == ["evidence", "occlusion"]
    assert rows[0]["base"] == pytest.approx(rows[1]["base"], abs=1e-5)
    assert (len(rows[0]["values"]), len(rows[0]["values"][0])) == (28, 28), "a cell is never smaller than a pixel"


@pytest.mark.slow  # rung by rung
def test_the_quantised_file_keeps_its_map(cells: Trained28, evident: zoo.Runtime, tmp_path: Path) -> None:
    try:
        result = zoo.export(cells.run.path, evidence=True, quantize="int8", out=tmp_path / "small.onnx")
    except zoo.QuantizationError as refused:
        pytest.skip(f"int8 of a network that hardly learnt: {refused}")
    small, batch = zoo.open(result.path), np.stack(cells.images)
    evidence = small.evidence(batch)
    assert np.allclose(small.logits(batch), _pooled(evidence), atol=1e-4)
    together = np.corrcoef(evidence.ravel(), evident.evidence(batch).ravel())[0, 1]
    assert together > 0.95


def test_the_verb_says_how_near_the_maps_are_and_the_portable_file_has_them_on_openvino(
    cells: Trained28, evident: zoo.Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "portable.onnx"
    assert main(["export", str(cells.run.path), "--onnx", "--evidence", "--portable", "--out", str(path)]) == 0
    assert "evidence maps within" in capsys.readouterr().out
    openvino = pytest.importorskip("openvino", reason="openvino is not here", exc_type=ImportError)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in cells.images[:3]:
        answer = compiled({"image": image[None]})
        for name, ours in (("logits", evident.logits(image[None])), (EVIDENCE, evident.evidence(image[None]))):
            assert np.allclose(answer[name], ours, atol=1e-3 * max(1, float(np.abs(ours).max())))
