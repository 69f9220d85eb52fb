"""A smaller file is written only when it answers as the float32 file does, and says how that was found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from quantising import Digits, timed_as, trained_digits
from refusals import refused

import zoo
from zoo.artefact import TrainedNetwork, model_card
from zoo.artefact.quantize import _images as images
from zoo.artefact.quantize import _ladder as ladder
from zoo.artefact.quantize import climb, this_machine
from zoo.artefact.quantize._convert import to_half
from zoo.artefact.quantize._core import with_core
from zoo.artefact.quantize._guard import compare
from zoo.artefact.quantize._images import Tensors, draw_several
from zoo.data import ImageSet
from zoo.errors import GateError, QuantizationError, UsageError
from zoo.runs import open_run
from zoo.spec import Bars, Quantization
from zoo.workflow import _quantise

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return trained_digits(tmp_path_factory.mktemp("quantised"))


@pytest.fixture(autouse=True)
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "measure", timed_as(1.5))


@pytest.fixture(scope="module")
def bundle(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "measure", timed_as(1.5))
        out = tmp_path_factory.mktemp("bundle") / "digits.zoo"
        return Path(zoo.export(digits.run, quantize="int8", bundle=True, out=out).path)


def _nodes(model: onnx.ModelProto, start: str) -> list[bytes]:
    return [node.SerializeToString() for node in model.graph.node if node.name.startswith(start)]


def test_an_int8_file_is_smaller_and_gives_the_labels_of_float32(digits: Digits, bundle: Path) -> None:
    runtime = zoo.open(bundle)
    found = runtime.manifest.quantization
    assert found is not None
    assert found.kind == "int8"
    assert found.target == (this_machine() or "avx2")
    assert (bundle / "model.onnx").stat().st_size < 0.9 * len(digits.content)
    assert found.size_ratio is not None
    assert found.size_ratio > 1.1
    assert found.val is not None
    for guard, n in ((found.val, 500), (found.test, 497)):
        assert guard is not None
        assert guard.n == n
        assert guard.agreement.high >= 0.99
        assert guard.macro_auroc is not None
        assert guard.macro_auroc.high > -0.01
        assert 0 < guard.max_abs_probability < 0.5
    assert found.verdict == "as good"
    assert found.bars == Bars()
    assert found.alike is not None
    assert (found.alike.n, found.alike.copies) == (1300, 0)
    assert found.alike.kept is not None
    assert found.alike.kept.low >= 0.99


def test_preprocessing_last_step_labels_and_temperature_are_those_of_the_float32_file(
    digits: Digits, bundle: Path
) -> None:
    made, before = onnx.load(bundle / "model.onnx"), digits.model
    for start in ("pre/", "post/"):
        assert _nodes(made, start) == _nodes(before, start) != []
    manifest = zoo.open(bundle).manifest
    assert manifest.labels == digits.manifest.labels
    assert manifest.preprocess == digits.manifest.preprocess
    assert manifest.temperature == digits.manifest.temperature


def test_the_classifier_head_stays_in_float(bundle: Path) -> None:
    graph = onnx.load(bundle / "model.onnx").graph
    producer = {name: node for node in graph.node for name in node.output}
    head = producer["logits"]
    kinds = {one.name: one.data_type for one in graph.initializer}
    assert head.op_type == "Gemm"
    assert kinds[head.input[1]] == onnx.TensorProto.FLOAT
    convolutions = [node for node in graph.node if node.op_type == "Conv" and node.name.startswith("core/")]
    assert convolutions
    assert all(producer[node.input[1]].op_type == "DequantizeLinear" for node in convolutions)


def test_the_report_inside_is_of_the_quantised_file(bundle: Path, digits: Digits) -> None:
    inside = zoo.open(bundle).manifest.report
    assert inside == zoo.evaluate(bundle, digits.data)
    assert inside is not None
    assert digits.manifest.report is not None
    assert inside.calibration != digits.manifest.report.calibration


def test_the_card_says_what_was_changed_and_what_that_did(bundle: Path) -> None:
    card = (bundle / "CARD.md").read_text()
    section = card.partition("## Quantisation")[2].partition("\n## ")[0]
    for part in ("This file is int8", "256 training images", "`val`", "`test`", "macro AUROC", "times as fast"):
        assert part in section


def test_a_quantised_bundle_verifies_and_still_finds_a_fault(bundle: Path) -> None:
    assert zoo.verify(bundle).images >= 32
    with np.load(bundle / "golden.npz") as golden:
        tolerance = float(golden["tolerance"])
        expected, images = golden["logits"], [golden[f"image_{i:04d}"] for i in range(len(golden["logits"]))]
    assert 0.0099 < tolerance < 0.51
    runtime = zoo.open(bundle)
    mirrored = np.concatenate([runtime.logits(image[None, :, ::-1]) for image in images])
    beyond = np.abs(mirrored - expected) / np.maximum(1, np.abs(expected)) > tolerance
    assert beyond.any(axis=1).all()


def test_golden_labels_can_not_change_within_the_golden_tolerance(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as golden:
        tolerance, logits = float(golden["tolerance"]), np.sort(golden["logits"], axis=1)
    reach = tolerance * (np.maximum(1, np.abs(logits[:, -1])) + np.maximum(1, np.abs(logits[:, -2])))
    assert (logits[:, -1] - logits[:, -2] > reach).all()


def test_an_int8_bundle_decodes_its_golden_images_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of four times as many as a bundle holds those are taken whose label is clear; none is decoded twice."""
    from zoo.workflow._golden import write_proven_bundle

    asked: list[int] = []
    written: list[Any] = []

    def decode(_: Any, count: int) -> list[Any]:
        asked.append(count)
        return [np.full((1, 1, 3), at, np.uint8) for at in range(count)]

    monkeypatch.setattr("zoo.workflow._golden._take", decode)
    monkeypatch.setattr("zoo.artefact.write_bundle", lambda *_, images, **__: written.append(images))

    def predict(batch: Any) -> Any:
        return np.array([[0.0, 9.0 if batch.max() % 2 else 0.001]], np.float32)  # every second image is clear

    manifest: Any = SimpleNamespace(quantization=SimpleNamespace(tolerance=0.1), task="multiclass", table=None)
    write_proven_bundle(tmp_path / "m.zoo", b"", manifest, golden="own", splits=None, predict=predict)
    assert asked == [128]
    assert [int(image.max()) for image in written[0]] == list(range(1, 64, 2))


def test_the_same_run_gives_the_same_graph(digits: Digits) -> None:
    first, second = (climb(digits.model, digits.manifest, digits.splits, kind="int8").model for _ in range(2))
    assert first.graph.SerializeToString(deterministic=True) == second.graph.SerializeToString(deterministic=True)


@dataclasses.dataclass(frozen=True, eq=False)
class _Recorded:
    source: Any
    rows: list[int]

    def read(self, row: int, *, voi: bool = False) -> Any:
        self.rows.append(row)
        return self.source.read(row, voi=voi)

    def probe(self, row: int) -> Any:
        return self.source.probe(row)


def test_ranges_come_from_training_images_only(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, list[int]] = {"train": [], "val": [], "test": []}

    def recorded(name: str, images: ImageSet) -> ImageSet:
        return dataclasses.replace(images, source=_Recorded(images.source, read[name]))

    splits = dataclasses.replace(
        digits.splits, **{name: recorded(name, digits.splits.split(name)) for name in ("train", "val", "test")}
    )
    seen_by_then: list[int] = []
    real = ladder._Ladder.judge

    def judge(self: Any, candidate: Any) -> Any:
        seen_by_then.append(len(read["val"]))
        return real(self, candidate)

    drawn: list[Tensors] = []

    def draw(*given: Any) -> tuple[Tensors, Tensors]:
        drawn.extend(found := images.draw(*given))
        return found

    monkeypatch.setattr(ladder._Ladder, "judge", judge)
    monkeypatch.setattr(ladder, "draw", draw)
    taken = climb(digits.model, digits.manifest, splits, kind="int8")
    assert read["test"] == []
    # Before the first candidate is judged the validation images were answered once, by the float32 file.
    assert seen_by_then[0] == len(splits.val)
    assert taken.record.calibration_images + taken.record.compared_images == 320
    assert taken.record.calibration_images >= 200
    assert all(one.images is splits.train for one in drawn)
    rows = [row for one in drawn for row in one.rows]
    assert len(set(rows)) == 320
    targets = splits.train.targets[rows]
    counts = np.bincount(targets, minlength=10)
    assert counts.max() - counts.min() <= 1


def test_few_training_images_are_said(digits: Digits) -> None:
    splits = dataclasses.replace(digits.splits, train=digits.splits.train.subset(range(100)))
    record = climb(digits.model, digits.manifest, splits, kind="int8").record
    assert record.calibration_images == 80
    assert record.compared_images == 20
    assert any("80 training images" in note for note in record.notes)


def test_the_choice_among_calibrations_is_recorded(bundle: Path) -> None:
    found = zoo.open(bundle).manifest.quantization
    assert found is not None
    assert set(found.calibration_errors) == {
        "minmax", "percentile 99.9", "percentile 99.99", "percentile 99.999", "entropy",
    }  # fmt: skip
    assert found.calibration == min(found.calibration_errors, key=lambda name: found.calibration_errors[name])
    assert len(set(found.calibration_errors.values())) > 1


def test_a_file_that_is_not_faster_is_refused_with_the_table(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "measure", timed_as(0.9))
    out = tmp_path / "slow.onnx"
    with refused("quantise-answers", QuantizationError, split="val") as caught:
        zoo.export(digits.run, quantize="int8", out=out)
    assert isinstance(caught.value, GateError)
    record = caught.value.fields["quantization"]
    assert isinstance(record, Quantization)
    assert [rung.kind for rung in record.rungs][-1] == "fp16"
    assert all(any("not faster" in why for why in rung.refused) for rung in record.rungs)
    assert not out.exists()


def test_what_nobody_can_tell_is_taken_only_where_that_is_accepted(digits: Digits, tmp_path: Path) -> None:
    out = tmp_path / "unproven.onnx"
    bars = ("agreement=0.9999", "sensitivity=0.5")  # of 1000 images nobody can show the first
    with refused("quantise-unproven", QuantizationError, split="val") as caught:
        zoo.export(digits.run, quantize="int8", bars=bars, out=out)
    assert caught.value.fields["quantization"].rungs[0].verdict == "cannot tell"
    assert not out.exists()
    zoo.export(digits.run, quantize="int8", bars=bars, accept_unproven=True, out=out)
    manifest = zoo.open(out).manifest
    found = manifest.quantization
    assert found is not None
    assert found.verdict == "cannot tell"
    assert found.bars == Bars(agreement=0.9999, sensitivity=0.5)
    assert found.rungs[-1].name == "int8, all layers"
    assert any("loosened" in note and "sensitivity" in note for note in found.notes)
    assert not any("loosened" in note and "agreement" in note for note in found.notes)
    assert any("accepted although" in note for note in found.notes)
    assert found.doubt is not None
    assert "not shown to be as good" in model_card(manifest)
    assert manifest.doubt in zoo.evaluate(out, "digits").notes


@pytest.mark.parametrize("bar", ["auc=0.1", "auroc", "auroc=1", "auroc=-1", "auroc=nan", "auroc=x"])
def test_a_bar_that_is_none_is_refused(digits: Digits, bar: str) -> None:
    with refused("bar-unknown", UsageError, bar=bar):
        zoo.export(digits.run, quantize="int8", bars=[bar])


def test_mirrored_copies_stand_in_for_images_that_there_are_not(digits: Digits) -> None:
    val, train = (digits.splits.split(name).subset(np.arange(n)) for name, n in (("val", 5), ("train", 7)))
    parts = draw_several(val, train, 40, seed=0)
    assert [(len(one), int(one.turns[0])) for one in parts] == [(5, 0), (7, 0), (5, 1), (7, 1), (5, 2), (7, 2)]
    first = val.read(0).pixels
    np.testing.assert_array_equal(parts[2].read(0).pixels, first[:, ::-1])
    np.testing.assert_array_equal(parts[4].read(0).pixels, first[::-1])
    assert sum(map(len, draw_several(val, train, 3, seed=0))) == 3


def test_more_images_come_after_the_first_and_without_copies(digits: Digits) -> None:
    val, train = (digits.splits.split(name).subset(np.arange(n)) for name, n in (("val", 5), ("train", 700)))
    first = draw_several(val, train, 100, seed=0)
    parts = draw_several(val, train, 400, seed=0, few=100)
    assert [(len(one), int(one.turns.max())) for one in parts] == [(5, 0), (95, 0), (300, 0)]
    assert np.array_equal(parts[1].rows, first[1].rows), "the first images are the same, however many follow"
    assert not set(parts[1].rows) & set(parts[2].rows)


def test_what_needs_no_label_is_asked_of_every_image_there_is(digits: Digits) -> None:
    """800 training and 500 validation images: the first thousand were the limit."""
    record = climb(digits.model, digits.manifest, digits.splits, kind="int8").record
    assert record.alike is not None
    assert (record.alike.n, record.alike.copies) == (1300, 0)


def test_a_rung_that_the_first_images_show_to_be_worse_is_not_asked_of_the_others(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def far(float32: Any, *given: Any, **options: Any) -> Any:
        asked.append(len(float32))
        return msgspec.structs.replace(compare(float32, *given, **options), mean_shift=0.9)

    monkeypatch.setattr(ladder, "compare", far)
    with refused("quantise-answers", QuantizationError):
        climb(digits.model, digits.manifest, digits.splits, kind="fp16")
    monkeypatch.setattr(ladder, "_FEW", 700)
    with refused("quantise-answers", QuantizationError):
        climb(digits.model, digits.manifest, digits.splits, kind="fp16")
    assert asked == [1000, 700]


def test_a_network_whose_rounding_hides_faults_is_refused(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "wobble", lambda *_, **__: 0.3)
    with refused("quantise-answers", QuantizationError) as caught:
        climb(digits.model, digits.manifest, digits.splits, kind="fp16", target="gpu")
    (rung,) = caught.value.fields["quantization"].rungs
    (why,) = rung.refused
    assert all(part in why for part in ("rounding", "0.3", "0.25"))


def test_the_real_clock_measures_pairs(digits: Digits) -> None:
    from zoo.artefact.quantize._running import open_file
    from zoo.artefact.quantize._speed import measure

    runtime = open_file(digits.model, digits.manifest, reference=False)
    image = digits.splits.val.read(0).pixels
    same = measure(runtime, runtime, [image])
    assert same.pairs >= 30
    assert same.ratio.low <= same.ratio.value <= same.ratio.high
    assert 0.5 < same.ratio.value < 2


def test_fp16_for_a_gpu_claims_no_speed(digits: Digits, tmp_path: Path) -> None:
    result = zoo.export(digits.run, quantize="fp16", target="gpu", out=tmp_path / "half.onnx")
    found = result.quantization
    assert found is not None
    assert found.kind == "fp16"
    assert found.speed is None
    assert any("not claimed" in note for note in found.notes)
    graph = onnx.load(result.path).graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert all(one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for one in graph.output)
    assert any(one.data_type == onnx.TensorProto.FLOAT16 for one in graph.initializer)
    assert found.size_ratio is not None
    assert found.size_ratio > 1.3


def test_fp16_that_overflows_is_refused(digits: Digits) -> None:
    model = digits.model
    first = next(node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("core/"))
    for one in model.graph.initializer:
        if one.name in first.input[1:]:
            one.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(one) * np.float32(1e6), one.name))
    with pytest.raises(QuantizationError, match="65504"):
        climb(model, digits.manifest, digits.splits, kind="fp16", target="gpu")


def test_a_model_without_layers_to_quantise_is_refused_in_words(tmp_path: Path, digits: Digits) -> None:
    run = zoo.train("random_forest", digits.data, size=8, out=tmp_path / "forest").run
    with refused("quantise-nothing", UsageError) as caught:
        zoo.export(run, quantize="int8")
    assert caught.value.fields["operator"]
    with refused("option-conflict", UsageError, options=["--target", "--bar", "--accept-unproven"]):
        zoo.export(run, target="avx2", bars=["auroc=0.1"], accept_unproven=True)


def test_a_manifest_without_the_field_still_decodes(digits: Digits) -> None:
    from zoo.errors import ModelError
    from zoo.spec import Manifest, decode, encode

    document = json.loads(encode(digits.manifest))
    del document["quantization"]
    old = decode(json.dumps(document).encode(), Manifest, "manifest.json", ModelError)
    assert old == digits.manifest
    assert old.quantization is None


def test_the_head_of_an_fp16_network_stays_in_float(digits: Digits) -> None:
    from zoo.artefact.quantize._core import core_of

    core = core_of(digits.model)
    graph = to_half(core).graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    by_name = {node.name: node for node in graph.node}
    assert kinds[by_name[core.head[0]].input[1]] == onnx.TensorProto.FLOAT
    assert kinds[by_name[core.layers[0]].input[1]] == onnx.TensorProto.FLOAT16


def _rolled_head(model: onnx.ModelProto, core: onnx.ModelProto) -> onnx.ModelProto:
    """As `with_core`, with the weights of the classes moved on by one: a file that was tampered with."""
    whole = with_core(model, core)
    producer = {name: node for node in whole.graph.node for name in node.output}
    node = producer["logits"]
    for one in whole.graph.initializer:
        if one.name == node.input[1]:
            one.CopyFrom(onnx.numpy_helper.from_array(np.roll(onnx.numpy_helper.to_array(one), 1, axis=0), one.name))
    return whole


def test_a_tampered_network_is_refused_on_every_rung(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "with_core", _rolled_head)
    with refused("quantise-answers", QuantizationError, split="val") as caught:
        climb(digits.model, digits.manifest, digits.splits, kind="int8")
    for rung in caught.value.fields["quantization"].rungs:
        assert any("labels of which float32 is sure" in why for why in rung.refused)


def test_a_network_that_int8_destroys_climbs_the_ladder(digits: Digits) -> None:
    model = digits.model
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("core/")]
    constants = {one.name: one for one in model.graph.initializer}
    first, second = convolutions[:2]
    # One channel 3000 times brighter, and taken for as much less by the next layer: the same answers in float.
    for name, factor, place in (
        (first.input[1], 3000, np.s_[0]), (first.input[2], 3000, np.s_[0]), (second.input[1], 1 / 3000, np.s_[:, 0]),
    ):  # fmt: skip
        values = onnx.numpy_helper.to_array(constants[name]).copy()
        values[place] *= np.float32(factor)
        constants[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
    taken = climb(model, digits.manifest, digits.splits, kind="int8")
    lowest, highest = taken.record.rungs[0], taken.record.rungs[-1]
    assert lowest.verdict == "worse"
    assert len(taken.record.rungs) > 1
    assert highest.refused == ()
    assert highest.val is not None
    assert highest.val.agreement.value >= 0.99


def test_test_images_refuse_what_they_show_to_be_broken_and_nothing_else_is_tried(
    digits: Digits, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judged = []
    real = _quantise.judge

    def other_on_test(plugin: Any, runtime: Any, *rest: Any, **more: Any) -> Any:
        answers = real(plugin, runtime, *rest, **more)
        judged.append(answers)
        return answers if len(judged) == 1 else dataclasses.replace(answers, logits=np.roll(answers.logits, 1, axis=1))

    monkeypatch.setattr(_quantise, "judge", other_on_test)
    out = tmp_path / "refused.onnx"
    with refused("quantise-answers", QuantizationError, split="test") as found:
        zoo.export(digits.run, quantize="int8", out=out)
    record = found.value.fields["quantization"]
    assert record.test is not None
    assert record.val is not None
    assert len(judged) == 2
    assert not out.exists()


def test_finetuning_is_the_rung_after_all_layers_and_learns_from_training_images_alone(digits: Digits) -> None:
    """A bar that no number of images can show to be kept, so that the second rung is tried."""
    seen: list[Tensors] = []

    def tune(images: Tensors, *, signed: bool) -> onnx.ModelProto:
        assert not signed
        seen.append(images)
        return digits.model

    with refused("quantise-unproven", QuantizationError) as caught:
        climb(
            digits.model,
            digits.manifest,
            digits.splits,
            kind="int8",
            target="avx512",
            bars=Bars(agreement=0.999999),
            finetune=tune,
        )
    rungs = caught.value.fields["quantization"].rungs
    assert [rung.name for rung in rungs[:2]] == ["int8, all layers", "int8, all layers, fine-tuned"]
    (images,) = seen
    assert images.images is digits.splits.train
    assert 0 < len(images) < len(digits.splits.train)  # the others compare calibrations
    assert len(set(images.rows)) == len(images)


def test_finetuning_of_a_run_gives_a_file_that_answers(digits: Digits, tmp_path: Path) -> None:
    with refused("quantise-unproven", QuantizationError) as caught:
        zoo.export(digits.run, quantize="int8", finetune=True, bars=["agreement=0.999999"], out=tmp_path / "tuned.onnx")
    tuned = caught.value.fields["quantization"].rungs[1]
    assert tuned.name == "int8, all layers, fine-tuned"
    assert tuned.alike.agreement.value > 0.98
    assert not list(tmp_path.iterdir())


def test_finetuning_needs_int8_and_a_network_of_torch(digits: Digits) -> None:
    with refused("option-conflict", UsageError):
        zoo.export(digits.run, quantize="fp16", finetune=True)
    network = TrainedNetwork(SimpleNamespace(), open_run(digits.run).record.card, "multiclass")
    with refused("finetune-unsupported", UsageError):
        network.for_integers([], signed=False, seed=0)
