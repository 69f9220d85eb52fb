"""U-Nets as classifiers: trained by image labels alone, and the map that ships is what the answer is made of."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import pytest
import timm
import torch
from pictures import eight_classes
from refusals import refused

import zoo
import zoo.plugin
from zoo import info, registry
from zoo.artefact import assemble, parity_images, prove
from zoo.edge._replay import replay
from zoo.edge.bundle import GOLDEN, open_model
from zoo.errors import GateError, QuantizationError, WeightsError
from zoo.learn import EvidenceNetwork, load_pretrained
from zoo.runs import open_run
from zoo.spec import EVIDENCE, Manifest
from zoo.testing import PluginContract
from zoo_cli.main import main
from zoo_plugins.unet import SHARPNESS, UNet, UNetClassifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from zoo.plugin import Trained
    from zoo.runs import RunFolder


@pytest.mark.slow
class TestUNet(PluginContract):
    model = "unet_resnet18"
    epochs = 4


@dataclass(frozen=True)
class Trained28:
    """A U-Net that saw a few pictures of 28 px."""

    run: RunFolder
    trained: Trained
    core: onnx.ModelProto
    images: list[NDArray[Any]]


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained28]:
    """Trained once, exported by torch once: `to_onnx` then gives copies."""
    root = tmp_path_factory.mktemp("unet")
    with np.load(eight_classes(root / "cuts.npz")) as arrays:
        images = list(arrays["val_images"][::6])
    real, made = zoo.plugin._torch._TorchTrained.to_onnx, []

    def once(trained: Any) -> onnx.ModelProto:
        made.extend([] if made else [real(trained)])
        copy = onnx.ModelProto()
        copy.CopyFrom(made[0])
        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(zoo.plugin._torch._TorchTrained, "to_onnx", once)
        result = zoo.train("unet_resnet18", root / "cuts.npz", epochs=1, batch_size=32, out=root / "run")
        run = open_run(Path(result.run))
        trained = registry.load("unet").plugin.load(run.record.card, run)
        yield Trained28(run, trained, made[0], images)


@pytest.fixture(scope="module")
def evident(cuts: Trained28) -> zoo.Runtime:
    return zoo.open(zoo.export(cuts.run.path, evidence=True, bundle=True, out="evident.zoo").path)


def _pooled(evidence: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.exp(SHARPNESS * evidence.astype(np.float64)).mean(axis=(2, 3))) / SHARPNESS)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_map_is_as_large_as_any_input(channels: int) -> None:
    """The encoder halves five times; a side that is not a multiple of 32 is filled up inside and cut off again."""
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
    assert torch.allclose(network.pool(even), torch.tensor(1.5))
    assert network.pool(spot).min() > 3


def test_weights_of_an_encoder_fit() -> None:
    """As timm gives MobileNetV2: every layer of the encoder, none of the classifier's own, grey input too."""
    whole = timm.create_model("mobilenetv2_100").state_dict()
    tensors = {
        name: tensor + 0.01 * torch.rand(tensor.shape) if tensor.is_floating_point() else tensor
        for name, tensor in whole.items()
        if not name.startswith("classifier.")
    }
    card = info("unet_mobilenet_v2")
    for channels, last in ((3, 1), (1, 2)):
        module = UNet().build(card, classes=3, channels=channels)
        whole, said = UNet().adapt(module, tensors)
        notes = (*said, *load_pretrained(module, whole))
        assert len(notes) == last
        assert notes[0].startswith("encoder mobilenetv2_100 ")
        own = module.state_dict()
        for name in ("blocks.0.0.conv_dw.weight", "blocks.6.0.bn3.running_var"):
            assert torch.equal(own[f"network.encoder.model.{name}"], tensors[name])
    stem = own["network.encoder.model.conv_stem.weight"]
    assert torch.allclose(stem, tensors["conv_stem.weight"].sum(dim=1, keepdim=True))


def test_weights_that_are_not_the_encoders_are_refused_and_those_of_a_whole_unet_fit() -> None:
    card, plugin = info("unet_resnet18"), UNet()
    module, other = (plugin.build(card, classes=classes, channels=3) for classes in (3, 5))
    tensors = {name: tensor + 1 for name, tensor in module.state_dict().items()}
    whole, said = plugin.adapt(other, tensors)
    notes = load_pretrained(other, whole)
    assert (said, len(notes)) == ((), 1)
    assert notes[0].startswith("head network.segmentation_head.0 ")
    encoder = dict(module.network.encoder.model.state_dict())
    with refused("weights-names", WeightsError, unexpected=1) as caught:
        plugin.adapt(other, encoder | {"blocks.0.weight": torch.ones(1)})
    assert "resnet18" in str(caught.value)
    del encoder["layer3.0.conv1.weight"]
    with refused("weights-names", WeightsError, missing=1) as caught:
        load_pretrained(other, plugin.adapt(other, encoder)[0])
    assert "layer3.0.conv1.weight" in str(caught.value)


@pytest.mark.slow
def test_what_ships_is_what_the_answer_is_made_of(cuts: Trained28, evident: zoo.Runtime) -> None:
    """The logits of the file are the pooling of the file's own map, and those of the plain file."""
    assert evident.manifest.outputs == ("probabilities", "logits", EVIDENCE)
    assert evident.manifest.parity is not None
    assert evident.manifest.parity.max_abs_evidence is not None
    plain = zoo.open(cuts.run.path)
    assert plain.manifest.outputs == ("probabilities", "logits")
    assert plain.manifest.parity is not None
    assert plain.manifest.parity.max_abs_evidence is None
    batch = np.stack(cuts.images)
    evidence, logits = evident.evidence(batch), evident.logits(batch)
    assert evidence.shape == (8, 8, 28, 28)
    assert evidence.std(axis=(2, 3)).min() > 1e-3, "a flat map would prove nothing"
    assert np.allclose(logits, _pooled(evidence), atol=1e-4)
    assert np.allclose(logits, plain.logits(batch), atol=1e-5)
    proof = zoo.verify(evident.path)
    assert proof.images >= 32
    assert proof.max_abs_evidence is not None
    assert proof.max_abs_evidence <= proof.tolerance


@pytest.mark.slow
def test_another_map_on_the_device_is_a_golden_mismatch(evident: zoo.Runtime) -> None:
    """The logits may well be right; a map that points elsewhere must not pass for the one that was proven."""
    contents = open_model(evident.path, keep=(GOLDEN,))
    with np.load(io.BytesIO(contents.files[GOLDEN])) as arrays:
        golden = dict(arrays)
    assert golden["evidence"].shape == (4, 8, 28, 28)
    golden["evidence"] = golden["evidence"][:, :, ::-1]
    stream = io.BytesIO()
    np.savez(stream, **golden)
    with pytest.raises(GateError, match="evidence map"):
        replay(evident, dataclasses.replace(contents, files={GOLDEN: stream.getvalue()}))


@pytest.mark.slow
def test_the_gate_compares_the_map(cuts: Trained28, evident: zoo.Runtime) -> None:
    """A map that is turned over, pixel by pixel as right as before, has the same logits; only this tells."""
    manifest, spec = evident.manifest, evident.manifest.preprocess
    assert isinstance(cuts.trained.module, EvidenceNetwork)  # type: ignore[attr-defined]

    def proven(core: onnx.ModelProto, manifest: Manifest = manifest, evidence: Any = cuts.trained.evidence) -> None:  # type: ignore[attr-defined]
        model = assemble(core, spec, manifest.input, temperature=manifest.temperature, evidence=True)
        images = parity_images(cuts.images)[:20]
        reference = cuts.trained.predict
        prove(model, manifest, spec=spec, labels=manifest.labels, reference=reference, images=images, evidence=evidence)

    turned = onnx.ModelProto()
    turned.CopyFrom(cuts.core)
    for node in turned.graph.node:
        node.output[:] = [f"{name}_" if name == EVIDENCE else name for name in node.output]
        node.input[:] = [f"{name}_" if name == EVIDENCE else name for name in node.input]
    turned.graph.node.append(onnx.helper.make_node("Transpose", [f"{EVIDENCE}_"], [EVIDENCE], perm=[0, 1, 3, 2]))
    with refused("parity-answers", GateError) as caught:
        proven(turned)
    assert any("evidence maps" in found for found in caught.value.fields["found"])
    with refused("parity-statement", GateError, differs="outputs"):
        proven(cuts.core, evidence=None)


@pytest.mark.slow
def test_a_model_without_a_map_is_refused_with_what_would_do(
    cuts: Trained28, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(zoo.plugin._torch._TorchTrained, "evidence", None)
    assert main(["export", str(cuts.run.path), "--onnx", "--evidence", "--out", "never.onnx", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)["error"]
    assert (said["code"], said["model"]) == ("evidence-missing", "unet_resnet18")
    assert "--family unet" in said["message"]
    assert not Path("never.onnx").exists()


@pytest.mark.slow
def test_a_file_that_shows_is_explained_by_its_map(cuts: Trained28, evident: zoo.Runtime) -> None:
    (mapped,) = zoo.explain(evident.path, cuts.images[0])
    (hidden,) = zoo.explain(zoo.open(cuts.run.path).path, cuts.images[0])
    rows = [msgspec.json.decode(msgspec.json.encode(one.row())) for one in (mapped, hidden)]
    assert [row["method"] for row in rows] == ["evidence", "occlusion"]
    assert rows[0]["base"] == pytest.approx(rows[1]["base"], abs=1e-5)
    assert (len(rows[0]["values"]), len(rows[0]["values"][0])) == (28, 28), "a cell is never smaller than a pixel"


@pytest.mark.slow  # rung by rung
def test_the_quantised_file_keeps_its_map(cuts: Trained28, evident: zoo.Runtime, tmp_path: Path) -> None:
    try:
        # Whether labels may change is not asked here: with the usual bars every rung is tried, and none can be shown.
        bars = ("auroc=0.5", "sensitivity=0.9", "agreement=0.5")
        result = zoo.export(cuts.run.path, evidence=True, quantize="int8", bars=bars, out=tmp_path / "small.onnx")
    except QuantizationError as refused:
        pytest.skip(f"int8 of a network that hardly learnt: {refused}")
    small, batch = zoo.open(result.path), np.stack(cuts.images)
    evidence = small.evidence(batch)
    assert np.allclose(small.logits(batch), _pooled(evidence), atol=1e-4)
    together = np.corrcoef(evidence.ravel(), evident.evidence(batch).ravel())[0, 1]
    assert together > 0.95


@pytest.mark.slow
def test_the_verb_says_how_near_the_maps_are_and_the_portable_file_has_them_on_openvino(
    cuts: Trained28, evident: zoo.Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "portable.onnx"
    assert main(["export", str(cuts.run.path), "--onnx", "--evidence", "--portable", "--out", str(path)]) == 0
    assert "evidence maps within" in capsys.readouterr().out
    openvino = pytest.importorskip("openvino", reason="openvino is not here", exc_type=ImportError)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in cuts.images[:3]:
        answer = compiled({"image": image[None]})
        for name, ours in (("logits", evident.logits(image[None])), (EVIDENCE, evident.evidence(image[None]))):
            assert np.allclose(answer[name], ours, atol=1e-3 * max(1, float(np.abs(ours).max())))
