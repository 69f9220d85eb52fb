"""Keys and sessions by themselves, with a clock that the test sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zoo.edge.serve import make_key, read_keys
from zoo.edge.serve._gate import COOKIE, LIFETIME, Gate, Locked
from zoo.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

ALICE, BOB = "alice-0123456789abcdef", "bob-0123456789abcdef"
OWN = {b"origin": b"http://localhost"}


class _Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def gate(clock: _Clock) -> Gate:
    return Gate((make_key(ALICE, "alice"), make_key(BOB, "bob")), clock)


def session(gate: Gate, token: str = ALICE) -> dict[bytes, bytes]:
    """Headers of a browser that has logged in."""
    entered = gate.log_in(token, "10.0.0.1")
    assert entered is not None
    return {b"cookie": f"other=1; {COOKIE}={entered[1]}".encode(), **OWN}


def test_a_session_is_its_keys_until_its_time_is_over(gate: Gate, clock: _Clock) -> None:
    alice, bob = session(gate), session(gate, BOB)
    assert (gate.recognize("POST", alice), gate.recognize("POST", bob)) == ("alice", "bob")
    clock.time += LIFETIME - 1
    assert gate.recognize("GET", alice) == "alice"
    clock.time += 1
    assert gate.recognize("GET", alice) is None


def test_a_session_ends_when_its_key_is_revoked_or_has_another_token(gate: Gate) -> None:
    alice, bob = session(gate), session(gate, BOB)
    gate.keys = (make_key("another-0123456789abcdef", "alice"), make_key(BOB, "bob"))
    assert (gate.recognize("GET", alice), gate.recognize("GET", bob)) == (None, "bob")
    gate.keys = (make_key(ALICE, "alice"),)
    assert (gate.recognize("GET", alice), gate.recognize("GET", bob)) == ("alice", None)


def test_a_session_that_was_left_is_over_wherever_its_cookie_is(gate: Gate) -> None:
    first, second = session(gate), session(gate)
    gate.log_out(first)
    assert (gate.recognize("GET", first), gate.recognize("GET", second)) == (None, "alice")


def test_no_part_of_a_cookie_can_be_changed(gate: Gate) -> None:
    entered = gate.log_in(ALICE, "10.0.0.1")
    assert entered is not None
    name, ends, nonce, signature = entered[1].split(".")
    forged = [
        f"bob.{ends}.{nonce}.{signature}",
        f"{name}.{int(ends) + 1}.{nonce}.{signature}",
        f"{name}.{ends}.{nonce[::-1]}.{signature}",
        f"{name}.{ends}.{nonce}.{signature[:-1]}",
        f"{name}.{ends}.{nonce}.",
        f"{name}.{ends}.{nonce}",
        f"{name}.x.{nonce}.{signature}",
        "..",
        "é",
        "",
    ]
    for value in forged:
        assert gate.recognize("GET", {b"cookie": f"{COOKIE}={value}".encode()}) is None, value
    other = Gate(gate.keys, gate.now)
    assert other.recognize("GET", {b"cookie": f"{COOKIE}={entered[1]}".encode()}) is None, "of another process"


def test_beside_a_cookie_what_does_something_needs_an_origin(gate: Gate) -> None:
    alone = {b"cookie": session(gate)[b"cookie"]}
    assert gate.recognize("GET", alone) == "alice"
    assert gate.recognize("POST", alone) is None
    assert gate.recognize("POST", {b"authorization": b"Bearer " + ALICE.encode()}) == "alice"


def test_a_wrong_key_is_not_made_good_by_a_cookie(gate: Gate) -> None:
    assert gate.recognize("GET", {**session(gate), b"authorization": b"Bearer " + ALICE[:-1].encode()}) is None


def test_a_proxys_own_password_takes_nothing_from_a_session(gate: Gate) -> None:
    assert gate.recognize("GET", {**session(gate), b"authorization": b"Basic dXNlcjpwYXNz"}) == "alice"
    assert gate.recognize("GET", {b"authorization": b"Basic " + ALICE.encode()}) is None


def test_after_ten_wrong_tokens_an_address_waits_and_others_do_not(gate: Gate, clock: _Clock) -> None:
    for _ in range(10):
        assert gate.log_in("wrong-0123456789abcdef", "10.0.0.1") is None
    with pytest.raises(Locked) as caught:
        gate.log_in(ALICE, "10.0.0.1")
    assert 0 < caught.value.seconds <= 6
    assert gate.log_in(ALICE, "10.0.0.2") is not None
    clock.time += caught.value.seconds
    assert gate.log_in(ALICE, "10.0.0.1") is not None
    assert gate.log_in("wrong-0123456789abcdef", "10.0.0.1") is None
    with pytest.raises(Locked):
        gate.log_in(ALICE, "10.0.0.1")
    clock.time += 600
    assert gate.log_in("\ud800", "10.0.0.1") is None
    assert gate.log_in(ALICE, "10.0.0.1") is not None


def test_addresses_that_fail_do_not_fill_the_memory(gate: Gate, clock: _Clock) -> None:
    for i in range(10_000):
        gate.log_in("wrong-0123456789abcdef", f"10.{i}")
    with pytest.raises(Locked):
        gate.log_in(ALICE, "10.0.0.1")
    clock.time += 7
    assert gate.log_in(ALICE, "10.0.0.1") is not None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"alice {ALICE}\n{BOB}\n", "token-line"),
        (f"{ALICE}\n{BOB}\n", "token-line"),
        (f"alice {ALICE} more\n", "token-line"),
        (f"alice {ALICE}\nalice {BOB}\n", "token-twice"),
        (f"alice {ALICE}\nbob {ALICE}\n", "token-twice"),
        (f"al.ice {ALICE}\n", "token-name"),
        ("alice secret\n", "token-malformed"),
        ("# alice\n", "token-malformed"),
        (f"alic\u00e9 {ALICE}\n", "token-malformed"),
    ],
)
def test_a_file_of_keys_that_is_not_clear_is_refused_and_not_repeated(tmp_path: Path, text: str, code: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_keys(file)
    assert caught.value.code == code
    assert not any(token in str(caught.value.document()) for token in (ALICE, BOB, "secret"))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (f"# ours\nalice {ALICE}\n\n{BOB}\n", {"line": 4}),
        (f"{ALICE}\n{BOB}\n", {"line": 1}),
        (f"alice {ALICE}\n# ours\nalice {BOB}\n", {"line": 3, "first": 1}),
        (f"\nalice {ALICE}\nbob {ALICE}\n", {"line": 3, "first": 2}),
    ],
)
def test_the_line_of_a_file_of_keys_that_is_wrong_is_named(tmp_path: Path, text: str, fields: dict[str, int]) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_keys(file)
    assert caught.value.fields == fields


def test_a_file_of_keys_has_a_key_a_line_or_one_without_a_name(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# made by us\n\nalice  {ALICE}  # radiology\nbob\t{BOB}\n")
    assert read_keys(file) == (make_key(ALICE, "alice"), make_key(BOB, "bob"))
    assert ALICE not in repr(read_keys(file))
    file.write_text(f"{ALICE}\n")
    assert read_keys(file) == (make_key(ALICE),)
