"""The rung as a device would open it, on this machine's kernels or in reference arithmetic."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo._support.files import sha256_bytes
from zoo._support.machine import cores
from zoo.artefact._graph import set_manifest
from zoo.edge import Runtime
from zoo.edge._session import open_session
from zoo.edge.bundle import open_model

if TYPE_CHECKING:
    import onnx

    from zoo.spec import Manifest

__all__ = ["open_file", "session_of"]


def open_file(model: onnx.ModelProto, manifest: Manifest, *, reference: bool) -> Runtime:
    """The file with this manifest in it, through the checks that every file passes when it is opened."""
    set_manifest(model, manifest)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        if not reference:
            return Runtime.open(path)
        contents = open_model(path)
    session = session_of(contents.model, reference=True)
    digest, size = sha256_bytes(contents.model), len(contents.model)
    return Runtime(path, contents.manifest, "cpu", session, sha256=digest, size_bytes=size)


def session_of(model: bytes, *, reference: bool) -> Any:
    """An `onnxruntime.InferenceSession` of a network.

    Args:
        model: a serialized ModelProto.
        reference: compute what QuantizeLinear and DequantizeLinear say, with sums in float32, instead of replacing
            them by int8 kernels. It is what kernels that do not saturate give, up to rounding.
    """
    if not reference:
        return open_session(model, "candidate", provider="cpu", threads=None)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
