"""The Open Inference Protocol, version 2, over HTTP: its documents, and its tensors as images and answers.

Sources: `specification/protocol/inference_rest.md` and `open_inference_rest.yaml` of
https://github.com/kserve/open-inference-protocol, and for tensors behind the JSON
`docs/protocol/extension_binary_data.md` of https://github.com/triton-inference-server/server.

The input is one tensor: raw images (N, H, W, C), or N image files as BYTES. Files are base64 inside JSON,
which has no bytes; the protocol leaves that open. The outputs are those of `zoo predict`: calibrated probabilities
(N, K), the label, and the decision of a model that abstains. A version is the first digits of the ONNX file's sha256.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo import preprocess
from zoo.edge.serve._images import decode_base64
from zoo.edge.serve._multipart import Unreadable, check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from zoo.edge._results import Prediction
    from zoo.edge._runtime import Runtime
    from zoo.edge.serve._models import Model

__all__ = ["HEADER", "Asked", "ModelFacts", "ModelReady", "ServerFacts", "Tensor", "Told", "describe", "read", "write"]

HEADER = "inference-header-content-length"
"""Bytes of JSON before the tensors, in a request and in an answer."""

_TYPES: dict[str, tuple[str, Any]] = {
    "UINT8": ("<u1", list[int]),
    "UINT16": ("<u2", list[int]),
    "FP32": ("<f4", list[float]),
}
"""Datatypes of raw images: as numpy calls them, and what JSON has for them."""
_KINDS = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FP32"}
_OF_OUTPUT = {"probabilities": "FP32", "label": "BYTES", "decision": "BYTES"}

Parameters = dict[str, bool | int | float | str | None]


class Tensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """$request_input and $response_output."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: Parameters = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Wanted(msgspec.Struct, frozen=True):
    """$request_output."""

    name: str
    parameters: Parameters = {}


class Asked(msgspec.Struct, frozen=True):
    """$inference_request; keys that are not known are passed over, as the protocol's extensions need."""

    inputs: list[Tensor]
    id: str | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters = {}
    outputs: list[Wanted] = []


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """$inference_response."""

    model_name: str
    model_version: str
    id: str | msgspec.UnsetType = msgspec.UNSET
    outputs: list[Tensor]


class TensorFacts(msgspec.Struct, frozen=True):
    """$metadata_tensor; -1 for a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """$metadata_model_response."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class ModelReady(msgspec.Struct, frozen=True, kw_only=True):
    """$ready_model_response."""

    name: str
    ready: bool


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """$metadata_server_response."""

    name: str
    version: str
    extensions: tuple[str, ...] = ("binary_tensor_data",)


def describe(name: str, versions: tuple[str, ...], runtime: Runtime) -> ModelFacts:
    """What the protocol tells of a model, which is served by this name in these versions."""
    manifest, kind = runtime.manifest, runtime.raw_kind
    channels = preprocess.raw_channels(manifest.preprocess, kind)
    wide = {"probabilities": (-1, len(manifest.labels))}
    return ModelFacts(
        name=name,
        versions=versions,
        platform="onnx_onnxv1",
        inputs=[TensorFacts(manifest.input.name, _KINDS[kind], (-1, -1, -1, channels))],
        outputs=[TensorFacts(name, _OF_OUTPUT[name], wide.get(name, (-1,))) for name in _outputs(runtime)],
    )


def _outputs(runtime: Runtime) -> tuple[str, ...]:
    return ("probabilities", "label", *(("decision",) if runtime.manifest.abstention is not None else ()))


def read(
    runtime: Runtime, body: bytes, header: str | None, *, most: int, pixels: int
) -> tuple[Asked, list[bytes | NDArray[Any]]]:
    """The request in a body, and its images: files' bytes or arrays (H, W, C).

    Args:
        runtime: the model.
        body: JSON, with tensors behind it where `header` says so.
        header: value of `HEADER`; None: the body is JSON as a whole.
        most: largest number of images.
        pixels: largest image, H × W.

    Raises:
        Unreadable: not such a request, or not for this model; nothing that was sent is repeated.
    """
    length = len(body)
    if header is not None:
        length = int(header) if header.isascii() and header.isdigit() and len(header) < 10 else length + 1
        if length > len(body):
            raise Unreadable(f"{HEADER} is not a number of bytes within the body")
    try:
        asked = msgspec.json.decode(memoryview(body)[:length], type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("not an inference request of the Open Inference Protocol 2") from None
    name = runtime.manifest.input.name
    if runtime.manifest.table is not None:
        raise Unreadable("this model takes columns beside the image; POST /predict takes both")
    if [given.name for given in asked.inputs] != [name]:
        raise Unreadable(f"the request has not the one input of this model, which is {name}")
    known = _outputs(runtime)
    if len({wanted.name for wanted in asked.outputs}) < len(asked.outputs):
        raise Unreadable("an output is asked for twice")
    for wanted in asked.outputs:
        if wanted.name not in known or not wanted.parameters.keys() <= {"binary_data"}:
            said = ", ".join(known)
            raise Unreadable(f"an output is not among {said}, or has a parameter that is not binary_data")
    return asked, _read_tensor(asked.inputs[0], body[length:], most, pixels)


def _read_tensor(tensor: Tensor, behind: bytes, most: int, pixels: int) -> list[bytes | NDArray[Any]]:
    shape = tensor.shape
    if not 1 <= len(shape) <= 4 or min(shape) < 1:
        raise Unreadable("the input's shape has not 1 to 4 dimensions, each 1 or more")
    if (size := tensor.parameters.get("binary_data_size")) is not None and size != len(behind):
        raise Unreadable("binary_data_size is not the number of bytes behind the JSON")
    if size is None and not isinstance(tensor.data, msgspec.Raw):
        raise Unreadable("the input has no data")
    if tensor.datatype == "BYTES":
        check_count(math.prod(shape), most)
        if isinstance(tensor.data, msgspec.Raw):
            check_count(bytes(tensor.data).count(b'"') // 2, most)
        files = _split(behind) if size is not None else [decode_base64(text) for text in _flat(tensor, list[str])]
        if len(files) != math.prod(shape):
            raise Unreadable("the input's shape is not the number of its elements")
        return list(files)
    if tensor.datatype not in _TYPES or len(shape) != 4:
        known = ", ".join(_TYPES)
        raise Unreadable(f"the input is not (N, H, W, C) of {known}, nor image files as BYTES")
    check_count(shape[0], most)
    if shape[1] * shape[2] > pixels:
        raise Unreadable(f"an image of the input has more than {pixels} pixels; send the images smaller")
    numpy_name, kind = _TYPES[tensor.datatype]
    dtype = np.dtype(numpy_name)
    try:
        values = np.frombuffer(behind, dtype) if size is not None else _numbers(_flat(tensor, kind), dtype)
        return list(values.reshape(shape))
    except ValueError:
        raise Unreadable("the input's shape is not the number of its elements") from None


def _numbers(values: list[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "u" and values and not 0 <= min(values) <= max(values) <= np.iinfo(dtype).max:
        raise Unreadable(f"the input holds numbers outside 0 to {np.iinfo(dtype).max}")
    with np.errstate(over="ignore"):  # becomes an infinity, which no image may hold
        return np.array(values, np.float64 if dtype.kind == "f" else dtype).astype(dtype)


def _flat(tensor: Tensor, kind: Any) -> list[Any]:
    """The elements row by row; JSON may nest them as the shape does."""
    data = tensor.data
    nested = bytes(data).lstrip()[1:].lstrip()[:1] == b"["  # type: ignore[arg-type]  # it was looked for before
    depth = len(tensor.shape) if nested else 1
    for _ in range(depth - 1):
        kind = list[kind]
    try:
        values = msgspec.json.decode(data, type=kind)  # type: ignore[arg-type]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable("the input's data is not a list of what its datatype says") from None
    for _ in range(depth - 1):
        values = [inner for outer in values for inner in outer]
    return list(values)


def _split(behind: bytes) -> list[bytes]:
    """Elements of BYTES: each a length of four bytes, little end first, and as many bytes."""
    found, at = [], 0
    while at < len(behind):
        end = at + 4 + int.from_bytes(behind[at : at + 4], "little")
        if at + 4 > len(behind) or end > len(behind):
            raise Unreadable("an element of the input is longer than the bytes behind the JSON")
        found.append(behind[at + 4 : end])
        at = end
    return found


def write(model: Model, asked: Asked, rows: Sequence[Prediction]) -> tuple[bytes, int | None]:
    """The answer: a body, and the bytes of it that are JSON, None for all."""
    runtime = model.runtime
    everywhere = asked.parameters.get("binary_data_output") is True
    wanted = asked.outputs or [Wanted(name) for name in _outputs(runtime)]
    tensors, parts = [], []
    for one in wanted:
        if one.name == "probabilities":
            values: list[Any] = [share for row in rows for share in row.probabilities.values()]
            shape: tuple[int, ...] = (len(rows), len(runtime.labels))
            packed = np.array(values, "<f4").tobytes()
        else:
            values = [getattr(row, one.name) for row in rows]
            shape = (len(rows),)
            texts = [text.encode() for text in values]
            packed = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        tensor = Tensor(name=one.name, shape=shape, datatype=_OF_OUTPUT[one.name])
        if one.parameters.get("binary_data", everywhere) is True:
            parts.append(packed)
            tensors.append(msgspec.structs.replace(tensor, parameters={"binary_data_size": len(packed)}))
        else:
            tensors.append(msgspec.structs.replace(tensor, data=msgspec.Raw(msgspec.json.encode(values))))
    told = Told(model_name=model.name, model_version=model.version, id=asked.id, outputs=tensors)
    document = msgspec.json.encode(told)
    return document + b"".join(parts), len(document) if parts else None
