"""`zoo explain`: which parts of an image an answer depends on, by an evidence map or by occlusion; pictures of it.

How far a map hangs on what was learnt is in `zoo.edge._explain.randomised`. Grad-CAM needs the trained network, so it
is made elsewhere (`zoo.workflow._gradcam`) and handed in as a `Mapper`.
"""

from __future__ import annotations

from zoo.edge._explain.evidence import average_in_cells, explain_image, map_evidence
from zoo.edge._explain.heatmaps import Explained, describe, describe_score, explain_images
from zoo.edge._explain.occlusion import CAPTIONS, VISIBLE, VISIBLE_EVIDENCE, HeatMap, Method, map_occlusion, overlay
from zoo.edge._explain.randomised import FileMapper, Mapper, correlate_ranks, score_map, shuffle_weights

__all__ = [
    "CAPTIONS",
    "VISIBLE",
    "VISIBLE_EVIDENCE",
    "Explained",
    "FileMapper",
    "HeatMap",
    "Mapper",
    "Method",
    "average_in_cells",
    "correlate_ranks",
    "describe",
    "describe_score",
    "explain_image",
    "explain_images",
    "map_evidence",
    "map_occlusion",
    "overlay",
    "score_map",
    "shuffle_weights",
]
