"""Images with columns beside them: a table on disk, and a model file that is made without a training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from zoo.artefact import assemble, set_manifest
from zoo.spec import (
    Categorical,
    Fingerprint,
    InputSpec,
    Manifest,
    Numeric,
    PluginOrigin,
    PreprocessSpec,
    Provenance,
    TableSpec,
    TrainConfig,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TABLE = TableSpec(
    columns=(
        Numeric(name="age", mean=50.0, std=10.0, missing="learnt"),
        Categorical(name="sex", values=("F", "M"), other=True, missing="learnt"),
        Numeric(name="dose", mean=2.0, std=0.5),
    )
)
"""Two that may be missing, and one that may not."""

SPEC = PreprocessSpec(size=(8, 8), channels="gray", resize="stretch")


def write_table(root: Path, columns: Mapping[str, Sequence[str]], labels: Sequence[str], **more: Any) -> Path:
    """A folder with table.csv and an image for each label, bright stripes in those of the last class; its place.

    Args:
        root: the folder.
        columns: cells of further columns, in the order of the labels.
        labels: class of each image.
        **more: seed; and strength, by how much the stripes are brighter.
    """
    rng = np.random.default_rng(more.get("seed", 0))
    root.mkdir(parents=True, exist_ok=True)
    names = [f"im{at:03}.png" for at in range(len(labels))]
    for name, label in zip(names, labels, strict=True):
        pixels = rng.normal(100, 30, (8, 8))
        if label == max(labels):
            pixels[::2] += more.get("strength", 60)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name)
    with (root / "table.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", *columns])
        writer.writerows(zip(names, labels, *columns.values(), strict=True))
    return root / "table.csv"


def make_core(table: TableSpec, channels: int = 1) -> onnx.ModelProto:
    """ "input" and "columns" to "logits" (N, 2): the mean of the picture, and encoded columns, each its own weight."""
    weights = np.linspace(-1, 1, table.width, dtype=np.float32)[:, None] * np.float32([[1, -1]])
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
            helper.make_node("MatMul", ["mean", "of_image"], ["one"]),
            helper.make_node("MatMul", ["columns", "of_columns"], ["other"]),
            helper.make_node("Add", ["one", "other"], ["logits"]),
        ],
        "core",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, *SPEC.size]),
            helper.make_tensor_value_info("columns", TensorProto.FLOAT, ["N", table.width]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(np.array([2, 3]), "axes"),
            numpy_helper.from_array(np.tile(np.float32([[1, -1]]), (channels, 1)), "of_image"),
            numpy_helper.from_array(weights, "of_columns"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def make_manifest(table: TableSpec | None = TABLE, **changes: Any) -> Manifest:
    """What the file of `make_file` says of itself."""
    manifest = Manifest(
        schema=1,
        name="beside",
        labels=("benign", "malign"),
        preprocess=SPEC,
        input=InputSpec(name="image", dtype="uint8", channels=3),
        outputs=("probabilities", "logits"),
        temperature=1.0,
        parity=None,
        report=None,
        provenance=Provenance(
            run="none",
            model="beside",
            created="2026-01-01T00:00:00Z",
            plugin=PluginOrigin(name="none", distribution="none", version="0"),
            versions={},
            data=Fingerprint(name="none", sha256="0" * 64, n=1, splits={"train": 1}),
            config=TrainConfig(),
            weights=None,
        ),
        licence="unknown",
        intended_use="tests",
        table=table,
    )
    return msgspec.structs.replace(manifest, **changes)


def make_file(path: Path, table: TableSpec = TABLE, **changes: Any) -> Path:
    """A model file that takes images and the columns of `table`; `changes` of what it says of itself."""
    manifest = make_manifest(table, **changes)
    given = InputSpec(name="image", dtype="uint8", channels=3)
    model = assemble(make_core(table), SPEC, given, temperature=1.0, table=table)
    set_manifest(model, manifest)
    path.write_bytes(model.SerializeToString())
    return path
