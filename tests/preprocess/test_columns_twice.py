"""Columns beside the image have one specification and two executions, which agree: numpy, and nodes of the graph."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from beside_images import SPEC, TABLE, make_core
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from refusals import refused

from zoo.artefact import assemble, prove
from zoo.artefact._columns import ENCODED
from zoo.edge._session import open_session
from zoo.errors import DataError, GateError, ModelError
from zoo.spec import Categorical, InputSpec, Numeric, TableSpec
from zoo.tabular import draw_cells, encode_columns, note_unusual, parse_cells

GIVEN = InputSpec(name="image", dtype="uint8", channels=3)
NAN = float("nan")


def in_graph(table: TableSpec, raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    model = assemble(make_core(table), SPEC, GIVEN, temperature=1.0, table=table)
    model.graph.output.append(helper.make_tensor_value_info(ENCODED, TensorProto.FLOAT, None))
    session = open_session(model.SerializeToString(), "test", provider="cpu", threads=1)
    images = np.zeros((len(raw), 8, 8, 3), np.uint8)
    feed = {"image": images, **dict(zip(table.inputs, np.ascontiguousarray(raw.T), strict=True))}
    return np.asarray(session.run([ENCODED], feed)[0])


cells = st.one_of(st.just(NAN), st.floats(-1e6, 1e6, width=32))
codes = st.sampled_from([NAN, -1.0, 0.0, 1.0, 2.0, 7.0, 0.5])


@given(rows=st.lists(st.tuples(cells, codes, st.floats(-1e4, 1e4, width=32)), min_size=1, max_size=6))
def test_nodes_and_numpy_encode_alike(rows: list[tuple[float, float, float]]) -> None:
    raw = np.asarray(rows, np.float32)
    assert np.allclose(in_graph(TABLE, raw), encode_columns(raw, TABLE), rtol=1e-6, atol=0)


def test_encoding_says_what_is_missing_and_what_is_unknown() -> None:
    raw = np.float32([[60, 1, 2], [NAN, NAN, 3], [40, -1, 1]])
    assert encode_columns(raw, TABLE).tolist() == [
        [1, 0, 0, 1, 0, 0],
        [0, 1, 0, 0, 1, 2],
        [-1, 0, 0, 0, 1, -2],
    ]


def test_without_a_slot_unknown_and_missing_values_are_zeros() -> None:
    table = TableSpec(
        columns=(
            Numeric(name="age", mean=50, std=10, missing="neutral"),
            Categorical(name="sex", values=("F", "M"), missing="neutral"),
        )
    )
    raw = np.float32([[NAN, NAN], [50, -1]])
    assert encode_columns(raw, table).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert in_graph(table, raw).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_cells_are_read_as_people_write_them() -> None:
    cells = {
        "age": ["61", " 61.0 ", "NA", "", None],
        "sex": [" m", "F", "x", "n/a", None],
        "dose": [2, 2.5, "1e0", 0, 1],
    }
    raw = parse_cells(TABLE, cells, 5)
    assert raw[:2, 0].tolist() == [61, 61]
    assert np.isnan(raw[2:, 0]).all()
    assert raw[:3, 1].tolist() == [1, 0, -1]
    assert np.isnan(raw[3:, 1]).all()
    assert len(note_unusual(TABLE, raw)) == 1  # of the value 'x'


@pytest.mark.parametrize("cell", ["sixty", "61,5", "inf", "1e40", "0x10", "61 years", "²"])
def test_what_is_no_number_is_refused_with_its_column(cell: str) -> None:
    with refused("inputs-cell", DataError, column="age"):
        parse_cells(TABLE, {"age": [cell], "sex": ["F"], "dose": [1]}, 1)


def test_a_value_that_training_never_missed_must_be_there() -> None:
    with refused("inputs-cell-missing", DataError, column="dose"):
        parse_cells(TABLE, {"age": [1], "sex": ["F"], "dose": [""]}, 1)
    with refused("inputs-missing", DataError, columns=["dose"]):
        parse_cells(TABLE, {"age": [1], "sex": ["F"]}, 1)


def test_far_numbers_are_told() -> None:
    assert "'dose'" in note_unusual(TABLE, np.float32([[50, 0, 200]]))[0]
    assert note_unusual(TABLE, np.float32([[NAN, NAN, 2]])) == ()


def test_made_rows_hold_all_that_the_encoding_tells_apart() -> None:
    drawn = draw_cells(TABLE, 64)
    assert np.isnan(drawn[:, 0]).any()
    assert {-1.0, 0.0, 1.0} <= set(drawn[:, 1].tolist())
    assert not np.isnan(drawn[:, 2]).any()
    assert drawn.tobytes() == draw_cells(TABLE, 64).tobytes()


def test_the_gate_sees_columns_that_are_encoded_otherwise() -> None:
    from beside_images import make_manifest

    wrong = msgspec.structs.replace(TABLE.columns[0], mean=51.0)
    other = TableSpec(columns=(wrong, *TABLE.columns[1:]))
    images = [np.full((8, 8, 3), at, np.uint8) for at in range(3)]
    columns = draw_cells(TABLE, 3)

    def reference(x: np.ndarray[Any, Any], beside: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        signs = np.float32([[1, -1]])
        weights = np.linspace(-1, 1, TABLE.width, dtype=np.float32)[:, None] * signs
        return np.asarray(x.mean(axis=(2, 3)) @ signs + beside @ weights, np.float32)

    def judge(table: TableSpec, factor: float = 1.0) -> Any:
        """`factor`: what the file makes of the encoded columns before the network has them."""
        model = assemble(make_core(table), SPEC, GIVEN, temperature=1.0, table=table)
        nodes = model.graph.node
        for node in nodes:
            node.input[:] = ["moved" if name == ENCODED else name for name in node.input]
        at = next(index + 1 for index, node in enumerate(nodes) if ENCODED in node.output)
        nodes.insert(at, helper.make_node("Mul", [ENCODED, "factor"], ["moved"]))
        model.graph.initializer.append(numpy_helper.from_array(np.float32(factor), "factor"))
        manifest = make_manifest(TABLE)
        return prove(model, manifest, spec=SPEC, labels=manifest.labels, reference=reference, images=images,
                     table=TABLE, columns=columns)  # fmt: skip

    assert judge(TABLE).max_abs_column < 1e-6
    with refused("parity-answers", GateError):
        judge(other)
    with refused("parity-answers", GateError):
        judge(TABLE, factor=1.05)
    with refused("parity-statement", GateError, differs="columns"):
        prove(onnx.ModelProto(), make_manifest(None), spec=SPEC, labels=("benign", "malign"), reference=reference,
              images=images, table=TABLE, columns=columns)  # fmt: skip


def test_a_core_without_the_input_is_refused() -> None:
    core = make_core(TABLE)
    core.graph.input[1].name = "numbers"
    with refused("model-graph", ModelError):
        assemble(core, SPEC, GIVEN, temperature=1.0, table=TABLE)


@pytest.mark.parametrize(
    "columns",
    [
        (),
        (Numeric(name="a", mean=0, std=1), Categorical(name="a", values=("x",))),
        tuple(Numeric(name=f"c{at}", mean=0, std=1) for at in range(33)),
    ],
)
def test_a_table_is_of_a_few_different_columns(columns: Any) -> None:
    with pytest.raises(ValueError, match="column"):
        TableSpec(columns=columns)


@pytest.mark.parametrize("std", [0.0, -1.0, math.inf, NAN])
def test_a_number_is_scaled_by_a_number(std: float) -> None:
    with pytest.raises(ValueError, match="std"):
        Numeric(name="a", mean=0, std=std)
