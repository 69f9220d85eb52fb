"""From a trained core to a proven file: graph, parity gate, bundle."""

from __future__ import annotations

from zoo.artefact._bundle import GOLDEN_IMAGES, write_bundle
from zoo.artefact._core import core_predict, parse_core
from zoo.artefact._ensemble import Branch, TrainedEnsemble, reorder
from zoo.artefact._graph import assemble, set_manifest
from zoo.artefact._parity import parity_images, prove
from zoo.artefact._shippable import Assembled, Shippable, TrainedNetwork

__all__ = [
    "GOLDEN_IMAGES",
    "Assembled",
    "Branch",
    "Shippable",
    "TrainedEnsemble",
    "TrainedNetwork",
    "assemble",
    "core_predict",
    "parity_images",
    "parse_core",
    "prove",
    "reorder",
    "set_manifest",
    "write_bundle",
]
