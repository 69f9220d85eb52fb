"""A lone file carries a hash of itself: a flipped bit is refused, and a report written later is not."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
import onnx
import pytest
from edge_models import make_manifest, make_model
from refusals import refused

from zoo.artefact import set_manifest
from zoo.edge.bundle import CHECKSUM_KEY, METADATA_KEY, open_model
from zoo.errors import TamperedError, ZooError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    model = make_model()
    set_manifest(model, make_manifest())
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_the_file_as_it_was_written_opens_and_tells_its_hash(sealed: Path) -> None:
    open_model(sealed)
    keys = [entry.key for entry in onnx.load(sealed).metadata_props]
    assert keys == [METADATA_KEY, CHECKSUM_KEY]


def test_every_flipped_bit_is_refused(sealed: Path) -> None:
    sound = sealed.read_bytes()
    # what the hash is called and what it says cannot be vouched for by it
    own = sound.index(CHECKSUM_KEY.encode())
    chance = random.Random(0)  # noqa: S311 - no secret
    codes = set()
    for _ in range(400):
        at = chance.randrange(own - 4)
        data = bytearray(sound)
        data[at] ^= 1 << chance.randrange(8)
        sealed.write_bytes(data)
        with pytest.raises(ZooError) as caught:
            open_model(sealed)
        codes.add(caught.value.code)
    assert "model-checksum" in codes


def test_a_weight_that_differs_is_a_gate_with_both_hashes(sealed: Path) -> None:
    model = onnx.load(sealed)
    weights = bytearray(model.graph.initializer[0].raw_data)
    weights[0] ^= 1
    model.graph.initializer[0].raw_data = bytes(weights)
    sealed.write_bytes(model.SerializeToString())
    with refused("model-checksum", TamperedError) as caught:
        open_model(sealed)
    assert caught.value.exit_code == 3
    assert {len(caught.value.fields[name]) for name in ("found", "expected")} == {64}
    assert caught.value.fields["found"] != caught.value.fields["expected"]


def test_a_manifest_that_is_written_again_brings_its_own_hash(sealed: Path) -> None:
    model = onnx.load(sealed)
    set_manifest(model, msgspec.structs.replace(make_manifest(), intended_use="other tests"))
    sealed.write_bytes(model.SerializeToString())
    assert open_model(sealed).manifest.intended_use == "other tests"


def test_a_file_without_a_hash_opens_as_before(sealed: Path) -> None:
    sealed.write_bytes(make_model().SerializeToString())
    open_model(sealed)
