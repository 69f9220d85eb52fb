"""`zoo train --from`: a run continued with one more class, and the old test set judged by both files.

If these failed, a class could answer with the weights of another, or a model be praised for old test images that it has
learnt by heart.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from made_runs import make_run
from PIL import Image
from refusals import refused
from safetensors.numpy import load_file

import zoo
from zoo import registry
from zoo.data import TRAINED_ON, read_seen, write_seen
from zoo.errors import DataError, GateError, UsageError
from zoo.runs import open_run
from zoo.spec import TrainConfig, Weights, encode
from zoo.workflow import _begin
from zoo.workflow._continue import BEFORE_AFTER, inherit, inherit_reading, judge_before_after, match_head
from zoo.workflow._images import images_of, open_as
from zoo_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.data import Splits

LEVELS = {"ill": 90, "well": 160, "cyst": 20}
OLD = {"train": range(40), "val": range(40, 60), "test": range(60, 100)}
TAKEN = range(60, 64)
"""Old test images that the new data has for training."""


def _picture(number: int, label: str) -> NDArray[np.uint8]:
    return np.clip(np.random.default_rng(number).normal(LEVELS[label], 60, (12, 12)), 0, 255).astype(np.uint8)


def _table(folder: Path, splits: dict[str, Sequence[int]], *, cysts: bool = False, shout: bool = False) -> Path:
    """Pictures by number; the same number is the same picture. Every third above 200 may be a cyst."""
    folder.mkdir()
    with (folder / "images.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "split"])
        for split, numbers in splits.items():
            for number in numbers:
                label = "cyst" if cysts and number >= 200 and number % 3 == 0 else ("ill", "well")[number % 2]
                Image.fromarray(_picture(number, label)).save(folder / f"{number:03}.png")
                writer.writerow([f"{number:03}.png", label.title() if shout else label, split])
    return folder / "images.csv"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run (old) of two classes, and one (new) that continues it with a third; it learns next to nothing."""
    folder = tmp_path_factory.mktemp("continued")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        zoo.train("simple_cnn", _table(folder / "a", OLD), epochs=4, out="old")
        new = {"train": [*TAKEN, *range(200, 260)], "val": range(260, 290), "test": [*range(10), *range(300, 330)]}
        data = str(_table(folder / "b", new, cysts=True))
        words = ["train", "simple_cnn", "--from", "old", "--data", data, "--epochs", "1", "--out", "new", "--json"]
        with (folder / "said.json").open("w") as stream, contextlib.redirect_stdout(stream):
            assert main([*words, "--set", "lr=1e-12", "--set", "ema=0"]) == 0
    return folder


def _plan(data: Path, model: str = "simple_cnn", **budget: Any) -> Any:
    card = registry.find(model)
    return _begin.prepare(card, registry.load(card.plugin), data, budget)  # type: ignore[arg-type]


def _head(run: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    tensors = load_file(run / "weights.safetensors")
    return tensors["classifier.weight"], tensors["classifier.bias"]


def test_a_class_begins_with_its_own_row_wherever_it_stands(root: Path) -> None:
    """ "cyst" comes first in the alphabet, so the others move."""
    old, new = open_run(root / "old").record, open_run(root / "new").record
    assert (old.labels, new.labels) == (("ill", "well"), ("cyst", "ill", "well"))
    for before, after in zip(_head(root / "old"), _head(root / "new"), strict=True):
        assert np.allclose(after[1:], before, atol=1e-6)
        assert not np.allclose(after[0], before[0], atol=1e-3)
    assert new.card.preprocess == old.card.preprocess
    assert new.card.train.pretrained
    assert new.weights is not None
    assert new.weights.startswith("file:old/weights.safetensors sha256:")
    manifest = zoo.open(root / "new").manifest
    assert manifest.provenance.weights == new.weights
    assert any("continues old" in note for note in manifest.provenance.notes)
    assert str(root) not in json.dumps(zoo.spec.to_builtins(manifest))


def test_the_old_test_set_is_judged_by_both_files_and_the_new_one_has_not_learnt_from_it(
    root: Path, tmp_path: Path
) -> None:
    found = json.loads((root / "new" / BEFORE_AFTER).read_bytes())
    comparison = found["comparison"]
    left = list(OLD["test"])
    assert (comparison["seen"]["count"], comparison["seen"]["of"], comparison["n"]) == (0, 40, 40)
    run = open_run(root / "new")
    assert any("4 training images and 0 validation images left out" in note for note in run.record.notes)
    assert len(images_of(run, None).train) == 60
    assert not read_seen(run.file(TRAINED_ON)).holds(read_seen(root / "old" / TRAINED_ON).test).any()
    assert found["run"] == "old"
    assert json.loads((root / "said.json").read_text())["before_after"] == found
    assert found["verdicts"] == {pair["metric"]: pair["verdict"] for pair in comparison["pairs"]}
    assert {(pair["a"], pair["b"]) for pair in comparison["pairs"]} == {("after", "before")}
    rows = {row["name"]: row["metrics"] for row in comparison["models"]}
    plain = zoo.evaluate(root / "old", _table(tmp_path / "left", {"test": left}))
    assert plain.n == len(left)
    for metric, value in rows["before"].items():
        assert value["value"] == pytest.approx(plain.metrics[metric].value)
    images = np.stack([np.repeat(_picture(number, ("ill", "well")[number % 2])[..., None], 3, 2) for number in left])
    logits = zoo.open(root / "new").logits(images)
    right = logits[:, 1:].argmax(axis=1) == np.array(left) % 2
    assert rows["after"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert found["called_new"] == (logits.argmax(axis=1) == 0).sum()


def test_old_test_images_that_are_learnt_from_as_asked_judge_nothing(root: Path, tmp_path: Path) -> None:
    """With --keep-leaks; --strict refuses them, and a class that has no others cannot be trained."""
    data = root / "b" / "images.csv"
    plan = _plan(data, start_from=root / "old", leaks="keep")
    assert len(plan.data.train) == 64
    assert any("4 training images and 0 validation images are test images of old" in note for note in plan.record.notes)
    run = open_run(Path(shutil.copytree(root / "new", tmp_path / "new")))
    write_seen(run.file(TRAINED_ON), plan.data)
    run.update(seen=None)
    comparison = judge_before_after(run).comparison
    assert comparison is not None
    assert comparison.seen is not None
    assert (comparison.seen.count, comparison.seen.of, comparison.n) == (4, 40, 36)
    with refused("from-tested", GateError, run="old", train=4, val=0):
        _plan(data, start_from=root / "old", leaks="refuse")
    none_left = {"train": [60, 62, *range(201, 261, 2)], "val": range(260, 290), "test": range(300, 330)}
    with refused("class-copies", DataError, label="ill", split="train"):
        _plan(_table(tmp_path / "c", none_left), start_from=root / "old")


def test_new_test_images_that_the_old_run_has_learnt_from_are_left_out(root: Path) -> None:
    report = json.loads((root / "new" / "report.json").read_bytes())
    assert (report["seen"]["count"], report["n"]) == (10, 30)
    known, before = (read_seen(root / name / TRAINED_ON) for name in ("new", "old"))
    assert known.holds(before.files["train"], "start").all()


def test_a_run_that_stopped_before_its_end_is_judged_when_it_resumes(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_run(root / "new")
    before = json.loads(run.file(BEFORE_AFTER).read_bytes())
    run.update(status="trained")
    run.file(BEFORE_AFTER).unlink()
    done = zoo.train("simple_cnn", resume=True, out=run.path)
    assert done.before_after is not None
    assert done.before_after.verdicts == before["verdicts"]
    words = ["--from", root / "old", "--data", root / "b" / "images.csv", "--out", run.path, "--resume", "auto"]
    assert main(["train", "simple_cnn", *map(str, words)]) == 0
    assert "on the test set of old" in capsys.readouterr().out
    with refused("resume-changed", name="--from"):
        zoo.train("simple_cnn", root / "b" / "images.csv", start_from=run.path, resume="auto", out=run.path)


def test_old_images_that_are_gone_are_said_before_and_after_and_stop_nothing(root: Path, tmp_path: Path) -> None:
    other = _table(tmp_path / "c", {"train": range(400, 440), "val": range(440, 460), "test": range(460, 470)})
    run = open_run(Path(shutil.copytree(root / "new", tmp_path / "new")))
    (root / "a").rename(root / "away")
    try:
        some = judge_before_after(run)
        plan = _plan(other, start_from=root / "old")
        run.update(source=str(other))
        found = judge_before_after(run)
    finally:
        (root / "away").rename(root / "a")
    assert some.comparison is not None
    assert (some.comparison.n, some.gone) == (4, 36), "those that the new data holds"
    assert found.comparison is None
    assert found.reason is not None
    assert str(root) in found.reason
    for notes in (plan.record.notes, run.record.notes):
        assert any("not judged before and after (data-moved)" in note for note in notes)
        assert not any(str(root) in note for note in notes), "notes travel with the file"


def test_images_added_to_the_same_folder_leave_the_old_test_set_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool deals a folder out anew when it has grown: most old test images would come to train."""
    monkeypatch.chdir(tmp_path)

    def add(numbers: range) -> None:
        for number in numbers:
            label = ("ill", "well")[number % 2]
            Path("all", label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(_picture(number, label)).save(f"all/{label}/{number}.png")

    add(range(80))
    zoo.train("simple_cnn", "all", epochs=1, out="old")
    tested = images_of(open_run(Path("old")), None).test
    add(range(200, 240))
    result = zoo.train("simple_cnn", "all", start_from="old", epochs=1, out="new")
    assert result.before_after is not None
    assert result.before_after.comparison is not None
    assert (result.before_after.comparison.n, result.before_after.gone) == (len(tested), 0)
    for name in tested.ids[:2]:
        Path("all", name).unlink()
    run = open_run(Path("new"))
    fewer = judge_before_after(run)
    assert fewer.comparison is not None
    assert (fewer.comparison.n, fewer.gone) == (len(tested) - 2, 2)
    notes = _plan(Path("all"), start_from="old").record.notes
    assert any(f"2 of {len(tested)} test images of old are gone" in note for note in notes)


def test_classes_are_matched_in_any_spelling_and_none_may_be_missing(root: Path, tmp_path: Path) -> None:
    splits = {"train": range(400, 440), "val": range(440, 460), "test": range(460, 470)}
    shouted = _plan(_table(tmp_path / "c", splits, shout=True), start_from=root / "old")
    assert shouted.data.labels == ("Ill", "Well")
    assert shouted.context.head_rows == (0, 1)
    with refused("from-classes", DataError, missing=["cyst"], known=["cyst", "ill", "well"]):
        _plan(root / "a" / "images.csv", start_from=root / "new")


def test_grades_keep_their_order(root: Path, tmp_path: Path) -> None:
    run = open_run(Path(shutil.copytree(root / "old", tmp_path / "graded")))
    run.update(task="ordinal", labels=("ill", "well"))

    def graded(*order: str) -> Splits:
        return open_as(root / "b" / "images.csv", TrainConfig(task="ordinal", order=order), skip_bad=False)

    rows, _ = match_head(run, graded("cyst", "ill", "well"), root / "b" / "images.csv")
    assert rows == (None, 0, 1)
    with refused("option-conflict", UsageError, options=["--from", "--order"], known=["ill", "well"]):
        match_head(run, graded("well", "cyst", "ill"), root / "b" / "images.csv")


def test_answers_by_mirror_images_are_kept_unless_the_user_says_otherwise(root: Path, tmp_path: Path) -> None:
    run = open_run(Path(shutil.copytree(root / "old", tmp_path / "mirrored")))
    assert not inherit({}, run).get("settings")
    train = msgspec.structs.replace(run.record.card.train, flips=True)
    run.update(card=msgspec.structs.replace(run.record.card, train=train))
    assert inherit({"settings": {"sam": 0.1}}, run)["settings"] == {"flips": True, "sam": 0.1}
    assert inherit({"settings": {"flips": False}, "task": "ordinal"}, run)["settings"] == {"flips": False}


def test_what_was_said_of_sides_is_kept_with_answers_by_mirror_images(root: Path, tmp_path: Path) -> None:
    """A continued run was refused for a setting that nobody gave: its classes differ by their side."""
    run = open_run(Path(shutil.copytree(root / "old", tmp_path / "sides")))
    card = run.record.card
    labels = ("kidney-left", "kidney-right")
    train = msgspec.structs.replace(card.train, flips=True, augment_flip="horizontal")
    run.update(card=msgspec.structs.replace(card, train=train), labels=labels)
    data = tmp_path / "kidneys"
    for label, level in zip(labels, ("ill", "well"), strict=True):
        (data / label).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(_picture(number + len(label), level)).save(data / label / f"{number}.png")
    found = _plan(data, start_from=str(run.path)).record.card.train
    assert (found.flips, found.augment_flip) == (True, "horizontal")
    assert _plan(data, start_from=str(run.path), settings={"flips": False}).record.card.train.augment_flip == "none"
    run.update(card=msgspec.structs.replace(card, train=msgspec.structs.replace(card.train, flips=True)))
    with refused("flips-unwanted", UsageError):  # nobody ever said that sides do not matter
        _plan(data, start_from=str(run.path))


def _patients(folder: Path, column: str, first: int) -> Path:
    """Two images of each patient, whom a column of no known name tells."""
    folder.mkdir()
    lines = [f"image,label,{column}"]
    for number in range(first, first + 80):
        label = ("ill", "well")[number % 2]
        Image.fromarray(_picture(number, label)).save(folder / f"{number:03}.png")
        lines.append(f"{number:03}.png,{label},p{number // 2 if number % 40 else 0}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "images.csv"


@pytest.fixture
def read_otherwise(root: Path, tmp_path: Path) -> Path:
    """A run whose data was read by words of the user."""
    run = open_run(Path(shutil.copytree(root / "old", tmp_path / "read")))
    reading = {"columns": {"group": "case"}, "uncertain": "positive", "keep_na": True}
    train = msgspec.structs.replace(run.record.card.train, **reading)
    run.update(card=msgspec.structs.replace(run.record.card, train=train))
    return run.path


def test_data_is_read_as_that_of_the_old_run(read_otherwise: Path, tmp_path: Path) -> None:
    """Else the images of one patient come into train and test, and labels of -1 change their meaning."""
    plan = _plan(_patients(tmp_path / "d", "case", 400), start_from=read_otherwise)
    config = plan.record.card.train
    assert (config.columns, config.uncertain, config.keep_na) == ({"group": "case"}, "positive", True)
    assert plan.data.train.groups is not None
    assert not set(plan.data.train.groups) & set(plan.data.test.groups)
    (note,) = (note for note in plan.record.notes if "is read as that of the run" in note)
    assert all(word in note for word in ("case", "uncertain=positive", "keep_na=true"))
    run = open_run(read_otherwise)
    assert inherit_reading({"uncertain": "ignore", "settings": {"columns": {}}}, run) == {"keep_na": True}


def test_data_that_cannot_be_read_as_that_of_the_old_run_is_refused(read_otherwise: Path, tmp_path: Path) -> None:
    """Patients whom nobody names any more are not to be forgotten without a word."""
    data = _patients(tmp_path / "d", "person_number", 400)
    with refused("from-reading", DataError, option="--columns", cause="table-column-missing"):
        _plan(data, start_from=read_otherwise)
    named = _plan(data, start_from=read_otherwise, columns={"group": "person_number"})
    assert named.record.card.train.columns == {"group": "person_number"}
    left = _plan(data, start_from=read_otherwise, settings={"columns": {}})
    assert not left.record.card.train.columns
    run = open_run(read_otherwise)
    train = msgspec.structs.replace(run.record.card.train, columns={}, group="case")
    run.update(card=msgspec.structs.replace(run.record.card, train=train))
    with refused("from-reading", DataError, option="--group"):
        _plan(data, start_from=read_otherwise)
    assert _plan(data, start_from=read_otherwise, settings={"group": None}).record.card.train.group is None


def test_an_order_of_grades_may_be_said_as_a_setting_of_a_continued_run(tmp_path: Path) -> None:
    settings = {"task": "ordinal", "order": ["low", "high"]}
    assert inherit({"settings": settings}, open_run(make_run(tmp_path / "old"))).keys() == {"settings"}


@pytest.mark.parametrize(
    ("model", "budget", "code"),
    [
        ("resnet18", {}, "from-model"),
        ("simple_cnn", {"start_from": "nowhere"}, "run-unknown"),
        ("simple_cnn", {"weights": "old"}, "option-conflict"),
        ("simple_cnn", {"freeze": True}, "option-conflict"),
        ("simple_cnn", {"settings": {"train.freeze": True}}, "option-conflict"),
        ("simple_cnn", {"settings": {"pretrained": False}}, "option-conflict"),
        ("simple_cnn", {"settings": {"preprocess.resize": "crop"}}, "option-conflict"),
    ],
)
def test_what_cannot_be_continued_is_refused_before_a_run_is_made(
    root: Path, monkeypatch: pytest.MonkeyPatch, model: str, budget: dict[str, Any], code: str
) -> None:
    monkeypatch.chdir(root)
    with refused(code):
        _plan(Path("b/images.csv"), model, **{"start_from": "old", **budget})


def test_a_continued_run_needs_images_of_its_own_and_no_folds(root: Path) -> None:
    with refused("option-missing", UsageError, options=["--data"]):
        zoo.train("simple_cnn", start_from=root / "old")
    with refused("option-conflict", options=["--from", "--out"]):
        zoo.train("simple_cnn", root / "b" / "images.csv", start_from=root / "old", out=root / "old", overwrite=True)
    with refused("option-conflict", options=["--folds", "--from"]):
        zoo.train_folds("simple_cnn", root / "b" / "images.csv", start_from=root / "old", folds=3)


@pytest.mark.parametrize("option", ["start_from", "weights"])
def test_the_licence_of_the_weights_stays_with_the_runs_that_follow(root: Path, tmp_path: Path, option: str) -> None:
    """A model made from weights for research only was "unknown", and its next generation had no licence at all."""
    licence = "cc-by-nc-4.0"
    first = shutil.copytree(root / "old", tmp_path / "first")
    record = open_run(first).record
    card = msgspec.structs.replace(record.card, weights=Weights(source="hf-hub:timm/x", licence=licence))
    named = msgspec.structs.replace(record, card=card, weights=f"hf-hub:timm/x sha256:{'0' * 64}")
    (first / "run.json").write_bytes(encode(named))
    data, place = root / "b" / "images.csv", first
    for name in ("second", "third"):
        done = zoo.train("simple_cnn", data, epochs=1, out=tmp_path / name, **{option: place})  # type: ignore[misc]
        place = Path(done.run)
        assert any("not for commercial use" in note for note in open_run(place).record.notes)
        manifest = zoo.open(place).manifest
        assert (manifest.licence, manifest.provenance.weights_licence) == (licence, licence)
    bundle = zoo.export(place, bundle=True, out=tmp_path / "m.zoo")
    assert f"Licence of the model: {licence}" in (Path(bundle.path) / "CARD.md").read_text()
    plan = _plan(data, **{option: root / "old"})
    assert plan.record.start_licence == record.card.licence, "its own training adds none"
    (place / TRAINED_ON).unlink()
    assert _plan(data, weights=place).record.start_licence == licence, "what it has seen says nothing of its licence"
