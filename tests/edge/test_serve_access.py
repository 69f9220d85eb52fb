"""The access log: a line for each answer, refusals included, and nothing of a patient in any."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from serving import Answer, png, read_answer, refused, request, serving, slow_model
from waiting import wait_until

from zoo.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from zoo.edge.serve import _access
from zoo.edge.serve._access import AccessLog

FORM = "multipart/form-data; boundary=XX"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def form(*files: bytes) -> bytes:
    head = b'--XX\r\nContent-Disposition: form-data; name="CANARY"; filename="CANARY.png"\r\n\r\n'
    return b"".join(head + data + b"\r\n" for data in files) + b"--XX--\r\n"


def test_every_answer_leaves_a_line_with_what_it_cost_and_nothing_of_whom(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with serving(bundle, "--access-log", str(file), "--head-timeout", "0.5", "--body-timeout", "0.5") as server:
        sent = form(png(), b"CANARY", png())
        answer = server.ask("POST", "/predict", sent, Content_Type=FORM, Referer="CANARY", User_Agent="CANARY")
        asked = [
            server.ask("POST", "/predict?CANARY=1", png()),
            server.ask("POST", "/predict", b"CANARY"),
            server.ask("POST", "/predict", png(), Content_Encoding="CANARY"),
            server.ask("POST", "/predict", Content_Length="99999999999"),
            server.ask("GET", "/CANARY"),
            server.ask("GET", "/v2/models/CANARY"),
            server.ask("CANARY", "/predict"),
            server.ask("GET", "/model", Host="CANARY.example"),
            server.ask("POST", "/predict", png(), Origin="http://CANARY.example"),
            server.ask("POST", "/predict", Content_Length="1000"),
            server.send(b"CANARY\r\n\r\n"),
            server.send(b"GET /CANARY HT"),
            server.send(request("POST", "/predict", Transfer_Encoding="chunked") + b"CANARY\r\n"),
        ]
        assert server.leave()[1:] == ("", "")
    found = lines(file)
    assert "CANARY" not in file.read_text()
    assert "127.0.0.1" not in file.read_text()
    assert [line["status"] for line in found] == [one.status for one in (answer, *asked)]
    first = found[0]
    assert first.keys() == {
        "time",
        "method",
        "route",
        "status",
        "milliseconds",
        "received",
        "sent",
        "images",
        "model",
        "version",
        "key",
    }
    assert (first["method"], first["route"], first["images"]) == ("POST", "/predict", 3)
    assert (first["received"], first["sent"]) == (len(sent), len(answer.body))
    assert datetime.fromisoformat(first["time"]).utcoffset() is not None
    assert 0 < first["milliseconds"] < 30_000
    assert {line["route"] for line in found} == {"/predict", "/v2/models/NAME", "/model", "other"}
    assert {line["method"] for line in found} == {"POST", "GET", "other"}


def test_as_many_lines_are_left_as_requests_were_sent(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    ask = [request("POST", "/predict", png()), request("GET", "/nothing"), request("GET", "/healthz")]
    with serving(bundle, "--access-log", str(file)) as server, server.connect() as connection:
        for _ in range(5):
            connection.sendall(b"".join(ask[at % 3] for at in range(100)))
            statuses = [read_answer(connection).status for _ in range(100)]
            assert set(statuses) == {200, 404}
        server.leave()
    found = lines(file)
    assert len(found) == 500
    assert sum(line["status"] == 404 for line in found) == 5 * 33


def test_without_the_option_there_is_no_line_and_with_a_dash_it_is_on_stderr(bundle: Path) -> None:
    with serving(bundle, "--access-log", "-") as server:
        server.ask("GET", "/healthz")
        _, out, err = server.leave()
    assert out == ""
    assert [json.loads(line)["route"] for line in err.splitlines()] == ["/healthz"]


def test_a_client_that_hangs_up_leaves_its_line(tmp_path: Path) -> None:
    model, file = tmp_path / "slow.onnx", tmp_path / "access.log"
    model.write_bytes(slow_model().SerializeToString())
    with serving(model, "--workers", "1", "--access-log", str(file)) as server:
        connection = server.connect()
        connection.sendall(request("POST", "/predict", png(size=(800, 800))))
        wait_until(lambda: server.metric("zoo_buffered_bytes") > 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        deadline = time.monotonic() + 10
        while not any(line["route"] == "/predict" for line in lines(file)):
            assert time.monotonic() < deadline, "no line was left"
            time.sleep(0.02)
        assert [line["status"] for line in lines(file) if line["route"] == "/predict"] == [408]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="files that are open cannot be moved on Windows")
def test_a_log_that_was_moved_is_begun_anew(bundle: Path, tmp_path: Path) -> None:
    file, old = tmp_path / "access.log", tmp_path / "access.log.1"
    with serving(bundle, "--access-log", str(file)) as server:
        server.ask("GET", "/healthz")
        wait_until(file.read_text)  # a line follows its answer
        file.rename(old)
        server.ask("GET", "/model")
        server.leave()
    assert [[line["route"] for line in lines(one)] for one in (old, file)] == [["/healthz"], ["/model"]]


def test_a_log_that_cannot_be_opened_is_said_before_anybody_is_answered(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as found:
        AccessLog(tmp_path / "missing" / "access.log")
    assert found.value.code == "output-unwritable"
    assert refused(bundle, "--access-log", str(tmp_path))[0] == 1


def test_a_log_that_can_no_longer_be_written_costs_no_answer_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(tmp_path / "access.log")
    handler = log._handler
    assert isinstance(handler, _access.WatchedFileHandler)
    handler.stream.close()
    handler.reopenIfNeeded = lambda: None  # type: ignore[method-assign]
    for _ in range(3):
        log.write("GET", "/healthz", 200, 0.1)
    assert len(caplog.records) == 1


def test_a_log_whose_folder_goes_costs_no_answer_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(folder / "access.log")
    shutil.rmtree(folder)
    for _ in range(3):
        log.write("GET", "/healthz", 200, 0.1)
    assert len(caplog.records) == 1
    folder.mkdir()
    log.write("GET", "/healthz", 200, 0.1)
    assert [line["route"] for line in lines(folder / "access.log")] == ["/healthz"]
    log.close()


def test_many_images_in_flight_are_answered_when_the_server_is_told_to_leave(tmp_path: Path) -> None:
    """A request of several slow images, begun before SIGTERM, gets all of its rows, and the log its line."""
    model, file = tmp_path / "slow.onnx", tmp_path / "access.log"
    model.write_bytes(slow_model().SerializeToString())
    with serving(model, "--workers", "1", "--access-log", str(file)) as server:
        answers: list[Answer] = []
        body = form(*[png(size=(300, 300))] * 3)
        asking = threading.Thread(
            target=lambda: answers.append(server.ask("POST", "/predict", body, Content_Type=FORM))
        )
        asking.start()
        wait_until(lambda: server.metric("zoo_buffered_bytes") > 0)
        code, _, err = server.leave()
        asking.join()
    assert (code, err) == (0, "")
    assert (answers[0].status, len(answers[0].json)) == (200, 3)
    assert all("label" in row for row in answers[0].json)
    assert (lines(file)[-1]["images"], lines(file)[-1]["status"]) == (3, 200)
