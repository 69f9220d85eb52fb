"""From a trained core to a proven file: graph, parity gate, bundle."""

from __future__ import annotations

from zoo.export.bundle import GOLDEN_IMAGES, write_bundle
from zoo.export.core import core_predict, parsed_core
from zoo.export.graph import assemble, set_manifest
from zoo.export.parity import parity_images, prove
from zoo.export.pool import Branch, Pool, assemble_pool, prove_pool, reordered

__all__ = [
    "GOLDEN_IMAGES",
    "Branch",
    "Pool",
    "assemble",
    "assemble_pool",
    "core_predict",
    "parity_images",
    "parsed_core",
    "prove",
    "prove_pool",
    "reordered",
    "set_manifest",
    "write_bundle",
]
