"""What a model has seen is left out of its numbers, whatever file it travels in and whatever it began with.

If these failed, a number on training images would pass for one on new images.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from refusals import refused

import zoo
from zoo import registry
from zoo.data import SEEN, TRAINED_ON, open_data, read_seen, write_seen
from zoo.edge.bundle._keys import new_key
from zoo.edge.bundle._signing import sign
from zoo.errors import DataError, GateError, UsageError, WeightsError
from zoo.workflow import _begin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.spec import EvalReport
    from zoo.workflow._begin import Job

ENGINE = {"ort.wasm.bundle.min.mjs": b"//"}
OTHERWISE = {"split_seed": 1}
"""Divides the same pictures in another way."""


def _picture(number: int) -> NDArray[np.uint8]:
    level = (90, 160)[number % 2]
    return np.clip(np.random.default_rng(number).normal(level, 40, (12, 12)), 0, 255).astype(np.uint8)


def _table(folder: Path, numbers: Sequence[int], form: str = "png", *, side: int = 12, **columns: list[str]) -> Path:
    """Pictures by number, and images.csv that names them; the same number is the same picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "images.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", *columns])
        for place, number in enumerate(numbers):
            picture = Image.fromarray(_picture(number))
            if form != "png":
                picture = picture.convert("RGB")
            picture.resize((side, side)).save(folder / f"{number:03}.{form}")
            row = (values[place] for values in columns.values())
            writer.writerow([f"{number:03}.{form}", ("ill", "well")[number % 2], *row])
    return folder / "images.csv"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures 0 to 79 (run), what is exported of it (m.zoo, bare.zoo, m.onnx), and its data (set)."""
    folder = tmp_path_factory.mktemp("seen")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = _table(folder / "set", range(80))
        zoo.train("svm", data, size=8, out=folder / "run")
        zoo.export(folder / "run", bundle=True, out=folder / "m.zoo")
        zoo.export(folder / "run", bundle=True, seen=False, out=folder / "bare.zoo")
        shutil.copy(folder / "run" / "model.onnx", folder / "m.onnx")
    return folder


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(root)
    return root


def _said(report: EvalReport) -> tuple[int, int | None, int, str]:
    assert report.seen is not None
    assert report.notes[0] == report.seen.note
    return report.n, report.seen.count, report.seen.of, report.seen.how


@pytest.mark.parametrize("target", ["run", "m.zoo"])
def test_only_unseen_images_are_judged_unless_asked(target: str, here: Path, tmp_path: Path) -> None:
    data = _table(tmp_path / "more", range(100))
    own = zoo.evaluate(target, here / "set" / "images.csv")
    assert own.seen is None
    assert _said(zoo.evaluate(target, data)) == (20 + own.n, 80 - own.n, 100, "left out")
    assert _said(zoo.evaluate(target, data, include_seen=True)) == (100, 80 - own.n, 100, "judged")
    assert _said(zoo.evaluate(target, _table(tmp_path / "new", range(80, 120)))) == (40, 0, 40, "none")


@pytest.mark.parametrize(("form", "side", "count"), [("bmp", 12, 68), ("png", 11, 0)])
def test_a_picture_saved_again_is_the_same_and_one_resized_is_not(
    form: str, side: int, count: int, here: Path, tmp_path: Path
) -> None:
    data = _table(tmp_path / "again", range(80), form, side=side)
    for target in ("run", "m.zoo"):
        found = zoo.evaluate(here / target, data).seen
        assert found is not None
        assert found.count == count


def test_further_images_of_a_patient_are_left_out_where_patients_are_known(here: Path, tmp_path: Path) -> None:
    """Pictures 0 to 19 of 20 patients, of whom the model has seen some, and a new picture of each of them."""
    numbers = range(0, 160, 4)
    data = _table(tmp_path / "p", numbers, patient=[f"p{number % 80}" for number in numbers])
    found = zoo.evaluate(here / "m.zoo", data)
    assert found.seen is not None
    assert found.seen.count == found.seen.grouped > 0
    assert found.n == 40 - 2 * found.seen.count
    assert zoo.evaluate(here / "m.zoo", data, include_seen=True).n == 40


def test_the_list_of_another_run_does_not_answer_for_this_one(here: Path, tmp_path: Path) -> None:
    """It would let training images pass for new ones."""
    other = _table(tmp_path / "other", range(200, 240))
    shutil.copytree(here / "run", tmp_path / "mixed")
    write_seen(tmp_path / "mixed" / TRAINED_ON, open_data(other))
    for refuse in (
        lambda: zoo.evaluate(tmp_path / "mixed", data=other),
        lambda: zoo.export(tmp_path / "mixed", data=here / "set", bundle=True, out=tmp_path / "m.zoo"),
    ):
        with refused("seen-damaged", DataError):
            refuse()


@pytest.mark.parametrize("target", ["run", "m.zoo"])
def test_nothing_unseen_is_refused(target: str, here: Path, tmp_path: Path) -> None:
    data = tmp_path / "train.csv"
    rows = (here / "set" / "images.csv").read_text().splitlines()
    seen = read_seen(here / "run" / TRAINED_ON)
    images = open_data(here / "set" / "images.csv", for_training=False).test
    kept = [row for row, known in zip(rows[1:], seen.holds(images.digests), strict=True) if known]
    data.write_text("\n".join([rows[0], *(f"{here / 'set'}/{row}" for row in kept)]) + "\n")
    with refused("seen-all", GateError, count=len(kept), of=len(kept)) as caught:
        zoo.evaluate(target, data)
    assert caught.value.exit_code == 3
    assert zoo.evaluate(target, data, include_seen=True).n == len(kept)


@pytest.mark.parametrize("target", ["bare.zoo", "m.onnx"])
def test_not_to_know_is_said(target: str, here: Path, tmp_path: Path) -> None:
    assert not (here / "bare.zoo" / SEEN).exists()
    assert _said(zoo.evaluate(here / target, _table(tmp_path / "more", range(100)))) == (100, None, 100, "not known")


def test_the_list_of_a_bundle_is_listed_proven_and_on_no_page(here: Path, tmp_path: Path) -> None:
    assert zoo.open(here / "m.zoo").manifest.provenance.run == "run"
    assert (here / "m.zoo" / SEEN).stat().st_size == 64 + 2 * 8 * 68
    assert zoo.verify(here / "m.zoo").images >= 32
    shutil.copytree(here / "m.zoo", tmp_path / "m.zoo")
    (tmp_path / "m.zoo" / SEEN).write_bytes(b"")
    with refused("bundle-files", files=[SEEN]):
        zoo.evaluate(tmp_path / "m.zoo", here / "set" / "images.csv")
    from zoo.artefact._web import write_web

    write_web(tmp_path / "page", here / "m.zoo", ENGINE)
    assert not list((tmp_path / "page").rglob(SEEN))
    assert zoo.verify(tmp_path / "page" / "model.zoo").images >= 32
    assert SEEN not in (tmp_path / "page" / "model.zoo" / "CARD.md").read_text()
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    shutil.copytree(here / "m.zoo", tmp_path / "signed.zoo")
    new_key(tmp_path / "key")
    sign(tmp_path / "signed.zoo", tmp_path / "key")
    with refused("web-seen", UsageError):
        write_web(tmp_path / "other", tmp_path / "signed.zoo", ENGINE)


def test_a_comparison_leaves_out_for_all_what_any_has_seen(here: Path, tmp_path: Path) -> None:
    data = _table(tmp_path / "more", range(100))
    zoo.train("svm", _table(tmp_path / "b", range(60, 100)), size=8, out=tmp_path / "b_run")
    lists = [read_seen(folder / TRAINED_ON) for folder in (here / "run", tmp_path / "b_run")]
    images = open_data(data, for_training=False).test
    seen = int((lists[0].holds(images.digests) | lists[1].holds(images.digests)).sum())
    found = zoo.compare([here / "m.zoo", tmp_path / "b_run"], data)
    assert found.seen is not None
    assert (found.n, found.seen.count, found.seen.how) == (100 - seen, seen, "left out")
    assert found.notes[0] == found.seen.note
    assert zoo.compare([here / "m.zoo", tmp_path / "b_run"], data, include_seen=True).n == 100
    # the own set of one is not that of the other: both get the same images all the same
    mixed = zoo.compare([here / "run", tmp_path / "b_run"], here / "set" / "images.csv").seen
    assert mixed is not None
    assert mixed.of == 80


def test_models_of_two_folds_are_not_compared(here: Path, tmp_path: Path) -> None:
    data = _table(tmp_path / "f", range(60), fold=[str(number // 2 % 3) for number in range(60)])
    for fold in (0, 1):
        zoo.train("svm", data, size=8, fold=fold, out=tmp_path / f"r{fold}")
    for named in (None, data):
        with refused("compare-folds", DataError, folds=[0, 1]):
            zoo.compare([tmp_path / "r0", tmp_path / "r1"], named)
    assert zoo.compare([tmp_path / "r0", here / "m.zoo"], _table(tmp_path / "n", range(200, 220))).n == 20


def test_images_that_moved_are_named_by_where_they_were(here: Path, tmp_path: Path) -> None:
    data = _table(tmp_path / "Übung Haut", range(40))
    zoo.train("svm", data, size=8, out=tmp_path / "run")
    data.parent.rename(tmp_path / "elsewhere")
    with refused("data-moved", DataError, run="run", cause="data-missing") as caught:
        zoo.evaluate(tmp_path / "run")
    assert str(data) in str(caught.value)
    assert zoo.evaluate(tmp_path / "run", tmp_path / "elsewhere" / "images.csv").seen is None
    assert here


class TestStart:
    """Runs as `zoo train` begins them; nothing is learnt here."""

    @pytest.fixture
    def begin(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Begin a run of simple_cnn on pictures of a range, and give it weights."""
        from safetensors.numpy import save_file

        monkeypatch.chdir(tmp_path)
        card = registry.find("simple_cnn")
        loaded = registry.load(card.plugin)

        def begin(name: str, numbers: Sequence[int], **budget: Any) -> Job:
            data = _table(tmp_path / f"set-{name}", numbers)
            job = _begin.begin(_begin.prepare(card, loaded, data, budget), out=tmp_path / name)
            save_file({"w": np.zeros(3, np.float32)}, job.run.file("weights.safetensors"))
            return job

        return begin

    def test_what_weights_have_seen_travels_with_them(self, begin: Any, tmp_path: Path) -> None:
        first = begin("first", range(60))
        second = begin("second", range(40, 100), weights=tmp_path / "first", settings=OTHERWISE)
        third = begin("third", range(60, 160), weights="second/weights.safetensors")
        assert first.seen is None
        assert second.seen.count + len(second.data.test) == second.seen.of
        assert second.seen.how == "left out"
        begun = read_seen(tmp_path / "third" / TRAINED_ON)
        for run in ("first", "second"):
            before = read_seen(tmp_path / run / TRAINED_ON)
            for part in before.files.values():
                assert begun.holds(part, "start").all(), f"{run} has seen it"
        assert not begun.holds(third.data.test.digests).any(), "its test images are new to all three"
        assert third.run.record.weights.startswith("file:second/weights.safetensors sha256:")
        assert third.seen.note in third.run.record.notes

    def test_leaks_of_the_start_are_left_out_kept_or_refused_as_others_are(self, begin: Any, tmp_path: Path) -> None:
        first = begin("first", range(60))
        again = {"weights": tmp_path / "first", "settings": OTHERWISE}
        kept = begin("kept", range(40, 100), leaks="keep", **again)
        assert kept.seen.how == "judged"
        assert len(kept.data.test) == kept.seen.of
        with refused("start-seen", GateError, count=kept.seen.count, of=kept.seen.of):
            begin("strict", range(40, 100), leaks="refuse", **again)
        seen = [int(image[:3]) for image in first.data.train.ids]
        with refused("seen-all", GateError):
            begin("none", seen, **again)
        assert not (tmp_path / "strict").exists()
        assert not (tmp_path / "none").exists()

    def test_weights_without_their_list_are_said_to_be_unknown(self, begin: Any, tmp_path: Path) -> None:
        begin("first", range(60))
        shutil.copy(tmp_path / "first" / "weights.safetensors", tmp_path / "w.safetensors")
        job = begin("second", range(60, 100), weights=tmp_path / "w.safetensors")
        assert (job.seen.count, job.seen.how) == (None, "not known")
        assert job.seen.note in job.run.record.notes
        assert begin("third", range(60, 100)).seen is None

    def test_what_holds_no_weights_to_start_from_is_one_line(self, begin: Any, here: Path, tmp_path: Path) -> None:
        for named, code in (("run", "weights-of-run"), ("m.zoo", "weights-exported"), ("m.onnx", "weights-exported")):
            with refused(code, WeightsError):
                begin("x", range(40), weights=here / named)
        with refused("weights-folder", WeightsError):
            begin("x", range(40), weights=tmp_path)
