"""`zoo train --teacher`: who may teach whom, what is kept of it, and that a teacher lends nobody its knowledge of test.

If these failed, a student could be praised for images that its teacher had learnt by heart.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from refusals import refused

import zoo
from zoo import registry
from zoo.artefact._card import model_card
from zoo.data import TRAINED_ON, Seen, read_seen
from zoo.errors import GateError, UsageError
from zoo.runs import TAUGHT, open_run
from zoo.workflow import _begin
from zoo.workflow._seen import UNKNOWN_TEACHER, start_of
from zoo.workflow._teacher import _match, _of_start

if TYPE_CHECKING:
    from collections.abc import Sequence


def _archive(path: Path, numbers: Sequence[int], labels: Sequence[int] = (0, 1)) -> Path:
    """Pictures by number; the same number is the same picture: half of them in train, the rest in val and test."""
    arrays: dict[str, Any] = {}
    for name, part in zip(("train", "val", "test"), np.split(np.asarray(numbers), [40, 60]), strict=True):
        level = np.array([90, 160])[part % 2, None, None]
        noise = np.stack([np.random.default_rng(number).normal(0, 40, (12, 12)) for number in part])
        arrays[f"{name}_images"] = np.clip(level + noise, 0, 255).astype(np.uint8)
        arrays[f"{name}_labels"] = np.asarray(labels)[part % len(labels)]
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher on pictures 0 to 79, its bundle (t.zoo) and its lone file (t.onnx), its data (own.npz) and others."""
    folder = tmp_path_factory.mktemp("teaching")
    data = _archive(folder / "own.npz", range(80))
    zoo.train("svm", data, size=8, out=folder / "teacher")
    zoo.export(folder / "teacher", bundle=True, out=folder / "t.zoo")
    shutil.copy(folder / "teacher" / "model.onnx", folder / "t.onnx")
    _archive(folder / "other.npz", [*range(80, 140), *range(10), *range(60, 65), *range(140, 145)])
    return folder


def _plan(data: Path, model: str = "simple_cnn", **budget: Any) -> Any:
    card = registry.find(model)
    return _begin.prepare(card, registry.load(card.plugin), data, budget)  # type: ignore[arg-type]


def test_a_taught_run_says_by_whom_everywhere_and_keeps_the_answers(root: Path, tmp_path: Path) -> None:
    result = zoo.train(
        "simple_cnn", root / "own.npz", epochs=1, size=12, teacher=root / "teacher", out=tmp_path / "student",
        settings={"teacher_weight": 0.5},
    )  # fmt: skip
    record, runtime = open_run(Path(result.run)).record, zoo.open(root / "teacher")
    assert record.teacher is not None
    assert (record.teacher.name, record.teacher.sha256, record.teacher.seen) == ("svm", runtime.sha256, "known")
    manifest = zoo.open(result.run).manifest
    assert manifest.provenance.teacher == record.teacher
    assert manifest.provenance.config.teacher_weight == 0.5
    assert record.teacher.sha256[:16] in model_card(manifest)
    with np.load(root / "own.npz") as arrays, np.load(tmp_path / "student" / TAUGHT) as taught:
        images = np.repeat(arrays["train_images"][..., None], 3, axis=3)
        expected = runtime.logits(images) / runtime.manifest.temperature
        assert np.allclose(taught["logits"], expected, atol=1e-5)
    assert json.loads((tmp_path / "student" / "run.json").read_text())["taught"] == record.taught
    assert zoo.evaluate(result.run).seen.count == 0  # type: ignore[union-attr]
    with refused("resume-changed", name="--teacher"):
        zoo.train("simple_cnn", root / "own.npz", out=result.run, resume="auto", teacher=result.run)


def test_a_teacher_that_takes_classes_for_equally_frequent_is_known_as_one(root: Path, tmp_path: Path) -> None:
    """Its answers are not what the labels of a plain student teach; the student must not be pulled both ways."""
    settings = {"class_weight": "balanced"}
    balanced = zoo.train("svm", root / "own.npz", size=8, out=tmp_path / "balanced", settings=settings).run
    for teacher, own, shifted in (
        (balanced, {}, True),
        (balanced, settings, False),
        (root / "teacher", settings, True),
    ):
        record = _plan(root / "own.npz", teacher=teacher, settings=own).record
        assert record.teacher.balanced == (teacher == balanced)
        assert any(note.startswith("teacher: its answers are shifted") for note in record.notes) is shifted


@pytest.mark.parametrize("named", ["teacher", "t.zoo"], ids=["a run", "a bundle"])
def test_test_images_that_the_teacher_has_seen_are_left_out(root: Path, tmp_path: Path, named: str) -> None:
    """Ten of its training and five of its test images stand in the student's test set: the ten go, the five stay."""
    plan = _plan(root / "other.npz", teacher=root / named)
    assert plan.seen is not None
    assert (plan.seen.count, plan.seen.of, plan.seen.how) == (10, 20, "left out")
    assert len(plan.data.test) == 10
    job = _begin.begin(plan, out=tmp_path / "student")
    again = read_seen(job.run.file(TRAINED_ON))
    assert not again.holds(plan.data.test.digests).any()
    if named == "teacher":
        before = read_seen(root / "teacher" / TRAINED_ON)
        assert all(again.holds(rows, "start").all() for rows in before.files.values())
    assert start_of(job.run.record) == "the teacher"


def test_leaks_of_a_teacher_are_kept_or_refused_as_others_are(root: Path) -> None:
    kept = _plan(root / "other.npz", teacher=root / "teacher", leaks="keep")
    assert (kept.seen.how, len(kept.data.test)) == ("judged", 20)
    with refused("start-seen", GateError, count=10, of=20):
        _plan(root / "other.npz", teacher=root / "teacher", leaks="refuse")


def test_a_teacher_without_its_list_is_said_to_be_unknown(root: Path) -> None:
    plan = _plan(root / "other.npz", teacher=root / "t.onnx")
    assert (plan.seen.count, plan.seen.how) == (None, "not known")
    assert UNKNOWN_TEACHER in plan.record.notes
    assert plan.record.teacher.seen == "not known"


def test_the_validation_images_of_both_are_not_counted_as_learnt_from(root: Path) -> None:
    """Else no ensemble could be made of students: its weights are learnt on images that no member was trained on."""
    plan = _plan(root / "own.npz", teacher=root / "teacher")
    seen = _of_start(read_seen(root / "teacher" / TRAINED_ON), plan.data)
    assert seen.holds(plan.data.train.digests, "start").all()
    assert not seen.holds(plan.data.val.digests, "start").any()
    learnt = Seen({"train": plan.data.val.digests}, {})
    assert _of_start(learnt, plan.data).holds(plan.data.val.digests, "start").all()


@pytest.mark.parametrize(
    ("model", "budget", "code"),
    [
        ("svm", {"teacher": "teacher"}, "teacher-unsupported"),
        ("simple_cnn", {"teacher": "nowhere"}, "file-missing"),
        ("simple_cnn", {"teacher": "own.npz"}, "model-format"),
        ("simple_cnn", {"settings": {"teacher_temperature": 2.0}}, "option-missing"),
        ("simple_cnn", {"teacher": "teacher", "settings": {"teacher_weight": 0}}, "setting-value"),
        ("simple_cnn", {"teacher": "teacher", "settings": {"teacher_temperature": -1}}, "setting-value"),
    ],
)
def test_what_cannot_teach_or_learn_is_refused_before_a_run_is_made(
    root: Path, monkeypatch: pytest.MonkeyPatch, model: str, budget: dict[str, Any], code: str
) -> None:
    monkeypatch.chdir(root)
    with refused(code):
        _plan(Path("own.npz"), model, **budget)


def test_a_teacher_of_other_labels_is_refused_and_names_them(root: Path, tmp_path: Path) -> None:
    data = _archive(tmp_path / "three.npz", range(80), labels=(0, 1, 2))
    with refused("teacher-labels", UsageError, missing=["2"], more=[]):
        _plan(data, teacher=root / "teacher")


def test_labels_are_matched_by_name_in_any_order_and_spelling() -> None:
    assert _match(("ill", "well", "odd"), ("odd", "ill", "well"), "t") == (2, 0, 1)
    assert _match(("Well", "ILL"), ("ill", "well"), "t") == (1, 0)
    for theirs, ours in ((("a",), ("a", "b")), (("a", "b"), ("a",)), (("Ab", "aB"), ("ab", "other"))):
        with refused("teacher-labels"):
            _match(theirs, ours, "t")
