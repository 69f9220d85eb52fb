"""A feature graph in ONNX Runtime, and its proof against the definition it was written from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import GateError
from zoo.preprocess import channels_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import nn

    from zoo.evaluation import Predict
    from zoo.spec import PreprocessSpec

__all__ = ["FeatureGraph"]

_BATCH = 32
"""Pictures at once: bounds the memory of a frozen network."""
_CLOSE = 1e-4
"""float32 sums in another order, beside the largest feature of a picture; a frozen network has many of them."""


class FeatureGraph:
    """Features of pictures, computed by ONNX Runtime.

    Attributes:
        name: as the user wrote it.
        model: "input" (N, C, h, w) float32, preprocessed, to "rows" (N, D) float32.
        length: D.
    """

    def __init__(self, name: str, model: onnx.ModelProto, reference: Predict) -> None:
        from zoo.artefact import core_predict

        self.name, self.model, self._reference = name, model, reference
        self.length = int(model.graph.output[0].type.tensor_type.shape.dim[1].dim_value)
        self._predict = core_predict(model.SerializeToString(), f"features {name}", output="rows")

    @classmethod
    def of_network(cls, name: str, network: nn.Module, spec: PreprocessSpec) -> FeatureGraph | None:
        """What a torch network makes its logits of; None: of no one row of numbers.

        Args:
            name: name of the features, in the words of the user.
            network: (N, C, h, w) float32 to (N, K) logits; on the CPU and in evaluation mode afterwards.
            spec: shape of the input.

        Raises:
            ModelError: torch cannot trace the network with a dynamic batch.
        """
        from zoo.artefact import only_features
        from zoo.learn import find_last_layer, module_to_onnx, torch_features

        channels, network = channels_of(spec), network.cpu().float().eval()
        layer = find_last_layer(network, channels=channels, size=spec.size)
        if layer is None:
            return None
        model = only_features(module_to_onnx(network, channels=channels, size=spec.size), "rows")
        return None if model is None else cls(name, model, torch_features(network, layer))

    def rows(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C, h, w) float32, preprocessed, to (n, D) float32."""
        result = np.empty((len(batch), self.length), np.float32)
        for start in range(0, len(batch), _BATCH):
            part = np.asarray(batch[start : start + _BATCH], np.float32)
            result[start : start + _BATCH] = self._predict(part)
        return result

    def to_onnx(self) -> onnx.ModelProto:
        """The graph."""
        return self.model

    def prove(self, batch: NDArray[np.float32]) -> None:
        """Compare the graph with the definition on pictures of the user.

        Raises:
            GateError: further apart than sums in another order can be.
        """
        got, expected = self.rows(batch), self._reference(batch)
        largest = np.maximum(np.abs(expected).max(axis=1, keepdims=True), 1e-3)
        worst = float(np.nan_to_num(np.abs(got - expected) / largest, nan=np.inf).max())
        if not worst <= _CLOSE:
            raise GateError(
                f"features {self.name} refused: their graph differs from their definition by {worst:.3g} of the "
                f"largest (allowed {_CLOSE:g}) on {len(batch)} images; nothing was written",
                code="features-parity",
                features=self.name,
                found=float(worst),
                limit=_CLOSE,
            )
