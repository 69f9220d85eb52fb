"""A torch module to its ONNX core, through torch's own exporter."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoo._support.text import join_lines
from zoo.errors import ModelError
from zoo.learn._beside import NetworkWithColumns
from zoo.learn._evidence import EvidenceNetwork
from zoo.spec import COLUMNS, EVIDENCE, OPSET

if TYPE_CHECKING:
    import onnx

__all__ = ["module_to_onnx"]


def module_to_onnx(module: nn.Module, *, channels: int, size: tuple[int, int]) -> onnx.ModelProto:
    """Export "input" (N, C, h, w) float32 → "logits" (N, K) float32, N dynamic, in evaluation mode.

    A `NetworkWithColumns` has the further input "columns" (N, D) float32.

    An `EvidenceNetwork` has the further output "evidence" (N, K, h, w), the very tensor that its logits are pooled of.

    Raises:
        ModelError: torch cannot trace the module with a dynamic batch.
    """
    module = module.eval().cpu().to(memory_format=torch.contiguous_format)
    sample = [torch.zeros(2, channels, *size)]  # a batch of 1 would be baked in as a constant
    inputs, outputs = ["input"], ["logits"]
    if isinstance(module, NetworkWithColumns):
        sample.append(torch.zeros(2, module.table.width))
        inputs.append(COLUMNS)
    if isinstance(module, EvidenceNetwork):
        module, outputs = _WithEvidence(module), ["logits", EVIDENCE]
    rows = torch.export.Dim("N")
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        # The CPU's fused attention gives strides that the exporter's own form of it does not: a reshape behind it is
        # traced as a view of the one and fails on the other ("Cannot view a tensor"). Plain attention has one layout.
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")  # a user can do nothing about deprecations inside the exporter
            program = torch.onnx.export(
                module,
                tuple(sample),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=tuple({0: rows} for _ in sample),
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as problem:
        reason = join_lines(problem, 300)
        raise ModelError(
            f"torch could not export this network with a dynamic batch: {reason}", code="export-failed"
        ) from problem
    finally:
        chatter.setLevel(level)
    if program is None:
        raise ModelError("torch's exporter gave no program", code="export-failed")
    model: onnx.ModelProto = program.model_proto
    return model


class _WithEvidence(nn.Module):
    """Both answers from one pass."""

    def __init__(self, network: EvidenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        evidence = self.network.evidence(images)
        return self.network.pool(evidence), evidence
