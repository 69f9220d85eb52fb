"""OpenVINO's intermediate representation, from the portable ONNX file, preprocessing inside."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from zoo.artefact._graph import with_outputs
from zoo.artefact.formats._protocol import Answer, ConverterInput, convert_quietly, import_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from zoo.spec import FormatName

__all__ = ["OpenVino"]

_REPORTER = "openvino_telemetry"
"""Sends an event to Intel by Google Analytics whenever openvino is imported, except where this import fails."""


class OpenVino:
    """`openvino` converts and runs."""

    name: FormatName = "openvino"
    takes: Literal["onnx", "torch"] = "onnx"
    file = "model.xml"
    converter = "openvino"
    runtime = "openvino"
    remark = (
        "compile it with INFERENCE_PRECISION_HINT f32: processors with bfloat16 and GPUs otherwise compute with fewer "
        "digits, which was not proven"
    )

    def require(self) -> None:
        """Import openvino, without its reporter (decision 0024)."""
        already = sys.modules.get(_REPORTER)
        if already is None:
            sys.modules[_REPORTER] = None  # type: ignore[assignment]  # Python's own sign of a module that is not there
        try:
            import_packages(self.name, "openvino")
        finally:
            if already is None:
                del sys.modules[_REPORTER]

    def runs_here(self) -> bool:
        """Wherever it is installed."""
        return True

    def convert(self, source: ConverterInput, folder: Path) -> None:
        """Write model.xml and model.bin, weights in float32."""
        self.require()
        import onnx
        import openvino

        with tempfile.TemporaryDirectory() as place, convert_quietly("openvino cannot convert it", format=self.name):
            given = Path(place) / "model.onnx"
            onnx.save(with_outputs(onnx.load_from_string(source.model), source.outputs), given)
            openvino.save_model(openvino.convert_model(given), folder / self.file, compress_to_fp16=False)

    def open(self, folder: Path) -> Answer:
        """Compile it for the CPU in float32."""
        self.require()
        import openvino

        with convert_quietly("openvino cannot open it", format=self.name):
            core = openvino.Core()
            model = core.read_model(folder / self.file)
            compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        names = [output.get_any_name() for output in compiled.outputs]

        def answer(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
            found = compiled(dict(feed))
            return {name: np.asarray(found[name], np.float32) for name in names}

        return answer
