"""What an ONNX file holds, and whether it is opened at all: said of its bytes, before ONNX Runtime sees them.

`wire` walks protobuf, `outline` names what the walk meets, `numbers` looks at tensors in place, `operators` lists
what may run, `rules` decides.
"""

from __future__ import annotations

from zoo.edge.vet._outline import Outline
from zoo.edge.vet._rules import check

__all__ = ["Outline", "check"]
