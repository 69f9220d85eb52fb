"""Logits moved by a constant for each label: what a prior is worth, as one node of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.spec import EVIDENCE, FEATURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx
    from numpy.typing import NDArray

    from zoo.artefact._shippable import Network
    from zoo.evaluation import Predict

__all__ = ["ShiftedNetwork", "rename_logits"]


class ShiftedNetwork:
    """A network whose logits are moved by a constant; its evidence map and its features, if it has any, stay.

    Args:
        network: what the plugin trained or loaded.
        shift: (K,) what is added to its logits.
    """

    def __init__(self, network: Network, shift: Sequence[float]) -> None:
        self._network = network
        self._shift = np.asarray(shift, np.float32)
        if hasattr(network, EVIDENCE):
            self.evidence = getattr(network, EVIDENCE)

    @property
    def features(self) -> Predict | None:
        """The network's own, if it has any."""
        return getattr(self._network, FEATURES, None)

    @property
    def predict(self) -> Predict:
        """Preprocessed images to logits."""
        own, shift = self._network.predict, self._shift

        def predict(*given: NDArray[Any]) -> NDArray[np.float32]:
            return np.asarray(own(*given), np.float32) + shift

        return predict

    @property
    def for_integers(self) -> Callable[..., ShiftedNetwork] | None:
        """As the network's own, if it can be trained for int8; its logits are moved as these are."""
        own = getattr(self._network, "for_integers", None)
        return (
            None
            if own is None
            else lambda *given, **settings: ShiftedNetwork(own(*given, **settings), self._shift.tolist())
        )

    def to_onnx(self) -> onnx.ModelProto:
        """The core with one more node before its logits."""
        return self.shift_core(self._network.to_onnx())  # which may be what the network keeps

    def shift_core(self, own: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of the network's own core with that node."""
        import onnx

        core = onnx.ModelProto()
        core.CopyFrom(own)
        rename_logits(core, "logits/unshifted")
        core.graph.initializer.append(onnx.numpy_helper.from_array(self._shift, "logits/shift"))
        core.graph.node.append(
            onnx.helper.make_node("Add", ["logits/unshifted", "logits/shift"], ["logits"], name="logits/add_shift")
        )
        return core


def rename_logits(core: onnx.ModelProto, name: str) -> None:
    """Call the tensor "logits" of a core `name`, wherever nodes make or read it; the output waits for a new node."""
    for node in core.graph.node:
        for names in (node.input, node.output):
            for index, found in enumerate(names):
                if found == "logits":
                    names[index] = name
