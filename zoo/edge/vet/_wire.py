"""The protobuf wire format, and the messages of onnx.proto whose fields we know.

A reader of https://protobuf.dev/programming-guides/encoding that goes over bytes without copying them and needs
no `onnx` package. It is stricter than protobuf itself, which skips fields it does not know, merges a message that
is there twice and takes the last of two numbers: two readers of one file could then see two different models.
Here an unknown field, a repeated single one and a field of another wire type are refused.

What this module does not know: what the fields mean, and which models may be opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BYTES",
    "FIXED32",
    "FIXED64",
    "MESSAGES",
    "RUN",
    "VARINT",
    "Field",
    "MalformedError",
    "Record",
    "RefusedError",
    "Source",
    "fields",
    "text",
    "varint",
]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
RUN = -1
"""Wire type of a `Field` that holds very many records of one repeated number, read at once."""


class MalformedError(Exception):
    """The bytes are not the message they should be."""


class RefusedError(Exception):
    """The message is well formed, and holds something that is not opened.

    Args:
        message: what it holds, and what to do.
        code: code of the error that a caller is told.
        fields: fields of that error.
    """

    def __init__(self, message: str, /, *, code: str, **fields: Any) -> None:
        super().__init__(message)
        self.code, self.fields = code, fields


@dataclass(slots=True)
class Source:
    """A file while it is read.

    Attributes:
        data: all of it.
        left: how many more records are read: two bytes are one, and a file of them would take an hour.
    """

    data: bytes
    left: int

    def count(self) -> None:
        """One record more.

        Raises:
            RefusedError: there are more than are read.
        """
        self.left -= 1
        if self.left < 0:
            raise RefusedError("it is made of more small pieces than any network; export it again", code="model-many")


class Record(NamedTuple):
    """One field of a message in onnx.proto.

    Attributes:
        name: the field's name in onnx.proto.
        wires: the wire types it may have; of `repeated` numbers the packed form too.
        many: whether a message may hold it more than once.
        refused: why a file that has it is not opened; empty: it may be there.
    """

    name: str
    wires: tuple[int, ...]
    many: bool = False
    refused: str = ""


def _one(name: str, wire: int = BYTES) -> Record:
    return Record(name, (wire,))


def _many(name: str, *wires: int) -> Record:
    return Record(name, wires or (BYTES,), many=True)


def _never(name: str, reason: str) -> Record:
    return Record(name, (VARINT, FIXED64, BYTES, FIXED32), many=True, refused=reason)


_INFERENCE = "training information, expected a network for inference only; export it again"
_FUNCTION = "local functions, expected none; inline them before export"
_BRANCH = "a graph inside a node, expected a plain network without If, Loop or Scan; export it again without them"
_SPARSE = "a sparse tensor, expected dense ones, everything in one file; export it again"
_TYPE = "a type as an attribute, expected numbers and tensors; export it again"
_DEVICES = "a distribution over devices, expected a network for one; export it again"

MESSAGES: dict[str, dict[int, Record]] = {
    "model": {
        1: _one("ir_version", VARINT),
        2: _one("producer_name"),
        3: _one("producer_version"),
        4: _one("domain"),
        5: _one("model_version", VARINT),
        6: _one("doc_string"),
        7: _many("graph"),  # one only; counted, so that the refusal says how many
        8: _many("opset_import"),
        14: _many("metadata_props"),
        20: _never("training_info", _INFERENCE),
        25: _never("functions", _FUNCTION),
        26: _never("configuration", _DEVICES),
    },
    "graph": {
        1: _many("node"),
        2: _one("name"),
        5: _many("initializer"),
        10: _one("doc_string"),
        11: _many("input"),
        12: _many("output"),
        13: _many("value_info"),
        14: _many("quantization_annotation"),
        15: _never("sparse_initializer", _SPARSE),
        16: _many("metadata_props"),
    },
    "node": {
        1: _many("input"),
        2: _many("output"),
        3: _one("name"),
        4: _one("op_type"),
        5: _many("attribute"),
        6: _one("doc_string"),
        7: _one("domain"),
        8: _one("overload"),
        9: _many("metadata_props"),
        10: _never("device_configurations", _DEVICES),
    },
    "attribute": {
        1: _one("name"),
        2: _one("f", FIXED32),
        3: _one("i", VARINT),
        4: _one("s"),
        5: _one("t"),
        6: _never("g", _BRANCH),
        7: _many("floats", FIXED32, BYTES, RUN),
        8: _many("ints", VARINT, BYTES, RUN),
        9: _many("strings", BYTES, RUN),
        10: _many("tensors"),
        11: _never("graphs", _BRANCH),
        13: _one("doc_string"),
        14: _never("tp", _TYPE),
        15: _never("type_protos", _TYPE),
        20: _one("type", VARINT),
        21: _never("ref_attr_name", _FUNCTION),
        22: _never("sparse_tensor", _SPARSE),
        23: _never("sparse_tensors", _SPARSE),
    },
    "tensor": {
        1: _many("dims", VARINT, BYTES),
        2: _one("data_type", VARINT),
        3: _never("segment", "a piece of a tensor, expected whole ones; export it again"),
        4: _one("float_data"),  # the lists of numbers are packed, by onnx.proto's own word
        5: _one("int32_data"),
        6: _never("string_data", "text in a tensor, expected numbers; export it again"),
        7: _one("int64_data"),
        8: _one("name"),
        9: _one("raw_data"),
        10: _one("double_data"),
        11: _one("uint64_data"),
        12: _one("doc_string"),
        13: _many("external_data"),
        14: _one("data_location", VARINT),
        16: _many("metadata_props"),
    },
    "value": {1: _one("name"), 2: _one("type"), 3: _one("doc_string"), 4: _many("metadata_props")},
    "type": {
        1: _one("tensor_type"),
        4: _never("sequence_type", "a sequence, expected tensors"),
        5: _never("map_type", "a map, expected tensors"),
        6: _one("denotation"),
        7: _never("opaque_type", "an opaque value, expected tensors"),
        8: _never("sparse_tensor_type", _SPARSE),
        9: _never("optional_type", "an optional value, expected tensors"),
    },
    "tensor_type": {1: _one("elem_type", VARINT), 2: _one("shape")},
    "shape": {1: _many("dim")},
    "dim": {1: _one("dim_value", VARINT), 2: _one("dim_param"), 3: _one("denotation")},
    "opset": {1: _one("domain"), 2: _one("version", VARINT)},
    "entry": {1: _one("key"), 2: _one("value")},
}
"""Message → field number → record of that field; all fields of onnx.proto at IR version 13."""

# Random forests hold millions of unpacked attribute numbers and words; a possessive pattern takes a run at C speed.
_RUNS = {
    0x3D: (7, re.compile(rb"(?:\x3d.{4}){2,}+", re.DOTALL)),  # AttributeProto.floats
    0x40: (8, re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f]){2,}+")),  # AttributeProto.ints
    0x4A: (9, re.compile(rb"(?:\x4a(?:\x04LEAF|\x0aBRANCH_LEQ)){2,}+")),  # AttributeProto.strings: nodes_modes
}


class Field(NamedTuple):
    """One field, as the bytes hold it.

    Attributes:
        number: the field's number in onnx.proto.
        wire: its wire type, or `RUN`.
        value: the number itself, or where the bytes begin.
        end: where the next field begins.
    """

    number: int
    wire: int
    value: int
    end: int


def fields(source: Source, start: int, end: int, message: str) -> Iterator[Field]:
    """The fields of one message, in file order.

    Args:
        source: the whole file.
        start: where the message begins.
        end: where it ends.
        message: a key of `MESSAGES`.

    Raises:
        MalformedError: cut off, of an unknown wire type, a field onnx.proto does not have or has once only.
        RefusedError: a field that no model we open has, or more records than are read.
    """
    data, records, position = source.data, MESSAGES[message], start
    runs = _RUNS if message == "attribute" else {}
    seen: set[int] = set()
    while position < end:
        source.count()
        if (
            runs
            and (pattern := runs.get(data[position])) is not None
            and (run := pattern[1].match(data, position, end))
        ):
            yield Field(pattern[0], RUN, position, run.end())
            position = run.end()
            continue
        tag, position = varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        value = position
        if wire == VARINT:
            value, position = varint(data, position, end)
        elif wire == BYTES:
            length, value = varint(data, position, end)
            position = value + length
        elif wire in {FIXED32, FIXED64}:
            position += 4 if wire == FIXED32 else 8
        else:
            raise MalformedError(f"unknown wire type {wire} at byte {position}")
        if position > end:
            raise MalformedError(f"it ends {position - end} bytes too early, at byte {end}")
        record = records.get(number)
        if record is None:
            raise MalformedError(f"a {message} has no field {number}, byte {value}")
        if record.refused:
            raise RefusedError(f"it holds {record.refused}", code="model-part", part=record.name)
        if wire not in record.wires:
            raise MalformedError(f"'{record.name}' of a {message} has wire type {wire}, byte {position}")
        if not record.many:
            if number in seen:
                raise MalformedError(f"'{record.name}' of a {message} is there twice, byte {position}")
            seen.add(number)
        yield Field(number, wire, value, position)


def varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A base-128 number of at most 64 bits, and where it ends."""
    value = shift = 0
    while position < end and shift < 70:  # ten bytes hold 64 bits
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise MalformedError(f"a number is cut off at byte {position}")


def text(source: Source, item: Field) -> str:
    """The words of a field."""
    try:
        return source.data[item.value : item.end].decode()
    except UnicodeDecodeError:
        raise MalformedError(f"text at byte {item.value} is not UTF-8") from None
