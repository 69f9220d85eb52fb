"""Training, export and evaluation from outside: what is written, what is refused, what can be repeated."""

from __future__ import annotations

import csv
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from api_folders import CANARY, canary_folder, deep_folder
from PIL import Image
from refusals import refused

import zoo
from zoo.data import TRAINED_ON, read_seen
from zoo.errors import DataError, ImageError, ModelError, TrainingError, UsageError
from zoo.runs import open_run
from zoo.workflow._images import leave_out_for_all
from zoo.workflow.evaluate import open_target

FILES = {
    "trained_on.npz",
    "run.json",
    "weights.safetensors",
    "history.csv",
    "history.png",
    "augmented.png",
    "model.onnx",
    "report.json",
    "predictions.csv",
    "confusion.png",
    "reliability.png",
    "answers.npz",
    "novelty.npz",
    "report.html",
    "CARD.md",
}


def test_a_run_is_complete(colour_run: zoo.TrainResult) -> None:
    run = Path(colour_run.run)
    assert {path.name for path in run.iterdir() if path.name != "export"} == FILES
    record = open_run(run).record
    assert record.status == "done"
    assert record.best is not None
    assert record.seconds
    assert record.plugin.name == "simple_cnn"
    assert record.versions["torch"]
    assert record.id == run.name
    assert any("input size" in note or "val and test" in note for note in record.notes)


def test_latest_is_the_last_run_in_runs(colour_run: zoo.TrainResult, place: Path) -> None:
    """`zoo evaluate` with nothing named means it."""
    assert (place / "runs/latest").exists()
    assert Path(colour_run.run).parent.resolve() == (place / "runs").resolve()


def test_metrics_follow_from_predictions(colour_run: zoo.TrainResult) -> None:
    """What the report says can be recomputed by anyone with the table."""
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, roc_auc_score

    report = json.loads((Path(colour_run.run) / "report.json").read_text())
    with (Path(colour_run.run) / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    labels = report["labels"]
    truth = [row["label"] for row in rows]
    predicted = [row["predicted"] for row in rows]
    probabilities = np.array([[float(row[f"p_{label}"]) for label in labels] for row in rows])
    assert len(rows) == report["n"] == report["data"]["splits"]["test"]
    expected = {
        "accuracy": accuracy_score(truth, predicted),
        "balanced_accuracy": balanced_accuracy_score(truth, predicted),
        "macro_f1": f1_score(truth, predicted, average="macro", labels=labels, zero_division=0),
        "macro_auroc": np.mean(
            [roc_auc_score([t == label for t in truth], probabilities[:, k]) for k, label in enumerate(labels)]
        ),
    }
    for name, value in expected.items():
        if name in report["metrics"]:
            assert report["metrics"][name]["value"] == pytest.approx(value, abs=1e-6), name
    assert "accuracy" in report["metrics"]
    assert [labels[i] for i in probabilities.argmax(axis=1)] == predicted
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [row["correct"] for row in rows] == [str(int(a == b)) for a, b in zip(truth, predicted, strict=True)]


def test_evaluating_the_run_again_gives_the_same_report(colour_run: zoo.TrainResult) -> None:
    assert zoo.evaluate(colour_run.run) == colour_run.test


def test_the_training_folder_named_again_is_tested_on_its_test_images(
    colour_run: zoo.TrainResult, colours: Path
) -> None:
    """Naming --data must not turn training images into test images."""
    assert zoo.evaluate(colour_run.run, colours).n == colour_run.test.n


def test_nobodys_name_is_in_what_is_shipped(colour_run: zoo.TrainResult, place: Path) -> None:
    """It was in file names, folder path, EXIF and PNG text; only run.json and predictions.csv know it.

    The last folder's name is the data set's public name, and class folders are the labels.
    """
    run = Path(colour_run.run)
    bundle = Path(zoo.export(run, bundle=True, out=place / "private.zoo").path)
    shipped = [
        run / "model.onnx",
        run / "report.json",
        *(p for p in bundle.iterdir() if p.name != "golden.npz"),
    ]
    for path in shipped:
        assert CANARY.encode() not in path.read_bytes(), path.name
    with np.load(bundle / "golden.npz") as golden:
        assert not any(CANARY in name for name in golden.files)
        assert all(golden[name].dtype.kind in "uf" for name in golden.files)
    assert CANARY in (run / "predictions.csv").read_text()
    assert CANARY in (run / "run.json").read_text()


# --- class order


def test_a_folder_without_one_class_leaves_its_numbers_undefined(colour_run: zoo.TrainResult, tmp_path: Path) -> None:
    """Never 0, and never shifted: red stays red when green is missing."""
    data = canary_folder(tmp_path / "two", ("blue", "red"), 12, first=100)
    found = zoo.evaluate(colour_run.run, data)
    assert found.labels == ("blue", "green", "red")
    assert found.per_class["green"]["n"] == 0
    assert "sensitivity" not in found.per_class["green"]
    assert "green.sensitivity" in found.undefined
    assert "macro_auroc" in found.undefined
    assert found.per_class["red"]["n"] == 12
    runtime = zoo.open(colour_run.run)
    answers = [next(runtime.predict([path])) for path in sorted((data / "red").iterdir())]
    right = np.mean([answer.row()["label"] == "red" for answer in answers])
    assert found.per_class["red"]["sensitivity"].value == pytest.approx(right)
    assert right > 0.5


def test_an_unknown_class_is_refused(colour_run: zoo.TrainResult, tmp_path: Path) -> None:
    data = canary_folder(tmp_path / "more", ("blue", "green", "red"), 4)
    (data / "green").rename(data / "violet")
    with pytest.raises(DataError, match="violet"):
        zoo.evaluate(colour_run.run, data)


def test_folders_that_sort_otherwise_are_matched_by_name(colour_run: zoo.TrainResult, tmp_path: Path) -> None:
    """An .npz whose names stand in another order than the model's outputs."""
    from api_folders import colour

    names = ["red", "blue", "green"]
    images = np.stack([np.asarray(Image.fromarray(colour(n, i)).resize((24, 24))) for n in names for i in range(8)])
    targets = np.repeat(np.arange(3), 8)
    np.savez(tmp_path / "other.npz", test_images=images, test_labels=targets, label_names=np.array(names))
    found = zoo.evaluate(colour_run.run, tmp_path / "other.npz")
    assert found.labels == ("blue", "green", "red")
    runtime = zoo.open(colour_run.run)
    predicted = [runtime.labels[k] for k in runtime.logits(images).argmax(axis=1)]
    right = np.mean([p == names[t] for p, t in zip(predicted, targets, strict=True)])
    assert found.metrics["accuracy"].value == pytest.approx(right)
    assert right > 0.6


# --- directories and resuming


def test_a_second_run_into_the_same_directory_is_refused(svm_run: zoo.TrainResult, colours: Path) -> None:
    before = (Path(svm_run.run) / "run.json").read_bytes()
    with refused("run-occupied", TrainingError, holds="run"):
        zoo.train("svm", colours, size=8, out=svm_run.run)
    with refused("run-occupied", TrainingError, holds="run"):  # before any image is looked for
        zoo.train("svm", "no-such-folder", out=svm_run.run)
    assert (Path(svm_run.run) / "run.json").read_bytes() == before


def test_a_directory_of_the_user_is_not_written_into(tmp_path: Path, colours: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with refused("run-occupied", TrainingError, holds="other"):
            zoo.train("svm", colours, size=8, out=tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_finished_run_is_not_resumed(svm_run: zoo.TrainResult) -> None:
    with refused("run-finished", TrainingError):
        zoo.train("svm", out=svm_run.run, resume=True)
    with refused("run-other-model", TrainingError, found="svm", expected="simple_cnn"):
        zoo.train("simple_cnn", out=svm_run.run, resume=True)


@pytest.mark.slow
@pytest.mark.usefixtures("place")
def test_an_interrupted_run_can_be_exported_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after an hour must not cost the hour; moved images are asked for by name."""
    data = canary_folder(tmp_path / "before" / "set", count=12)
    out = tmp_path / "run"
    import zoo.learn

    fitting = importlib.import_module("zoo.learn._fit")

    keep = fitting.keep

    def stop(*args: object) -> object:
        state = keep(*args)
        if open_run(out).record.epochs_done == 2:
            raise KeyboardInterrupt
        return state

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "keep", stop)
        with pytest.raises(KeyboardInterrupt):
            zoo.train("simple_cnn", data, epochs=3, size=16, out=out)
    assert open_run(out).record.status == "interrupted"
    with refused("run-no-model", ModelError, status="interrupted"):
        zoo.evaluate(out)
    open_run(out).update(status="trained")  # as a gate that refused leaves it
    with refused("run-no-model", ModelError, status="trained"):
        zoo.evaluate(out)
    open_run(out).update(status="done")
    with refused("run-no-model", ModelError, status="done"):
        zoo.evaluate(out)
    open_run(out).update(status="interrupted")
    made = zoo.export(out, out=tmp_path / "early.onnx")
    assert any("epoch 2" in note for note in zoo.open(made.path).manifest.provenance.notes)
    assert any("epoch 2" in note for note in made.notes)
    moved = data.rename(tmp_path / "after")
    with refused("data-moved", DataError, run=out.name):
        zoo.export(out, out=tmp_path / "x.onnx")
    with refused("data-moved", DataError, run=out.name):
        zoo.train("simple_cnn", out=out, resume=True)
    done = zoo.train("simple_cnn", moved, out=out, resume=True)
    record = open_run(Path(done.run)).record
    assert (record.status, record.epochs_done) == ("done", 3)
    assert zoo.evaluate(out).n == done.test.n


def test_changed_images_are_refused(tmp_path: Path) -> None:
    """A run's own test split is only its own as long as the images are the same."""
    data = canary_folder(tmp_path / "set", count=12)
    run = zoo.train("svm", data, size=8, out=tmp_path / "run").run
    next((data / "red").iterdir()).unlink()
    with refused("data-changed", DataError, run="run"):
        zoo.evaluate(run)
    with refused("data-changed", DataError, run="run"):
        zoo.export(run)


def test_a_split_seed_is_kept_for_later(tmp_path: Path, colours: Path) -> None:
    """In either spelling, else the run could never find its test images again."""
    settings = {"train.split_seed": 5}
    done = zoo.train("svm", colours, size=8, out=tmp_path / "run", settings=settings)
    assert any("seed 5" in note for note in done.test.notes)
    assert zoo.evaluate(done.run).n == done.test.n


def test_a_relative_path_is_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary_folder(tmp_path / "set", count=12)
    monkeypatch.chdir(tmp_path)
    done = zoo.train("svm", "set", size=8, out="run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert zoo.evaluate(tmp_path / "run") == done.test


# --- kinds of models and images


@pytest.mark.parametrize("model", ["svm", pytest.param("random_forest", marks=pytest.mark.slow)])
def test_classical_models_go_the_whole_way(place: Path, model: str) -> None:
    """Trained, proven, exported from what was saved, verified: on real digits."""
    done = zoo.train(model, "digits", out=place / f"digits-{model}")
    assert done.test.metrics["accuracy"].value > 0.95
    manifest = zoo.open(done.run).manifest
    assert manifest.parity is not None
    assert manifest.parity.max_abs_logit <= 1e-4
    made = zoo.export(done.run, bundle=True, out=place / f"{model}.zoo")
    assert zoo.verify(made.path).images >= 32
    assert {path.suffix for path in Path(done.run).iterdir()} & {".pkl", ".joblib", ".pickle"} == set()


@pytest.mark.slow
def test_a_forest_on_resized_pictures_passes_the_gate(scenes: Path, tmp_path: Path) -> None:
    """Trees step where a network slopes; a level of rounding in resizing must not make the export fail."""
    done = zoo.train("random_forest", scenes, out=tmp_path / "run", size=16)
    parity = zoo.open(done.run).manifest.parity
    assert parity is not None
    assert parity.max_abs_logit <= 1e-4


def test_gray_and_colour_pictures_mix(tmp_path: Path) -> None:
    """JPEGs of one scanner may be gray, of another RGB; they are one set."""
    data = canary_folder(tmp_path / "mixed", count=12)
    for path in sorted((data / "green").iterdir())[:6]:
        Image.open(path).convert("L").save(path.with_suffix(".png"))
        if path.suffix != ".png":
            path.unlink()
    done = zoo.train("svm", data, size=8, out=tmp_path / "run")
    assert zoo.open(done.run).manifest.preprocess.channels == "rgb"


def test_gray_pictures_get_a_network_with_one_channel(tmp_path: Path) -> None:
    data = canary_folder(tmp_path / "gray", ("blue", "green"), 12)
    for path in [*data.rglob("*.png"), *data.rglob("*.jpg")]:
        Image.open(path).convert("L").save(path)
    done = zoo.train("svm", data, size=8, out=tmp_path / "run")
    manifest = zoo.open(done.run).manifest
    assert manifest.preprocess.channels == "gray"
    assert manifest.input.channels == 3


class TestSixteenBits:
    RANGE = {"preprocess.intensity.maximum": 4095}  # noqa: RUF012

    def test_an_undeclared_range_is_refused(self, tmp_path: Path) -> None:
        """Scaling by 255 would clip nearly everything."""
        with refused("intensity-range", DataError, found="uint16"):
            zoo.train("svm", deep_folder(tmp_path / "xray"), size=8, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_a_declared_range_goes_the_whole_way(self, tmp_path: Path) -> None:
        data = deep_folder(tmp_path / "xray")
        done = zoo.train("svm", data, size=8, out=tmp_path / "run", settings=self.RANGE)
        runtime = zoo.open(done.run)
        assert (runtime.manifest.input.dtype, runtime.manifest.input.channels) == ("uint16", 1)
        assert done.test.metrics["accuracy"].value > 0.9
        assert runtime.manifest.parity is not None
        assert runtime.manifest.parity.max_abs_pixel < 0.1
        eight = canary_folder(tmp_path / "eight", ("blue", "red"), 4)
        (eight / "blue").rename(eight / "dark")
        (eight / "red").rename(eight / "bright")
        with refused("data-kind", DataError, found="uint8", expected="uint16"):
            zoo.evaluate(done.run, eight)

    def test_a_test_image_beyond_the_range_is_refused(self, tmp_path: Path) -> None:
        """`zoo predict` refuses it; an evaluation that took it would judge another thing than is used."""
        done = zoo.train("svm", deep_folder(tmp_path / "xray"), size=8, out=tmp_path / "run", settings=self.RANGE)
        hot = deep_folder(tmp_path / "hot", top=5000)
        with pytest.raises(ImageError, match=r"5000.* 4095"):
            zoo.evaluate(done.run, hot)

    @pytest.mark.usefixtures("place")
    def test_models_of_other_ranges_are_compared_on_what_both_take(self, tmp_path: Path) -> None:
        """Each left out other images, and the comparison was refused as one of different images."""
        data, hot = deep_folder(tmp_path / "xray"), deep_folder(tmp_path / "hot", top=5000)
        ranges = {"narrow": 4095, "wide": 65535}
        runs = [
            zoo.train("svm", data, size=8, out=tmp_path / name, settings={"preprocess.intensity.maximum": most}).run
            for name, most in ranges.items()
        ]
        mixed = deep_folder(tmp_path / "mixed")
        for name in ("bright/0.png", "bright/1.png", "dark/7.png"):
            (mixed / name).write_bytes((hot / name).read_bytes())
        for order in (runs, runs[::-1]):
            found = zoo.compare(order, mixed, skip_bad=True, include_seen=True)
            assert found.n == 37
            assert sum("left out for all" in note for note in found.notes) == 1
            (note,) = (note for note in found.notes if "left out" in note)
            assert "(narrow) 3" in note
            assert "(wide) 0" in note
        with refused("images-none-left", DataError, left_out=40):
            zoo.compare(runs, hot, skip_bad=True)
        splits = open_target(runs[1], hot, split="test", provider="cpu").splits
        ids = splits.test.ids
        parts = [frozenset(ids[:10]), frozenset(ids[10:])]
        with refused("images-none-left", DataError, left_out=40):
            leave_out_for_all([splits, splits], "test", parts, list(ranges))

    def test_sharp_edges_over_the_whole_range_pass_the_gate(self, tmp_path: Path) -> None:
        """Float32 sums are exact beside the brightest pixel, not beside each one."""
        rng = np.random.default_rng(0)
        for label, share in (("few", 0.2), ("many", 0.8)):
            (tmp_path / "set" / label).mkdir(parents=True)
            for index in range(14):
                pixels = (rng.random((30, 36)) < share).astype(np.uint16) * 65535
                Image.fromarray(pixels).save(tmp_path / "set" / label / f"{index}.png")
        settings = {"preprocess.intensity.maximum": 65535, "preprocess.interpolation": "bicubic"}
        done = zoo.train("svm", tmp_path / "set", size=8, out=tmp_path / "run", settings=settings)
        assert zoo.open(done.run).manifest.parity is not None


class TestBadImages:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        """One truncated picture in each split, and a file that is no picture at all."""
        data = tmp_path / "set"
        for first, (split, count) in enumerate((("train", 10), ("val", 8), ("test", 8))):
            canary_folder(data / split, count=count, first=100 * first)
            victim = sorted((data / split / "red").glob("*.jpg"))[0]
            victim.write_bytes(victim.read_bytes()[:-200])
        (data / "train/blue/empty.png").write_bytes(b"")
        return data

    def test_they_are_refused(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"empty\.png"):
            zoo.train("svm", data, size=8, out=tmp_path / "run")
        (data / "train/blue/empty.png").unlink()
        with pytest.raises(DataError, match=r"\.jpg"):
            zoo.train("svm", data, size=8, out=tmp_path / "run")

    def test_they_can_be_left_out_and_are_counted(self, data: Path, tmp_path: Path) -> None:
        done = zoo.train("svm", data, size=8, out=tmp_path / "run", skip_bad=True)
        record = open_run(tmp_path / "run").record
        assert len(record.skipped) == 4
        assert done.test.n == record.data.splits["test"] == done.test.data.splits["test"] == 23
        assert record.data.n == sum(record.data.splits.values())
        seen = read_seen(tmp_path / "run" / TRAINED_ON)
        assert sum(map(len, seen.files.values())) <= record.data.splits["train"] + record.data.splits["val"]
        for notes in (record.notes, done.test.notes, zoo.open(done.run).manifest.provenance.notes):
            assert any(note.startswith("3 images") for note in notes), notes
            assert any(note.startswith("1 image ") for note in notes), notes
            assert not any(CANARY in note for note in notes)
        assert zoo.evaluate(done.run).metrics == done.test.metrics
        assert zoo.export(done.run, bundle=True).parity.flips == 0

    def test_an_evaluation_can_leave_them_out(self, svm_run: zoo.TrainResult, data: Path) -> None:
        with pytest.raises(DataError):
            zoo.evaluate(svm_run.run, data)
        found = zoo.evaluate(svm_run.run, data, skip_bad=True)
        assert found.n == 23
        assert any(note.startswith("1 image ") for note in found.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "left_out"), [("mobilenetv2_100", "classifier."), ("tf_efficientnet_lite0", "no such part")]
)
def test_pretrained_weights_of_a_file(tmp_path: Path, model: str, left_out: str) -> None:
    """Fine-tuning without internet; what was taken over and what was not is said."""
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    file = f"{model}.safetensors"
    weights = tmp_path / "secret place" / file
    weights.parent.mkdir()
    tensors = timm.create_model(model).state_dict()
    save_file({name: one for name, one in tensors.items() if not name.startswith(left_out)}, weights)
    data = canary_folder(tmp_path / "set", count=10)
    done = zoo.train(model, data, weights=weights, size=32, epochs=1, batch_size=8, out=tmp_path / "run")
    record = open_run(Path(done.run)).record
    assert record.weights is not None
    assert record.weights.startswith(f"file:{file} sha256:")
    assert record.card.train.pretrained
    assert record.card.train.lr == zoo.info(model).train.lr
    manifest = zoo.open(done.run).manifest
    assert manifest.licence == "unknown"  # the user's own file: the card's licence says nothing of it
    assert "secret place" not in (tmp_path / "run/report.json").read_text()


# --- comparing


def test_two_runs_are_compared_on_the_same_images(colour_run: zoo.TrainResult, svm_run: zoo.TrainResult) -> None:
    found = zoo.compare([colour_run.run, svm_run.run])
    assert [row.name for row in found.models] == ["simple_cnn", "svm"]
    assert found.n == colour_run.test.n
    assert found.models[0].metrics["accuracy"].value == pytest.approx(colour_run.test.metrics["accuracy"].value)
    assert found.models[1].metrics["accuracy"].value == pytest.approx(svm_run.test.metrics["accuracy"].value)
    assert all(row.latency_ms and row.size_bytes for row in found.models)
    assert {(pair.a, pair.b) for pair in found.pairs} == {("simple_cnn", "svm")}
    assert callable(zoo.compare)


@pytest.mark.usefixtures("place")
def test_names_of_models_are_trained_with_one_budget(svm_run: zoo.TrainResult, colours: Path) -> None:
    found = zoo.compare([svm_run.run, "svm"], colours, budget={"size": 8})
    assert len(found.models) == 2
    assert len({row.name for row in found.models}) == 2
    assert found.pairs[0].verdict == "cannot tell"


@pytest.mark.usefixtures("place")
def test_the_last_run_is_that_from_before_the_comparison(svm_run: zoo.TrainResult, colours: Path) -> None:
    """Training the second model moves runs/latest; the first target must not become the second."""
    Path("runs").mkdir(exist_ok=True)
    latest = Path("runs/latest")
    latest.unlink(missing_ok=True)
    latest.symlink_to(svm_run.run)
    found = zoo.compare(["runs/latest", "svm"], colours, budget={"size": 8})
    assert sorted(row.name for row in found.models)[0] == f"svm ({Path(svm_run.run).name})"
    assert len({row.name for row in found.models}) == 2


def test_runs_of_other_data_are_refused(svm_run: zoo.TrainResult, tmp_path: Path) -> None:
    other = canary_folder(tmp_path / "other", count=12)
    run = zoo.train("svm", other, size=8, out=tmp_path / "run").run
    with refused("compare-images", DataError):
        zoo.compare([svm_run.run, run])


@pytest.mark.parametrize("targets", [[], ["svm"]])
def test_one_model_is_no_comparison(targets: list[str]) -> None:
    with refused("compare-too-few", UsageError, found=len(targets)):
        zoo.compare(targets)


def test_what_is_nothing_is_named(place: Path, colours: Path) -> None:
    with refused("target-unknown", UsageError, target="resnet1888"):
        zoo.compare(["resnet1888", "svm"], colours)
    with refused("file-missing", ModelError, path=str(place / "nothing.onnx")):
        zoo.open(place / "nothing.onnx")
    with refused("run-unknown", UsageError, run="nothing"):
        zoo.export("nothing")


def test_a_lone_file_needs_its_images_named(svm_run: zoo.TrainResult, tmp_path: Path, colours: Path) -> None:
    made = zoo.export(svm_run.run, out=tmp_path / "lone.onnx")
    with pytest.raises(UsageError, match="--data"):
        zoo.evaluate(made.path)
    assert zoo.evaluate(made.path, colours) == svm_run.test


def test_a_file_of_what_was_evaluated_answers_alike(svm_run: zoo.TrainResult, tmp_path: Path, colours: Path) -> None:
    """The file exported later, from what the run saved, is the one whose numbers are in the report."""
    made = zoo.export(svm_run.run, out=tmp_path / "later.onnx")
    paths = sorted(colours.rglob("*.png"))[:10]
    for a, b in zip(zoo.open(svm_run.run).predict(paths), zoo.open(made.path).predict(paths), strict=True):
        assert a == b
