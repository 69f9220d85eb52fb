"""From which ONNX Runtime on a file was shown to run: by its operators, in a table of what was really run.

`benchmarks/runtimes.py --write` makes the table, `runtimes.json`: it runs files of every family on every version.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo._support.versions import is_older
from zoo.errors import ModelError
from zoo.spec import OldestRuntime, decode

if TYPE_CHECKING:
    import onnx

    from zoo.spec import QuantizedKind

__all__ = ["TABLE", "ProvenOperators", "find_oldest", "list_operators"]

TABLE = Path(__file__).with_name("runtimes.json")


class ProvenOperators(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which operators gave golden answers on which versions of ONNX Runtime."""

    command: str
    """What made the table."""
    versions: tuple[str, ...]
    """Those that were run, the oldest first."""
    ir_version: int
    """Of the files that were run."""
    opsets: dict[str, int]
    """Operator sets of those files by domain; "" is ai.onnx."""
    operators: dict[str, dict[str, str]]
    """float32, int8 or fp16 → operator, as `list_operators` names it → the oldest of `versions` from which on every
    file of that kind that holds it gave its golden answers."""


def find_oldest(model: onnx.ModelProto, kind: QuantizedKind | None) -> OldestRuntime:
    """The oldest ONNX Runtime for a file that has just been run on the one installed here.

    Args:
        model: the whole file.
        kind: what it was quantised to; None: float32.
    """
    import onnxruntime

    table = _table()
    known = table.operators.get(kind or "float32", {})
    used = list_operators(model)
    same = model.ir_version == table.ir_version and all(
        table.opsets.get(entry.domain) == entry.version for entry in model.opset_import
    )
    if same and used <= known.keys():
        oldest = max((known[name] for name in used), key=table.versions.index)
        if not is_older(onnxruntime.__version__, oldest):  # else the file itself has shown more than the table
            return OldestRuntime(onnxruntime=oldest, proven="operators")
    return OldestRuntime(onnxruntime=onnxruntime.__version__, proven="file")


def list_operators(model: onnx.ModelProto) -> frozenset[str]:
    """The operators of a file: Conv, or ai.onnx.ml.SVMClassifier outside ai.onnx."""
    return frozenset(f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in model.graph.node)


@cache
def _table() -> ProvenOperators:
    return decode(TABLE.read_bytes(), ProvenOperators, TABLE.name, ModelError)
