"""Model files for other runtimes: each by its vendor's converter, each held to the golden set by its own runtime.

Importing this imports none of the packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.artefact.formats._coreml import CoreMl
from zoo.artefact.formats._executorch import ExecuTorch
from zoo.artefact.formats._folder import (
    FormatVerification,
    check_format_place,
    prove_folder,
    read_folder,
    write_folder,
)
from zoo.artefact.formats._litert import LiteRt
from zoo.artefact.formats._openvino import OpenVino
from zoo.artefact.formats._protocol import Answer, ConverterInput, Format
from zoo.errors import ProviderError

if TYPE_CHECKING:
    from zoo.spec import FormatName

__all__ = [
    "FORMATS",
    "Answer",
    "ConverterInput",
    "Format",
    "FormatVerification",
    "check_format_place",
    "find_format",
    "prove_folder",
    "read_folder",
    "write_folder",
]


def __dir__() -> list[str]:
    return __all__


FORMATS: dict[FormatName, Format] = {one.name: one for one in (OpenVino(), LiteRt(), ExecuTorch(), CoreMl())}
"""What is written. TensorRT is known by name only."""


def find_format(name: FormatName) -> Format:
    """The format of that name.

    Raises:
        ProviderError: TensorRT, whose files are made on the GPU that runs them.
    """
    if name in FORMATS:
        return FORMATS[name]
    raise ProviderError(
        "--format tensorrt: an engine fits one GPU and one version of TensorRT, so it is built where it runs; export "
        "with --onnx --bundle --portable, and there 'zoo verify NAME.zoo --provider tensorrt' builds it and proves it",
        code="format-elsewhere",
        format=name,
    )
