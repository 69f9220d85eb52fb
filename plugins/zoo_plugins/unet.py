"""U-Nets (Ronneberger et al. 2015) as classifiers that show where they see what, trained by image labels alone.

Encoder and decoder are those of segmentation-models-pytorch, the encoder any of timm's that halves the picture five
times. Where a segmentation network ends in masks this one ends in a map of evidence for each class, at the size of its
input, and its logits are that map pooled:

    logit[k] = 1/r · log( mean over pixels of exp(r · evidence[k]) )            r = 1

That is the log-sum-exp pooling of Pinheiro and Collobert ("From Image-level to Pixel-level Labeling with
Convolutional Networks", CVPR 2015, equation 3), a smooth way from the mean (r → 0), which asks a lesion of a hundredth
of the picture for a hundred times the evidence, to the maximum (r → ∞), which learns from one pixel at a time and
explains an answer by one. Nothing in it is learnt, so that the map stays in units of a logit: a picture with the same
evidence everywhere has that evidence as its logit, and no pixel adds to it what is not in the map.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import WeightsError
from zoo.learn import EvidenceNetwork
from zoo.plugin import TorchPlugin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo.spec import ModelCard

__all__ = ["SHARPNESS", "UNet", "UNetClassifier"]

STRIDE = 32
"""By how much the encoder makes a picture smaller; other sizes are filled up to a multiple of it."""

SHARPNESS = 1.0
"""r of the pooling; Pinheiro and Collobert took 5. At 1 the small values of a fresh map are pooled nearly as by the
mean, so that training begins everywhere at once, and a spot that becomes strong is not watered down any more."""

_HEAD = "network.segmentation_head.0"
_ENCODER = "network.encoder.model."


class UNetClassifier(EvidenceNetwork):
    """A U-Net without its masks.

    Args:
        arch: a name of timm, the encoder.
        classes: K.
        channels: C of the input.
    """

    def __init__(self, arch: str, *, classes: int, channels: int) -> None:
        super().__init__()
        self.arch = arch
        self.network = smp.Unet(f"tu-{arch}", encoder_weights=None, in_channels=channels, classes=classes)
        # For weights of a U-Net that this tool trained; those of an encoder alone go another way.
        self.pretrained_cfg = {
            "classifier": _HEAD,
            "first_conv": f"{_ENCODER}{_first_conv(arch)}",
            "probed": ("network.decoder", _HEAD),  # weights of an encoder leave both new
        }

    def evidence(self, images: Tensor) -> Tensor:
        """(N, C, h, w) to (N, K, h, w); borders are repeated up to the next multiple of 32 and cut off again."""
        height, width = images.shape[-2:]
        below, right = -height % STRIDE, -width % STRIDE
        if below or right:
            images = functional.pad(images, (0, right, 0, below), mode="replicate")
        evidence: Tensor = self.network(images)
        return evidence[:, :, :height, :width]

    def pool(self, evidence: Tensor) -> Tensor:
        """(N, K, h, w) to (N, K)."""
        evidence = evidence.float()  # a sum of exponentials over 50 000 pixels is not for 16 bits
        count = evidence.shape[-2] * evidence.shape[-1]
        return (torch.logsumexp(SHARPNESS * evidence.flatten(2), dim=2) - math.log(count)) / SHARPNESS


class UNet(TorchPlugin):
    """The card's arch names the encoder; its weights are those of the encoder as a classifier of timm."""

    minimum_size = 8

    def build(self, card: ModelCard, *, classes: int, channels: int) -> nn.Module:
        """An untrained U-Net."""
        return UNetClassifier(card.arch, classes=classes, channels=channels)

    def adapt(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
        """Weights of an encoder as those of the whole, whose decoder and map stay new; those of a U-Net as they are.

        Raises:
            WeightsError: they hold what neither has.
        """
        assert isinstance(module, UNetClassifier)  # noqa: S101 - build made it
        if any(name.startswith("network.") for name in tensors):
            return tensors, ()
        own = module.state_dict()
        with torch.device("meta"):
            classifier = timm.create_model(module.arch, pretrained=False).state_dict()
        unknown = sorted(tensors.keys() - classifier.keys())
        if unknown:
            raise WeightsError(
                f"weights hold {len(unknown)} tensors ({', '.join(unknown[:3])}) that timm's {module.arch} has "
                "not; bring weights of that network, or of a U-Net around it",
                code="weights-names",
                unexpected=len(unknown),
            )
        given = {f"{_ENCODER}{name}": tensor for name, tensor in tensors.items()}
        left = sorted({name.removeprefix(_ENCODER).partition(".")[0] for name in given.keys() - own.keys()})
        fresh = {name: tensor for name, tensor in own.items() if not name.startswith(_ENCODER)}
        said = f"; {', '.join(left)} of the weights left out" if left else ""
        note = f"encoder {module.arch} from the weights; decoder and evidence map are new{said}"
        return fresh | {name: tensor for name, tensor in given.items() if name in own}, (note,)


def _first_conv(arch: str) -> str:
    config: Any = timm.get_pretrained_cfg(arch)
    return str(config.first_conv) if config is not None else "conv1"
