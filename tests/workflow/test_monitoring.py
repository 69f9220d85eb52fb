"""From a file to a site's table to the verdict: what the file remembers, and what it says of images that differ."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image
from refusals import refused
from sites import LABELS, draw, write_site

import zoo
from zoo.data import open_data
from zoo.edge import measure_pixels, predict_csv
from zoo.edge._monitor import watch
from zoo.edge._monitor_table import read_stream
from zoo.edge.bundle import open_model
from zoo.errors import DataError, ModelError, UsageError
from zoo.workflow._images import share_unread, without_bad


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    data = write_site(place / "halves.npz")
    zoo.train("logistic_regression", data, out=place / "run")
    return place / "run" / "model.onnx"


def write_answers(model: Path, folder: Path, *, light: float = 0.0, n: int = 200, bad: int = 0, **how: Any) -> Path:
    """The table of a site, whose images lie in `folder`."""
    folder.mkdir()
    for at, pixels in enumerate(draw(np.random.default_rng(11), n, light=light)[0]):
        Image.fromarray(pixels).save(folder / f"image{at:04d}.png")
    for at in range(bad):
        (folder / f"image{n + at:04d}.png").write_bytes(b"no picture")
    table = folder.with_suffix(".csv")
    list(predict_csv(zoo.open(model), folder, table, **{"statistics": True, **how}))
    return table


def rewrite(table: Path, target: Path, change: Any) -> Path:
    """The table with another content: `change` gets all rows as lists, the header first."""
    with table.open(newline="") as stream:
        rows = change(list(csv.reader(stream)))
    with target.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return target


@pytest.fixture(scope="module")
def same(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_answers(model, tmp_path_factory.mktemp("site") / "same")


def test_the_reference_is_of_the_answers_to_validation_images(model: Path) -> None:
    reference = open_model(model).manifest.reference
    assert reference is not None
    with np.load(model.parents[1] / "halves.npz") as arrays:
        raw = np.repeat(arrays["val_images"][..., None], 3, axis=3)
    runtime = zoo.open(model)
    top = runtime.probabilities(raw)
    assert (reference.n, reference.grouped, reference.source) == (160, False, "validation")
    np.testing.assert_allclose(reference.values["probability"], np.sort(top.max(axis=1)), rtol=1e-3)
    np.testing.assert_allclose(reference.values["brightness"], np.sort(measure_pixels(raw)[:, 0]), rtol=1e-3)
    assert [reference.labels[label] for label in LABELS] == np.bincount(top.argmax(axis=1), minlength=3).tolist()
    assert sum(reference.decisions.values()) == 160


def test_brightness_and_contrast_are_in_units_of_the_type() -> None:
    rng = np.random.default_rng(0)
    byte = rng.integers(0, 256, (2, 5, 7, 3), np.uint8)
    colour = (byte.max(axis=3).astype(float) - byte.min(axis=3)).mean(axis=(1, 2))
    expected = np.stack([byte.reshape(2, -1).mean(axis=1), byte.reshape(2, -1).std(axis=1), colour], axis=1)
    np.testing.assert_allclose(measure_pixels(byte), expected / 255, rtol=1e-6)
    np.testing.assert_allclose(measure_pixels(byte.astype(np.uint16)), expected / 65535, rtol=1e-6)
    measured = byte.astype(np.float32)
    measured[0, 0, 0, 0] = np.nan
    assert np.isfinite(measure_pixels(measured)).all()
    assert (measure_pixels(np.repeat(byte[..., :1], 3, axis=3))[:, 2] == 0).all(), "gray has no colour"


def test_images_like_those_of_training_raise_no_alarm(model: Path, same: Path) -> None:
    found = zoo.monitor(same, model)
    assert (found.verdict, found.images, found.failed, found.alarms) == ("no drift shown", 200, 0, ())
    assert [one.name for one in found.statistics] == [
        "probability", "novelty", "brightness", "contrast", "no answer", "uncertain", "unlike training",
        *(f"label: {label}" for label in LABELS),
    ]  # fmt: skip


def test_lighter_images_are_found_and_said_in_numbers(model: Path, tmp_path: Path) -> None:
    found = zoo.monitor(write_answers(model, tmp_path / "light", light=12), model)
    first = found.alarms[0]
    assert (found.verdict, first.name) == ("drift", "brightness")
    assert first.alarm is not None
    assert first.since is not None
    assert first.since < first.alarm < 100
    assert isinstance(first.site, float)
    assert first.site - first.reference == pytest.approx(12 / 255, abs=0.01)


def test_the_image_from_which_on_it_differs_is_named(model: Path, same: Path, tmp_path: Path) -> None:
    light = write_answers(model, tmp_path / "light", light=20, n=100)
    later: list[list[str]] = []
    rewrite(light, tmp_path / "again.csv", lambda rows: later.extend(rows[1:]) or rows)
    both = rewrite(same, tmp_path / "both.csv", lambda rows: rows + later)
    first = zoo.monitor(both, model).alarms[0]
    assert first.name == "brightness"
    assert first.since == pytest.approx(201, abs=15)


def write_folder(place: Path, parts: dict[str, int], lost: dict[str, int], seed: int) -> Path:
    """Class folders in split folders; of some splits images are cut short behind their header."""
    rng = np.random.default_rng(seed)
    for part, n in parts.items():
        for at, (pixels, label) in enumerate(zip(*draw(rng, n), strict=True)):
            path = place / part / LABELS[label] / f"{part}{at:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            if at < lost.get(part, 0):
                path.write_bytes(path.read_bytes()[:60])
    return place


def watched(model: Path, table: Path) -> Any:
    """What is said of images without an answer; None: nothing is."""
    return next((one for one in zoo.monitor(table, model).statistics if one.name == "no answer"), None)


def test_images_that_training_left_out_are_expected_at_a_site(tmp_path: Path) -> None:
    """Or a site with the same share of damaged files drifts by construction, and the bound on false alarms is void."""
    data = write_folder(tmp_path / "data", {"train": 90, "val": 200, "test": 60}, {"train": 5, "val": 10}, 1)
    run = Path(zoo.train("logistic_regression", data, out=tmp_path / "run", skip_bad=True).run)
    reference = open_model(run / "model.onnx").manifest.reference
    assert reference is not None
    assert (reference.n, reference.failed) == (190, 10)
    again = zoo.export(run, out=tmp_path / "again.onnx")
    assert open_model(Path(again.path)).manifest.reference == reference
    site = write_folder(tmp_path / "site", {"all": 600}, {"all": 0}, 2)
    for path in sorted(site.rglob("*.png"))[::20]:  # 5 %
        path.write_bytes(path.read_bytes()[:60])
    table = tmp_path / "site.csv"
    list(predict_csv(zoo.open(run), site, table, statistics=True))
    found = watched(run / "model.onnx", table)
    assert found.reference == pytest.approx(0.05)
    assert found.alarm is None
    (data / "train" / "odd" / "other.png").write_bytes(b"no picture")  # has no header, and so no split
    unknown = Path(zoo.train("logistic_regression", data, out=tmp_path / "unknown", skip_bad=True).run) / "model.onnx"
    reference = open_model(unknown).manifest.reference
    assert reference is not None
    assert reference.failed is None
    list(predict_csv(zoo.open(unknown), site, tmp_path / "unknown.csv", statistics=True))
    assert watched(unknown, tmp_path / "unknown.csv") is None
    assert any("no answer" in note for note in zoo.monitor(tmp_path / "unknown.csv", unknown).notes)


def test_lost_images_of_one_patient_are_one_patient(model: Path) -> None:
    """A site counts the first image of each patient."""
    images = open_data(model.parents[1] / "halves.npz")
    val = dataclasses.replace(images.val.subset(np.arange(40)), groups=np.repeat(np.arange(10), 4))
    splits = dataclasses.replace(images, val=val)
    bad = val.ids[:6]  # all of the first patient, half of the second
    left = without_bad(splits, bad)
    assert share_unread(left, "val") == pytest.approx(1.5 / 10)
    assert share_unread(left, "test") == 0
    assert share_unread(dataclasses.replace(left, unread=None), "val") is None


def test_a_table_of_failures_alone_and_a_file_that_knows_of_none(model: Path, tmp_path: Path) -> None:
    manifest = open_model(model).manifest
    assert manifest.reference is not None
    old = msgspec.structs.replace(manifest.reference, failed=None)
    stream = read_stream(write_answers(model, tmp_path / "none", n=0, bad=300), manifest, zoo.open(model).mark, None)
    found = watch(stream, manifest, old, alpha=0.01)
    assert (found.verdict, found.failed, found.statistics) == ("too few to tell", 300, ())


def test_images_without_an_answer_are_a_statistic(model: Path, tmp_path: Path) -> None:
    table = write_answers(model, tmp_path / "bad", n=40, bad=20)
    found = zoo.monitor(table, model)
    assert (found.images, found.failed) == (60, 20)
    assert [one.name for one in found.alarms] == ["no answer"]
    assert found.alarms[0].since == pytest.approx(41, abs=3)


def test_a_table_without_any_answer_is_told_by_the_bounds_of_a_longer_one(
    model: Path, same: Path, tmp_path: Path
) -> None:
    """Or a site whose every file is broken meets a crash, or an alarm that later answers take back."""
    table = write_answers(model, tmp_path / "broken", n=0, bad=20)
    found, longer = zoo.monitor(table, model), zoo.monitor(same, model)
    (only,) = found.statistics
    assert (found.verdict, found.images, found.failed, only.name) == ("drift", 20, 20, "no answer")
    assert only.threshold in {one.threshold for one in longer.statistics if one.name == "no answer"}
    two = rewrite(table, tmp_path / "two.csv", lambda rows: rows[:3])
    assert zoo.monitor(two, model).verdict == "too few to tell"


def test_a_table_without_statistics_says_what_was_not_compared(model: Path, tmp_path: Path) -> None:
    found = zoo.monitor(write_answers(model, tmp_path / "plain", statistics=False), model)
    assert found.verdict == "no drift shown"
    assert any("brightness" in note for note in found.notes)
    assert "brightness" not in {one.name for one in found.statistics}


def test_a_few_images_are_too_few_to_tell(model: Path, same: Path, tmp_path: Path) -> None:
    few = rewrite(same, tmp_path / "few.csv", lambda rows: rows[:9])
    assert zoo.monitor(few, model).verdict == "too few to tell"


def test_the_same_table_has_the_same_answer_and_a_longer_one_repeats_it(model: Path, tmp_path: Path) -> None:
    light = write_answers(model, tmp_path / "light", light=15)
    part = rewrite(light, tmp_path / "part.csv", lambda rows: rows[:121])
    whole, begun = zoo.monitor(light, model), zoo.monitor(part, model)
    assert zoo.monitor(light, model) == whole
    assert (whole.alarms[0].alarm, whole.alarms[0].since) == (begun.alarms[0].alarm, begun.alarms[0].since)


def test_an_order_that_is_not_of_time_is_mixed_when_asked(model: Path, same: Path, tmp_path: Path) -> None:
    ordered = rewrite(same, tmp_path / "ordered.csv", lambda rows: [rows[0], *sorted(rows[1:], key=lambda row: row[1])])
    assert zoo.monitor(ordered, model).verdict == "drift"
    assert zoo.monitor(ordered, model, shuffle=True).verdict == "no drift shown"


def test_of_a_patient_one_image_counts(model: Path, tmp_path: Path) -> None:
    table = write_answers(model, tmp_path / "patients", n=60)

    def name(rows: list[list[str]]) -> list[list[str]]:
        return [rows[0], *([f"p{at // 4}/{row[0]}", *row[1:]] for at, row in enumerate(rows[1:]))]

    found = zoo.monitor(rewrite(table, tmp_path / "named.csv", name), model, group="p([0-9]+)/")
    assert found.images == 15
    with refused("option-value", UsageError):
        zoo.monitor(table, model, group="p[0-9]+")
    with refused("monitor-group", DataError):
        zoo.monitor(table, model, group="patient([0-9]+)")


def test_other_tables_are_refused(model: Path, same: Path, tmp_path: Path) -> None:
    def other(rows: list[list[str]]) -> list[list[str]]:
        return [["p_up" if name == "p_odd" else name for name in rows[0]], *rows[1:]]

    def broken(rows: list[list[str]]) -> list[list[str]]:
        return [rows[0], *([*row[:2], "1.5", *row[3:]] for row in rows[1:])]

    def strange(rows: list[list[str]]) -> list[list[str]]:
        return [rows[0], *([row[0], "up", *row[2:]] for row in rows[1:])]

    for change, code in (
        (other, "monitor-other-model"),
        (strange, "monitor-other-model"),
        (broken, "monitor-value"),
        (lambda rows: rows[:1], "monitor-empty"),
        (lambda rows: [row[1:] for row in rows], "monitor-columns"),
    ):
        with refused(code, DataError):
            zoo.monitor(rewrite(same, tmp_path / "other.csv", change), model)
    with refused("file-unreadable", DataError):
        zoo.monitor(tmp_path / "none.csv", model)
    with refused("option-value", UsageError):
        zoo.monitor(same, model, alpha=1.5)


def test_the_answers_of_another_file_are_refused_though_its_labels_are_the_same(
    model: Path, same: Path, tmp_path: Path
) -> None:
    other = Path(zoo.export(model.parent, portable=True, out=tmp_path / "other.onnx").path)
    assert zoo.open(other).labels == zoo.open(model).labels
    table = write_answers(other, tmp_path / "other", n=30)
    marks = {"found": zoo.open(other).sha256[:12], "expected": zoo.open(model).sha256[:12]}
    with refused("monitor-other-file", DataError, row=2, **marks):
        zoo.monitor(table, model)
    foreign: list[list[str]] = []
    rewrite(table, tmp_path / "copy.csv", lambda rows: foreign.extend(rows[1:]) or rows)
    with refused("monitor-other-file", DataError, row=202):
        zoo.monitor(rewrite(same, tmp_path / "both.csv", lambda rows: rows + foreign), model)


def test_a_table_that_does_not_say_whose_it_is_is_taken_with_a_warning(
    model: Path, same: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def without(rows: list[list[str]]) -> list[list[str]]:
        at = rows[0].index("model")
        return [row[:at] + row[at + 1 :] for row in rows]

    told = zoo.monitor(same, model)
    assert not caplog.records
    untold = zoo.monitor(rewrite(same, tmp_path / "old.csv", without), model)
    assert [one.name for one in untold.statistics] == [one.name for one in told.statistics]
    note = next(note for note in untold.notes if note not in told.notes)
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / 'old.csv'}: {note}"]


def test_answers_of_a_bundle_are_those_of_the_file_in_it(model: Path, tmp_path: Path) -> None:
    bundle = Path(zoo.export(model.parent, bundle=True, out=tmp_path / "model.zoo").path)
    table = write_answers(bundle, tmp_path / "images", n=30)
    assert zoo.monitor(table, bundle) == zoo.monitor(table, bundle / "model.onnx")


def test_a_file_without_a_reference_says_so(model: Path, same: Path, tmp_path: Path) -> None:
    import msgspec
    import onnx

    from zoo.artefact import set_manifest

    graph = onnx.load_from_string(model.read_bytes())
    set_manifest(graph, msgspec.structs.replace(open_model(model).manifest, reference=None))
    (tmp_path / "old.onnx").write_bytes(graph.SerializeToString())
    with refused("monitor-no-reference", ModelError):
        zoo.monitor(same, tmp_path / "old.onnx")


def test_a_resumed_table_keeps_its_statistics(model: Path, same: Path, tmp_path: Path) -> None:
    runtime, folder, target = zoo.open(model), same.with_suffix(""), tmp_path / "resumed.csv"
    begun = predict_csv(runtime, folder, target, statistics=True)
    for _ in range(30):
        next(begun)
    begun.close()  # type: ignore[attr-defined]
    list(predict_csv(runtime, folder, target, statistics=True, resume=True))
    assert target.read_bytes() == same.read_bytes()


def test_a_file_that_is_exported_again_remembers_the_same(model: Path, tmp_path: Path) -> None:
    exported = zoo.export(model.parent, out=tmp_path / "again.onnx")
    assert open_model(Path(exported.path)).manifest.reference == open_model(model).manifest.reference


def test_a_file_that_is_given_preprocessed_images_has_no_statistics(model: Path, same: Path, tmp_path: Path) -> None:
    staged = zoo.export(model.parent, preprocess="none", out=tmp_path / "staged.onnx")
    with refused("statistics-not-raw", UsageError, stage="tensor"):
        list(zoo.open(staged.path).predict(same.with_suffix(""), statistics=True))
