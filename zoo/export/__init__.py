"""From a trained core to a proven file: graph, parity gate, bundle."""

from __future__ import annotations

from zoo.export.bundle import GOLDEN_IMAGES, write_bundle
from zoo.export.graph import assemble, set_manifest
from zoo.export.parity import parity_images, prove

__all__ = ["GOLDEN_IMAGES", "assemble", "parity_images", "prove", "set_manifest", "write_bundle"]
