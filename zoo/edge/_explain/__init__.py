"""`zoo explain`: which parts of an image an answer depends on, by an evidence map or by occlusion; pictures of it."""

from __future__ import annotations

from zoo.edge._explain.evidence import average_in_cells, explain_image, map_evidence
from zoo.edge._explain.heatmaps import Explained, describe, explain_images
from zoo.edge._explain.occlusion import (
    CAPTIONS,
    VISIBLE,
    VISIBLE_EVIDENCE,
    HeatMap,
    Method,
    find_label,
    map_occlusion,
    overlay,
)

__all__ = [
    "CAPTIONS",
    "VISIBLE",
    "VISIBLE_EVIDENCE",
    "Explained",
    "HeatMap",
    "Method",
    "average_in_cells",
    "describe",
    "explain_image",
    "explain_images",
    "find_label",
    "map_evidence",
    "map_occlusion",
    "overlay",
]
