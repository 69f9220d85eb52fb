"""Vision transformers of timm: plain ones that cut the picture into patches, and hybrids with convolutions.

Plain: ViT (Dosovitskiy et al. 2021), DeiT (Touvron et al. 2021, 2022), BEiT (Bao et al. 2022), MAE (He et al. 2022),
DINOv2 and DINOv3 (Oquab et al. 2024; Siméoni et al. 2025), EVA-02 (Fang et al. 2023). Hybrids: MobileViT (Mehta and
Rastegari 2022), EfficientViT (Cai et al. 2023; Liu et al. 2023), TinyViT (Wu et al. 2022), FastViT (Vasu et al. 2023),
Swin (Liu et al. 2021).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import timm
import torch

from zoo_plugins.timm_any import AnyTimm

if TYPE_CHECKING:
    from zoo.spec import ModelCard

__all__ = ["Hybrid", "Transformer"]

FEWEST = 7
"""Patches a side that a picture is cut into at least, as many as a ResNet's last map has at 224 px."""
MOST = 40
"""Patches a side at most, unless they are of the own size; DINOv2 has 37 at 518 px. Time grows with the fourth
power."""


class Transformer(AnyTimm):
    """Plain transformers; the patch follows the picture, so that a small one is still seen in 49 pieces or more.

    A patch of 16 px would cut a 28 px picture into one. The patch is the largest that the picture's sides are multiples
    of, no larger than the architecture's own, with 7 patches a side: 4 px at 28, 8 px at 64, 12 px at 96, 16 px at 224.
    Pretrained patches and positions are resampled to it.
    """

    minimum_size = 28

    def options(self, card: ModelCard) -> dict[str, Any]:
        """The picture's size, and the patch where it is not the architecture's own."""
        with torch.device("meta"):
            patches: Any = timm.create_model(card.arch).get_submodule("patch_embed")
        own: int = patches.patch_size[0]
        patch = _patch(card.preprocess.size, own)
        given: dict[str, Any] = {"img_size": card.preprocess.size}
        return given if patch == own else given | {"patch_size": patch}


class Hybrid(AnyTimm):
    """Convolutions first, attention on what they leave; smaller pictures are enlarged to 64 px, a last map of 2 × 2."""

    minimum_size = 64


def _patch(size: tuple[int, int], own: int) -> int:
    """Side of a patch in pixels, at most `own`.

    Raises:
        ValueError: no patch fills the picture.
    """
    patch = _fitting(size, own)
    if patch is None:
        side = min(size)
        lower = max(s for s in range(FEWEST, side + 1) if _fitting((s, s), own))
        upper = min(s for s in range(side + 1, side + own + 1) if _fitting((s, s), own))
        raise ValueError(
            f"pictures of {size[0]}x{size[1]} cannot be cut into whole patches of 2 to {own} px, {FEWEST} to {MOST} a "
            f"side; choose --size {lower} or {upper}"
        )
    return patch


def _fitting(size: tuple[int, int], own: int) -> int | None:
    for patch in range(own, 1, -1):
        whole = math.gcd(*size) % patch == 0
        if whole and min(size) >= FEWEST * patch and (patch == own or max(size) <= MOST * patch):
            return patch
    return None
