"""The training loop and what belongs to torch around it; importing this imports torch.

It starts from decoded images and ends with weights in a run; files of images, ONNX graphs and reports are
other packages' affair.
"""

from __future__ import annotations

from zoo.learn._beside import EMBEDDING, NetworkWithColumns, image_network, image_tensors
from zoo.learn._checkpoint import STATE_FILE, WEIGHTS_FILE, load_weights, read_tensors, save_weights
from zoo.learn._core import module_to_onnx
from zoo.learn._distributed import hear_first, meet, to_the_end
from zoo.learn._evidence import EvidenceNetwork
from zoo.learn._features import find_last_layer, torch_features
from zoo.learn._fit import Fitted, fit
from zoo.learn._gradcam import GradCam
from zoo.learn._head import fit_head
from zoo.learn._integers import Pictures, fit_integers
from zoo.learn._mirror import mirrored, price_mirror
from zoo.learn._precision import pick_device
from zoo.learn._predict import torch_evidence, torch_predict
from zoo.learn._refusals import check_request
from zoo.learn._transfer import find_fresh_stems, load_pretrained

__all__ = [
    "EMBEDDING",
    "STATE_FILE",
    "WEIGHTS_FILE",
    "EvidenceNetwork",
    "Fitted",
    "GradCam",
    "NetworkWithColumns",
    "Pictures",
    "check_request",
    "find_fresh_stems",
    "find_last_layer",
    "fit",
    "fit_head",
    "fit_integers",
    "hear_first",
    "image_network",
    "image_tensors",
    "load_pretrained",
    "load_weights",
    "meet",
    "mirrored",
    "module_to_onnx",
    "pick_device",
    "price_mirror",
    "read_tensors",
    "save_weights",
    "to_the_end",
    "torch_evidence",
    "torch_features",
    "torch_predict",
]


def __dir__() -> list[str]:
    return __all__
