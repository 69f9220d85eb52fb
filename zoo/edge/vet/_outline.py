"""What an ONNX file says of itself, read from its bytes before ONNX Runtime sees them.

`outline` walks a serialized ModelProto once and notes what decides whether it may be opened: versions, metadata,
nodes with their names and small attributes, and where the numbers of each tensor are. It neither copies nor reads
weights. It refuses only what it cannot describe; `zoo.edge.vet` says which models are opened.

What this module does not know: operators, limits, manifests, and whether the network makes sense.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from zoo.edge.vet._wire import BYTES, RUN, VARINT, Field, RefusedError, Source, fields, text, varint

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_INTS", "Attribute", "Node", "Outline", "Span", "Tensor", "Value", "outline", "short"]

MOST_INTS = 64
"""Integers of one attribute that are kept as numbers; kernel_shape, pads and perm are far shorter."""
_MOST_DIMS = 64  # of a tensor, while reading; the rules allow fewer
_MOST_RECORDS = 2_000_000  # of a file; a ResNet-50 has 3000
_MOST_PARTS = 4_096  # inputs, outputs and attributes of one node; a dense block of 121 layers concatenates 58
_MOST_LISTS = 64  # of numbers or tensors in one attribute, and of inputs, outputs and opsets of a file


class Span(NamedTuple):
    """Where numbers are in the file.

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
    """i or ints, signed; more than `MOST_INTS` numbers: the list was longer and is cut."""
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
        ir_version: version of the format; 0: the file says none.
        metadata: metadata_props.
        entries: key of metadata_props to where its record begins and ends in the file.
        opsets: domain ("" is ai.onnx) to version.
        nodes: nodes of the graph, in file order.
        initializers: weights of the graph, in file order.
        inputs: inputs of the graph.
        outputs: outputs of the graph.
        graphs: number of graphs; 1 in a valid file.
        texts: bytes of the descriptions that nothing reads: doc_string, value_info and the like.
    """

    ir_version: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    entries: dict[str, tuple[int, int]] = field(default_factory=dict)
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
        RefusedError: a graph in a node, a function, weights in another file, or another part that it cannot describe.
    """
    found, source = Outline(), Source(data, _MOST_RECORDS)
    begin = 0  # of the record
    for item in fields(source, 0, len(data), "model"):
        if item.number == 1:
            found.ir_version = item.value
        elif item.number == 7:
            found.graphs += 1
            if found.graphs == 1:
                _graph(source, item, found, most)
        elif item.number == 8:
            _opset(source, item, found)
        elif item.number == 14:
            found.entries[_entry(source, item, found)] = (begin, item.end)
        elif item.wire == BYTES:
            found.texts += item.end - item.value
        begin = item.end
    return found


def short(name: str) -> str:
    """A name of the file's, quoted, in a length that fits one line."""
    return ascii(name if len(name) <= 60 else name[:57] + "...")


def _graph(source: Source, graph: Field, found: Outline, most: int) -> None:
    for item in fields(source, graph.value, graph.end, "graph"):
        if item.number == 1:
            found.nodes.append(_node(source, item))
        elif item.number == 5:
            found.initializers.append(_tensor(source, item))
        elif item.number in {11, 12}:
            (found.inputs if item.number == 11 else found.outputs).append(_value(source, item))
        else:
            found.texts += item.end - item.value
        if max(len(found.inputs), len(found.outputs)) > _MOST_LISTS:
            raise RefusedError(
                f"more than {_MOST_LISTS} inputs or outputs, expected an image and its answers", code="model-many"
            )
        if len(found.nodes) > most or len(found.initializers) > most:
            what = "nodes" if len(found.nodes) > most else "weights"
            raise RefusedError(
                f"the graph has more than {most} {what}, expected at most that many",
                code="model-many",
                what=what,
                most=most,
            )


def _node(source: Source, node: Field) -> Node:
    names: dict[int, str] = {}
    inputs, outputs, attributes = [], [], []
    for item in fields(source, node.value, node.end, "node"):
        if item.number == 1:
            inputs.append(text(source, item))
        elif item.number == 2:
            outputs.append(text(source, item))
        elif item.number == 5:
            attributes.append(item)
        elif item.number in {4, 7, 8}:
            names[item.number] = text(source, item)
        if len(inputs) + len(outputs) + len(attributes) > _MOST_PARTS:
            raise RefusedError(
                f"a node has more than {_MOST_PARTS} inputs, outputs and attributes; export it again", code="model-many"
            )
    operator = names.get(4, "")
    if names.get(8):
        raise RefusedError(
            f"operator {short(operator)} names an overload, which only functions have",
            code="model-operator",
            operator=short(operator),
        )
    try:
        read = tuple(_attribute(source, item) for item in attributes)
    except RefusedError as problem:
        raise RefusedError(
            f"operator {short(operator)}: {problem}", code="model-operator", operator=short(operator)
        ) from None
    return Node(_domain(names.get(7, "")), operator, tuple(inputs), tuple(outputs), read)


def _attribute(source: Source, attribute: Field) -> Attribute:
    name, length = "", 0
    ints: list[int] = []
    floats: list[Span] = []
    tensors: list[Tensor] = []
    for item in fields(source, attribute.value, attribute.end, "attribute"):
        if item.number == 1:
            name = text(source, item)
        elif item.number in {2, 7}:
            start = item.end - 4 if item.wire not in {BYTES, RUN} else item.value
            floats.append(Span(item.number, item.wire, start, item.end))
        elif item.number in {3, 8} and len(ints) <= MOST_INTS:
            ints.extend(_numbers(source, item))
        elif item.number in {5, 10}:
            tensors.append(_tensor(source, item))
        elif item.number in {4, 9, 13}:
            length += item.end - item.value
        if len(floats) + len(tensors) > _MOST_LISTS:
            raise RefusedError(
                f"attribute {short(name)} is in more than {_MOST_LISTS} pieces; export it again", code="model-many"
            )
    return Attribute(name, tuple(ints), tuple(floats), tuple(tensors), length)


def _numbers(source: Source, item: Field) -> Iterator[int]:
    """The first signed integers of a field, of a packed one or of a run."""
    if item.wire == VARINT:
        yield _to_signed(item.value)
        return
    position = item.value
    for _ in range(MOST_INTS + 1):
        if position >= item.end:
            return
        position += item.wire == RUN  # each record of a run begins with its tag
        value, position = varint(source.data, position, item.end)
        yield _to_signed(value)


def _tensor(source: Source, tensor: Field) -> Tensor:
    dims: list[int] = []
    kind, name, external, spans = 0, "", False, []
    for item in fields(source, tensor.value, tensor.end, "tensor"):
        if item.number == 1:
            dims.extend(_sides(source, item))
            if len(dims) > _MOST_DIMS:
                raise RefusedError(
                    f"a tensor has more than {_MOST_DIMS} sides; export the model again", code="model-many"
                )
        elif item.number == 2:
            kind = item.value
        elif item.number == 8:
            name = text(source, item)
        elif item.number in {4, 5, 7, 9, 10, 11}:
            spans.append(Span(item.number, item.wire, item.value, item.end))
        elif item.number == 13 or (item.number == 14 and item.value != 0):  # external_data, data_location
            external = True
    if external:
        raise RefusedError(
            f"tensor {short(name)} keeps its data outside the model, expected everything in one file; "
            "export the model again without external data",
            code="model-external-data",
            tensor=short(name),
        )
    return Tensor(name, kind, tuple(dims), tuple(spans))


def _sides(source: Source, item: Field) -> Iterator[int]:
    if item.wire == VARINT:
        yield item.value
        return
    position = item.value
    for _ in range(_MOST_DIMS + 1):
        if position >= item.end:
            return
        value, position = varint(source.data, position, item.end)
        yield value


def _value(source: Source, value: Field) -> Value:
    name, kind, rank = "", 0, None
    for item in fields(source, value.value, value.end, "value"):
        if item.number == 1:
            name = text(source, item)
        elif item.number == 2:
            for tensor in fields(source, item.value, item.end, "type"):
                if tensor.number == 1:
                    kind, rank = _tensor_type(source, tensor)
    return Value(name, kind, rank)


def _tensor_type(source: Source, tensor: Field) -> tuple[int, int | None]:
    kind, rank = 0, None
    for item in fields(source, tensor.value, tensor.end, "tensor_type"):
        if item.number == 1:
            kind = item.value
        else:
            rank = 0
            for side in fields(source, item.value, item.end, "shape"):
                rank += 1
                for part in fields(source, side.value, side.end, "dim"):
                    if part.number == 2:
                        text(source, part)
    return kind, rank


def _opset(source: Source, opset: Field, found: Outline) -> None:
    domain, version = "", 0
    for item in fields(source, opset.value, opset.end, "opset"):
        if item.number == 1:
            domain = _domain(text(source, item))
        else:
            version = item.value
    if len(found.opsets) > _MOST_LISTS:
        raise RefusedError(
            f"it imports more than {_MOST_LISTS} sets of operators; export the model again", code="model-many"
        )
    if found.opsets.setdefault(domain, version) != version:
        raise RefusedError(
            f"it imports two versions of {short(domain or 'ai.onnx')}; export the model again",
            code="model-twice",
            name=short(domain or "ai.onnx"),
        )


def _entry(source: Source, entry: Field, found: Outline) -> str:
    pair = {1: "", 2: ""}
    for item in fields(source, entry.value, entry.end, "entry"):
        pair[item.number] = text(source, item)
    if pair[1] in found.metadata:
        raise RefusedError(
            f"the metadata holds key {short(pair[1])} twice; export the model again",
            code="model-twice",
            name=short(pair[1]),
        )
    if len(found.metadata) > _MOST_LISTS:
        raise RefusedError(f"more than {_MOST_LISTS} metadata keys; export the model again", code="model-many")
    found.metadata[pair[1]] = pair[2]
    return pair[1]


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name  # two spellings of the standard operators


def _to_signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
