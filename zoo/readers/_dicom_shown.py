"""What a DICOM header says of its picture that forbids a change of it in training; no pixel is looked at."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from zoo.errors import ImageError
from zoo.readers._dicom_values import find_functional

if TYPE_CHECKING:
    from zoo.readers._dicom_elements import Elements
    from zoo.readers._image import Shown

__all__ = ["read_shown"]

_ROOM = frozenset({"CR", "CT", "DX", "MR", "NM", "PT", "RF", "RG", "XA"})
"""Modalities (PS3.3 C.7.3.1.1.1) whose pictures are turned as the patient was, and not as somebody held an endoscope or
a probe."""

_DERMOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.7"

_TRUNK = frozenset(
    {
        "ABDOMEN", "ABDOMENPELVIS", "AORTA", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "COLON", "HEART", "LIVER",
        "LUNG", "MEDIASTINUM", "NECKCHEST", "NECKCHESTABDOMEN", "NECKCHESTABDPELV", "PANCREAS", "SPLEEN", "STOMACH",
        "THORAX", "WHOLEBODY",
    }
)  # fmt: skip
"""Words of BodyPartExamined (PS3.16 table L-1; THORAX is widespread) for regions with organs that lie to one side."""

_REGIONS = frozenset(
    {
        "816094009", "51185008", "T-D3000",  # chest, as today and before
        "818981001", "113345001", "T-D4000",  # abdomen
        "818982008", "416949008", "R-FAB57",  # abdomen and pelvis
        "416550000", "R-FAB55", "416775004", "R-FAB56",  # chest and abdomen, and pelvis
        "417437006", "R-FAB52", "416152001", "R-FAB53", "416319003", "R-FAB54",  # the same with the neck
        "80891009", "T-32000", "39607008", "T-28000", "72410000", "T-D3300",  # heart, lung, mediastinum
        "10200004", "T-62000", "78961009", "T-C3000", "69695003", "T-57000", "15776009", "T-65000",  # liver to pancreas
        "38266002", "T-D0010",  # whole body
    }
)  # fmt: skip
"""Codes of AnatomicRegionSequence (PS3.16 CID 4 and 4031) for the same regions, in SNOMED CT and in SRT before it."""


def read_shown(elements: Elements) -> Shown:
    """What a picture shows, as `Probe.shows` has it; "" where the header says nothing of it, or is damaged there."""
    with contextlib.suppress(ImageError):  # no picture is lost over it
        modality = elements.text("Modality")
        if modality == "DMS" or elements.uid("SOPClassUID") == _DERMOSCOPY:
            return "dermoscopy"
        if modality in _ROOM and (_names_trunk(elements) or _codes_trunk(elements)):
            return "trunk"
    return ""


def _names_trunk(elements: Elements) -> bool:
    words = re.findall(r"[A-Z]+", elements.text("BodyPartExamined"))
    return not _TRUNK.isdisjoint((*words, "".join(words)))  # as in WHOLE BODY


def _codes_trunk(elements: Elements) -> bool:
    holders = (elements, find_functional(elements, 1, "FrameAnatomySequence"))
    regions = [region for holder in holders for region in holder.items("AnatomicRegionSequence")]
    return any(region.text("CodeValue") in _REGIONS for region in regions)
