"""A bundle from before signatures, parts lists and quantisation opens and proves itself like one of today."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.edge import Runtime, verify

FIRST = Path(__file__).resolve().parents[1] / "fixtures" / "unsigned" / "first.zoo"


def test_the_first_bundle_still_verifies() -> None:
    proof = verify(FIRST, isolated=False)
    assert (proof.files, proof.images, proof.signed) == (4, 32, "none")


def test_what_its_manifest_does_not_know_is_not_claimed() -> None:
    manifest = Runtime.open(FIRST).manifest
    assert (manifest.quantization, manifest.portable) == (None, False)
    assert (manifest.provenance.weights_licence, manifest.provenance.exported) == (None, {})


def test_it_answers_as_it_did() -> None:
    runtime = Runtime.open(FIRST)
    for value, label in ((230, "bright"), (20, "dark")):
        result = runtime.answer(np.full((8, 8, 3), value, np.uint8))
        assert result.row()["label"] == label
