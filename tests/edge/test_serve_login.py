"""Logging in over HTTP: which cookie is set, what it opens, and what another site's page cannot do with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from edge_models import make_bundle
from serving import Answer, Server, png, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    file = tmp_path / "keys"
    file.write_text(f"alice {ALICE}\nbob {BOB}\n")
    with serving(make_bundle(tmp_path / "mean.zoo"), "--token-file", str(file)) as running:
        yield running


def _enter(server: Server, token: str = ALICE, **headers: str) -> Answer:
    return server.ask("POST", "/login", json.dumps({"token": token}).encode(), **headers)


def test_a_browser_that_logged_in_asks_without_a_key_until_it_logs_out(server: Server) -> None:
    own = {"Origin": f"http://localhost:{server.started['port']}", "Host": f"localhost:{server.started['port']}"}
    assert server.ask("GET", "/login").json == {"needed": True, "key": None}
    entered = _enter(server, **own)
    assert (entered.status, entered.json) == (200, {"needed": True, "key": "alice"})
    parts = {part.strip().lower() for part in entered.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=strict", "path=/", "max-age=28800"} <= parts
    assert "secure" not in parts, "over plain HTTP a browser would not send it back"
    assert ALICE not in entered.cookie
    given = {"Cookie": entered.cookie, **own}
    assert server.ask("GET", "/login", **given).json == {"needed": True, "key": "alice"}
    assert server.ask("POST", "/predict", png(), **given).status == 200
    assert [server.ask("GET", path, **given).status for path in ("/model", "/models", "/metrics")] == [200] * 3
    left = server.ask("POST", "/logout", b"", **given)
    assert (left.status, left.json) == (200, {"needed": True, "key": None})
    assert "max-age=0" in left.headers["set-cookie"].lower()
    assert server.ask("GET", "/model", **given).status == 401
    assert server.ask("GET", "/login", **given).json["key"] is None


def test_over_tls_the_cookie_is_for_tls_alone(bundle: Path, tmp_path: Path) -> None:
    """Behind a proxy the server itself sees plain HTTP; the browser's Origin says how it came."""
    file = tmp_path / "keys"
    file.write_text(f"{ALICE}\n")
    with serving(bundle, "--token-file", str(file), "--allow-host", "zoo.example.org") as server:
        entered = _enter(server, Host="zoo.example.org", Origin="https://zoo.example.org")
        given = {"Cookie": entered.cookie, "Host": "zoo.example.org"}
        # SameSite does not tell ports apart: a page of another program on this name is sent with the session.
        for theirs in ("https://zoo.example.org:8443", "http://zoo.example.org:3000"):
            assert server.ask("POST", "/predict", png(), Origin=theirs, **given).status == 403, theirs
            assert server.ask("POST", "/logout", b"", Origin=theirs, **given).status == 403, theirs
        assert server.ask("POST", "/predict", png(), Origin="https://zoo.example.org", **given).status == 200
    assert "secure" in {part.strip().lower() for part in entered.headers["set-cookie"].split(";")}


def test_another_sites_page_can_neither_log_in_nor_use_a_session(server: Server) -> None:
    cookie = _enter(server).cookie
    for theirs in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"}):
        assert _enter(server, **theirs).status == 403
        assert server.ask("POST", "/logout", b"", Cookie=cookie, **theirs).status == 403
        assert server.ask("POST", "/predict", png(), Cookie=cookie, **theirs).status == 403
        assert server.ask("GET", "/model", Cookie=cookie, **theirs).status == 403
    assert server.ask("POST", "/predict", png(), Cookie=cookie).status == 401, "no page of ours is without an Origin"
    assert server.ask("GET", "/login", Cookie=cookie).json["key"] == "alice", "nobody has ended it"


def test_wrong_tokens_are_answered_ever_later(server: Server) -> None:
    statuses = [_enter(server, f"wrong-0123456789-{i}").status for i in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    late = _enter(server)
    assert (late.status, "set-cookie" in late.headers) == (429, False)
    assert 1 <= int(late.headers["retry-after"]) <= 6
    assert server.ask("GET", "/model", Authorization=f"Bearer {ALICE}").status == 200, "programs go on"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token": 1}', b"token=x", b'{"token": "x", "more": 1}', b"\xff"])
def test_what_is_no_token_is_400(server: Server, body: bytes) -> None:
    assert server.ask("POST", "/login", body).status == 400


def test_a_body_beyond_a_token_is_not_read(server: Server) -> None:
    assert _enter(server, "x" * 10_000).status == 413


def test_a_server_without_keys_needs_no_login(bundle: Path) -> None:
    with serving(bundle) as server:
        assert server.ask("GET", "/login").json == {"needed": False, "key": None}
        entered = _enter(server)
    assert (entered.status, entered.json) == (200, {"needed": False, "key": None})
    assert "set-cookie" not in entered.headers
