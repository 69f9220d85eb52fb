"""One ONNX Runtime session on the provider that was asked for, or none.

ONNX Runtime answers a missing or broken accelerator with the CPU and a line on a log, and gives single nodes that the
accelerator does not take to the CPU without a word; a device that was bought for its accelerator must not find out
by being slow. Here the asked-for provider runs, and all nodes that are work, or an error says what to change.

What this module does not know: files, manifests, images.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo._support.machine import cores
from zoo._support.memory import lacks_memory, return_memory
from zoo._support.text import join_lines
from zoo.errors import ModelError, ProviderError

__all__ = ["PROVIDERS", "check_memory", "one_line", "open_session", "placement"]

log = logging.getLogger("zoo")


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
"""What `--provider` takes. cpu runs in every test, openvino was tried on a CPU, the others were not run by us;
'verify' proves any of them on the device itself."""

_SMALL = frozenset({
    "Add", "And", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Floor", "Gather", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Range",
    "ReduceProd", "Reshape", "Round", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that compute shapes: an accelerator leaves them to the CPU on purpose, and nothing is lost by it."""

_MANY_NODES = 4_000
"""Nodes from which equal ones are not sought. ONNX Runtime compares each with all of the same hash, and the hash of
`Add(x, x)` does not depend on x: a chain of 20 000 took 8 s to open, and 0.6 s without. No network that we exported
has half as many."""
_SEEKS_EQUAL = "CommonSubexpressionElimination"
_FATAL = 4  # ONNX Runtime's log level: what it would log arrives as an exception, once


def find_provider(name: str) -> _Provider:
    """The provider called `name`.

    Raises:
        ProviderError: unknown, or not in the installed ONNX Runtime.
    """
    if name not in PROVIDERS:
        raise ProviderError(
            f"provider {name!r} is not known, expected one of {', '.join(PROVIDERS)}",
            code="provider-unknown",
            provider=name,
            known=list(PROVIDERS),
        )
    try:
        import onnxruntime
    except ImportError as problem:  # its libraries are large
        check_memory(problem, name)
        raise
    onnxruntime.set_default_logger_severity(_FATAL)
    asked = PROVIDERS[name]
    if asked.execution_provider not in onnxruntime.get_available_providers():
        raise ProviderError(
            f"provider {name} is not in the installed onnxruntime {onnxruntime.__version__} "
            f"(it has {', '.join(_short_names(onnxruntime.get_available_providers()))}); "
            f"{_change_of_package(asked)}",
            code="provider-missing",
            provider=name,
        )
    return asked


def open_session(
    model: bytes,
    name: str,
    *,
    provider: str,
    threads: int | None,
    nodes: int = 0,
    allow_fallback: bool = False,
    profile: Path | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` whose first provider is the one asked for.

    Args:
        model: a serialized ModelProto that `zoo.edge.vet._wire` has walked.
        name: how errors name the model.
        provider: a key of `PROVIDERS`.
        threads: threads inside one operator; None: `zoo._support.machine.cores()`.
        nodes: number of its nodes, where that is known; of many it bounds the time.
        allow_fallback: let the CPU run nodes that the provider does not take; which ones is then a warning.
        profile: how the names of files begin that ONNX Runtime writes its profile to; None: it measures nothing.

    Raises:
        ProviderError: unknown provider, not in the installed ONNX Runtime, it could not start, or it leaves work to
            the CPU.
        ModelError: ONNX Runtime refuses the graph, or there is too little memory.
    """
    import onnxruntime

    if threads is not None and threads < 1:
        raise ProviderError(
            f"threads is {threads}, expected 1 or more", code="option-value", option="threads", value=threads
        )
    asked = find_provider(provider)
    wanted: list[Any] = [(asked.execution_provider, asked.options)]
    if provider != "cpu":
        wanted.append("CPUExecutionProvider")  # for shapes, and with leave for more
    said = io.StringIO()  # onnxruntime prints some of its failures; stdout is for data
    try:
        with contextlib.redirect_stdout(said):
            if provider in {"cuda", "tensorrt"}:
                # the CUDA libraries that pip installed, where the loader does not look
                onnxruntime.preload_dlls()
            options = _options(onnxruntime, threads or cores())
            if profile is not None:
                options.enable_profiling, options.profile_file_prefix = True, str(profile)
            if provider != "cpu":
                options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
            fewer = {"disabled_optimizers": [_SEEKS_EQUAL]} if nodes > _MANY_NODES else {}
            session = onnxruntime.InferenceSession(model, options, providers=wanted, enable_fallback=0, **fewer)
    except Exception as problem:  # onnxruntime's errors have no common base below Exception
        if provider == "cpu":
            check_memory(problem, name)
            raise ModelError(
                f"{name}: onnxruntime {onnxruntime.__version__} refuses it: {one_line(problem)}",
                code="model-refused",
                model=name,
                version=onnxruntime.__version__,
            ) from None
        raise ProviderError(
            f"provider {provider} could not start: {one_line(problem)}; use --provider cpu or mend the driver",
            code="provider-start",
            provider=provider,
        ) from None
    if session.get_providers()[0] != asked.execution_provider:
        raise ProviderError(
            f"provider {provider} was asked for, "
            f"onnxruntime took {', '.join(_short_names(session.get_providers()))}; "
            f"check the driver and its libraries, or {_change_of_package(asked)}",
            code="provider-replaced",
            provider=provider,
            taken=_short_names(session.get_providers()),
        )
    if provider != "cpu":
        _check_placement(session, name, provider, allow_fallback=allow_fallback)
    # It keeps the serialized model for a fallback that is switched off here: the model's size for nothing.
    session._model_bytes = None  # noqa: SLF001
    return_memory()
    return session


def placement(session: Any) -> dict[str, Counter[str]]:
    """Which provider runs which operators, and how many of each, after ONNX Runtime optimised the graph.

    Returns:
        Provider, by the name users give it → operator → nodes; empty where ONNX Runtime did not record it: on the
        CPU alone there is nothing to tell.
    """
    found: dict[str, Counter[str]] = {}
    short = {entry.execution_provider: name for name, entry in PROVIDERS.items()}
    try:
        parts = session.get_provider_graph_assignment_info()
    except Exception:  # not recorded, or an onnxruntime before 1.24 that cannot tell
        return {}
    for part in parts:
        operators = found.setdefault(short.get(part.ep_name, part.ep_name), Counter())
        operators.update(node.op_type for node in part.get_nodes())
    return found


def _check_placement(session: Any, name: str, provider: str, *, allow_fallback: bool) -> None:
    placed = placement(session)
    if not placed:
        log.warning("%s: this onnxruntime does not tell which nodes run on %s and which on the CPU", name, provider)
        return
    taken, total = placed.get(provider, Counter()).total(), sum(one.total() for one in placed.values())
    left = placed.get("cpu", Counter())
    work = sorted(operator for operator in left if operator not in _SMALL)
    shown = f"{provider} runs {taken} of {total} nodes"
    if not work and taken:
        log.info("%s: %s%s", name, shown, f", the CPU {left.total()} that compute shapes" if left else "")
        return
    text = f"{name}: {shown}; the CPU runs {', '.join(f'{left[one]} {one}' for one in work) or 'all'}"
    if not allow_fallback:
        raise ProviderError(
            f"{text}; allow it with --allow-fallback, use --provider cpu, or, where it is Resize, "
            "export with --portable",
            code="provider-fallback",
            provider=provider,
        )
    log.warning("%s", text)


def check_memory(problem: Exception, name: str) -> None:
    """Tell a failure for want of memory from the others; ONNX Runtime has no exception of its own for it.

    Raises:
        ModelError: `problem` is that.
    """
    if lacks_memory(problem):
        raise ModelError(
            f"{name}: not enough memory ({one_line(problem)}); give this process more, or smaller images, "
            "fewer at a time",
            code="model-memory",
            model=name,
        ) from None


def one_line(problem: BaseException) -> str:
    """The text of an error of ONNX Runtime without its prefix, on one line of at most 300 characters."""
    text = join_lines(problem) or type(problem).__name__
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
    # The arena keeps what the largest image ever took: after one of 12 megapixels EfficientNet-Lite0 held 447 MB
    # instead of 160, for good. Without it an answer costs the same (14.4 ms of CPU either way).
    options.enable_cpu_mem_arena = False
    return options


def _short_names(execution_providers: list[str]) -> list[str]:
    names = {entry.execution_provider: short for short, entry in PROVIDERS.items()}
    return [names[found] for found in execution_providers if found in names]


def _change_of_package(asked: _Provider) -> str:
    if asked.package == "onnxruntime":
        return "install it where this machine has one: pip install --force-reinstall onnxruntime"
    return f"run 'pip uninstall onnxruntime && pip install {asked.package}'"
