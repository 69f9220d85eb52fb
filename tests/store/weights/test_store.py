"""The store: what was pinned stays what it is, and a change is made knowingly or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from refusals import refused
from safetensors.numpy import save

from zoo._support.files import sha256_bytes
from zoo.errors import WeightsError
from zoo.store import weights

if TYPE_CHECKING:
    from zoo.spec import ModelCard


@pytest.fixture
def carried(tmp_path: Path, blob: bytes) -> Path:
    path = tmp_path / "carried.safetensors"
    path.write_bytes(blob)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"w": np.ones(4, np.float32)}))
    return path


def with_pin(card: ModelCard, sha256: str) -> ModelCard:
    assert card.weights is not None
    return msgspec.structs.replace(card, weights=msgspec.structs.replace(card.weights, sha256=sha256))


def test_an_imported_file_is_found_without_a_network(card: ModelCard, carried: Path, blob: bytes, home: Path) -> None:
    kept = weights.import_file(card, carried)
    carried.unlink()
    found = weights.resolve(card)
    assert found == kept
    assert found.path.read_bytes() == blob
    assert found.path == home / "weights" / "acme--net.safetensors"
    lock = json.loads((home / "weights" / "weights.lock").read_text())
    assert set(lock) == {"hf-hub:acme/net"}
    assert set(lock["hf-hub:acme/net"]) == {"sha256", "size", "licence", "added"}
    assert lock["hf-hub:acme/net"]["sha256"] == sha256_bytes(blob)


def test_the_list_says_what_is_there_and_who_uses_it(card: ModelCard, carried: Path, blob: bytes) -> None:
    assert weights.list_stored() == []
    weights.import_file(card, carried)
    (row,) = weights.list_stored([card])
    assert (row.models, row.source, row.size, row.licence) == (("net",), "hf-hub:acme/net", len(blob), "mit")
    assert Path(row.path).is_file()
    assert weights.lock([card]) == [row]


def test_a_stored_file_that_changed_is_refused_with_both_hashes(card: ModelCard, carried: Path, other: Path) -> None:
    kept = weights.import_file(card, carried)
    kept.path.write_bytes(other.read_bytes())
    actual = sha256_bytes(other.read_bytes())
    with refused("weights-hash", WeightsError, found=actual, expected=kept.sha256, by="the lock"):
        weights.resolve(card)
    with refused("weights-lock", WeightsError) as caught:
        weights.lock([card])
    (problem,) = caught.value.fields["problems"]
    assert actual[:8] in problem
    assert kept.sha256[:8] in problem
    assert "net --force" in problem


def test_a_pickle_put_into_the_store_by_hand_is_not_even_looked_at(card: ModelCard, home: Path) -> None:
    (home / "weights").mkdir(parents=True)
    (home / "weights" / "acme--net.safetensors").write_bytes(b"\x80\x04anything")
    with refused("weights-unlocked", WeightsError):
        weights.resolve(card)
    with refused("weights-lock", WeightsError):
        weights.lock()


def test_another_file_for_the_same_source_needs_force(card: ModelCard, carried: Path, other: Path) -> None:
    first = weights.import_file(card, carried)
    with refused("weights-hash", WeightsError, expected=first.sha256, by="the lock") as caught:
        weights.import_file(card, other)
    assert "zoo weights import" in str(caught.value)
    assert weights.resolve(card) == first
    second = weights.import_file(card, other, force=True)
    assert weights.resolve(card) == second != first


def test_what_the_card_pins_is_stronger_than_force(card: ModelCard, carried: Path, other: Path, blob: bytes) -> None:
    pinned = with_pin(card, sha256_bytes(blob))
    with refused("weights-hash", WeightsError, by="the card"):
        weights.import_file(pinned, other, force=True)
    assert not list(weights.folder().glob("*.safetensors"))
    weights.import_file(pinned, carried)
    assert weights.resolve(pinned).sha256 == sha256_bytes(blob)
    # A card that is updated later makes the stored file stale, and says so.
    with refused("weights-hash", WeightsError, expected="0" * 64, by="the card"):
        weights.resolve(with_pin(card, "0" * 64))
    with refused("weights-lock", WeightsError):
        weights.lock([with_pin(card, "0" * 64)])


def test_the_card_does_not_pin_the_users_own_file(card: ModelCard, carried: Path) -> None:
    """The pin is of the card's source; a hospital's own weights are another file by intention."""
    assert weights.resolve(with_pin(card, "0" * 64), carried).path == carried


def test_a_model_without_weights_says_so(card: ModelCard, carried: Path) -> None:
    bare = msgspec.structs.replace(card, weights=None)
    for act in (lambda: weights.resolve(bare), lambda: weights.import_file(bare, carried)):
        with refused("weights-none", WeightsError, model="net"):
            act()


@pytest.mark.parametrize("text", ["", "{", '{"hf-hub:acme/net": {"sha256": 3}}'])
def test_a_damaged_lock_is_one_line(card: ModelCard, carried: Path, text: str) -> None:
    weights.import_file(card, carried)
    (weights.folder() / "weights.lock").write_text(text)
    with pytest.raises(WeightsError, match=r"weights\.lock: ") as caught:
        weights.resolve(card)
    assert "\n" not in str(caught.value)


def test_two_processes_that_import_at_once_lose_no_pin(card: ModelCard, carried: Path) -> None:
    code = (
        "import sys, msgspec; from pathlib import Path;"
        "from zoo.store import weights; from zoo.spec import ModelCard;"
        "card = msgspec.json.decode(sys.argv[1], type=ModelCard);"
        "[weights.import_file(msgspec.structs.replace(card, weights=msgspec.structs.replace(card.weights,"
        " source=f'hf-hub:acme/{sys.argv[3]}{i}')), Path(sys.argv[2])) for i in range(10)]"
    )
    text = msgspec.json.encode(card).decode()
    running = [subprocess.Popen([sys.executable, "-c", code, text, str(carried), name]) for name in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    assert len(weights.lock()) == 20
