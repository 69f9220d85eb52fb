"""Columns of a table from the first index to the report: groups, shortcuts and corrupted copies of a shipped file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from beside_images import write_table
from made_runs import make_report
from refusals import refused

import zoo
from zoo.data import open_data
from zoo.errors import DataError, OutputError, UsageError
from zoo.runs import open_run
from zoo.spec import EvalReport, Robustness, Subgroup, decode, encode
from zoo.workflow import _quantise
from zoo.workflow.evaluate import load_plugin
from zoo_cli._failing import describe_failing
from zoo_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

N = 600
SITES = ("north", "south", "east")


def write_data(root: Path) -> Path:
    """Pictures that show their class; at one site the label is drawn at random. A third column has no role."""
    rng = np.random.default_rng(3)
    shows = rng.choice(["ill", "well"], N)
    sites = [SITES[at % 3] for at in range(N)]
    cells = {
        "split": [("train", "val", "test", "test")[at // 3 % 4] for at in range(N)],
        "site": sites,
        "age": ["" if at % 40 == 0 else str(rng.integers(20, 70)) for at in range(N)],
        "coil": [("head", "knee")[int(rng.random() < 0.5)] for _ in range(N)],
        "note": [f"seen on day {at}" for at in range(N)],
    }
    table = write_table(root, cells, list(shows), strength=90)
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    for row, site in zip(rows[1:], sites, strict=True):
        row[1] = str(rng.choice(["ill", "well"])) if site == "north" else row[1]
    with table.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return table


def read_document(path: Path, kind: type[Any]) -> Any:
    return decode(path.read_bytes(), kind, what=path.name, error=DataError)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("groups")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_data(root / "data")
        yield root


@pytest.fixture(scope="module")
def result(place: Path) -> zoo.TrainResult:
    return zoo.train("logistic_regression", place / "data" / "table.csv", out=place / "run")


def test_training_ends_with_groups_of_the_columns_that_have_a_role(result: zoo.TrainResult, place: Path) -> None:
    report = result.test
    assert report is not None
    assert list(dict.fromkeys(row.column for row in report.subgroups)) == ["site", "age"]
    assert [row.group for row in report.subgroups if row.column == "site"] == sorted(SITES)
    assert any(row.group == "missing" for row in report.subgroups)
    assert read_document(place / "run" / "report.json", EvalReport) == report
    assert zoo.open(place / "run").manifest.report == report


def test_groups_of_an_export_are_judged_by_the_decisions_that_it_carries(
    result: zoo.TrainResult, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a group's sensitivity stands at the threshold of another file, and contradicts `zoo evaluate`."""
    made = zoo.export(result.run, bundle=True, operating=["sensitivity=0.9:ill"], out=tmp_path / "other.zoo")
    report = zoo.open(made.path).manifest.report
    assert report is not None
    assert report.subgroups == zoo.evaluate(made.path, place / "data" / "table.csv").subgroups
    assert all("sensitivity for ill" in row.metrics for row in report.subgroups if row.column == "site")

    own, run, splits = zoo.open(place / "run"), open_run(place / "run"), open_data(place / "data" / "table.csv")
    ladder = SimpleNamespace(runtime=own, float32=own)
    monkeypatch.setattr(_quantise, "climb", lambda *_, **__: ladder)
    monkeypatch.setattr(_quantise, "confirm", lambda *_: (onnx.load(own.path), None))
    monkeypatch.setattr(_quantise, "choose_anew", lambda *_: (zoo.open(made.path).manifest, ()))
    proven = onnx.load(own.path), own.manifest
    _, manifest, _ = _quantise.quantise(run, load_plugin(run), splits, proven, kind="int8", target=None)
    assert manifest.report is not None
    assert manifest.report.subgroups == report.subgroups


def test_the_site_where_the_model_guesses_is_named_in_table_segments_and_notes(result: zoo.TrainResult) -> None:
    report = result.test
    assert report is not None
    north = next(row for row in report.subgroups if row.group == "north")
    assert north.n == 100
    assert north.differences["accuracy"].p_holm < 0.001
    assert ("site", "north") in {(row.column, row.group) for row in report.segments}
    assert any("site north" in note for note in report.notes)
    assert next(row for row in report.shortcuts if row.feature == "site").follows
    assert set(report.baselines) == {"majority class", "brightness"}
    assert {"subgroups", "shortcuts", "baselines"} <= set(report.tables())


def test_any_column_divides_the_report_and_none_needs_to(result: zoo.TrainResult) -> None:
    by_coil = zoo.evaluate(result.run, by=["Coil"])
    assert {row.column for row in by_coil.subgroups} == {"coil"}
    assert sum(row.n or 0 for row in by_coil.subgroups) == by_coil.n
    assert zoo.evaluate(result.run, by=["none"]).subgroups == ()
    everything = {row.column for row in zoo.evaluate(result.run, by=["all"]).subgroups}
    assert everything == {"site", "age", "coil"}, "a column that names the images is left out"
    named = zoo.evaluate(result.run, by=["note"])
    assert any("--by note" in note for note in named.notes), "who asked for it by name is told"
    with refused("by-missing", DataError, columns=["ward"]):
        zoo.evaluate(result.run, by=["site", "ward"])


def test_the_page_shows_what_was_asked_of_columns_points_and_shares(result: zoo.TrainResult, tmp_path: Path) -> None:
    """Only `zoo evaluate` took these words, and a page had no row at the stated share."""
    asked: Any = {"by": ["Coil"], "operating": ["sensitivity=0.8:ill"], "prevalence": ["0.02"]}
    found = zoo.report(result.run, out=tmp_path / "page", images=False, **asked)
    expected = zoo.evaluate(result.run, **asked)
    written = read_document(Path(found.json), EvalReport)
    assert (written.subgroups, written.operating) == (expected.subgroups, expected.operating)
    assert written.operating is not None
    page = Path(found.html).read_text("utf-8")
    assert "At the stated share of the label" in page
    assert "Operating points (sensitivity=0.8 for ill) were chosen on validation images" in page
    assert found.card is not None
    assert "sensitivity=0.8" not in Path(found.card).read_text("utf-8").split("## Proof")[0], "the file has no point"
    for one in asked:
        with refused("option-missing", UsageError, options=["--out"]):
            zoo.report(result.run, **{one: asked[one]})
    with refused("out-run-file", OutputError, options=["--out"]):
        zoo.report(result.run, out=result.run, overwrite=True, **asked)


def test_a_division_keeps_every_column(place: Path) -> None:
    made = zoo.split(place / "data" / "table.csv", place / "again.csv", again=True)
    with Path(made.path).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {"image", "label", "split", "site", "age", "coil", "note"} <= set(rows[0])
    before = {Path(row["image"]).name: row for row in rows}
    with (place / "data" / "table.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            assert all(before[row["image"]][name] == row[name] for name in ("site", "age", "coil", "note", "label"))
    kept = open_data(made.path).test.kept
    assert {"site", "age", "coil", "note"} <= set(kept)


def test_folds_are_pooled_with_their_columns(place: Path) -> None:
    found = zoo.train_folds("logistic_regression", place / "data" / "table.csv", folds=3, out=place / "folds")
    report = found.test
    assert {row.group: row.n for row in report.subgroups if row.column == "site"} == dict.fromkeys(SITES, N // 3)
    assert report.shortcuts
    assert set(report.baselines) == {"majority class", "brightness"}


def test_corrupted_copies_are_judged_through_the_file(result: zoo.TrainResult, place: Path) -> None:
    found = zoo.stress(result.run, kinds=["noise", "mark"], severities=[1, 5], images=60)
    assert (found.n, found.of, found.seed) == (60, 300, 0)
    assert [(row.kind, row.severity) for row in found.rows] == [("noise", 1), ("noise", 5), ("mark", 1), ("mark", 5)]
    assert found.rows[1].accuracy.value <= found.rows[0].accuracy.value
    for row in found.rows:
        assert row.drop.value == pytest.approx(found.accuracy.value - row.accuracy.value)
        assert row.drop.low < row.drop.value < row.drop.high
    mean = np.mean([row.accuracy.value for row in found.rows])
    assert found.mean["accuracy"].value == pytest.approx(mean)
    again = zoo.stress(result.run, kinds=["noise", "mark"], severities=[1, 5], images=60)
    assert again.rows == found.rows
    assert read_document(place / "run" / "robustness.json", Robustness) == again


def test_copies_of_other_images_never_stand_on_the_page_of_a_run(result: zoo.TrainResult, place: Path) -> None:
    kept, page = place / "run" / "robustness.json", place / "run" / "report.html"
    own = zoo.stress(result.run, kinds=["mark"], severities=[5], images=20)
    written = kept.read_bytes()
    other = zoo.stress(result.run, kinds=["mark"], severities=[5], images=20, split="val")
    assert kept.read_bytes() == written
    assert other.notes[-1] == "not kept: robustness.json of the run is of its own file and test images"
    assert other.notes[-1] not in own.notes
    zoo.report(result.run)
    assert "Corrupted copies" in page.read_text("utf-8")
    kept.write_bytes(encode(other))  # as an older release left it
    zoo.report(result.run)
    assert "Corrupted copies" not in page.read_text("utf-8")
    kept.unlink()


def test_what_cannot_be_corrupted_is_refused_before_any_image(result: zoo.TrainResult) -> None:
    with refused("option-value", UsageError, value=["fog"]):
        zoo.stress(result.run, kinds=["fog"])
    with refused("option-value", UsageError, value=0):
        zoo.stress(result.run, images=0)


def test_a_long_value_leaves_the_table_its_width() -> None:
    group = Subgroup(column="site", group="s" * 3000, n=50, patients=None, metrics={}, differences={}, undefined={})
    (table,) = describe_failing(make_report(subgroups=(group,)))
    assert max(map(len, table.splitlines())) < 150


def test_the_verb_prints_groups_and_corruptions(result: zoo.TrainResult, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str:
        assert main(["evaluate", result.run, *words]) == 0
        return capsys.readouterr().out

    text = run("--by", "site")
    assert "north" in text
    assert "majority class" in text
    text = run("--by", "site", "--operating", "sensitivity=0.9:ill")
    table, gaps = [one for one in text.split("\n\n") if "sensitivity for ill" in one]
    assert [line.split()[1] for line in table.splitlines()[1:]] == sorted(SITES)
    assert gaps.count("sensitivity for ill") == gaps.count("specificity for ill") == len(SITES)
    assert " p " in gaps.splitlines()[1]
    for idle in (["--severities", "3"], ["--images", "9"], ["--corruptions", "all", "--by", "site"]):
        assert main(["evaluate", result.run, *idle]) == 2, "it would change nothing"
    document = json.loads(run("--corruptions", "contrast", "--severities", "3", "--images", "30", "--json"))
    assert [row["kind"] for row in document["rows"]] == ["contrast"]
