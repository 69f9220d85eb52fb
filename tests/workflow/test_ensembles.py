"""`ensemble:` of runs: one file that stands alone, weights that nobody was trained on, one line for what cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from refusals import refused

import zoo
from zoo.errors import GateError, PluginError, TrainingError, UsageError
from zoo.evaluation import pool_logits
from zoo.runs import open_run
from zoo.spec import encode

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

LABELS = 3


def _digits(path: Path, *, seed: int, test: int = 40) -> Path:
    """Three digits as a .npz with splits of its own; another seed puts other images into each."""
    from sklearn.datasets import load_digits

    found = load_digits()
    kept = np.flatnonzero(found.target < LABELS)
    order = np.random.default_rng(seed).permutation(kept)
    images = np.rint(found.images * (255 / 16)).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    parts = {"train": order[:200], "val": order[200:260], "test": order[260 : 260 + test]}
    arrays = {f"{name}_images": images[rows] for name, rows in parts.items()}
    arrays |= {f"{name}_labels": found.target[rows, None] for name, rows in parts.items()}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a: a network in colour, letterboxed; b: one in gray, smaller; c: support vectors; `other`: on another split."""
    root = tmp_path_factory.mktemp("members")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        data = _digits(root / "digits3.npz", seed=0)
        other = _digits(root / "otherwise3.npz", seed=1)
        colour = {"preprocess.channels": "rgb", "preprocess.resize": "letterbox", "ema": 0.9}
        zoo.train("simple_cnn", data, epochs=2, batch_size=16, size=20, out=root / "a", settings=colour)
        zoo.train("simple_cnn", data, epochs=2, batch_size=16, size=12, seed=1, out=root / "b", settings={"ema": 0.9})
        zoo.train("svm", data, size=8, out=root / "c")
        zoo.train("svm", other, size=8, out=root / "other")
    return root


@pytest.fixture(scope="module")
def made(members: Path) -> zoo.TrainResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(members)
        return zoo.train("ensemble:a,b,c", out=members / "e")


@pytest.fixture
def here(members: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(members)
    return members


def test_one_file_answers_raw_pixels_as_its_members_do_together(made: zoo.TrainResult, members: Path) -> None:
    """Sizes, channels, resizing and frameworks differ; the image is given once."""
    runtime = zoo.open(made.run)
    said = runtime.manifest.members
    assert [member.name for member in said] == ["simple_cnn", "simple_cnn", "svm"]
    assert sum(member.weight for member in said) == pytest.approx(1)
    assert runtime.manifest.preprocess == said[0].preprocess, "that of the largest input"
    assert runtime.manifest.parity is not None
    assert runtime.manifest.parity.flips == 0
    batch = np.random.default_rng(0).integers(0, 256, (5, 37, 45, 3)).astype(np.uint8)
    alone = [zoo.open(members / name) for name in "abc"]
    each = [one.logits(batch) / one.manifest.temperature for one in alone]
    expected = pool_logits(each, [member.weight for member in said], "multiclass")
    assert np.allclose(runtime.logits(batch), expected, atol=1e-3)


def test_gain_and_cost_stand_beside_each_other(made: zoo.TrainResult) -> None:
    found = made.comparison
    assert found is not None
    assert [row.name for row in found.models] == ["ensemble", "simple_cnn (a)", "simple_cnn (b)", "svm"]
    assert {(pair.a, pair.metric) for pair in found.pairs} >= {("ensemble", "macro_auroc"), ("ensemble", "accuracy")}
    assert all(row.latency_ms and row.size_bytes for row in found.models)
    assert found.models[0].size_bytes > max(row.size_bytes for row in found.models[1:])
    assert json.loads((Path(made.run) / "comparison.json").read_bytes()) == json.loads(encode(found))
    assert any("60 validation images" in note for note in open_run(Path(made.run)).record.notes)


def test_an_ensemble_stands_alone(made: zoo.TrainResult, tmp_path: Path, members: Path) -> None:
    """Its members may be gone when it is exported again, and the same bytes come out."""
    run = tmp_path / "alone"
    shutil.copytree(made.run, run)
    record = open_run(run)
    nowhere = msgspec.structs.replace(record.record.card, arch=f"{tmp_path}/gone,{tmp_path}/gone2")
    record.update(card=nowhere)
    data = members / "digits3.npz"
    first = zoo.export(run, bundle=True, data=data, out=tmp_path / "one.zoo")
    second = zoo.export(run, bundle=True, data=data, out=tmp_path / "two.zoo")
    files = sorted(path.name for path in Path(first.path).iterdir())
    assert all((Path(first.path) / name).read_bytes() == (Path(second.path) / name).read_bytes() for name in files)
    assert zoo.verify(first.path).images >= 32
    assert zoo.evaluate(first.path, data).metrics["accuracy"] == made.test.metrics["accuracy"]
    card = (Path(first.path) / "CARD.md").read_text()
    assert "`c`" in card
    parts = json.loads((Path(first.path) / "sbom.cdx.json").read_bytes())["components"]
    assert [part["version"] for part in parts if part["bom-ref"].startswith("member-")] == ["a", "b", "c"]


def test_an_ensemble_whose_images_are_gone_gives_its_proven_file(made: zoo.TrainResult, tmp_path: Path) -> None:
    run = tmp_path / "alone"
    shutil.copytree(made.run, run)
    open_run(run).update(source=str(tmp_path / "gone.npz"))
    bundle = Path(zoo.export(run, bundle=True, out=tmp_path / "e.zoo").path)
    assert (bundle / "model.onnx").read_bytes() == (run / "model.onnx").read_bytes()
    assert zoo.verify(bundle).golden == "generated"
    assert "Golden images" in (bundle / "CARD.md").read_text()


def test_it_can_be_explained_and_compared_by_name(made: zoo.TrainResult, here: Path) -> None:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)).save(here / "x.png")
    (answer,) = zoo.explain(made.run, here / "x.png")
    assert not hasattr(answer, "error")
    found = zoo.compare(["ensemble:b,c", "c"])
    assert [row.name for row in found.models] == ["ensemble", "svm"]
    assert found.n == 40


@pytest.mark.usefixtures("here")
def test_labels_are_matched_by_name(members: Path, tmp_path: Path) -> None:
    """A run that numbers its classes otherwise answers the same question."""
    turned = tmp_path / "turned"
    shutil.copytree(members / "b", turned)
    run = open_run(turned)
    run.update(labels=tuple(reversed(run.record.labels)))
    result = zoo.train(f"ensemble:c,{turned}", out=tmp_path / "e")
    runtime = zoo.open(result.run)
    assert runtime.labels == ("0", "1", "2")
    batch = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    alone = [zoo.open(members / name) for name in "cb"]
    each = [one.logits(batch) / one.manifest.temperature for one in alone]
    each[1] = each[1][:, ::-1]
    expected = pool_logits(each, [member.weight for member in runtime.manifest.members], "multiclass")
    assert np.allclose(runtime.logits(batch), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ensemble:a", "ensemble-name"),
        ("ensemble::", "ensemble-name"),
        ("ensemble:a,", "ensemble-name"),
        ("ensemble:a,b,", "ensemble-name"),
        ("ensemble:a,b,a", "ensemble-twice"),
        ("ensemble:a,nowhere", "run-unknown"),
        ("ensemble:a,e", "ensemble-nested"),
    ],
)
@pytest.mark.usefixtures("made")
def test_names_that_make_no_ensemble(name: str, code: str, here: Path) -> None:
    before = sorted(here.iterdir())
    with refused(code, UsageError) as caught:
        zoo.train(name)
    assert "\n" not in str(caught.value)
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "code", "fields"),
    [
        ({"status": "training"}, "ensemble-member", {"status": "training"}),
        ({"labels": ("0", "1", "7")}, "ensemble-mixed", {"differs": "labels"}),
        ({"task": "multilabel"}, "ensemble-mixed", {"differs": "task"}),
        ({"kind": "uint16"}, "ensemble-mixed", {"differs": "kind"}),
    ],
)
def test_runs_that_can_not_answer_together(
    change: dict[str, object], code: str, fields: dict[str, str], here: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(here / "b", odd)
    open_run(odd).update(**change)
    with refused(code, UsageError, **fields):
        zoo.info(f"ensemble:a,{odd}")


@pytest.mark.usefixtures("here")
def test_the_same_weights_in_two_folders_are_one_member(members: Path, tmp_path: Path) -> None:
    shutil.copytree(members / "c", tmp_path / "copy")
    with refused("ensemble-twice", UsageError):
        zoo.train(f"ensemble:c,{tmp_path / 'copy'}", out=tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.usefixtures("here")
def test_a_member_that_was_trained_on_what_decides_is_refused_unless_asked_for(tmp_path: Path) -> None:
    """Else the weights would go to the member that remembers the validation images."""
    with refused("ensemble-leak", GateError) as caught:
        zoo.train("ensemble:c,other", out=tmp_path / "e")
    assert caught.value.exit_code == 3
    assert caught.value.fields["found"]
    assert all("svm (other)" in found for found in caught.value.fields["found"])
    assert not (tmp_path / "e").exists()
    kept = zoo.train("ensemble:c,other", out=tmp_path / "e", leaks="keep")
    assert any("svm (other)" in note for note in open_run(Path(kept.run)).record.notes)
    assert any("svm (other)" in note for note in kept.test.notes)
    again = zoo.evaluate(kept.run)
    assert again.metrics == kept.test.metrics
    assert again.seen is not None
    assert (again.seen.how, again.seen.of) == ("judged", again.n)
    assert again.seen.count


@pytest.mark.usefixtures("here")
def test_not_knowing_what_a_member_was_trained_on_is_no_clean_bill(members: Path, tmp_path: Path) -> None:
    shutil.copytree(members / "other", tmp_path / "other")
    (tmp_path / "other" / "trained_on.npz").unlink()
    with refused("ensemble-leak", GateError):
        zoo.train(f"ensemble:c,{tmp_path / 'other'}", out=tmp_path / "e")


@pytest.mark.usefixtures("here")
def test_options_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    with refused("option-ignored", UsageError, options=["--epochs", "--lr"]):
        zoo.train("ensemble:a,b", epochs=3, lr=0.1, out=tmp_path / "e")


@pytest.mark.parametrize(
    ("asked", "code"), [({"preprocess": "none"}, "ensemble-stage"), ({"quantize": "int8"}, "ensemble-quantise")]
)
def test_exports_that_an_ensemble_does_not_have(
    asked: dict[str, str], code: str, made: zoo.TrainResult, tmp_path: Path
) -> None:
    with refused(code, UsageError):
        zoo.export(made.run, out=tmp_path / "x.onnx", **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_kept_member_that_was_changed_or_lost_is_refused(made: zoo.TrainResult, tmp_path: Path) -> None:
    run = tmp_path / "e"
    shutil.copytree(made.run, run)
    core = run / "member2.onnx"
    core.write_bytes(core.read_bytes()[:-1] + b"\x00")
    with refused("weights-hash", PluginError, path=str(core)):
        zoo.export(run, out=tmp_path / "x.onnx")
    core.unlink()
    with refused("run-incomplete", PluginError, path=str(core)):
        zoo.export(run, out=tmp_path / "x.onnx")
    (run / "members.json").unlink()
    with refused("run-incomplete", PluginError, path=str(run / "members.json")):
        zoo.export(run, out=tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda kept: kept["members"].pop(), "run-incomplete", "2 members"),
        (lambda kept: kept.update(members=[], cores={}), "run-incomplete", "0 members"),
        (
            lambda kept: kept["cores"].update({"../a/core.onnx": kept["cores"].pop("member2.onnx")}),
            "run-incomplete",
            "core.onnx",
        ),
        (lambda kept: kept["members"][0].update(weight=5), "run-incomplete", "weights sum"),
        (lambda kept: kept["members"][0].update(weight=-0.5), "document-malformed", "0 or more"),
        (lambda kept: kept["members"][0].update(temperature=0), "document-malformed", "above 0"),
    ],
)
def test_members_that_no_ensemble_was_saved_with_are_one_line(
    change: Callable[[dict[str, Any]], object], code: str, said: str, made: zoo.TrainResult, tmp_path: Path
) -> None:
    run = tmp_path / "e"
    shutil.copytree(made.run, run)
    kept = json.loads((run / "members.json").read_text())
    change(kept)
    (run / "members.json").write_text(json.dumps(kept))
    with refused(code, PluginError) as caught:
        zoo.export(run, out=tmp_path / "x.onnx")
    assert str(run / "members.json") in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"), [({"temperature": 0.0}, "temperature is 0"), ({"labels": ["0", "0", "1"]}, "occurs twice")]
)
def test_a_member_whose_record_can_not_be_is_refused(
    change: dict[str, Any], said: str, here: Path, tmp_path: Path
) -> None:
    shutil.copytree(here / "a", tmp_path / "a")
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    (tmp_path / "a" / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(TrainingError, match=said):
        zoo.train(f"ensemble:{tmp_path / 'a'},b", out=tmp_path / "e")


@pytest.mark.usefixtures("here")
def test_what_is_interrupted_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    from zoo_plugins import ensemble

    monkeypatch.setattr(ensemble, "learn_weights", stop)
    with pytest.raises(KeyboardInterrupt):
        zoo.train("ensemble:a,b", out=tmp_path / "e")
    assert not (tmp_path / "e").exists()


@pytest.mark.usefixtures("here")
def test_a_run_that_stands_there_is_not_replaced_unasked(made: zoo.TrainResult) -> None:
    with refused("run-occupied", TrainingError, holds="run"):
        zoo.train("ensemble:a,b", out=made.run)
