"""What every format answers, and what it is made from."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo._support.text import join_lines
from zoo._support.versions import find_version
from zoo.errors import ModelError, ZooError

if TYPE_CHECKING:
    from torch import nn

    from zoo.spec import FormatName

__all__ = ["Answer", "ConverterInput", "Format", "convert_quietly", "import_packages", "version_of"]

Answer = Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[np.float32]]]
"""Inputs by name, a batch of one image, to outputs by name: (1, K) probabilities and logits, (1,) novelty."""


@dataclass(frozen=True, slots=True, eq=False)
class ConverterInput:
    """What a file is made from.

    Attributes:
        model: bytes of the ONNX file, proven.
        outputs: those that are wanted.
        network: a torch module from the input, (1, h, w, C) float32 or the preprocessed (1, C, h, w), to a dictionary
            of probabilities and logits; None: only the ONNX file is there.
        shape: of that input; empty without a network.
    """

    model: bytes
    outputs: tuple[str, ...]
    network: nn.Module | None = None
    shape: tuple[int, ...] = ()


class Format(Protocol):
    """One format: its vendor's converter and its vendor's runtime. Packages are imported inside the methods."""

    name: FormatName
    takes: Literal["onnx", "torch"]
    """What the converter starts from."""
    file: str
    """Name of the file, or of the folder that is the file; one more may lie beside it."""
    converter: str
    """Distribution that writes the file."""
    runtime: str
    """Distribution that runs it."""
    remark: str
    """What somebody who runs the file must know; empty: nothing."""

    def require(self) -> None:
        """Import the packages.

        Raises:
            ZooError: one is missing; the line names the extra.
        """

    def runs_here(self) -> bool:
        """Whether the runtime works on this system."""

    def convert(self, source: ConverterInput, folder: Path) -> None:
        """Write the file into an empty folder.

        Raises:
            ModelError: the converter refused.
        """

    def open(self, folder: Path) -> Answer:
        """Open the file in that folder with the format's runtime.

        Raises:
            ModelError: the runtime refused.
        """


def import_packages(name: FormatName, *modules: str) -> None:
    """Import what a format needs.

    Args:
        name: the format, which is also the name of the extra.
        modules: import names.

    Raises:
        ZooError: one is missing, or cannot be imported.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a user can do nothing about deprecations inside a converter
        for module in modules:
            try:
                importlib.import_module(module)
            except ImportError as problem:
                missing = problem.name or module
                raise ZooError(
                    f"--format {name} needs {missing}, which cannot be imported ({join_lines(problem, 200)}); "
                    f"run: pip install 'edgezoo[{name}]'",
                    code="package-missing",
                    package=missing,
                    extra=name,
                ) from None


@contextlib.contextmanager
def convert_quietly(what: str, **fields: str) -> Iterator[None]:
    """Turn whatever a converter or a runtime raises into one error, without its warnings; what it prints is a log.

    Args:
        what: what was tried, in words.
        **fields: what the error says beside its line.

    Raises:
        ModelError: it failed.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        try:
            yield
        except (MemoryError, ZooError):
            raise
        except Exception as problem:  # converters have no common base below Exception
            raise ModelError(
                f"{what}: {join_lines(problem, 300) or type(problem).__name__}; nothing was written, take the "
                "ONNX file ('zoo export --onnx') or another format",
                code="format-conversion",
                **fields,
            ) from problem


def version_of(distribution: str) -> str:
    """Distribution and version, such as "openvino 2026.4.1"."""
    found = find_version(distribution)
    return f"{distribution}, version unknown" if found is None else f"{distribution} {found}"
