"""The hub, here a real HTTP server on this machine: pinned at the first download, never half a file."""

from __future__ import annotations

import io
import socket
import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from refusals import refused
from safetensors.numpy import save
from work import attempts

from zoo._support.files import sha256_bytes
from zoo.errors import WeightsError
from zoo.store import _download as download
from zoo.store import weights

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.spec import ModelCard

URL = "/acme/net/resolve/main/model.safetensors"
WAYS_OUT = ("zoo weights import net FILE", "--weights FILE", "train without --pretrained")


def refusal(card: ModelCard, code: str, **fields: object) -> str:
    with refused(code, WeightsError, **fields) as caught:
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
    with refused("weights-hash", WeightsError, found=sha256_bytes(hub.files[URL]), expected=first.sha256) as caught:
        weights.fetch(card)
    assert "net --force" in str(caught.value)
    assert not first.path.exists()
    second = weights.fetch(card, force=True)
    assert weights.resolve(card) == second
    assert second.sha256 == sha256_bytes(hub.files[URL])


def test_a_hash_that_is_not_the_cards_is_refused(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL] = blob
    assert card.weights is not None
    pinned = msgspec.structs.replace(card.weights, sha256="0" * 64)
    refusal(msgspec.structs.replace(card, weights=pinned), "weights-hash", expected="0" * 64, by="the card")


def test_a_truncated_transfer_leaves_nothing(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL], hub.missing = blob, 10
    refusal(card, "transfer-broken", name="net")
    hub.missing = 0
    assert weights.fetch(card).path.read_bytes() == blob


def test_a_download_that_is_no_safetensors_is_not_pinned(card: ModelCard, hub) -> None:
    hub.files[URL] = b"<html>please sign in</html>"
    refusal(card, "weights-damaged", file="hf-hub:acme/net")


def test_a_name_the_hub_does_not_know_is_said_to_be_unknown(card: ModelCard, hub) -> None:
    assert "a tag" in refusal(card, "weights-closed", status=404)
    assert hub.asked.count(f"GET {URL}") == 0


def test_a_redirect_to_where_the_bytes_lie_is_followed(card: ModelCard, hub, blob: bytes) -> None:
    """The real hub answers with the address of its content network."""
    hub.files["/elsewhere"] = blob
    hub.redirects[URL] = "/elsewhere"
    assert weights.fetch(card).path.read_bytes() == blob


@pytest.mark.parametrize("way", [["http://b/elsewhere"], ["http://b/elsewhere", "https://c/back"]])
def test_a_redirect_that_gives_up_encryption_is_not_followed(
    way: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever sits between could hand out other weights, or a config.json to be pinned."""
    import requests

    answers = []
    for url in ("https://a/model", *way):
        answer = requests.Response()
        answer.url, answer.raw, answer.status_code = url, io.BytesIO(b"other weights"), 200
        answers.append(answer)
    *answers[-1].history, last = answers
    monkeypatch.setattr(requests, "get", lambda *_, **__: last)
    with pytest.raises(download.TransferError, match="from https to a place without"):
        download.transfer("https://a/model", tmp_path / "model", "weights", most=100)
    assert last.raw.closed
    assert not (tmp_path / "model").read_bytes()


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_is_said_to_be_closed(card: ModelCard, hub, blob: bytes, status: int) -> None:
    hub.files[URL], hub.status = blob, status
    refusal(card, "weights-closed", status=status)


def test_a_server_in_trouble_is_one_line(card: ModelCard, hub, blob: bytes) -> None:
    hub.files[URL], hub.status = blob, 503
    assert "503" in refusal(card, "transfer-broken")


def test_a_machine_without_network_is_told_the_three_ways_out_at_once(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = attempts(monkeypatch)
    message = refusal(card, "weights-unreachable")
    assert len(asked.places) == 1, "it is asked once, not again and again"
    assert all(way in message for way in WAYS_OUT)


def test_a_hub_that_does_not_answer_is_given_up_within_five_seconds(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that swallows packets must not cost a minute of retries."""
    assert download.REACH_LIMIT < 5
    monkeypatch.setattr(download, "REACH_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        asked = attempts(monkeypatch)
        message = refusal(card, "weights-unreachable")
    assert len(asked.places) == 1
    assert max(asked.patience) <= 0.5
    assert all(way in message for way in WAYS_OUT)


def test_a_name_lookup_that_does_not_end_is_given_up(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time-out of a socket covers it."""
    released, ended = threading.Event(), threading.Event()

    def look_up(*_: object, **__: object) -> None:
        released.wait(60)
        ended.set()
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(download, "REACH_LIMIT", 0.2)
    message = refusal(card, "weights-unreachable")
    assert not ended.is_set(), "the lookup was waited for"
    released.set()
    assert ended.wait(10)
    assert all(way in message for way in WAYS_OUT)


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "ZOO_OFFLINE"])
def test_offline_by_choice_makes_no_attempt(
    card: ModelCard, hub, blob: bytes, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    hub.files[URL] = blob
    monkeypatch.setenv(switch, "1")
    message = refusal(card, "weights-unreachable")
    assert switch in message
    assert all(way in message for way in WAYS_OUT)
    assert hub.asked == []


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1", "http://"])
def test_an_endpoint_that_is_no_address_is_one_line(
    card: ModelCard, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    refusal(card, "weights-unreachable")


def test_an_unwritable_store_is_said_so(card: ModelCard, hub, blob: bytes, home: Path) -> None:
    from zoo.errors import OutputError

    hub.files[URL] = blob
    home.write_text("a file where the folder should be")
    with refused("output-unwritable", OutputError):
        weights.fetch(card)
