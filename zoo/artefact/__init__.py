"""From a trained core to a proven file: graph, parity gate, bundle."""

from __future__ import annotations

from zoo.artefact._bundle import GOLDEN_IMAGES, check_bundle_place, golden_tolerance, write_bundle
from zoo.artefact._card import model_card
from zoo.artefact._core import core_predict, parse_core
from zoo.artefact._ensemble import Branch, TrainedEnsemble, reorder
from zoo.artefact._features import name_features, only_features, with_features
from zoo.artefact._golden import GOLDEN_SIDE, draw_golden, is_clear, look_at, look_of
from zoo.artefact._graph import assemble, set_manifest
from zoo.artefact._novelty import has_features, with_novelty
from zoo.artefact._parity import parity_images, prove
from zoo.artefact._shift import ShiftedNetwork
from zoo.artefact._shippable import Assembled, Shippable, TrainedNetwork
from zoo.edge._last_step import probabilities_of

__all__ = [
    "GOLDEN_IMAGES",
    "GOLDEN_SIDE",
    "Assembled",
    "Branch",
    "ShiftedNetwork",
    "Shippable",
    "TrainedEnsemble",
    "TrainedNetwork",
    "assemble",
    "check_bundle_place",
    "core_predict",
    "draw_golden",
    "golden_tolerance",
    "has_features",
    "is_clear",
    "look_at",
    "look_of",
    "model_card",
    "name_features",
    "only_features",
    "parity_images",
    "parse_core",
    "probabilities_of",
    "prove",
    "reorder",
    "set_manifest",
    "with_features",
    "with_novelty",
    "write_bundle",
]


def __dir__() -> list[str]:
    return __all__
