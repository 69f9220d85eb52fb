"""One ONNX Runtime session on the provider that was asked for, or none.

ONNX Runtime answers a missing or broken accelerator with the CPU and a line on a log; a device that was
bought for its accelerator must not find out by being slow. Here the asked-for provider runs or an error
says which package to change.

What this module does not know: files, manifests, images.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import ModelError, ProviderError
from zoo.machine import cores

__all__ = ["PROVIDERS", "one_line", "open_session"]


@dataclass(frozen=True, slots=True)
class _Provider:
    execution_provider: str
    """ONNX Runtime's name."""
    package: str
    """The PyPI distribution of ONNX Runtime that brings it."""
    options: dict[str, str] = field(default_factory=dict)


PROVIDERS: dict[str, _Provider] = {
    "cpu": _Provider("CPUExecutionProvider", "onnxruntime"),
    # TF32 keeps 10 bits of a float32's mantissa: answers would leave the parity and golden tolerances.
    # The default convolution search times every algorithm again for every new batch size.
    "cuda": _Provider(
        "CUDAExecutionProvider", "onnxruntime-gpu", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    ),
    "tensorrt": _Provider("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "openvino": _Provider("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "coreml": _Provider("CoreMLExecutionProvider", "onnxruntime"),
    "directml": _Provider("DmlExecutionProvider", "onnxruntime-directml"),
}
"""What `--provider` takes. Only cpu was run by us; 'verify' proves any other on the device itself."""

_FATAL = 4  # ONNX Runtime's log level: what it would log arrives as an exception, once


def open_session(model: bytes, name: str, *, provider: str, threads: int | None) -> Any:
    """An `onnxruntime.InferenceSession` whose first provider is the one asked for.

    Args:
        model: a serialized ModelProto that `zoo.edge.wire` has walked.
        name: how errors name the model.
        provider: a key of `PROVIDERS`.
        threads: threads inside one operator; None: `zoo.machine.cores()`.

    Raises:
        ProviderError: unknown provider, not in the installed ONNX Runtime, or it could not start.
        ModelError: ONNX Runtime refuses the graph.
    """
    if provider not in PROVIDERS:
        raise ProviderError(f"provider {provider!r} is not known, expected one of {', '.join(PROVIDERS)}")
    if threads is not None and threads < 1:
        raise ProviderError(f"threads is {threads}, expected 1 or more")
    asked = PROVIDERS[provider]
    import onnxruntime

    onnxruntime.set_default_logger_severity(_FATAL)
    if asked.execution_provider not in onnxruntime.get_available_providers():
        raise ProviderError(
            f"provider {provider} is not in the installed onnxruntime {onnxruntime.__version__} "
            f"(it has {', '.join(_short_names(onnxruntime.get_available_providers()))}); "
            f"{_change_of_package(asked)}"
        )
    wanted: list[Any] = [(asked.execution_provider, asked.options)]
    if provider != "cpu":
        wanted.append("CPUExecutionProvider")  # for single nodes, such as shapes, that the accelerator does not take
    said = io.StringIO()  # onnxruntime prints some of its failures; stdout is for data
    try:
        with contextlib.redirect_stdout(said):
            if provider in {"cuda", "tensorrt"}:
                # the CUDA libraries that pip installed, where the loader does not look
                onnxruntime.preload_dlls()
            options = _options(onnxruntime, threads or cores())
            session = onnxruntime.InferenceSession(model, options, providers=wanted, enable_fallback=0)
    except Exception as problem:  # onnxruntime's errors have no common base below Exception
        if provider == "cpu":
            raise ModelError(f"{name}: onnxruntime {onnxruntime.__version__} refuses it: {one_line(problem)}") from None
        raise ProviderError(
            f"provider {provider} could not start: {one_line(problem)}; use --provider cpu or mend the driver"
        ) from None
    if session.get_providers()[0] != asked.execution_provider:
        raise ProviderError(
            f"provider {provider} was asked for, "
            f"onnxruntime took {', '.join(_short_names(session.get_providers()))}; "
            f"check the driver and its libraries, or {_change_of_package(asked)}"
        )
    # It keeps the serialized model for a fallback that is switched off here: the model's size for nothing.
    session._model_bytes = None  # noqa: SLF001
    _return_memory()
    return session


def one_line(problem: BaseException) -> str:
    """The text of an error of ONNX Runtime without its prefix, on one line of at most 300 characters."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    # the C++ file, line and signature it was thrown from are not for the reader
    text = re.sub(r"^(?:\[ONNXRuntimeError\] : )?(?:\d+ : [A-Z_]+ : )?(?:.*/onnxruntime_src/.*\) )?", "", text)
    return text if len(text) <= 300 else text[:297] + "..."


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _FATAL
    # Waiting threads that spin take the cores from decoding: a fifth more CPU time on 40 JPEGs, no gain.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory plan is kept for every input shape ever seen; photographs have many.
    options.enable_mem_pattern = False
    return options


def _return_memory() -> None:
    """Hand what opening a model freed back to the system; glibc would keep twice the model's size."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _short_names(execution_providers: list[str]) -> list[str]:
    names = {entry.execution_provider: short for short, entry in PROVIDERS.items()}
    return [names[found] for found in execution_providers if found in names]


def _change_of_package(asked: _Provider) -> str:
    if asked.package == "onnxruntime":
        return "install it where this machine has one: pip install --force-reinstall onnxruntime"
    return f"run 'pip uninstall onnxruntime && pip install {asked.package}'"
