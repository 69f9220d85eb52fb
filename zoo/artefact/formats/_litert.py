"""LiteRT (formerly TensorFlow Lite), from torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo._support.machine import cores
from zoo.artefact.formats._protocol import Answer, ConverterInput, convert_quietly, import_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from zoo.spec import FormatName

__all__ = ["LiteRt"]


class LiteRt:
    """`litert-torch` converts, `ai-edge-litert` runs."""

    name: FormatName = "litert"
    takes: Literal["onnx", "torch"] = "torch"
    file = "model.tflite"
    converter = "litert-torch"
    runtime = "ai-edge-litert"
    remark = "proven on the CPU in float32; a GPU or NPU delegate computes with fewer digits and was not tried"

    def require(self) -> None:
        """Import converter and runtime."""
        import_packages(self.name, "litert_torch", "ai_edge_litert.interpreter")

    def runs_here(self) -> bool:
        """Wherever it is installed."""
        return True

    def convert(self, source: ConverterInput, folder: Path) -> None:
        """Write model.tflite, its input called "image", its outputs by their names."""
        assert source.network is not None  # noqa: S101 - `takes` says so
        self.require()
        import litert_torch
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(SDPBackend.MATH), convert_quietly("litert-torch cannot convert it", format=self.name):
            sample = {"image": torch.zeros(source.shape)}
            litert_torch.convert(source.network, (), sample_kwargs=sample).export(str(folder / self.file))

    def open(self, folder: Path) -> Answer:
        """Open it with the interpreter of this machine's CPU."""
        import_packages(self.name, "ai_edge_litert.interpreter")
        from ai_edge_litert.interpreter import Interpreter

        with convert_quietly("LiteRT cannot open it", format=self.name):
            interpreter = Interpreter(str(folder / self.file), num_threads=cores())
            run = interpreter.get_signature_runner()

        def answer(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
            return {name: np.array(found, np.float32) for name, found in run(**feed).items()}

        return answer
