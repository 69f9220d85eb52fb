"""`--loss auto`: what validation favours is in the file, in its numbers and in its words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cli_running import run_zoo
from pictures import rare_class
from refusals import refused

import zoo
from zoo.contract._pictures import two_labels
from zoo.data import open_data
from zoo.errors import UsageError
from zoo.runs import open_run

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "logistic_regression"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("rare")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        rare_class(root / "rare.npz", side=8)
        rare_class(root / "common.npz", side=8, rare=0.4)
        yield root


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, zoo.TrainResult]:
    assert place == Path.cwd()
    return {
        loss: zoo.train(MODEL, "rare.npz", out=f"runs/{loss}", loss=loss, metric="balanced_accuracy")
        for loss in ("cross_entropy", "auto")
    }


def test_more_of_a_rare_class_is_found_and_the_choice_is_recorded(runs: dict[str, zoo.TrainResult]) -> None:
    found = {loss: done.test.per_class["1"]["sensitivity"].value for loss, done in runs.items()}
    assert found["auto"] > found["cross_entropy"] + 0.2, found
    record = open_run(Path(runs["auto"].run)).record
    assert (record.card.train.loss, record.loss, runs["auto"].loss) == ("auto", "logit_adjusted", "logit_adjusted")
    assert len(record.shift) == 2
    assert record.shift[1] > record.shift[0]
    assert [note for note in record.notes if note.startswith("loss auto took logit_adjusted")]
    assert any("lean towards rare classes" in note for note in runs["auto"].test.notes)
    assert not any("lean towards rare classes" in note for note in runs["cross_entropy"].test.notes)
    plain = open_run(Path(runs["cross_entropy"].run)).record
    assert (plain.loss, plain.shift) == (None, ())


def test_the_best_value_is_that_of_the_file(runs: dict[str, zoo.TrainResult]) -> None:
    """A run that names the value before the adjustment would name a model that does not ship."""
    splits = open_data("rare.npz")
    raw = np.stack([splits.val.read(i).pixels for i in range(len(splits.val))])
    for done in runs.values():
        called = zoo.open(done.run).probabilities(raw).argmax(axis=1)
        expected = np.mean([(called == k)[splits.val.targets == k].mean() for k in range(2)])
        assert done.best is not None
        assert done.best.metric == "val_balanced_accuracy"
        assert done.best.value == pytest.approx(expected)


def test_the_file_carries_the_adjustment_wherever_it_goes(runs: dict[str, zoo.TrainResult], place: Path) -> None:
    done = runs["auto"]
    assert zoo.evaluate(done.run) == done.test
    manifest = zoo.open(done.run).manifest
    assert manifest.provenance.config.loss == "logit_adjusted"
    assert manifest.parity is not None
    assert manifest.parity.flips == 0
    bundle = zoo.export(done.run, bundle=True, out=place / "auto.zoo")
    assert zoo.verify(bundle.path).images >= 32
    raw = np.stack([open_data("rare.npz").test.read(i).pixels for i in range(20)])
    np.testing.assert_allclose(zoo.open(bundle.path).logits(raw), zoo.open(done.run).logits(raw), atol=1e-5)
    assert "logit_adjusted" in (place / "auto.zoo" / "CARD.md").read_text("utf-8")


def test_a_member_of_an_ensemble_keeps_its_adjustment(runs: dict[str, zoo.TrainResult]) -> None:
    other = zoo.train("random_forest", "rare.npz", out="runs/forest")
    done = zoo.train(f"ensemble:{other.run},{runs['auto'].run}", out="runs/both")
    losses = {member.run: member.config.loss for member in done.members}
    assert set(losses.values()) == {"cross_entropy", "logit_adjusted"}
    raw = np.stack([open_data("rare.npz").test.read(i).pixels for i in range(20)])
    parts = [
        member.weight * np.exp(_log_softmax(zoo.open(run).logits(raw) / member.temperature))
        for member, run in zip(done.members, (other.run, runs["auto"].run), strict=True)
    ]
    pooled = np.exp(_log_softmax(zoo.open(done.run).logits(raw)))
    np.testing.assert_allclose(pooled, sum(parts), atol=1e-4)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )


def test_no_class_is_rare_and_cross_entropy_stays(place: Path) -> None:
    ran = run_zoo("train", MODEL, "--data", "common.npz", "--loss", "auto", "--out", "runs/common", "--json")
    assert ran.document["loss"] == "cross_entropy"
    assert ran.document["best"]["metric"] == "val_macro_auroc"
    record = json.loads((place / "runs/common/run.json").read_text("utf-8"))
    assert (record["loss"], record["shift"]) == ("cross_entropy", [])
    assert any(note.startswith("loss auto took cross_entropy") for note in record["notes"])
    assert "loss auto took cross_entropy" in ran.err


@pytest.mark.usefixtures("place")
def test_auto_does_not_count_the_rarity_twice() -> None:
    done = zoo.train(MODEL, "rare.npz", out="runs/weighed", loss="auto", settings={"class_weight": "balanced"})
    assert open_run(Path(done.run)).record.shift == ()


def test_a_run_that_is_repeated_by_its_command_is_reported(runs: dict[str, zoo.TrainResult]) -> None:
    """The recipe says auto, the record what was taken; the same command must not look like another one."""
    again = zoo.train(MODEL, "rare.npz", out="runs/auto", resume="auto", loss="auto", metric="balanced_accuracy")
    assert again.test == runs["auto"].test
    with refused("resume-changed", name="--metric"):
        zoo.train(MODEL, "rare.npz", out="runs/auto", resume="auto", loss="auto", metric="kappa")


def test_several_labels_are_adjusted_each_by_its_own_share(place: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 400), ("val", 300), ("test", 100)):
        targets = (rng.random((n, 2)) < (0.4, 0.07)).astype(np.uint8)
        targets[:4] = [[0, 0], [0, 1], [1, 0], [1, 1]]
        pixels = rng.normal(110, 40, (n, 8, 8))
        pixels[targets[:, 0] == 1, ::2] += 20
        pixels[targets[:, 1] == 1, :, ::2] += 20
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = pixels.clip(0, 255).astype(np.uint8), targets
    np.savez(place / "two.npz", **arrays)
    done = zoo.train("logistic_regression", "two.npz", out="runs/two", loss="auto", metric="f1")
    record = open_run(Path(done.run)).record
    assert (record.loss, len(record.shift)) == ("logit_adjusted", 2)
    assert record.shift[1] > record.shift[0] > 0
    assert zoo.evaluate(done.run) == done.test


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("model", "fields", "code"),
    [
        (MODEL, {"loss": "focal"}, "loss-unsupported"),
        ("svm", {"settings": {"sampling": "balanced"}}, "loss-unsupported"),
        ("simple_cnn", {"metric": "sensitivity@0.9:2"}, "label-unknown"),
        ("simple_cnn", {"metric": "auc"}, "setting-value"),
        ("simple_cnn", {"metric": "sensitivity@90:1"}, "setting-value"),
        ("simple_cnn", {"loss": "logit_adjusted", "settings": {"class_weight": "balanced"}}, "setting-value"),
        ("simple_cnn", {"settings": {"focal_gamma": -1}}, "setting-value"),
        ("simple_cnn", {"loss": "hinge"}, "setting-value"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_run_is_made(model: str, fields: dict, code: str) -> None:
    with refused(code):
        zoo.train(model, "rare.npz", out="runs/refused", **fields)
    assert not Path("runs/refused").exists()


def test_images_of_several_labels_have_no_class_to_be_drawn_by(place: Path) -> None:
    with refused("sampling-several", UsageError):
        zoo.train("simple_cnn", two_labels(place / "few.npz", side=8), out="runs/no", settings={"sampling": "balanced"})
