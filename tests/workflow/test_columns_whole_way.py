"""Columns beside the image from a table to the device: they are learnt, travel in the file, and are never left out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnxruntime
import pytest
from beside_images import write_table
from refusals import refused

import zoo
from zoo.edge import HeatMap, Prediction, Runtime, TableRows
from zoo.edge.__main__ import main
from zoo.edge._explain import explain_image
from zoo.errors import DataError, GateError, UsageError
from zoo.readers import RawImage
from zoo.runs import open_run
from zoo.spec import Categorical, Numeric
from zoo.workflow._judge import judge
from zoo.workflow.export import export
from zoo.workflow.report import _places

if TYPE_CHECKING:
    from collections.abc import Iterator

N = 240
SPLIT = ["train", "train", "train", "val", "test"]


def write_data(root: Path) -> Path:
    """The image says nothing of the label; age and sex do."""
    rng = np.random.default_rng(3)
    ages, sexes = rng.normal(55, 12, N), rng.choice(["F", "M"], N)
    odds = (ages - 55) / 6 + np.where(sexes == "M", 1.0, -1.0)
    labels = ["old" if draw else "young" for draw in rng.random(N) < 1 / (1 + np.exp(-odds))]
    cells = {
        "split": [SPLIT[at % 5] for at in range(N)],
        "age": ["" if at % 15 == 0 else f"{age:.1f}" for at, age in enumerate(ages)],
        "sex": [str(sex) for sex in sexes],
    }
    return write_table(root, cells, labels, strength=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("columns")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_data(root / "data")
        yield root


SETTINGS = {"augment": "none", "ema": 0.9, "layout": "contiguous"}


def learn(place: Path, name: str, **budget: Any) -> zoo.TrainResult:
    return zoo.train("simple_cnn", place / "data" / "table.csv", out=place / name, epochs=12, lr=3e-3,
                     precision="fp32", settings=SETTINGS, **budget)  # fmt: skip


@pytest.fixture(scope="module")
def result(place: Path) -> zoo.TrainResult:
    return learn(place, "with", inputs=("age", "sex"))


@pytest.fixture(scope="module")
def alone(place: Path) -> zoo.TrainResult:
    return learn(place, "alone")


@pytest.fixture(scope="module")
def bundle(place: Path, result: zoo.TrainResult) -> Path:
    return Path(export(result.run, bundle=True, out=place / "m.zoo").path)


def test_what_columns_say_is_learnt(result: zoo.TrainResult, alone: zoo.TrainResult) -> None:
    assert result.best is not None
    assert alone.best is not None
    assert (result.best.value or 0) > 0.85
    assert (alone.best.value or 1) < 0.75


def test_the_encoding_is_in_run_and_file_and_was_proven(result: zoo.TrainResult, bundle: Path) -> None:
    table = open_run(Path(result.run)).record.card.table
    manifest = Runtime.open(bundle).manifest
    assert table is not None
    assert manifest.table == table
    assert [type(column) for column in table.columns] == [Numeric, Categorical]
    assert manifest.provenance.config.inputs == ("age", "sex")
    assert manifest.parity is not None
    assert manifest.parity.max_abs_column is not None
    assert manifest.parity.max_abs_column < 1e-5
    assert "column/age" in (bundle / "CARD.md").read_text(encoding="utf-8")


def test_the_bundle_proves_itself_with_made_columns(bundle: Path, place: Path) -> None:
    proof = zoo.verify(bundle, isolated=False)
    assert proof.images >= 32
    with np.load(bundle / "golden.npz") as golden:
        columns = golden["columns"]
    assert np.isnan(columns[:, 0]).any()
    with (place / "data" / "table.csv").open(encoding="utf-8") as stream:
        ages = {row["age"] for row in csv.DictReader(stream)}
    assert not {f"{value:g}" for value in columns[:, 0]} & ages - {"nan"}, "somebody's age travels with the file"


def test_a_golden_set_with_other_columns_is_found_out(bundle: Path, tmp_path: Path) -> None:
    from zoo.edge._replay import replay
    from zoo.edge.bundle import GOLDEN, open_model

    contents = open_model(bundle, keep=(GOLDEN,))
    with np.load(bundle / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["columns"][:, 0] += 20
    np.savez(tmp_path / "golden.npz", **arrays)
    contents.files[GOLDEN] = (tmp_path / "golden.npz").read_bytes()
    with refused("golden-mismatch", GateError):
        replay(Runtime.from_contents(bundle, contents, provider="cpu", threads=1), contents)


def test_a_table_is_answered_as_it_was_evaluated(
    bundle: Path, place: Path, result: zoo.TrainResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(bundle), str(place / "data" / "table.csv"), "--json"]) == 0
    answers = {Path(row["image"]).name: row for row in json.loads(capsys.readouterr().out)}
    with (Path(result.run) / "predictions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == result.test.n
    for row in rows:
        answer = answers[Path(row["image"]).name]["probabilities"]
        assert abs(answer["old"] - float(row["p_old"])) < 1e-6


def test_onnxruntime_itself_refuses_a_call_without_columns(bundle: Path) -> None:
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["image", "column/age", "column/sex"]
    with pytest.raises(ValueError, match="column/sex"):
        session.run(None, {"image": np.zeros((1, 8, 8, 3), np.uint8), "column/age": np.zeros(1, np.float32)})


def test_evaluation_takes_the_columns_of_its_data(bundle: Path, place: Path, tmp_path: Path) -> None:
    again = zoo.evaluate(bundle, place / "data")
    assert again.n == 48
    cells = {"Age": ["60", "50", ""], "sex": ["M", "d", "F"]}
    other = write_table(tmp_path / "a", cells, ["old", "young", "young"], seed=9)
    report = zoo.evaluate(bundle, other)
    assert report.n == 3
    assert any("'sex'" in note for note in report.notes)
    lacking = write_table(tmp_path / "b", {"age": ["60", "50"]}, ["old", "young"], seed=9)
    with refused("inputs-missing", DataError, columns=["sex"]):
        zoo.evaluate(bundle, lacking)
    with refused("inputs-missing", DataError):
        zoo.evaluate(bundle, "digits")
    empty = write_table(tmp_path / "c", {"age": ["60", "50"], "sex": ["", "F"]}, ["old", "young"], seed=9)
    with refused("inputs-cell-missing", DataError, column="sex"):
        zoo.evaluate(bundle, empty)


def test_models_with_and_without_columns_are_compared_on_the_same_images(
    result: zoo.TrainResult, alone: zoo.TrainResult
) -> None:
    found = zoo.compare([result.run, alone.run])
    assert len(found.models) == 2


def test_order_of_columns_and_images_is_kept(bundle: Path, place: Path, result: zoo.TrainResult) -> None:
    from zoo.workflow._images import images_of

    splits = images_of(open_run(Path(result.run)), None)
    runtime = Runtime.open(bundle)
    judged = judge(None, runtime, splits, "test")
    rows = TableRows(place / "data" / "table.csv", runtime.manifest.table)  # type: ignore[arg-type]
    for at in (0, 7, 20):
        name = place / "data" / splits.test.ids[at]
        own = runtime.logits(splits.test.read(at).pixels[None], {key: [cell] for key, cell in rows(str(name)).items()})
        assert np.allclose(own[0], judged.logits[at], atol=1e-5)


@pytest.mark.parametrize("where", ["run", "elsewhere"])
def test_the_heat_maps_of_a_report_are_made_with_the_columns_of_each_image(
    where: str, bundle: Path, place: Path, result: zoo.TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image says nothing here, so a map with the columns of another image would begin at another probability."""
    maps: list[tuple[bytes, HeatMap]] = []

    def explain(runtime: Runtime, image: RawImage, *rest: Any) -> HeatMap:
        maps.append((image.pixels.tobytes(), explain_image(runtime, image, *rest)))
        return maps[-1][1]

    monkeypatch.setattr("zoo.edge._explain.explain_image", explain)
    table = place / "data" / "table.csv"
    if where == "run":
        zoo.report(result.run, heatmaps=True, out=tmp_path / "page")
    else:
        cells = {"age": [str(30 + 2 * at) for at in range(24)], "sex": ["F", "M"] * 12}
        table = write_table(tmp_path / "site", cells, ["old", "young", "young"] * 8, strength=0, seed=9)
        zoo.report(bundle, table, heatmaps=True, out=tmp_path / "page")
    runtime = Runtime.open(bundle)
    rows = TableRows(table, runtime.manifest.table)  # type: ignore[arg-type]
    told = {}
    for image in table.parent.glob("*.png"):
        own = {name: [cell] for name, cell in rows(str(image)).items()}
        told[runtime.read(image).pixels.tobytes()] = runtime.answer(image, columns=own)
    assert 1 <= len(maps) <= 6
    for pixels, heat in maps:
        answer = told[pixels]
        assert isinstance(answer, Prediction)
        assert heat.base == pytest.approx(answer.probabilities[heat.label], abs=1e-5)
    assert len({heat.base for _, heat in maps}) == len(maps)


def test_copies_of_an_image_are_mapped_with_their_own_columns() -> None:
    digests = np.array([[1] * 32, [2] * 32, [1] * 32, [3] * 32], np.uint8)
    images: Any = SimpleNamespace(digests=digests, ids=("a", "b", "copy of a", "c"))
    answers: Any = SimpleNamespace(digests=digests[[2, 1, 0, 3]], ids=np.array(["copy of a", "b", "a", "renamed"]))
    assert _places(answers, images) == [2, 1, 0, 3]


def test_what_cannot_give_columns_refuses_them(
    place: Path, result: zoo.TrainResult, alone: zoo.TrainResult, bundle: Path
) -> None:
    with refused("inputs-unsupported", UsageError):
        zoo.train("svm", place / "data", inputs=("age",))
    with refused("inputs-unsupported", UsageError):
        export(result.run, quantize="int8", out=place / "q.onnx")
    with refused("inputs-unsupported", UsageError):
        export(bundle, web=place / "page", ort_web=place)
    with refused("inputs-unsupported", UsageError):
        zoo.train(f"ensemble:{result.run},{alone.run}", out=place / "both")
    table, over = place / "data" / "table.csv", place / "over"
    with refused("inputs-unsupported", UsageError, model="simple_cnn"):
        zoo.train_folds("simple_cnn", table, folds=3, inputs=("age",), then="ensemble", out=over)
    assert not over.exists()


def test_a_cell_that_one_fold_cannot_take_is_refused_before_any_fold_is_trained(tmp_path: Path) -> None:
    """The third fold is learnt from in the first training, and judged in the other two, which saw no empty cell."""
    ages = ["" if at == 2 else f"{20 + at % 7}" for at in range(90)]
    cells = {"fold": [str(at % 3) for at in range(90)], "age": ages}
    table = write_table(tmp_path / "data", cells, ["old" if at % 2 else "young" for at in range(90)], strength=0)
    with refused("inputs-cell-missing", DataError, column="age"):
        zoo.train_folds("simple_cnn", table, folds=3, inputs=("age",), epochs=1, out=tmp_path / "over")
    assert not (tmp_path / "over").exists()


@pytest.mark.usefixtures("result")
def test_a_run_is_continued_with_its_columns_only(place: Path) -> None:
    with refused("resume-changed"):
        learn(place, "with", inputs=("age",), resume="auto")


def test_an_exported_core_leaves_preprocessing_to_callers_and_keeps_columns(
    place: Path, result: zoo.TrainResult
) -> None:
    for stage in ("normalize", "none"):
        path = export(result.run, preprocess=stage, out=place / f"{stage}.onnx").path  # type: ignore[arg-type]
        runtime = Runtime.open(path)
        answer = runtime.answer(place / "data" / "im000.png", columns={"age": [50], "sex": ["F"]})
        assert not hasattr(answer, "error")
    assert msgspec.to_builtins(runtime.manifest)["table"]["columns"][0]["type"] == "numeric"
