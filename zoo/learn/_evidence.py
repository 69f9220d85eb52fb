"""Networks that answer from a map: where they see what, and the logits as that map's pooling."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

__all__ = ["EvidenceNetwork"]


class EvidenceNetwork(nn.Module):
    """A network whose logits are made of a class evidence map and of nothing else.

    What a plugin's `build` returns to offer the output "evidence" (`zoo export --evidence`). The map explains the
    answer by construction: the logits see the picture only through the map.
    """

    @abstractmethod
    def evidence(self, images: Tensor) -> Tensor:
        """(N, C, h, w) float32 to (N, K, h, w), in units of a logit; positive speaks for the class."""

    @abstractmethod
    def pool(self, evidence: Tensor) -> Tensor:
        """(N, K, h, w) to (N, K) logits; nothing of it is learnt from the picture itself."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, h, w) float32 to (N, K) logits."""
        return self.pool(self.evidence(images))
