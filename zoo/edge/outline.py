"""What an ONNX file says of itself, read from its bytes before ONNX Runtime sees them.

`outline` walks a serialized ModelProto once and notes what decides whether it may be opened: versions, metadata,
nodes with their names and small attributes, and where the numbers of each tensor stand. Weights are neither copied
nor read. It refuses only what it can not describe; which models are opened says `zoo.edge.vet`.

What this module does not know: operators, limits, manifests, and whether the network makes sense.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from zoo.edge.wire import BYTES, RUN, VARINT, Field, RefusedError, fields, text, varint

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_INTS", "Attribute", "Node", "Outline", "Span", "Tensor", "Value", "outline", "short"]

MOST_INTS = 64
"""Of one attribute that are kept as numbers; kernel_shape, pads and perm are far shorter."""
_MOST_DIMS = 64  # of a tensor, while reading; the rules allow fewer


class Span(NamedTuple):
    """Where numbers stand in the file.

    Attributes:
        number: the field they are in, of the tensor or attribute.
        wire: BYTES for packed or raw numbers, RUN for records of one number each, FIXED32 for a single float.
        start: their first byte.
        end: the byte after them.
    """

    number: int
    wire: int
    start: int
    end: int


class Tensor(NamedTuple):
    """A TensorProto; its numbers stay where they are."""

    name: str
    kind: int
    """TensorProto.DataType."""
    dims: tuple[int, ...]
    """As unsigned numbers: a negative side is 2**63 or more."""
    spans: tuple[Span, ...]


class Attribute(NamedTuple):
    """An AttributeProto without graphs, functions and types, which are not opened."""

    name: str
    ints: tuple[int, ...]
    """i or ints, signed, where there are no more than a few."""
    floats: tuple[Span, ...]
    tensors: tuple[Tensor, ...]
    length: int
    """Bytes of its strings."""


class Node(NamedTuple):
    """A NodeProto."""

    domain: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[Attribute, ...]


class Value(NamedTuple):
    """A ValueInfoProto: an input or output of the graph."""

    name: str
    kind: int
    """TensorProto.DataType; 0: it says none."""
    rank: int | None
    """How many sides it declares; None: it declares no shape."""


@dataclass(slots=True)
class Outline:
    """The parts of a ModelProto that decide whether it may be opened.

    Attributes:
        ir_version: of the format; 0 if it says none.
        metadata: metadata_props.
        opsets: domain ("" is ai.onnx) to version.
        nodes: of the graph, in file order.
        initializers: of the graph, in file order.
        inputs: of the graph.
        outputs: of the graph.
        graphs: how many there are; 1 in a valid file.
        texts: bytes of the descriptions that nothing reads: doc_string, value_info and the like.
    """

    ir_version: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    opsets: dict[str, int] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    initializers: list[Tensor] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    graphs: int = 0
    texts: int = 0


def outline(data: bytes, most: int) -> Outline:
    """Walk a serialized ModelProto.

    Args:
        data: the whole file.
        most: nodes and tensors that are read before the rest is refused.

    Raises:
        MalformedError: not ONNX, or not whole.
        RefusedError: a graph in a node, a function, weights in another file, and what else can not be described.
    """
    found = Outline()
    for item in fields(data, 0, len(data), "model"):
        if item.number == 1:
            found.ir_version = item.value
        elif item.number == 7:
            found.graphs += 1
            if found.graphs == 1:
                _graph(data, item, found, most)
        elif item.number == 8:
            _opset(data, item, found)
        elif item.number == 14:
            _entry(data, item, found)
        elif item.wire == BYTES:
            found.texts += item.end - item.value
    return found


def short(name: str) -> str:
    """A name of the file's, quoted, in a length that fits one line."""
    return ascii(name if len(name) <= 60 else name[:57] + "...")


def _graph(data: bytes, graph: Field, found: Outline, most: int) -> None:
    for item in fields(data, graph.value, graph.end, "graph"):
        if item.number == 1:
            found.nodes.append(_node(data, item))
        elif item.number == 5:
            found.initializers.append(_tensor(data, item))
        elif item.number in {11, 12}:
            (found.inputs if item.number == 11 else found.outputs).append(_value(data, item))
        else:
            found.texts += item.end - item.value
        if len(found.nodes) > most or len(found.initializers) > most:
            what = "nodes" if len(found.nodes) > most else "weights"
            raise RefusedError(f"the graph has more than {most} {what}, expected at most that many")


def _node(data: bytes, node: Field) -> Node:
    names: dict[int, str] = {}
    inputs, outputs, attributes = [], [], []
    for item in fields(data, node.value, node.end, "node"):
        if item.number == 1:
            inputs.append(text(data, item))
        elif item.number == 2:
            outputs.append(text(data, item))
        elif item.number == 5:
            attributes.append(item)
        elif item.number in {4, 7, 8}:
            names[item.number] = text(data, item)
    operator = names.get(4, "")
    if names.get(8):
        raise RefusedError(f"operator {short(operator)} names an overload, which only functions have")
    try:
        read = tuple(_attribute(data, item) for item in attributes)
    except RefusedError as problem:
        raise RefusedError(f"operator {short(operator)}: {problem}") from None
    return Node(_domain(names.get(7, "")), operator, tuple(inputs), tuple(outputs), read)


def _attribute(data: bytes, attribute: Field) -> Attribute:
    name, length = "", 0
    ints: list[int] = []
    floats: list[Span] = []
    tensors: list[Tensor] = []
    for item in fields(data, attribute.value, attribute.end, "attribute"):
        if item.number == 1:
            name = text(data, item)
        elif item.number in {2, 7}:
            start = item.end - 4 if item.wire not in {BYTES, RUN} else item.value
            floats.append(Span(item.number, item.wire, start, item.end))
        elif item.number in {3, 8} and len(ints) <= MOST_INTS:
            ints.extend(_numbers(data, item))
        elif item.number in {5, 10}:
            tensors.append(_tensor(data, item))
        elif item.number in {4, 9, 13}:
            length += item.end - item.value
    return Attribute(name, tuple(ints), tuple(floats), tuple(tensors), length)


def _numbers(data: bytes, item: Field) -> Iterator[int]:
    """The first signed integers of a field, of a packed one or of a run."""
    if item.wire == VARINT:
        yield _signed(item.value)
        return
    position = item.value
    for _ in range(MOST_INTS + 1):
        if position >= item.end:
            return
        position += item.wire == RUN  # each record of a run begins with its tag
        value, position = varint(data, position, item.end)
        yield _signed(value)


def _tensor(data: bytes, tensor: Field) -> Tensor:
    dims: list[int] = []
    kind, name, external, spans = 0, "", False, []
    for item in fields(data, tensor.value, tensor.end, "tensor"):
        if item.number == 1:
            dims.extend(_sides(data, item))
            if len(dims) > _MOST_DIMS:
                raise RefusedError(f"a tensor has more than {_MOST_DIMS} sides; export the model again")
        elif item.number == 2:
            kind = item.value
        elif item.number == 8:
            name = text(data, item)
        elif item.number in {4, 5, 6, 7, 9, 10, 11}:
            spans.append(Span(item.number, item.wire, item.value, item.end))
        elif item.number == 13 or (item.number == 14 and item.value != 0):  # external_data, data_location
            external = True
    if external:
        raise RefusedError(
            f"tensor {short(name)} keeps its data outside the model, expected everything in one file; "
            "export the model again without external data"
        )
    return Tensor(name, kind, tuple(dims), tuple(spans))


def _sides(data: bytes, item: Field) -> Iterator[int]:
    if item.wire == VARINT:
        yield item.value
        return
    position = item.value
    for _ in range(_MOST_DIMS + 1):
        if position >= item.end:
            return
        value, position = varint(data, position, item.end)
        yield value


def _value(data: bytes, value: Field) -> Value:
    name, kind, rank = "", 0, None
    for item in fields(data, value.value, value.end, "value"):
        if item.number == 1:
            name = text(data, item)
        elif item.number == 2:
            for tensor in fields(data, item.value, item.end, "type"):
                if tensor.number == 1:
                    kind, rank = _tensor_type(data, tensor)
    return Value(name, kind, rank)


def _tensor_type(data: bytes, tensor: Field) -> tuple[int, int | None]:
    kind, rank = 0, None
    for item in fields(data, tensor.value, tensor.end, "tensor_type"):
        if item.number == 1:
            kind = item.value
        else:
            rank = 0
            for side in fields(data, item.value, item.end, "shape"):
                rank += 1
                for part in fields(data, side.value, side.end, "dim"):
                    if part.number == 2:
                        text(data, part)
    return kind, rank


def _opset(data: bytes, opset: Field, found: Outline) -> None:
    domain, version = "", 0
    for item in fields(data, opset.value, opset.end, "opset"):
        if item.number == 1:
            domain = _domain(text(data, item))
        else:
            version = item.value
    if found.opsets.setdefault(domain, version) != version:
        raise RefusedError(f"it imports two versions of {short(domain or 'ai.onnx')}; export the model again")


def _entry(data: bytes, entry: Field, found: Outline) -> None:
    pair = {1: "", 2: ""}
    for item in fields(data, entry.value, entry.end, "entry"):
        pair[item.number] = text(data, item)
    if pair[1] in found.metadata:
        raise RefusedError(f"the metadata key {short(pair[1])} stands there twice; export the model again")
    found.metadata[pair[1]] = pair[2]


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name  # two spellings of the standard operators


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
