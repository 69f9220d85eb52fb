"""A hostile or broken client gets the right status, costs no memory, and does not keep others from an answer."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
import zlib
from typing import TYPE_CHECKING

import pytest
from edge_models import make_bundle
from serving import Answer, Server, png, read_answer, request, serving, slow_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

CAP = 100_000
CONNECTIONS = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {
        "--max-body": CAP,
        "--max-pixels": 10_000,
        "--head-timeout": 0.6,
        "--body-timeout": 0.6,
        "--connections": CONNECTIONS,
    }
    bundle = make_bundle(tmp_path_factory.mktemp("limits") / "mean.zoo")
    with serving(bundle, *(str(part) for pair in limits.items() for part in pair)) as running:
        yield running


@pytest.fixture(autouse=True)
def _answers_afterwards(server: Server) -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while server.ask("POST", "/predict", png()).status != 200:
        assert time.monotonic() < deadline, "the next request got no answer"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def slow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slow") / "slow.onnx"
    path.write_bytes(slow_model().SerializeToString())
    return path


SLOW = png(size=(1200, 1200))
"""More than a second of work for the slow model on a fast machine, in a few kilobytes."""


def test_a_declared_length_above_the_cap_is_refused_before_the_body_is_asked_for(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", "/predict", Content_Length=str(10**10), Expect="100-continue"))
        first = connection.recv(12)
    assert first == b"HTTP/1.1 413"


def test_a_chunked_body_without_end_is_refused_at_the_cap(server: Server) -> None:
    """It never says how long it is, so only counting while it streams finds out."""
    before = server.metric("process_resident_memory_bytes")
    chunk = b"10000\r\n" + b"\0" * 0x10000 + b"\r\n"
    sent = 0
    with server.connect() as connection:
        connection.sendall(request("POST", "/predict", Transfer_Encoding="chunked"))
        with contextlib.suppress(ConnectionError):  # the server hangs up on a client that still sends
            for _ in range(4000):
                connection.sendall(chunk)
                sent += len(chunk)
        with contextlib.suppress(ConnectionError):
            assert read_answer(connection).status == 413
    assert sent < 100 * CAP, "it listened to far more than its cap"
    assert server.metric("process_resident_memory_bytes") - before < 30e6
    assert server.metric("zoo_buffered_bytes") == 0


def test_a_body_just_above_the_cap_gets_its_413_and_the_connection_lives(server: Server) -> None:
    with server.connect() as connection:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (CAP + 1, b"\0" * (CAP + 1))
        connection.sendall(request("POST", "/predict", Transfer_Encoding="chunked") + chunks)
        assert read_answer(connection).status == 413
        connection.sendall(request("GET", "/healthz"))
        assert read_answer(connection).status == 200


def test_an_image_of_too_many_pixels_is_refused_by_its_header(server: Server) -> None:
    answer = server.ask("POST", "/predict", png(size=(101, 100)))
    assert answer.status == 422
    assert "101x100 pixels" in answer.json["error"]["message"]


def test_an_image_beyond_what_any_reader_takes_is_refused_with_the_limit_of_this_server(server: Server) -> None:
    header = png(size=(8, 8))[8:33].replace((8).to_bytes(4, "big") * 2, (8100).to_bytes(4, "big") * 2)
    chunk = header[4:21]
    data = png(size=(8, 8))[:8] + header[:4] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + png(size=(8, 8))[33:]
    answer = server.ask("POST", "/predict", data)
    assert answer.status == 422
    assert {"8100x8100", "10000"} <= set(re.findall(r"[\dx]+", answer.json["error"]["message"]))


@pytest.mark.parametrize(
    "head",
    [
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -4\r\n\r\n",
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: four\r\n\r\n",
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /predict\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_a_400_in_json(server: Server, head: str) -> None:
    answer = server.send(head.encode("latin-1"))
    assert (answer.status, answer.json["error"]["type"]) == (400, "BadRequest")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_head_without_end_gets_a_431(server: Server) -> None:
    answer = server.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000)
    assert (answer.status, answer.json["error"]["type"]) == (431, "HeadersTooLarge")


@pytest.mark.parametrize(
    "head",
    [
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        "POST /predict HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
    ],
    ids=["both", "both, no image", "before chunks were known"],
)
def test_a_request_whose_end_can_be_read_in_two_ways_is_refused_and_its_connection_closed(
    server: Server, head: str
) -> None:
    """A proxy that reads the other way would let one client's bytes be another's request."""
    with server.connect() as connection:
        connection.sendall(head.encode() + b"0\r\n\r\n" + request("GET", "/healthz"))
        answer = read_answer(connection)
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert read_answer(connection).status == 0, "what follows must not be taken for a request"


def test_an_unknown_transfer_coding_gets_a_501(server: Server) -> None:
    assert server.ask("POST", "/predict", Transfer_Encoding="gzip").status == 501


def test_a_head_that_trickles_in_gets_a_408_though_every_byte_is_in_time(server: Server) -> None:
    with server.connect() as connection:
        connection.settimeout(0.1)
        answer, sent = b"", 0
        head = request("POST", "/predict", Content_Length="1000")
        for byte in head:
            try:
                connection.sendall(bytes([byte]))
                sent += 1
                answer = connection.recv(12)
                break
            except TimeoutError:
                continue
    assert answer == b"HTTP/1.1 408"
    assert sent < len(head), "it was answered before the head was complete"


def test_a_second_request_that_trickles_in_gets_a_408_as_well(server: Server) -> None:
    """The time-out between requests ends with the first byte; a deadline must follow it."""
    with server.connect() as connection:
        connection.sendall(request("GET", "/healthz"))
        assert read_answer(connection).status == 200
        connection.sendall(b"GET /heal")
        assert read_answer(connection).status == 408


def test_a_body_that_stays_away_gets_a_408(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", "/predict", Content_Length="1000") + b"\x89PNG")
        answer = read_answer(connection)
    assert (answer.status, answer.json["error"]["type"]) == (408, "RequestTimeout")


def test_a_length_that_is_too_short_spoils_only_its_own_request(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", "/predict", png(), Content_Length="20"))
        assert read_answer(connection).status == 422
        assert read_answer(connection).status == 400, "the rest of the image is not a request"


def test_the_begin_of_a_head_behind_a_request_has_the_deadline_of_heads(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(request("POST", "/predict", png()) + b"GET /heal")
        assert read_answer(connection).status == 200
        assert read_answer(connection).status == 408


def test_a_silent_connection_is_closed_without_a_word(server: Server) -> None:
    with server.connect() as connection:
        assert connection.recv(10) == b""


def test_idle_connections_leave_by_themselves_and_the_next_one_is_answered(server: Server) -> None:
    with contextlib.ExitStack() as crowd:
        for _ in range(CONNECTIONS):
            crowd.enter_context(server.connect())
        deadline = time.monotonic() + 10
        while server.ask("POST", "/predict", png()).status != 200:
            assert time.monotonic() < deadline, "idle connections keep their places"
            time.sleep(0.1)


@pytest.mark.parametrize("begun", [b"", b"GET /heal", request("POST", "/predict", Content_Length="90000") + b"\x89PNG"])
def test_senders_that_stall_keep_nobody_out(bundle: Path, begun: bytes) -> None:
    """Uploads that announced a body and sent none once held every connection for half a minute."""
    limits = ("--connections", "8", "--head-timeout", "60", "--body-timeout", "60")
    with serving(bundle, *limits) as server, contextlib.ExitStack() as crowd:
        stalled = [crowd.enter_context(server.connect()) for _ in range(30)]
        for connection in stalled:
            with contextlib.suppress(ConnectionError):
                connection.sendall(begun)
        assert [server.ask("POST", "/predict", png()).status for _ in range(20)] == [200] * 20
        assert server.metric("zoo_connections") <= 8
        assert server.metric("zoo_refused_total") >= 22


def test_a_connection_beyond_those_at_work_gets_a_503(slow_file: Path) -> None:
    with serving(slow_file, "--connections", "2", "--workers", "1") as busy, contextlib.ExitStack() as crowd:
        for _ in range(2):
            crowd.enter_context(busy.connect()).sendall(request("POST", "/predict", SLOW))
        time.sleep(0.3)
        answer = read_answer(crowd.enter_context(busy.connect()))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.slow
def test_a_full_queue_answers_503_and_says_when_to_come_back(slow_file: Path) -> None:
    work = png(size=(500, 500))  # two of them are done within the time of an answer on a busy machine too
    with serving(slow_file, "--workers", "1", "--queue", "1") as slow:
        answers: list[Answer] = []
        asking = [threading.Thread(target=lambda: answers.append(slow.ask("POST", "/predict", work))) for _ in range(6)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
        statuses = sorted(answer.status for answer in answers)
        assert statuses.count(200) >= 2
        assert statuses.count(503) == 6 - statuses.count(200) > 0
        assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status == 503)
        assert slow.ask("POST", "/predict", png(size=(4, 4))).status == 200


@pytest.mark.slow
def test_an_answer_that_takes_too_long_is_a_504_and_one_that_waits_too_long_a_503(slow_file: Path) -> None:
    with serving(slow_file, "--workers", "1", "--timeout", "0.3") as slow:
        answers: dict[int, Answer] = {}
        first = threading.Thread(target=lambda: answers.update({1: slow.ask("POST", "/predict", SLOW)}))
        first.start()
        time.sleep(0.1)
        answers[2] = slow.ask("POST", "/predict", SLOW)
        first.join()
    assert (answers[1].status, answers[2].status) == (504, 503)
    assert answers[2].headers["retry-after"] == "1"


def test_a_client_that_hangs_up_leaves_the_queue(slow_file: Path) -> None:
    with serving(slow_file, "--workers", "1", "--queue", "8") as slow:
        for _ in range(5):
            connection = slow.connect()
            connection.sendall(request("POST", "/predict", SLOW))
            time.sleep(0.05)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        deadline = time.monotonic() + 5
        while slow.metric("zoo_queue_depth") > 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_failing_model_is_a_500_that_tells_the_operator_where_and_the_caller_nothing(slow_file: Path) -> None:
    with serving(slow_file) as failing:
        answer = failing.ask("POST", "/predict", png(size=(6, 4)))  # products of planes that are not square
        _, _, err = failing.leave()
    assert (answer.status, answer.json["error"]["type"]) == (500, "InternalError")
    assert "slow" not in answer.body.decode()
    assert "failed: ModelError at" in err
    assert len(err.splitlines()) == 1
