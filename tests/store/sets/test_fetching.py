"""Fetching from a real HTTP server: never half a file, never the wrong one, never from the start twice."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from refusals import refused
from work import attempts

from zoo.errors import DataError, OutputError
from zoo.store import _download as download
from zoo.store import sets
from zoo.store._download import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zoo.store.sets import Variant

WAY_OUT = "zoo data import toys FILE"
FIRST, SECOND = 15 * CHUNK, 10 * CHUNK
"""Where connections break."""


def left() -> list[str]:
    """What is in the store, the guards of its locks aside."""
    return sorted(path.name for path in sets.folder().glob("*") if not path.name.endswith(".guard"))


def refusal(variant: Variant, code: str) -> str:
    with refused(code, DataError, name=variant.name) as caught:
        sets.fetch(variant)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_set_is_fetched_once(published: Variant, publisher, content: bytes) -> None:
    path = sets.fetch(published)
    assert path.read_bytes() == content
    assert path == sets.folder() / "toys.npz"
    assert left() == ["toys.npz"]
    assert sets.fetch(published) == path
    assert publisher.asked == ["HEAD", "GET"], "what is here needs no network"


def test_a_connection_that_breaks_is_taken_up_where_it_broke(published: Variant, publisher, content: bytes) -> None:
    publisher.cuts = [FIRST, SECOND]
    assert sets.fetch(published).read_bytes() == content
    assert publisher.asked == ["HEAD", "GET", f"GET bytes={FIRST}-", f"GET bytes={FIRST + SECOND}-"]


def test_what_came_is_kept_for_the_next_call(published: Variant, publisher, content: bytes) -> None:
    publisher.cuts = [FIRST, 0]
    message = refusal(published, "transfer-broken")
    assert "zoo data fetch toys" in message
    assert left() == ["toys.npz.part"]
    assert (sets.folder() / "toys.npz.part").read_bytes() == content[:FIRST]
    del publisher.asked[:]
    assert sets.fetch(published).read_bytes() == content
    assert publisher.asked == ["HEAD", f"GET bytes={FIRST}-"]
    assert left() == ["toys.npz"]


def test_a_server_without_ranges_is_asked_for_everything_again(published: Variant, publisher, content: bytes) -> None:
    publisher.cuts, publisher.ranges = [FIRST], False
    assert sets.fetch(published).read_bytes() == content
    assert publisher.asked == ["HEAD", "GET", f"GET bytes={FIRST}-"]


def test_a_server_that_always_breaks_at_one_place_is_given_up(published: Variant, publisher) -> None:
    publisher.cuts, publisher.ranges = [FIRST] * 9, False
    refusal(published, "transfer-broken")
    assert publisher.asked.count(f"GET bytes={FIRST}-") == 1


def test_a_complete_part_needs_no_byte_more(published: Variant, publisher, content: bytes) -> None:
    """Killed between the last byte and the renaming."""
    sets.folder().mkdir(parents=True)
    (sets.folder() / "toys.npz.part").write_bytes(content)
    assert sets.fetch(published).read_bytes() == content
    assert publisher.asked == ["HEAD", f"GET bytes={len(content)}-"]


def test_a_part_longer_than_the_file_is_no_beginning_of_it(published: Variant, content: bytes) -> None:
    sets.folder().mkdir(parents=True)
    (sets.folder() / "toys.npz.part").write_bytes(content + b"more")
    assert sets.fetch(published).read_bytes() == content


def test_a_wrong_file_is_refused_with_both_checksums_and_not_kept(published: Variant, publisher) -> None:
    publisher.files["/toys.npz"] = b"<html>please sign in</html>"
    with refused("set-hash", DataError, found="md5:65042bb0f785d5838f91192c120d7f0d") as caught:
        sets.fetch(published)
    assert caught.value.fields["expected"] == published.file.checksum
    assert left() == []


@pytest.mark.parametrize("said", [True, False])
def test_a_file_longer_than_its_publisher_states_does_not_fill_the_disk(
    published: Variant, publisher, content: bytes, *, said: bool
) -> None:
    if said:
        publisher.files["/toys.npz"] = content + b"!"
    else:
        publisher.endless = True
    assert "2.5 MB" in refusal(published, "transfer-broken")
    assert left() == []


def test_a_part_of_another_file_costs_one_attempt_only(published: Variant, content: bytes) -> None:
    sets.folder().mkdir(parents=True)
    (sets.folder() / "toys.npz.part").write_bytes(b"0" * 1000)
    refusal(published, "set-hash")
    assert sets.fetch(published).read_bytes() == content


def test_a_stored_file_that_changed_is_not_used(published: Variant) -> None:
    path = sets.fetch(published)
    path.write_bytes(b"changed")
    with refused("set-hash", DataError, name="toys", expected=published.file.checksum):
        sets.resolve(published)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_not_given_out_is_said_so(published: Variant, publisher, status: int) -> None:
    publisher.status = status
    message = refusal(published, "set-not-fetched")
    assert f"HTTP {status}" in message
    assert WAY_OUT in message
    assert left() == []


def test_a_server_in_trouble_is_one_line(published: Variant, publisher) -> None:
    publisher.status = 503
    assert "503" in refusal(published, "transfer-broken")
    assert left() == []


def test_without_a_network_the_way_to_import_is_said_at_once(
    make_set: Callable[..., Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = attempts(monkeypatch)
    message = refusal(
        make_set("http://127.0.0.1:9/toys.npz", b""), "set-not-fetched"
    )  # the discard port: nobody answers
    assert len(asked.places) == 1, "it is asked once, not again and again"
    assert WAY_OUT in message


def test_a_server_that_does_not_answer_is_given_up_within_five_seconds(
    make_set: Callable[..., Variant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that swallows packets must not cost a minute of retries."""
    assert download.REACH_LIMIT < 5
    monkeypatch.setattr(download, "REACH_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = attempts(monkeypatch)
        message = refusal(make_set(f"http://127.0.0.1:{silent.getsockname()[1]}/toys.npz", b""), "set-not-fetched")
    assert len(asked.places) == 1
    assert max(asked.patience) <= 0.5
    assert WAY_OUT in message


@pytest.mark.parametrize("switch", ["HF_HUB_OFFLINE", "ZOO_OFFLINE"])
def test_offline_by_choice_makes_no_attempt(
    published: Variant, publisher, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    monkeypatch.setenv(switch, "1")
    message = refusal(published, "set-not-fetched")
    assert switch in message
    assert WAY_OUT in message
    assert publisher.asked == []


def test_a_mirror_takes_the_place_of_every_publisher(
    make_set: Callable[..., Variant], publisher, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.files["/mirror/toys.npz"] = content
    monkeypatch.setenv("ZOO_DATA_MIRROR", f"{publisher.url}/mirror/")
    assert sets.fetch(make_set("https://example.org/far/toys.npz?download=1", content)).read_bytes() == content


def test_a_licence_that_forbids_commercial_use_is_said_before_anything_else(
    make_set: Callable[..., Variant], publisher, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.files["/toys.npz"] = content
    with caplog.at_level(logging.INFO, "zoo"):
        sets.fetch(make_set(f"{publisher.url}/toys.npz", content, licence="CC BY-NC 4.0"))
    first, *rest = caplog.records
    assert first.levelname == "WARNING"
    assert "CC BY-NC" in first.getMessage()
    assert rest[-1].getMessage().startswith("toys: ")


def test_too_small_a_disk_is_said_before_the_transfer(
    published: Variant, publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    with refused("output-full", OutputError, needed=published.file.size, free=1_000_000):
        sets.fetch(published)
    assert publisher.asked == []


def test_an_unwritable_store_is_said_so(published: Variant, home: Path) -> None:
    home.write_text("a file where the folder should be")
    with refused("output-unwritable", OutputError):
        sets.fetch(published)


def test_two_processes_that_fetch_at_once_transfer_once(published: Variant, publisher, content: bytes) -> None:
    publisher.delay = 0.2
    code = (
        "import sys, msgspec; from zoo.store import sets; "
        "sets.fetch(msgspec.json.decode(sys.argv[1], type=sets.Variant))"
    )
    text = msgspec.json.encode(published).decode()
    running = [subprocess.Popen([sys.executable, "-c", code, text]) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert publisher.asked == ["HEAD", "GET"]
    assert sets.resolve(published).read_bytes() == content
