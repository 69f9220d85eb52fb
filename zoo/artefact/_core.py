"""A core that a run has kept as ONNX: opened as a stranger's file is, and asked for its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.edge._session import open_session
from zoo.edge.vet import check
from zoo.evaluation import Predict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx
    from numpy.typing import NDArray

__all__ = ["core_answers", "core_predict", "parse_core"]


def parse_core(content: bytes, shown: str) -> onnx.ModelProto:
    """The graph in `content`, which is called `shown` in errors.

    Raises:
        ModelError: it holds what no exported file may hold; see `zoo.edge.vet`.
    """
    import onnx

    check(content, shown)
    return onnx.load_from_string(content)  # from bytes: no path can lead to another file


def core_predict(content: bytes, shown: str, *, output: str = "logits") -> Predict:
    """How ONNX Runtime answers: (N, C, h, w) float32, preprocessed, to (N, K) float32 logits, on the CPU.

    Args:
        content: the bytes of an ONNX file with the input "input".
        shown: how errors name it.
        output: the output that is read, (N, K) float32.

    Raises:
        ModelError: ONNX Runtime cannot open it.
    """
    answers = core_answers(content, shown, (output,))

    def predict(batch: NDArray[Any]) -> NDArray[np.float32]:
        return answers(batch)[0]

    return predict


def core_answers(
    content: bytes, shown: str, outputs: Sequence[str]
) -> Callable[[NDArray[Any]], list[NDArray[np.float32]]]:
    """As `core_predict`, several outputs of one pass, in the order of `outputs`."""
    session = open_session(content, shown, provider="cpu", threads=None)

    def answer(batch: NDArray[Any]) -> list[NDArray[np.float32]]:
        found = session.run(list(outputs), {"input": np.asarray(batch, np.float32)})
        return [np.asarray(one, np.float32) for one in found]

    return answer
