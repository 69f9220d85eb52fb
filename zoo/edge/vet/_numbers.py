"""The numbers of a tensor inside an ONNX file: how many, which, and whether all are finite.

The functions read them in place and in pieces, so that a model of 100 MB costs milliseconds and no second copy.

What this module does not know: names, limits, which tensors matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.edge.vet._wire import RUN, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from zoo.edge.vet._outline import Span, Tensor

__all__ = ["BITS", "FLOATS", "all_finite", "count", "finite", "floats", "values"]

_TYPES: dict[int, str] = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
    16: "<u2",  # bfloat16: the upper half of a float32, which numpy does not have
}
"""TensorProto.DataType → numpy. Not here: text, complex numbers, and floats and integers of fewer than 8 bits."""
BITS = {kind: np.dtype(name).itemsize * 8 for kind, name in _TYPES.items()}
"""TensorProto.DataType → bits of one number in raw_data, for the types a tensor may have."""
FLOATS = frozenset({1, 10, 11, 16})
_HALVES = {10: 0x7C00, 16: 0x7F80}
"""16-bit float → the bits that are all set in an infinity or NaN."""

_RAW, _FLOAT, _INT32, _INT64, _DOUBLE, _UINT64 = 9, 4, 5, 7, 10, 11  # fields of TensorProto
_FIELD = {1: _FLOAT, 7: _INT64, 11: _DOUBLE, 12: _UINT64, 13: _UINT64}  # all others: int32_data
_PIECE = 2**20  # bytes looked at in one go: they stay in the cache
_CONTINUED = 0x80  # the bit of a byte that says: the base-128 number has another byte
_LONGEST = 10  # bytes of a base-128 number of 64 bits
_RECORD = np.dtype([("tag", "u1"), ("value", "<f4")])  # an unpacked float and its tag


def count(data: bytes, tensor: Tensor) -> tuple[str, int]:
    """How much a tensor holds: ("bytes", n) of raw data or ("numbers", n) of a typed field.

    Raises:
        RefusedError: its numbers are in a field that its type does not use.
    """
    if not tensor.spans:
        return "numbers", 0
    span = tensor.spans[0]
    size = span.end - span.start
    if span.number == _RAW:
        return "bytes", size
    if span.number != _FIELD.get(tensor.kind, _INT32):
        raise RefusedError(
            "a tensor holds numbers of another type than it says; export the model again", code="model-tensor"
        )
    if span.number in {_FLOAT, _DOUBLE}:
        width = 4 if span.number == _FLOAT else 8
        return ("numbers", size // width) if size % width == 0 else ("bytes", size)
    return "numbers", sum(int(np.count_nonzero(piece < _CONTINUED)) for piece in _bytes(data, span))


def finite(data: bytes, tensor: Tensor) -> bool:
    """Whether no number of a tensor, whose length was found right, is NaN or an infinity."""
    if not tensor.spans:
        return True
    span = tensor.spans[0]
    if span.number == _INT32:
        return all(_all_finite(half.astype("<u2"), tensor.kind) for half in _varints(data, span))
    size = (span.end - span.start) * 8 // BITS[tensor.kind]
    return _all_finite(np.frombuffer(data, _TYPES[tensor.kind], size, span.start), tensor.kind)


def floats(data: bytes, span: Span) -> NDArray[np.float32]:
    """The floats of an attribute, in place; a packed list that is cut off gives NaN."""
    size = span.end - span.start
    if span.wire == RUN:
        records: NDArray[Any] = np.frombuffer(data, _RECORD, size // _RECORD.itemsize, span.start)
        return np.asarray(records["value"], np.float32)
    if size % 4:
        return np.full(1, np.nan, np.float32)
    return np.frombuffer(data, "<f4", size // 4, span.start)


def all_finite(numbers: NDArray[np.float32]) -> bool:
    """Whether none is NaN or an infinity."""
    return _all_finite(numbers, 1)


def values(data: bytes, tensor: Tensor) -> NDArray[Any]:
    """The numbers of a small tensor whose length was found right, flat; bfloat16 as its bits."""
    if not tensor.spans:
        return np.zeros(0)
    span = tensor.spans[0]
    if span.number in {_RAW, _FLOAT, _DOUBLE}:
        size = (span.end - span.start) * 8 // BITS[tensor.kind]
        return np.frombuffer(data, _TYPES[tensor.kind], size, span.start)
    return np.concatenate([np.zeros(0, np.uint64), *_varints(data, span)]).view(np.int64)


def _all_finite(numbers: NDArray[Any], kind: int) -> bool:
    exponent = _HALVES.get(kind)
    step = _PIECE // numbers.itemsize
    for start in range(0, len(numbers), step):
        piece = numbers[start : start + step]
        if exponent is None:
            good = bool(np.isfinite(piece).all())
        else:
            good = not ((piece.view("<u2") & exponent) == exponent).any()
        if not good:
            return False
    return True


def _bytes(data: bytes, span: Span) -> Iterator[NDArray[np.uint8]]:
    for start in range(span.start, span.end, _PIECE):
        yield np.frombuffer(data, np.uint8, min(_PIECE, span.end - start), start)


def _varints(data: bytes, span: Span) -> Iterator[NDArray[np.uint64]]:
    """Packed base-128 numbers, in pieces; protobuf keeps 64 bits of each."""
    left = np.zeros(0, np.uint8)
    for piece in _bytes(data, span):
        read = np.concatenate((left, piece))
        last = np.flatnonzero(read < _CONTINUED)
        if len(last):
            first = np.concatenate(([0], last[:-1] + 1))
            place = np.arange(last[-1] + 1) - np.repeat(first, last - first + 1)
            parts = (read[: last[-1] + 1] & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
            yield np.add.reduceat(parts, first)
        left = read[last[-1] + 1 :] if len(last) else read
        if len(left) >= _LONGEST:
            raise RefusedError("a tensor holds a number without end; export the model again", code="model-tensor")
