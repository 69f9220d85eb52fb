"""A training over folds: each image is judged once, by a file that has not seen it; stops cost nothing finished."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from refusals import refused
from scipy.special import softmax

import zoo
from zoo.data import open_data
from zoo.errors import DataError, GateError, ModelError, TrainingError, UsageError
from zoo.evaluation import GRADE_METRICS
from zoo.runs import Callback, RunFolder, open_run
from zoo.testing import colour_folder
from zoo.workflow import _trainings
from zoo.workflow._calibrate import _follow
from zoo.workflow._folds import Expected, expect, read_answers, report_answers
from zoo.workflow._folds_request import share_time
from zoo.workflow._last import of_all, refuse_last
from zoo.workflow._trainings import Training

MODEL = "logistic_regression"


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_folder(tmp_path_factory.mktemp("pictures") / "colours", per_class=12, side=12)


@pytest.fixture(scope="module")
def done(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> zoo.FoldsResult:
    return zoo.train_folds(MODEL, colours, folds=3, out=tmp_path_factory.mktemp("runs") / "over")


def test_labels_are_doubted_by_the_fold_that_has_not_seen_them(done: zoo.FoldsResult, tmp_path: Path) -> None:
    """A label that is wrong in the run's answers is found, whatever fold it is in."""
    spoilt = shutil.copytree(done.run, tmp_path / "spoilt")
    kept = dict(np.load(spoilt / "answers.npz"))
    wrong = [0, len(kept["targets"]) // 2, len(kept["targets"]) - 1]
    kept["targets"][wrong] = (kept["targets"][wrong] + 1) % len(kept["labels"])
    np.savez(spoilt / "answers.npz", **kept)
    found = zoo.find_suspects(spoilt, most=3)
    assert found.n == done.test.n
    assert sorted(one.image for one in found.suspects) == sorted(kept["ids"][wrong].tolist())
    (own, *_) = zoo.find_suspects(done.folds[0], most=3).notes
    assert own == "answers to the test and val images"


def test_every_image_is_judged_once_by_the_fold_that_holds_it(colours: Path, done: zoo.FoldsResult) -> None:
    with (Path(done.run) / "predictions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    everything = open_data(colours, for_training=False).test
    assert sorted(row["image"] for row in rows) == sorted(everything.ids)
    assert done.test.n == len(everything)
    for number, run in enumerate(done.folds):
        with (Path(run) / "predictions.csv").open(encoding="utf-8") as stream:
            own = {row["image"]: row["predicted"] for row in csv.DictReader(stream)}
        assert own == {row["image"]: row["predicted"] for row in rows if row["fold"] == str(number)}
    assert {"report.json", "confusion.png", "reliability.png"} <= {path.name for path in Path(done.run).iterdir()}
    right = np.mean([row["correct"] == "1" for row in rows])
    assert done.test.metrics["accuracy"].value == pytest.approx(right)


def test_pooled_answers_are_reported_with_the_median_temperature_of_the_folds(
    done: zoo.FoldsResult, tmp_path: Path
) -> None:
    """Each file has divided its logits already, so 1 would be a number that no file holds."""
    kept = read_answers(Path(done.run))
    told: Any = {"model": MODEL, "data": "colours", "notes": (), "ordered": False}
    found = report_answers(tmp_path, kept, **told, temperatures=(0.5, 2.0, 9.0)).calibration
    assert found is not None
    assert done.test.calibration is not None
    assert found.temperature == 2
    assert found.nll == done.test.calibration.nll


def test_it_is_one_run_in_the_list_and_latest(done: zoo.FoldsResult) -> None:
    from zoo.workflow.runs import show_run

    place = Path(done.run)
    rows = zoo.list_runs(place.parent)
    assert [(row.path.split("/")[-1], row.state) for row in rows if "fold-" not in row.path] == [("over", "finished")]
    shown = show_run(place)
    assert shown.report == done.test
    assert len(shown.next) == 2
    with refused("run-no-model", ModelError):
        zoo.evaluate(place)


def test_a_run_over_folds_is_removed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from made_runs import make_run

    from zoo.workflow.remove import remove_run

    monkeypatch.chdir(tmp_path)
    parent = make_run("runs/over", folds=("fold-0", "fold-1"))
    for name in ("fold-0", "fold-1"):
        make_run(parent / name)
    make_run(parent / "mine")
    with refused("run-holds-more"):
        remove_run("over")
    (parent / "mine").rename(tmp_path / "mine")
    remove_run("over")
    assert not parent.exists()


@contextlib.contextmanager
def stopped_before(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Ctrl-C before the training of this name begins."""
    train_one = _trainings.train_one

    def stops(given: Any, listening: Any) -> None:
        if Path(given["out"]).name == name:
            raise KeyboardInterrupt
        train_one(given, listening)

    with monkeypatch.context() as inside:
        inside.setattr(_trainings, "train_one", stops)
        yield


def test_a_stopped_run_continues_with_the_first_unfinished_fold(
    colours: Path, tmp_path: Path, done: zoo.FoldsResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "over"
    with stopped_before(monkeypatch, "fold-2"), pytest.raises(KeyboardInterrupt, match="2 folds of 3"):
        zoo.train_folds(MODEL, colours, folds=3, out=out)
    with refused("data-changed", DataError):  # the third fold would be of other images than the two before it
        zoo.train_folds(MODEL, "digits", out=out, resume="auto", folds=3)
    twin = shutil.copytree(out, tmp_path / "twin")
    before = [(out / f"fold-{k}" / "model.onnx").stat().st_mtime_ns for k in (0, 1)]
    with refused("option-ignored", UsageError, options=["--epochs", "--lr"]):
        zoo.train_folds(MODEL, out=twin, resume=True, epochs=2, lr=1e-4)
    with refused("option-ignored", UsageError, options=["--skip-bad"]):
        zoo.train_folds(MODEL, out=twin, resume=True, skip_bad=True)
    assert zoo.train_folds(MODEL, out=twin, resume=True).test.metrics == done.test.metrics
    again = zoo.train_folds(MODEL, colours, out=out, resume="auto", folds=3)
    assert again.test.metrics == done.test.metrics
    reported = zoo.train_folds(MODEL, colours, out=out, resume="auto", folds=3)
    assert reported.test == again.test
    with refused("data-changed", DataError):
        zoo.train_folds(MODEL, "digits", out=out, resume="auto", folds=3)
    assert [(out / f"fold-{k}" / "model.onnx").stat().st_mtime_ns for k in (0, 1)] == before
    with refused("resume-changed", TrainingError, name="--seed"):
        zoo.train_folds(MODEL, colours, out=out, resume="auto", folds=3, seed=4)
    with refused("resume-changed", TrainingError, name="--keep-na", was=None, now=False):
        zoo.train_folds(MODEL, colours, out=out, resume="auto", folds=3, keep_na=False)
    with refused("resume-changed", TrainingError, name="--settings"):
        zoo.train_folds(MODEL, colours, out=out, resume="auto", folds=3, settings={"split_seed": 4})
    with refused("run-other-model", TrainingError):
        zoo.train_folds("knn", colours, out=out, resume="auto", folds=3)
    (out / "folds.json").write_text("{}")
    with refused("run-incomplete", TrainingError):
        zoo.train_folds(MODEL, colours, out=out, resume="auto", folds=3)
    with refused("run-over-folds", TrainingError):
        zoo.train(MODEL, colours, out=out, resume="auto")


def test_two_runs_over_the_same_folds_are_compared_in_pairs(
    colours: Path, done: zoo.FoldsResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = zoo.train_folds("knn", colours, folds=3, out=tmp_path / "knn")
    found = zoo.compare([done.run, other.run])
    assert found.n == done.test.n
    assert found.models[0].metrics == done.test.metrics
    assert {pair.metric for pair in found.pairs} == {"accuracy", "macro_auroc"}
    idle = ["--split", "--provider", "--include-seen", "--jobs"]
    monkeypatch.setattr("zoo.edge._session.find_provider", lambda _: None)  # a machine that has it
    with refused("option-ignored", UsageError, options=idle):
        zoo.compare([done.run, other.run], split="val", provider="cuda", include_seen=True, engine=zoo.Engine(jobs=2))
    with refused("option-ignored", UsageError, options=["--engine"]):
        zoo.compare(done.folds[:2], engine="ray")
    with refused("option-ignored", UsageError, options=["--provider"]):
        zoo.report(done.run, provider="cuda")
    with refused("compare-folds", DataError):
        zoo.compare([done.run, other.folds[0]])
    with np.load(Path(other.run) / "answers.npz") as kept:
        turned = {**kept, "fold": np.roll(kept["fold"], 1)}
    np.savez(Path(other.run) / "answers.npz", **turned)
    with refused("compare-folds", DataError):
        zoo.compare([done.run, other.run])


def test_groups_stay_in_one_fold_and_intervals_are_over_them(colours: Path, tmp_path: Path) -> None:
    found = zoo.train_folds(MODEL, colours, folds=3, group=r"(\d+)\.png", out=tmp_path / "over")
    kept = read_answers(Path(found.run))
    assert found.test.clusters == len(np.unique(kept.groups)) < found.test.n
    for group in np.unique(kept.groups):
        assert len(np.unique(kept.fold[kept.groups == group])) == 1


def test_one_fold_can_be_trained_by_itself(colours: Path, done: zoo.FoldsResult, tmp_path: Path) -> None:
    """So another engine, or another machine, trains the folds."""
    alone = zoo.train(MODEL, colours, folds=3, fold=1, out=tmp_path / "alone")
    assert alone.test.data == open_run(Path(done.folds[1])).record.data


def test_folds_that_no_file_can_hold_together_are_refused_before_the_first(done: zoo.FoldsResult) -> None:
    """A VGG-16 without a head of 1000 classes has 134 million parameters; hours later it would be refused as well."""
    record = msgspec.structs.replace(open_run(Path(done.run)).record, card=zoo.info("vgg16"))
    refuse_last(record, None, "ensemble", 3)
    with refused("ensemble-too-large", ModelError, limit=2**31 - 2**20) as caught:
        refuse_last(record, None, "ensemble", 5)
    assert caught.value.fields["found"] == pytest.approx(5 * 4 * 134.3e6, rel=0.01)


def test_slips_are_refused_before_anything_is_written(colours: Path, tmp_path: Path) -> None:
    out = tmp_path / "over"
    with refused("option-conflict", UsageError):
        zoo.train_folds(MODEL, colours, folds=3, fold=1, out=out)
    with refused("option-conflict", UsageError, options=["--folds", "--set fold"]):
        zoo.train_folds(MODEL, colours, folds=3, settings={"fold": 1}, out=out)
    with refused("option-missing", UsageError):
        zoo.train_folds(MODEL, colours, out=out)
    with refused("setting-value", UsageError, name="folds"):
        zoo.train_folds(MODEL, colours, folds=2, out=out)
    with refused("split-too-few", DataError):
        zoo.train_folds(MODEL, colours, folds=40, out=out)
    with refused("ensemble-name", UsageError):
        zoo.train_folds(MODEL, colours, folds=3, then="ensemble", out=tmp_path / "a,b")
    table = tmp_path / "table.csv"
    zoo.split(colours, table, folds=4)
    with refused("fold-count", DataError, folds=4, expected=3):
        zoo.train_folds(MODEL, table, folds=3, out=out)
    assert not out.exists()


def test_a_model_of_all_images_says_that_its_figures_are_those_of_the_folds(
    colours: Path, done: zoo.FoldsResult, tmp_path: Path
) -> None:
    out = shutil.copytree(done.run, tmp_path / "over")
    found = zoo.train_folds(MODEL, colours, folds=3, then="all", resume="auto", out=out)
    assert found.final is not None
    final = open_run(Path(found.final)).record
    assert final.data.splits == {"train": 36, "val": 0, "test": 0}
    manifest = zoo.open(found.run).manifest  # the run over folds ships its model of all images
    assert manifest.provenance.run == "all"
    assert manifest.report is not None
    assert manifest.report.metrics == done.test.metrics
    assert manifest.report.notes[0].startswith("no test set of its own")
    temperatures = [open_run(Path(run)).record.temperature for run in found.folds]
    assert manifest.temperature == pytest.approx(np.median(temperatures))
    with refused("split-empty", DataError):
        zoo.evaluate(found.run, colours)
    assert "was trained on" in zoo.evaluate(found.final, split="val").notes[0]
    for split in ("test", "val"):
        with refused("suspects-learnt", UsageError):
            zoo.find_suspects(found.final, split=split)
    with refused("folds-none", UsageError, quantize="int8"):
        zoo.export(found.run, quantize="int8")
    bundle = zoo.export(found.run, bundle=True, out=tmp_path / "m.zoo")
    assert "no test set of its own" in (Path(bundle.path) / "CARD.md").read_text(encoding="utf-8")
    for place in (out, out / "all"):  # its page says it, too: no image judged the file
        zoo.report(place)
        assert "no test set of its own" in (place / "CARD.md").read_text(encoding="utf-8")
        page = (place / "report.html").read_text(encoding="utf-8")
        wrong = (
            "it is the file that ships",
            "The exported ONNX file, which",
            "fitted on validation images",
            "held-out",
            "val 0",
            "Images of each class in each split",
        )
        assert not [said for said in wrong if said in page]
        assert "no test set of its own" in page
        assert "the median of those that the models of the folds were given" in page
        assert "temperature, median of the folds" in page
    with refused("option-conflict", UsageError, holds="all"):
        zoo.train_folds(MODEL, colours, folds=3, then="ensemble", resume="auto", out=out)


@pytest.fixture(scope="module")
def together(colours: Path, done: zoo.FoldsResult, tmp_path_factory: pytest.TempPathFactory) -> zoo.FoldsResult:
    """The folds of `done` as one file, after a stop between the two."""
    out = shutil.copytree(done.run, tmp_path_factory.mktemp("together") / "over")
    for member, temperature in zip(done.folds, (0.5, 1.0, 2.0), strict=True):
        open_run(out / Path(member).name).update(temperature=temperature)
    words = pytest.raises(KeyboardInterrupt, match="--then ensemble")  # in the command that continues
    with pytest.MonkeyPatch.context() as patch, stopped_before(patch, "ensemble"), words:
        zoo.train_folds(MODEL, colours, folds=3, then="ensemble", resume="auto", out=out)
    assert not (out / "ensemble").exists()
    return zoo.train_folds(MODEL, out=out, resume=True, then="ensemble")


def test_an_ensemble_of_the_folds_answers_with_the_mean_of_their_probabilities(
    done: zoo.FoldsResult, together: zoo.FoldsResult, colours: Path, tmp_path: Path
) -> None:
    """Each member divides by its own temperature, and nothing divides the mean."""
    runtime = zoo.open(together.run)
    batch = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3)).astype(np.uint8)
    members = [softmax(zoo.open(run).logits(batch) / t, axis=1) for run, t in zip(done.folds, (0.5, 1, 2), strict=True)]
    assert np.allclose(np.exp(runtime.logits(batch)), np.mean(members, axis=0), atol=1e-5)
    manifest = runtime.manifest
    assert manifest.temperature == 1
    assert manifest.parity is not None
    assert manifest.report is not None
    assert manifest.report.metrics == together.test.metrics == done.test.metrics
    assert manifest.report.notes[0].startswith("no test set of its own: no image is held out from all")
    with refused("split-empty", DataError):
        zoo.evaluate(together.run, colours)
    with refused("from-unsupported", UsageError, model="ensemble"):
        zoo.train(MODEL, colours, start_from=together.run)
    card = (Path(zoo.export(together.run, bundle=True, out=tmp_path / "m.zoo").path) / "CARD.md").read_text("utf-8")
    assert "no test set of its own" in card
    assert "learnt on validation" not in card
    page = Path(zoo.report(together.run, out=tmp_path / "page").html).read_text("utf-8")
    assert "3 members, equal weights" in page
    assert "No image was held out to judge this file." in page


def test_an_ensemble_of_folds_that_was_stopped_is_made_again_and_may_be_moved(
    together: zoo.FoldsResult, colours: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(together.run, tmp_path / "moved")
    made = (out / "ensemble" / "model.onnx").read_bytes()
    open_run(out / "ensemble").update(status="trained")
    (out / "ensemble" / "model.onnx").unlink()
    with refused("run-no-model", ModelError) as caught:
        zoo.open(out)
    assert f"zoo train {MODEL} --resume --out {out} --then ensemble" in str(caught.value)
    again = zoo.train_folds(MODEL, colours, folds=3, then="ensemble", resume="auto", out=out)
    assert again.final == str(out / "ensemble")
    assert zoo.open(out).manifest.report == zoo.open(together.run).manifest.report
    assert len((out / "ensemble" / "model.onnx").read_bytes()) == len(made)


@pytest.mark.parametrize("chosen", [("fold-0", "fold-1"), ("fold-0", "fold-1", "fold-2")])
def test_folds_as_members_are_refused_where_their_figures_would_not_hold(
    chosen: tuple[str, ...], done: zoo.FoldsResult, tmp_path: Path
) -> None:
    """Weights cannot be learnt on what a member was trained on, and the pooled figures are of all folds."""
    name = f"ensemble:{','.join(f'{done.run}/{fold}' for fold in chosen)}"
    place = tmp_path if len(chosen) == 3 else Path(done.run)
    with refused("folds-none", UsageError):
        zoo.train(name, fold="none", out=place / "e")
    with refused("ensemble-leak", GateError):
        zoo.train(name, out=tmp_path / "e")


def test_holding_nothing_out_needs_folds(colours: Path, tmp_path: Path) -> None:
    """Else a model would come without any figure."""
    with refused("folds-none", UsageError):
        zoo.train(MODEL, colours, folds=3, fold="none", out=tmp_path / "run")
    with refused("folds-none", UsageError):
        zoo.train(MODEL, colours, folds=3, settings={"train.fold": "none"}, out=tmp_path / "run")


class Hears(Callback):
    def __init__(self) -> None:
        self.runs: list[str] = []

    def start(self, run: RunFolder) -> None:
        self.runs.append(run.path.name)


def test_grades_stay_grades_over_folds_and_callbacks_hear_of_each(colours: Path, tmp_path: Path) -> None:
    order, heard = sorted(path.name for path in colours.iterdir()), Hears()
    out = tmp_path / "over"
    with refused("logger-unknown", UsageError):
        zoo.train_folds(MODEL, colours, folds=3, out=out, callbacks=["nothing"])
    assert not out.exists()
    grades: Any = {"task": "ordinal", "order": order, "then": "ensemble"}
    found = zoo.train_folds(MODEL, colours, folds=3, out=out, callbacks=[heard], **grades)
    assert heard.runs == ["fold-0", "fold-1", "fold-2", "ensemble"]
    assert zoo.open(out).manifest.task == "ordinal"
    assert found.test.metrics.keys() >= zoo.evaluate(found.folds[0]).metrics.keys() >= set(GRADE_METRICS)
    twin = shutil.copytree(out, tmp_path / "twin")
    compared = zoo.compare([out, twin]).models
    assert compared[0].metrics.keys() >= set(GRADE_METRICS)
    record = json.loads((twin / "run.json").read_text())
    (twin / "run.json").write_text(json.dumps(record | {"task": "multiclass"}))
    for pair in ([out, twin], [twin, out]):  # grades are grades for both, whichever is named first
        assert zoo.compare(pair).models[0].metrics.keys() >= set(GRADE_METRICS)
    same = shutil.copytree(out, tmp_path / "elsewhere" / "over")
    names = [row.name for row in zoo.compare([out, same]).models]
    assert names == [f"{MODEL} ({tmp_path.name}/over)", f"{MODEL} (elsewhere/over)"]


def test_a_time_is_shared_out_and_the_last_model_takes_its_length_from_the_folds(done: zoo.FoldsResult) -> None:
    assert share_time({"budget": "10m", "seed": 1}, 5) == {"budget": "120s", "seed": 1, "settings": {}}
    assert share_time({"settings": {"train.budget": "1h", "lr": 1}}, 6) == {"budget": "600s", "settings": {"lr": 1}}
    assert share_time({"budget": "1s"}, 5)["budget"] == "1s"
    assert share_time({"seed": 1}, 5) == {"seed": 1}
    first = Training(MODEL, "data", Path("fold-0"), False, {"budget": "120s", "settings": {"steps": 50, "sam": 0.1}})
    run = open_run(Path(done.run)).in_memory()
    assert of_all(first, done, run).budget == {**first.budget, "fold": "none"}, "it has no epochs"
    run.update(card=zoo.info("simple_cnn"))  # each fold of `done` has one: its share of the time held no more
    last = of_all(first, done, run)
    assert last.budget == {"budget": None, "fold": "none", "epochs": 1, "settings": {"sam": 0.1, "patience": 0}}


@pytest.mark.parametrize(("adjusted", "taken"), [(1, False), (2, True)])
def test_the_last_model_is_adjusted_for_rare_classes_where_most_folds_are(
    colours: Path, done: zoo.FoldsResult, adjusted: int, taken: bool
) -> None:
    """It has learnt from all images, so that none of them can say whether it should."""
    shift, why = _follow(Expected(done.test, 2.0, adjusted, 3), open_data(colours))
    assert (shift is not None) is taken
    assert why.startswith(f"{adjusted} of 3 folds")


def test_folds_that_kept_their_logits_are_not_counted_as_adjusted(done: zoo.FoldsResult, tmp_path: Path) -> None:
    """Else the last model would be adjusted for rare classes though no fold gained by it."""
    place = shutil.copytree(done.run, tmp_path / "over")
    record = open_run(place / "fold-0").record
    config = msgspec.structs.replace(record.card.train, fold="none")
    card = msgspec.structs.replace(record.card, train=config)
    last = RunFolder(place / "all", msgspec.structs.replace(record, card=card))
    counts = []
    for name in ("fold-1", "fold-2"):
        counts.append(expect(last))
        open_run(place / name).update(shift=(0.5, 0.0, 0.0))
    counts.append(expect(last))
    assert [(one.adjusted, one.folds) for one in counts if one is not None] == [(0, 3), (1, 3), (2, 3)]
