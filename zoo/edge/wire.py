"""What an ONNX file says of itself, read from its bytes before ONNX Runtime sees them.

A small walker over the protobuf wire format (https://protobuf.dev/programming-guides/encoding) that knows
only the messages of onnx.proto in which tensors, nodes, opsets and metadata can stand. It needs no `onnx`
package, skips weights without copying them, and refuses what ONNX Runtime would follow or choke on: weights
kept in another file (it reads a hard-linked one without a word), truncated messages, two initializers of one
name.

What this module does not know: manifests, labels, providers, and whether the network makes sense.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zoo.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Outline", "outline"]

# Message kind → field number → kind of the message in that field; numbers from onnx.proto (IR version 13).
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 14: "entry", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "initializer", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
}
# Random forests hold millions of unpacked attribute numbers; a possessive pattern skips a run at C speed.
_RUNS = {
    0x3D: re.compile(rb"(?:\x3d.{4})++", re.DOTALL),  # AttributeProto.floats
    0x40: re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])++"),  # AttributeProto.ints
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ITEM_BYTES = {
    1: 4,
    2: 1,
    3: 1,
    4: 2,
    5: 2,
    6: 4,
    7: 8,
    9: 1,
    10: 2,
    11: 8,
    12: 4,
    13: 8,
    14: 8,
    15: 16,
    16: 2,
}
"""TensorProto.DataType → bytes of one number in raw_data."""
_MAX_DEPTH = 32  # protobuf itself stops at 100; our exporter needs 4
_MAX_NODES = 50_000  # ONNX Runtime takes seconds to open a graph of 200 000


@dataclass(slots=True)
class Outline:
    """The parts of a ModelProto that decide whether it may be opened.

    Attributes:
        metadata: metadata_props.
        opsets: domain ("" is ai.onnx) to version.
        operators: (domain, operator type) of every node, those of nested graphs and functions included.
        nodes: how many nodes there are, nested ones included.
        functions: how many model-local functions there are.
        graphs: how many top-level graphs there are; 1 in a valid file.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    nodes: int = 0
    functions: int = 0
    graphs: int = 0


def outline(model: bytes, name: str) -> Outline:
    """Walk a serialized ModelProto.

    Args:
        model: the whole file.
        name: how errors name the file.

    Raises:
        ModelError: empty, truncated or not ONNX; a tensor whose data is in another file or has the wrong
            length; training information; a graph too deep or too large.
    """
    try:
        found = Outline()
        _walk(model, (0, len(model)), "model", 0, found)
    except _MalformedError as problem:
        raise ModelError(f"{name}: not a whole ONNX file ({problem}); copy or export it again") from None
    except _RefusedError as problem:
        raise ModelError(f"{name}: {problem}") from None
    if found.graphs != 1:
        raise ModelError(
            f"{name}: not a whole ONNX file (it holds {found.graphs} graphs, expected 1); copy or export it again"
        )
    return found


class _MalformedError(Exception):
    """The bytes are not the message they should be."""


class _RefusedError(Exception):
    """The message is well formed, and holds something that is not opened."""


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    wire: int
    value: int
    """The number itself, or where the bytes begin."""
    end: int


def _walk(data: bytes, span: tuple[int, int], kind: str, depth: int, found: Outline) -> None:
    """One message and all in it; what it says is added to `found`."""
    if depth > _MAX_DEPTH:
        raise _RefusedError(f"graphs are nested deeper than {_MAX_DEPTH} messages, expected a plain network")
    initializers: set[str] = set()
    for item in _fields(data, *span, _RUNS if kind == "attribute" else {}):
        child = _CHILDREN[kind].get(item.number)
        if child is None or item.wire != _BYTES:
            continue
        if child in {"tensor", "initializer"}:
            label = _tensor(data, item)
            if child == "initializer" and label in initializers:
                raise _RefusedError(f"two initializers are named {_short(label)}; export the model again")
            initializers.add(label)
        elif child in {"opset", "entry", "training"}:
            _note(data, item, child, found)
        else:
            found.graphs += child == "graph" and kind == "model"
            found.functions += child == "function"
            _walk(data, (item.value, item.end), child, depth + 1, found)
    if kind == "node":
        _count(data, span, found)


def _note(data: bytes, item: _Field, child: str, found: Outline) -> None:
    """What a ModelProto says beside its graph."""
    if child == "training":
        raise _RefusedError("it holds training information, expected a network for inference only")
    if child == "opset":
        domain, version = _opset(data, item)
        found.opsets[domain] = version
        return
    key, value = _entry(data, item)
    if key in found.metadata:
        raise _RefusedError(f"the metadata key {_short(key)} stands there twice; export the model again")
    found.metadata[key] = value


def _count(data: bytes, span: tuple[int, int], found: Outline) -> None:
    """One NodeProto's domain and operator type."""
    names = {4: "", 7: ""}
    for item in _fields(data, *span, {}):
        if item.wire == _BYTES and item.number in names:
            names[item.number] = _text(data, item)
    found.operators.add((_domain(names[7]), names[4]))
    found.nodes += 1
    if found.nodes > _MAX_NODES:
        raise _RefusedError(f"the graph has more than {_MAX_NODES} nodes")


def _fields(data: bytes, start: int, end: int, runs: dict[int, re.Pattern[bytes]]) -> Iterator[_Field]:
    """The fields of one message, in file order."""
    position = start
    while position < end:
        pattern = runs.get(data[position])
        if pattern is not None and (run := pattern.match(data, position, end)):
            position = run.end()
            continue
        tag, position = _varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise _MalformedError(f"no field has the number 0, byte {position}")
        value = position
        if wire == _VARINT:
            value, position = _varint(data, position, end)
        elif wire == _BYTES:
            length, value = _varint(data, position, end)
            position = value + length
        elif wire in {_FIXED32, _FIXED64}:
            position += 4 if wire == _FIXED32 else 8
        else:
            raise _MalformedError(f"unknown wire type {wire} at byte {position}")
        if position > end:
            raise _MalformedError(f"it ends {position - end} bytes too early, at byte {end}")
        yield _Field(number, wire, value, position)


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while position < end and shift < 70:  # ten bytes hold 64 bits
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise _MalformedError(f"a number is cut off at byte {position}")


def _text(data: bytes, item: _Field) -> str:
    try:
        return data[item.value : item.end].decode()
    except UnicodeDecodeError:
        raise _MalformedError(f"text at byte {item.value} is not UTF-8") from None


def _tensor(data: bytes, item: _Field) -> str:
    """The name of a TensorProto, after its shape, its length and where its data is were found good."""
    dims: list[int] = []
    kind, raw, name, external = 0, -1, "", False
    for part in _fields(data, item.value, item.end, {}):
        if part.number == 1 and part.wire == _VARINT:
            dims.append(part.value)
        elif part.number == 1 and part.wire == _BYTES:
            position = part.value
            while position < part.end:
                value, position = _varint(data, position, part.end)
                dims.append(value)
        elif part.number == 2 and part.wire == _VARINT:
            kind = part.value
        elif part.number == 8 and part.wire == _BYTES:
            name = _text(data, part)
        elif part.number == 9 and part.wire == _BYTES:
            raw = part.end - part.value
        elif part.number == 13 or (part.number == 14 and part.value != 0):  # external_data, data_location
            external = True
    if external:
        raise _RefusedError(
            f"tensor {_short(name)} keeps its data outside the model, expected everything in one file; "
            "export the model again without external data"
        )
    if any(value >= 1 << 63 for value in dims):
        raise _RefusedError(f"tensor {_short(name)} has a negative size; export the model again")
    if raw >= 0 and kind in _ITEM_BYTES and math.prod(dims) * _ITEM_BYTES[kind] != raw:
        raise _RefusedError(
            f"tensor {_short(name)} holds {raw} bytes, expected "
            f"{math.prod(dims) * _ITEM_BYTES[kind]} for its shape; export the model again"
        )
    return name


def _opset(data: bytes, item: _Field) -> tuple[str, int]:
    domain, version = "", 0
    for part in _fields(data, item.value, item.end, {}):
        if part.number == 1 and part.wire == _BYTES:
            domain = _text(data, part)
        elif part.number == 2 and part.wire == _VARINT:
            version = part.value
    return _domain(domain), version


def _entry(data: bytes, item: _Field) -> tuple[str, str]:
    pair = {1: "", 2: ""}
    for part in _fields(data, item.value, item.end, {}):
        if part.number in pair and part.wire == _BYTES:
            pair[part.number] = _text(data, part)
    return pair[1], pair[2]


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name  # two spellings of the standard operators


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")
