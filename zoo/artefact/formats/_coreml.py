"""Core ML, from torch: converted on any system, run by macOS alone."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo.artefact.formats._protocol import Answer, ConverterInput, convert_quietly, import_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from zoo.spec import FormatName

__all__ = ["CoreMl"]


class CoreMl:
    """`coremltools` converts, and on a Mac runs."""

    name: FormatName = "coreml"
    takes: Literal["onnx", "torch"] = "torch"
    file = "model.mlpackage"
    converter = "coremltools"
    runtime = "coremltools"
    remark = (
        "an ML program in float32 for macOS 13 and iOS 16; load it with the CPU as its unit, GPU and Neural Engine "
        "were not tried"
    )

    def require(self) -> None:
        """Import the converter, which warns of versions that it was not tried with and of what only a Mac has."""
        logging.getLogger("coremltools").setLevel(logging.ERROR)
        import_packages(self.name, "coremltools")

    def runs_here(self) -> bool:
        """On a Mac."""
        return sys.platform == "darwin"

    def convert(self, source: ConverterInput, folder: Path) -> None:
        """Write model.mlpackage, which is a folder, its input called "image", its outputs by their names."""
        assert source.network is not None  # noqa: S101 - `takes` says so
        self.require()
        import coremltools
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(SDPBackend.MATH), convert_quietly("coremltools cannot convert it", format=self.name):
            program = torch.export.export(source.network, (torch.zeros(source.shape),)).run_decompositions({})
            model = coremltools.convert(
                program,
                inputs=[coremltools.TensorType(name="image", shape=source.shape)],
                outputs=[coremltools.TensorType(name=name) for name in ("logits", "probabilities")],
                convert_to="mlprogram",
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.macOS13,
                skip_model_load=True,
            )
            model.save(str(folder / self.file))

    def open(self, folder: Path) -> Answer:
        """Load it for the CPU; on a Mac only."""
        self.require()
        import coremltools

        with convert_quietly("Core ML cannot open it", format=self.name):
            units = coremltools.ComputeUnit.CPU_ONLY
            model = coremltools.models.MLModel(str(folder / self.file), compute_units=units)

        def answer(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
            return {name: np.asarray(found, np.float32) for name, found in model.predict(dict(feed)).items()}

        return answer
