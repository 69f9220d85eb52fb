"""ExecuTorch, from torch, with XNNPACK for the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo.artefact.formats._protocol import Answer, ConverterInput, convert_quietly, import_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from zoo.spec import FormatName

__all__ = ["OUTPUTS", "ExecuTorch"]

OUTPUTS = ("logits", "probabilities")
"""In the order in which the file gives them: it knows no names, and torch sorts a dictionary's by their keys."""


class ExecuTorch:
    """`executorch` converts and runs."""

    name: FormatName = "executorch"
    takes: Literal["onnx", "torch"] = "torch"
    file = "model.pte"
    converter = "executorch"
    runtime = "executorch"
    remark = (
        "the method is forward, its one input the image; its outputs have no names: the first are logits, the second "
        "probabilities"
    )

    def require(self) -> None:
        """Import converter and runtime."""
        import_packages(self.name, "executorch.exir", "executorch.runtime")

    def runs_here(self) -> bool:
        """Wherever it is installed."""
        return True

    def convert(self, source: ConverterInput, folder: Path) -> None:
        """Write model.pte."""
        assert source.network is not None  # noqa: S101 - `takes` says so
        self.require()
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(SDPBackend.MATH), convert_quietly("executorch cannot convert it", format=self.name):
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            program = torch.export.export(source.network, (torch.zeros(source.shape),))
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            (folder / self.file).write_bytes(lowered.to_executorch().buffer)

    def open(self, folder: Path) -> Answer:
        """Load its method "forward"."""
        self.require()
        import torch

        with convert_quietly("executorch cannot open it", format=self.name):
            from executorch.runtime import Runtime

            program = Runtime.get().load_program(folder / self.file)
            method = program.load_method("forward")

        def answer(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
            (image,) = feed.values()
            found = method.execute([torch.from_numpy(np.ascontiguousarray(image))])
            return dict(zip(OUTPUTS, (one.numpy().copy() for one in found), strict=True))

        return answer
