"""Model files and bundles that a device must refuse, numbered as in the table of docs/security.md."""

from __future__ import annotations

import os
import pickle
import unicodedata
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from edge_models import make_bundle, make_manifest, make_model, seal
from onnx import TensorProto, helper, numpy_helper

from zoo.spec import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CANARY = "canary"


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def outside(name: str = "w", **keys: str) -> onnx.TensorProto:
    """A tensor that says its data is in another file."""
    tensor = onnx.TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "weights.bin"} | keys).items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def with_matrix(tensor: onnx.TensorProto) -> onnx.ModelProto:
    """The model whose weights are that tensor."""
    model = make_model()
    tensor.name = "matrix"
    model.graph.initializer[0].CopyFrom(tensor)
    return model


def with_node(kind: str, *, inputs: list[str] | None = None, domain: str = "", **attributes: Any) -> onnx.ModelProto:
    """The model and one node more, whose answer nobody reads."""
    model = make_model()
    model.graph.node.append(helper.make_node(kind, inputs or [], ["unread"], domain=domain, **attributes))
    return model


def with_constant(kind: str, *values: Any, inputs: tuple[str, ...] = (), **attributes: Any) -> onnx.ModelProto:
    """A node whose last inputs are constants."""
    model = with_node(kind, inputs=[*inputs, *(f"c{i}" for i in range(len(values)))], **attributes)
    for i, value in enumerate(values):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"c{i}"))
    return model


def endless_loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", 9, [])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    return with_node("Loop", inputs=["", "true"], body=body)


def recursive_function() -> onnx.ModelProto:
    model = with_node("F", inputs=["x"], domain="own")
    node = helper.make_node("F", ["x"], ["y"], domain="own")
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], [node], [helper.make_opsetid("own", 1)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def changed(change: Callable[[onnx.ModelProto], Any]) -> onnx.ModelProto:
    model = make_model()
    change(model)
    return model


def linked(folder: Path, link: str) -> onnx.ModelProto:
    """Weights in a file that is the user's secret by another name."""
    (folder / "private").mkdir()
    secret = folder / "private" / "secret"
    secret.write_bytes(np.eye(3, dtype=np.float32).tobytes())
    if link == "final":
        (folder / "weights.bin").symlink_to(secret)
    elif link == "hard":
        (folder / "weights.bin").hardlink_to(secret)
    else:
        (folder / "parent").symlink_to(folder / "private")
    return with_matrix(outside(location="parent/secret" if link == "parent" else "weights.bin"))


def sparse() -> onnx.ModelProto:
    tensor = onnx.SparseTensorProto(dims=[3, 3])
    tensor.values.CopyFrom(outside(location="*/_ORT_MEM_ADDR_/*", offset="0", length="36"))
    tensor.values.name = "matrix"
    model = make_model()
    del model.graph.initializer[0]
    model.graph.sparse_initializer.append(tensor)
    return model


def zip_of_pickles(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "inner", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary(folder / CANARY)))
    content = (folder / "inner").read_bytes()
    (folder / "inner").unlink()
    return content


def raw(values: list[float], kind: int = TensorProto.FLOAT) -> onnx.TensorProto:
    return helper.make_tensor("matrix", kind, [3, 3], values + [1.0] * (9 - len(values)))


Made = onnx.ModelProto | bytes
FILES: dict[str, tuple[Callable[[Path], Made], str]] = {
    "3 a zip of pickles": (zip_of_pickles, "a zip archive, expected an ONNX model"),
    "8 NaN": (lambda _: with_matrix(raw([np.nan])), "tensor 'matrix' holds NaN or an infinity"),
    "8 infinity": (lambda _: with_matrix(raw([-np.inf])), "tensor 'matrix' holds NaN or an infinity"),
    "11 beside the folder": (lambda _: with_matrix(outside(location="../x")), "outside the model"),
    "12 through a folder": (lambda _: with_matrix(outside(location="a/../../x")), "outside the model"),
    "13 absolute": (lambda _: with_matrix(outside(location="/etc/passwd")), "outside the model"),
    "14 a link": (lambda folder: linked(folder, "final"), "outside the model"),
    "15 a linked folder": (lambda folder: linked(folder, "parent"), "outside the model"),
    "16 a hard link": (lambda folder: linked(folder, "hard"), "outside the model"),
    "17 in a constant": (lambda _: with_node("Constant", value=outside()), "outside the model"),
    "17 in a sparse one": (lambda _: sparse(), "a sparse tensor"),
    "18 an address": (lambda _: with_matrix(outside(location="*/_ORT_MEM_ADDR_/*")), "outside the model"),
    "19 very long": (lambda _: with_matrix(outside(length=str(2**50))), "outside the model"),
    "19 of length -1": (lambda _: with_matrix(outside(length="-1")), "outside the model"),
    "19 before its file": (lambda _: with_matrix(outside(offset="-4")), "outside the model"),
    "20 a dunder key": (lambda _: with_matrix(outside(__class__="x")), "outside the model"),
    "21 empty": (lambda _: b"", "empty file"),
    "21 cut short": (lambda _: make_model().SerializeToString()[:-40], "not a whole ONNX file"),
    "21 random": (lambda _: np.random.default_rng(0).bytes(5000), "not a whole ONNX file"),
    "22 opset 9999": (lambda _: make_model(opset=9999), "opset 9999, expected 13 to"),
    "22 IR 9999": (lambda _: changed(lambda m: setattr(m, "ir_version", 9999)), "IR version 9999, expected 7 to"),
    "23 a domain": (lambda _: with_node("Run", domain="evil.ops"), "'evil.ops:Run' is not standard ONNX"),
    "24 a function of itself": (lambda _: recursive_function(), "local functions, expected none"),
    "25 an endless loop": (lambda _: endless_loop(), "operator 'Loop'"),
    "26 a huge constant": (lambda _: with_constant("ConstantOfShape", [2**40]), "ConstantOfShape asks for 1.1e+12"),
    "27 one name twice": (
        lambda _: changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])),
        "two initializers are named 'matrix'",
    ),
    "28 too few bytes": (
        lambda _: changed(lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234")),
        "holds 4 bytes, expected 36",
    ),
    "28 a negative side": (
        lambda _: changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, -3)),
        "negative size",
    ),
    "29 more labels": (lambda _: make_model(width=2), "3 labels"),
    "33 nesting": (lambda _: changed(lambda m: helper.set_model_props(m, {"zoo": "[" * 10**5})), "metadata 'zoo'"),
    "33 a long number": (
        lambda _: changed(lambda m: helper.set_model_props(m, {"zoo": '{"schema": %s}' % ("9" * 10**6)})),
        "metadata 'zoo'",
    ),
    "33 NaN": (
        lambda _: changed(lambda m: helper.set_model_props(m, {"zoo": manifest_with("temperature", "NaN")})),
        "metadata 'zoo'",
    ),
}
"""Number and name → how the lone file is made in a folder, and what its refusal says."""


def manifest_with(key: str, value: str) -> str:
    text = encode(make_manifest()).decode()
    assert f'"{key}": 1.0' in text
    return text.replace(f'"{key}": 1.0', f'"{key}": {value}')


def good_bundle(folder: Path) -> Path:
    return make_bundle(folder / "m.zoo")


def hash_mismatch(bundle: Path) -> None:
    (bundle / "model.onnx").write_bytes(pickle.dumps(Canary(bundle.parent / CANARY)))


def case_twins(bundle: Path) -> None:
    (bundle / "card.MD").write_text("two")
    seal(bundle)


def accent_twins(bundle: Path) -> None:
    for form in ("NFC", "NFD"):
        (bundle / f"{unicodedata.normalize(form, 'é')}.txt").write_text(form)
    seal(bundle)


def deep(bundle: Path) -> None:
    (bundle / "manifest.json").write_text('{"labels":' * 10**5)


def gigabyte_number(bundle: Path) -> None:
    with (bundle / "manifest.json").open("r+b") as stream:
        stream.write(b'{"schema": 9')
        stream.truncate(10**9)  # a hole: it takes no room on the disk


def long_number(bundle: Path) -> None:
    (bundle / "manifest.json").write_text('{"schema": %s}' % ("9" * 10**7))


def not_a_number(bundle: Path) -> None:
    (bundle / "manifest.json").write_text(manifest_with("temperature", "NaN"))


def linked_model(bundle: Path) -> None:
    (bundle / "model.onnx").rename(bundle.parent / "elsewhere")
    (bundle / "model.onnx").symlink_to(bundle.parent / "elsewhere")


def hard_linked_model(bundle: Path) -> None:
    (bundle.parent / "again").hardlink_to(bundle / "model.onnx")


BUNDLES: dict[str, tuple[Callable[[Path], None], str, int]] = {
    "10 another hash": (hash_mismatch, "model.onnx has sha256", 3),
    "14 a link": (linked_model, "model.onnx is a symbolic link", 3),
    "16 a hard link": (hard_linked_model, "hard link", 3),
    "30 two cases": (case_twins, "one name on other systems", 3),
    "30 two accents": (accent_twins, "one name on other systems", 3),
    "33 nesting": (deep, "manifest.json", 1),
    "33 a gigabyte": (gigabyte_number, "1000000000 bytes, expected at most", 1),
    "33 a long number": (long_number, "manifest.json", 1),
    "33 NaN": (not_a_number, "manifest.json", 1),
}
"""Number and name → what is done to a good bundle, what its refusal says, and the exit status."""
