"""A model that takes columns beside the image: every way to ask it gives them, or is refused; none answers without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
import numpy as np
import onnx
import pytest
from beside_images import TABLE, make_file, make_manifest, write_table
from edge_models import make_model
from refusals import refused
from serving import refused as not_served
from serving import serving

from zoo.artefact import set_manifest
from zoo.edge import Failure, Prediction, bench
from zoo.edge import Runtime as Opened
from zoo.edge.__main__ import main
from zoo.edge._beside import TableRows
from zoo.edge._explain import explain_images
from zoo.errors import DataError, ModelError, UsageError
from zoo.spec import Numeric, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.edge import Runtime

ROW = {"age": 61, "sex": "F", "dose": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("beside")
    make_file(root / "model.onnx")
    cells = {"age": ["61", "NA", "30"], "sex": ["F", "x", ""], "dose": ["2", "2.5", "1"]}
    write_table(root / "images", cells, ["benign", "malign", "benign"])
    return root


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Runtime:
    return Opened.open(folder / "model.onnx")


def test_columns_are_wanted_by_every_call(runtime: Runtime, folder: Path) -> None:
    batch = np.zeros((1, 8, 8, 3), np.uint8)
    for ask in (runtime.logits, runtime.probabilities):
        with refused("inputs-missing", DataError, columns=["age", "sex", "dose"]):
            ask(batch)
    with refused("inputs-missing", DataError, columns=["sex"]):
        runtime.logits(batch, {"age": [1], "dose": [2]})
    with refused("inputs-missing", DataError):
        list(runtime.predict(folder / "images"))
    with refused("inputs-missing", DataError):
        runtime.answer(folder / "images" / "im000.png")
    with refused("inputs-missing", DataError):
        list(explain_images(runtime, folder / "images"))


def test_the_answer_depends_on_the_columns_by_their_names(runtime: Runtime) -> None:
    batch = np.zeros((2, 8, 8, 3), np.uint8)
    given = {"dose": [2, 3], "sex": ["F", "m"], "age": [50, 60]}
    one, other = runtime.logits(batch, given)
    again = runtime.logits(batch[:1], {"age": ["50"], "sex": ["f"], "dose": ["2.0"]})[0]
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)


@pytest.mark.parametrize(
    "columns",
    [
        {"age": [1, 2], "sex": ["F"], "dose": [1]},
        {"age": [], "sex": ["F"], "dose": [1]},
        np.zeros((1, 2), np.float32),
        np.full((1, 3), np.inf, np.float32),
    ],
)
def test_another_number_of_cells_is_refused(runtime: Runtime, columns: Any) -> None:
    with refused("inputs-cell", DataError):
        runtime.logits(np.zeros((1, 8, 8, 3), np.uint8), columns)


def test_a_model_of_images_alone_refuses_columns(tmp_path: Path) -> None:
    path = tmp_path / "alone.onnx"
    path.write_bytes(make_model().SerializeToString())
    alone = Opened.open(path)
    with refused("inputs-unwanted", UsageError):
        alone.logits(np.zeros((1, 8, 8, 3), np.uint8), {"age": [1]})
    with refused("inputs-unwanted", UsageError):
        list(alone.predict(tmp_path, columns=ROW.__getitem__))


def test_images_without_a_row_get_no_answer_and_others_do(runtime: Runtime) -> None:
    images = [np.zeros((8, 8, 3), np.uint8)] * 3
    rows: dict[str, Any] = {"array 0": ROW, "array 2": {**ROW, "dose": ""}}
    first, second, third = runtime.predict(images, columns=rows.__getitem__, batch_size=4)
    assert isinstance(first, Prediction)
    assert isinstance(second, Failure)
    assert isinstance(third, Failure)


def test_unknown_values_are_answered_and_told(runtime: Runtime, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = TableRows(folder / "images" / "table.csv", TABLE)
    with caplog.at_level("WARNING", "zoo"):
        answers = list(runtime.predict(folder / "images", columns=rows))
    assert [type(one) for one in answers] == [Prediction] * 3
    assert [record for record in caplog.records if "'sex'" in record.getMessage()]


@pytest.mark.parametrize("way", ["beside", "instead"])
def test_a_table_goes_with_its_images(folder: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    table, images, model = (str(folder / one) for one in ("images/table.csv", "images", "model.onnx"))
    words = [images, "--table", table] if way == "beside" else [table]
    assert main(["predict", model, *words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [Path(row["image"]).name for row in rows] == ["im000.png", "im001.png", "im002.png"]
    expected = Opened.open(model).answer(folder / "images" / "im000.png", columns={k: [v] for k, v in ROW.items()})
    assert rows[0]["probability"] == expected.row()["probability"]


def test_a_table_is_resumed_with_the_same_table_only(folder: Path, tmp_path: Path) -> None:
    from zoo.edge._answers import predict_csv

    runtime = Opened.open(folder / "model.onnx")
    rows = TableRows(folder / "images" / "table.csv", TABLE)
    target = tmp_path / "out.csv"
    begun = predict_csv(runtime, folder / "images", target, columns=rows)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    other = write_table(tmp_path / "images", {"age": ["1"], "sex": ["F"], "dose": ["1"]}, ["a"])
    with refused("resume-differs", what="table"):
        next(predict_csv(runtime, folder / "images", target, columns=TableRows(other, TABLE), resume=True))
    assert len(list(predict_csv(runtime, folder / "images", target, columns=rows, resume=True))) == 3


def lines(place: Path, *rows: str) -> Path:
    place.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return place


def test_names_without_a_folder_mean_one_image_each(tmp_path: Path) -> None:
    table = lines(tmp_path / "t.csv", "image,age,sex,dose", "a.png,1,F,2", "b/c.png,2,F,2")
    rows = TableRows(table, TABLE)
    rows.expect(["/x/a.png"])
    assert rows("/x/a.png")["age"] == "1"
    with refused("inputs-row-missing", DataError):
        rows("/x/c.png")
    rows.expect(["/x/a.png", "/y/a.png"])
    with refused("inputs-row-unclear", DataError):
        rows("/x/a.png")
    assert rows(str(tmp_path / "a.png"))["age"] == "1"  # its own place is never unclear


@pytest.mark.parametrize(
    ("code", "rows"),
    [
        ("inputs-missing", ("image,age,sex", "a.png,1,F")),
        ("table-column-missing", ("scan,age,sex,dose", "a.png,1,F,2")),
        ("table-image-twice", ("image,age,sex,dose", "a.png,1,F,2", "./a.png,2,F,2")),
        ("table-rows", ("image,age,sex,dose", ",1,F,2")),
        ("data-empty", ("image,age,sex,dose",)),
        ("table-row", ("image,age,sex,dose", "a.png,1,F")),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, code: str, rows: tuple[str, ...]) -> None:
    with refused(code, DataError):
        TableRows(lines(tmp_path / "t.csv", *rows), TABLE)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with refused("file-unreadable", DataError):
        TableRows(tmp_path / "none.csv", TABLE)


def test_heat_maps_and_times_are_made_with_columns(runtime: Runtime, folder: Path) -> None:
    rows = TableRows(folder / "images" / "table.csv", TABLE)
    found = list(explain_images(runtime, folder / "images", columns=rows))
    assert not any(isinstance(one, Failure) for one in found)
    measured = bench(folder / "model.onnx", runs=2, operators=True)
    assert measured.p50_ms > 0
    assert measured.operators


def test_a_file_takes_what_its_manifest_says(tmp_path: Path) -> None:
    other = TableSpec(columns=(Numeric(name="weight", mean=50, std=1), *TABLE.columns[1:]))
    for at, table in enumerate((other, TableSpec(columns=TABLE.columns[:2]), None)):
        path = make_file(tmp_path / f"{at}.onnx")
        model = onnx.load(path)
        set_manifest(model, msgspec.structs.replace(make_manifest(), table=table))
        path.write_bytes(model.SerializeToString())
        with refused("model-input", ModelError):
            Opened.open(path)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Any]:
    with serving(folder / "model.onnx") as found:
        yield found


def test_a_server_takes_columns_in_the_query(server: Any, folder: Path, runtime: Runtime) -> None:
    body = (folder / "images" / "im000.png").read_bytes()
    good = "/predict?age=61&sex=F&dose=2"
    answer = server.ask("POST", good, body)
    assert answer.status == 200
    expected = runtime.answer(body, columns={name: [cell] for name, cell in ROW.items()})
    assert answer.json["probability"] == expected.row()["probability"]
    assert server.ask("POST", "/predict?age=&sex=&dose=2", body).status == 200
    assert server.ask("POST", "/explain?age=61&sex=F&dose=2", body).status == 200


@pytest.mark.parametrize(
    "query",
    ["", "?age=61&sex=F", "?age=61&sex=F&dose=", f"?age={quote('sixty')}&sex=F&dose=2", "?age=1&sex=F&dose=2&x=1"],
)
def test_a_server_refuses_what_it_cannot_take_and_repeats_nothing(server: Any, folder: Path, query: str) -> None:
    answer = server.ask("POST", f"/predict{query}", (folder / "images" / "im000.png").read_bytes())
    assert answer.status == 400
    assert b"sixty" not in answer.body


def test_a_server_says_which_columns_it_wants(server: Any) -> None:
    described = server.ask("GET", "/openapi.json").json["paths"]["/predict"]["post"]["parameters"]
    assert [one["name"] for one in described if one["required"]] == ["age", "sex", "dose"]


def test_of_several_models_each_takes_its_own_columns(folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(make_model().SerializeToString())
    body = (folder / "images" / "im000.png").read_bytes()
    with serving((plain, folder / "model.onnx")) as several:
        assert several.ask("POST", "/predict?model=beside&age=61&sex=F&dose=2", body).status == 200
        assert several.ask("POST", "/predict?model=beside", body).status == 400
        assert several.ask("POST", "/predict?age=61&sex=F&dose=2", body).status == 400, "the first takes none"
        assert several.ask("POST", "/predict", body).status == 200
        described = several.ask("GET", "/openapi.json").json["paths"]["/predict"]["post"]["parameters"]
    wanted = {one["name"]: one["required"] for one in described}
    assert wanted["age"] is False, "no column is wanted by all"


def test_a_column_named_as_a_choice_is_the_column_of_a_lone_model(folder: Path, tmp_path: Path) -> None:
    """A scanner's model, say. Among several models nobody could tell which of the two is meant."""
    file = make_file(tmp_path / "scanner.onnx", TableSpec(columns=(Numeric(name="model", mean=0.0, std=1.0),)))
    body = (folder / "images" / "im000.png").read_bytes()
    with serving(file) as lone:
        assert lone.ask("POST", "/predict?model=2", body).status == 200
        assert lone.ask("POST", "/predict", body).status == 400
        described = lone.ask("GET", "/openapi.json").json["paths"]["/predict"]["post"]["parameters"]
    assert [one["name"] for one in described if one["name"] in {"model", "version"}] == ["version", "model"]
    code, out = not_served((file, folder / "model.onnx"), of="stdout")
    assert (code, json.loads(out)["error"]["code"]) == (2, "serve-column")
