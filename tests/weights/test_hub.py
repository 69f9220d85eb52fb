"""The hub, here a real HTTP server on this machine: pinned at the first download, never half a file."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from zoo import download, weights
from zoo.errors import WeightsError
from zoo.files import sha256_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.spec import ModelCard

URL = "/acme/net/resolve/main/model.safetensors"
WAYS_OUT = ("zoo weights import net FILE", "--weights FILE", "train without --pretrained")


def refusal(card: ModelCard) -> str:
    with pytest.raises(WeightsError) as caught:
        weights.fetch(card)
    assert "\n" not in str(caught.value)
    kept = [path.name for path in weights.folder().glob("*") if path.name != ".weights.lock.guard"]
    assert not kept, "nothing may be left behind"
    return str(caught.value)


def test_the_first_download_is_pinned_and_the_second_needs_no_network(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL] = blob
    found = weights.resolve(card)
    assert found.path.read_bytes() == blob
    assert (found.source, found.sha256, found.licence) == ("hf-hub:acme/net", sha256_bytes(blob), "mit")
    assert hub.asked == [f"HEAD {URL}", f"GET {URL}"]
    assert weights.resolve(card) == found
    assert weights.fetch(card) == found
    assert len(hub.asked) == 2


def test_a_file_that_changed_on_the_hub_is_refused_until_it_is_wanted(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL] = blob
    first = weights.fetch(card)
    first.path.unlink()
    hub.files[URL] = save({"w": np.ones(4, np.float32)})
    with pytest.raises(WeightsError) as caught:
        weights.fetch(card)
    assert str(caught.value) == (
        f"weights for net: sha256 is {sha256_bytes(hub.files[URL])[:8]}…, the lock says {first.sha256[:8]}…; "
        f"run 'zoo weights fetch net --force' if the change is wanted"
    )
    assert not first.path.exists()
    second = weights.fetch(card, force=True)
    assert weights.resolve(card) == second
    assert second.sha256 == sha256_bytes(hub.files[URL])


def test_a_hash_that_is_not_the_cards_is_refused(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL] = blob
    assert card.weights is not None
    pinned = msgspec.structs.replace(card.weights, sha256="0" * 64)
    assert "the card says 00000000…" in refusal(msgspec.structs.replace(card, weights=pinned))


def test_a_truncated_transfer_leaves_nothing(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL], hub.missing = blob, 10
    assert "the transfer from" in refusal(card)
    hub.missing = 0
    assert weights.fetch(card).path.read_bytes() == blob


def test_a_download_that_is_no_safetensors_is_not_pinned(card: ModelCard, hub) -> None:
    hub.files[URL] = b"<html>please sign in</html>"
    assert "hf-hub:acme/net is not a safetensors file" in refusal(card)


def test_a_name_the_hub_does_not_know_is_said_to_be_unknown(card: ModelCard, hub) -> None:
    assert "HTTP 404" in refusal(card)
    assert "end in a tag" in refusal(card)
    assert hub.asked.count(f"GET {URL}") == 0


def test_a_redirect_to_where_the_bytes_lie_is_followed(card: ModelCard, hub, blob: bytes) -> None:
    """The real hub answers with the address of its content network."""
    hub.files["/elsewhere"] = blob
    hub.redirects[URL] = "/elsewhere"
    assert weights.fetch(card).path.read_bytes() == blob


def test_a_redirect_that_gives_up_encryption_is_not_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever sits between could hand out other weights, or a config.json to be pinned."""
    import requests

    closed: list[bool] = []

    class Answer:
        url = "http://127.0.0.1/elsewhere"

        def close(self) -> None:
            closed.append(True)

    monkeypatch.setattr(requests, "get", lambda _, hooks, **__: hooks["response"](Answer()))
    with pytest.raises(download.TransferError, match="from https to a place without"):
        download.transfer("https://127.0.0.1/model", tmp_path / "model", "weights", most=100)
    assert closed


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_is_said_to_be_closed(card: ModelCard, hub, blob: bytes, status: int) -> None:
    hub.files[URL], hub.status = blob, status
    assert f"HTTP {status}" in refusal(card)


def test_a_server_in_trouble_is_one_line(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL], hub.status = blob, 503
    assert "503" in refusal(card)


def test_a_machine_without_network_is_told_the_three_ways_out_at_once(card: ModelCard) -> None:
    begun = time.monotonic()
    message = refusal(card)
    assert time.monotonic() - begun < 5
    assert all(way in message for way in WAYS_OUT)


def test_a_hub_that_does_not_answer_is_given_up_within_five_seconds(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that swallows packets must not cost a minute of retries."""
    assert download.REACH_LIMIT < 5
    monkeypatch.setattr(download, "REACH_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        message = refusal(card)
        assert time.monotonic() - begun < 5
    assert all(way in message for way in WAYS_OUT)


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "ZOO_OFFLINE"])
def test_offline_by_choice_makes_no_attempt(
    card: ModelCard, hub, blob: bytes, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    hub.files[URL] = blob
    monkeypatch.setenv(switch, "1")
    message = refusal(card)
    assert f"{switch} is set" in message
    assert all(way in message for way in WAYS_OUT)
    assert hub.asked == []


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1", "http://"])
def test_an_endpoint_that_is_no_address_is_one_line(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert "can not be reached" in refusal(card)


def test_an_unwritable_store_is_said_so(card: ModelCard, hub, blob: bytes, home: Path) -> None:
    from zoo.errors import OutputError

    hub.files[URL] = blob
    home.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot write"):
        weights.fetch(card)
