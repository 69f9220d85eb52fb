"""What a header says of its picture that training must know: a chest has sides, a dermatoscope shows colours."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pydicom")

from dicom_cases import dataset, edited, written
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from zoo.readers import probe


def region(code: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "SCT", "as the code says"
    return Sequence([item])


@pytest.mark.parametrize(
    ("elements", "shows"),
    [
        ({"Modality": "CR", "BodyPartExamined": "CHEST"}, "trunk"),
        ({"Modality": "DX", "BodyPartExamined": "PORT CHEST"}, "trunk"),
        ({"Modality": "CT", "BodyPartExamined": "CHESTABDPELVIS"}, "trunk"),
        ({"Modality": "CT", "BodyPartExamined": "abdomen"}, "trunk"),
        ({"Modality": "NM", "BodyPartExamined": "WHOLE BODY"}, "trunk"),
        ({"Modality": "CR", "BodyPartExamined": "HAND"}, ""),
        ({"Modality": "MG", "BodyPartExamined": "BREAST"}, ""),  # a mirrored left breast is a right one
        ({"Modality": "MR", "BodyPartExamined": "HEAD"}, ""),
        ({"Modality": "ES", "BodyPartExamined": "STOMACH"}, ""),  # an endoscope turns
        ({"Modality": "XC", "BodyPartExamined": "SKIN"}, ""),  # of photographs nothing is guessed
        ({"Modality": "DMS"}, "dermoscopy"),
        ({"Modality": "XC", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.7"}, "dermoscopy"),
        ({"Modality": "DX", "AnatomicRegionSequence": region("51185008")}, "trunk"),
        ({"Modality": "DX", "AnatomicRegionSequence": region("7569003")}, ""),  # a finger
    ],
)
def test_only_what_the_header_says_counts(elements: dict[str, Any], shows: str) -> None:
    assert probe(edited(**{"BodyPartExamined": "", **elements})).shows == shows


def test_an_enhanced_file_says_it_in_its_functional_groups() -> None:
    content, anatomy, shared = dataset(), Dataset(), Dataset()
    anatomy.AnatomicRegionSequence = region("816094009")
    shared.FrameAnatomySequence = Sequence([anatomy])
    content.Modality, content.SharedFunctionalGroupsSequence = "CT", Sequence([shared])
    assert probe(written(content)).shows == "trunk"


def test_a_damaged_element_loses_no_picture() -> None:
    data = edited(Modality="CR", BodyPartExamined="CHEST")
    at = data.index(b"CHEST")
    damaged = data[: at - 4] + b"FD" + data[at - 2 :]  # numbers of 8 bytes each, in 6
    assert probe(damaged).shows == ""


def test_codes_are_those_of_pydicoms_dictionary() -> None:
    """A mistyped digit would let a chest be mirrored."""
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    from zoo.readers._dicom_shown import _REGIONS

    names = (
        "Thorax", "Abdomen", "AbdomenAndPelvis", "ChestAndAbdomen", "ChestAbdomenAndPelvis", "NeckAndChest",
        "NeckChestAndAbdomen", "NeckChestAbdomenAndPelvis", "Heart", "Lung", "Mediastinum", "Liver", "Spleen",
        "Stomach", "Pancreas", "EntireBody",
    )  # fmt: skip
    known = {code for name in names for code in concepts["SCT"][name]}
    assert known <= _REGIONS
    older = {mapping["SCT"][code] for code in _REGIONS if code in mapping["SCT"]}
    assert older == {code for code in _REGIONS if "-" in code}
