"""When a server starts, who may ask it, and how it leaves."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from edge_models import seal
from serving import Answer, png, read_answer, refused, request, serving, slow_model
from waiting import wait_until

from zoo.edge import sign
from zoo.edge.__main__ import main
from zoo.edge.bundle._archive import write_archive
from zoo.edge.bundle._keys import new_key
from zoo.readers import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from zoo.edge.serve._server import _listening

TOKEN = "0123456789abcdef-XYZ"  # noqa: S105 - of these tests


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_status_0_and_nothing_said(bundle: Path, number: int) -> None:
    with serving(bundle) as server, server.connect() as connection:
        connection.sendall(request("GET", "/healthz"))
        assert read_answer(connection).json == {"status": "ok", "live": True, "ready": True}
        assert server.leave(number) == (0, "", "")
        with pytest.raises(ConnectionRefusedError):
            server.connect()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_hangup_ends_nothing_and_finds_the_same_file(bundle: Path) -> None:
    """A terminal that closes, and a program that rotates logs, send it."""
    with serving(bundle) as server:
        for _ in range(3):
            server.process.send_signal(signal.SIGHUP)
            assert server.ask("POST", "/predict", png()).status == 200
        wait_until(lambda: server.metric("zoo_reloads_total") > 0)
        server.process.send_signal(signal.SIGHUP)  # and one that it has no time for
        status, _, err = server.leave()
    assert status == 0
    assert "is the same as before" in err
    assert "Traceback" not in err


def test_what_was_begun_is_finished_and_nothing_new_is_taken(tmp_path: Path) -> None:
    model = tmp_path / "slow.onnx"
    model.write_bytes(slow_model().SerializeToString())
    body = png(size=(500, 500))
    with serving(model, "--workers", "1", "--threads", "1") as server:
        answers: list[Answer] = []
        begun = threading.Thread(target=lambda: answers.append(server.ask("POST", "/predict", body)))
        begun.start()
        wait_until(lambda: server.metric("zoo_buffered_bytes") > 0)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while (health := server.ask("GET", "/healthz")).status == 200 and time.monotonic() < deadline:
            time.sleep(0.01)
        late = server.ask("POST", "/predict", png())
        probes = {path: server.ask("GET", f"/v2/health/{path}").status for path in ("live", "ready")}
        begun.join()
        _, err = server.process.communicate(timeout=60)
        assert server.process.returncode == 0
    assert err == ""
    assert (health.status, health.json) == (503, {"status": "draining", "live": True, "ready": False})
    assert (late.status, late.headers["retry-after"]) == (503, "1")
    assert probes == {"live": 200, "ready": 503}, "a supervisor must not kill what still answers"
    assert answers[0].status == 200


def test_a_model_that_answers_otherwise_is_not_served(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as found:
        arrays = {name: found[name] for name in found.files}
    arrays["logits"] = arrays["logits"] + 1
    np.savez(bundle / "golden.npz", **arrays)
    seal(bundle)
    code, err = refused(bundle)
    assert code == 3
    assert "golden mismatches" in err
    with serving(bundle, "--no-verify") as server:
        assert server.started["verified"] is None


def test_a_bundle_that_was_changed_is_not_served(bundle: Path) -> None:
    (bundle / "CARD.md").write_text("# another\n")
    assert refused(bundle)[0] == 3


@pytest.mark.slow
def test_only_a_bundle_signed_by_the_key_is_served_packed_or_not(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="signatures need cryptography")
    new_key(tmp_path / "ours")
    new_key(tmp_path / "theirs")
    packed = tmp_path / "mean.zoo.zip"
    write_archive(packed, [(path.name, path.read_bytes()) for path in sorted(bundle.iterdir())])
    for model in (bundle, packed):
        assert refused(model, "--key", str(tmp_path / "ours.pub"))[0] == 3, "nobody signed it"
        with serving(model) as server:
            assert server.started["signed"] != "valid"
        sign(model, tmp_path / "ours")
        code, err = refused(model, "--key", str(tmp_path / "theirs.pub"))
        assert (code, err.count("\n")) == (3, 1)
        with serving(model, "--key", str(tmp_path / "ours.pub")) as server:
            assert server.started["signed"] == "valid"
            assert server.ask("POST", "/predict", png()).status == 200
            assert server.ask("GET", "/card").body == (bundle / "CARD.md").read_bytes()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what must be refused
def test_other_machines_are_not_let_in_without_a_token(bundle: Path, host: str) -> None:
    code, err = refused(bundle, "--host", host)
    assert code == 2
    assert "--token-file" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "trouble"), [("missing", "no such file"), ("short", "16 to 512"), ("empty", "no token")]
)
def test_a_token_that_can_not_be_one_is_refused(bundle: Path, tmp_path: Path, name: str, trouble: str) -> None:
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "empty").write_text("\n")
    code, err = refused(bundle, "--token-file", str(tmp_path / name))
    assert code == 2
    assert trouble in err
    assert "secret" not in err


@pytest.mark.parametrize("given", ["file", "environment"])
def test_with_a_token_only_its_bearer_learns_of_the_model(bundle: Path, tmp_path: Path, given: str) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    options = ["--host", "0.0.0.0", *(["--token-file", str(file)] if given == "file" else [])]  # noqa: S104
    environment = {"ZOO_SERVE_TOKEN": TOKEN} if given == "environment" else {}
    with serving(bundle, *options, environment=environment) as server:
        for wrong in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}):
            for method, path in (("POST", "/predict"), ("GET", "/model"), ("GET", "/card"), ("GET", "/metrics")):
                answer = server.ask(method, path, png() if method == "POST" else None, **wrong)
                assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        for path in ("/predict%0A", "/model%0A", "/card%0a", "/metrics%0A", "/explain%0A", "/model/", "//model"):
            for method in ("GET", "POST"):
                assert server.ask(method, path, png() if method == "POST" else None).status in {401, 404}, path
        assert server.ask("GET", "/%6dodel").status == 401, "the same path in other letters"
        known = {"Authorization": f"Bearer {TOKEN}", "Host": "any.example"}
        assert server.ask("POST", "/predict", png(), **known).status == 200
        for path in ("/", "/healthz", "/openapi.json"):
            assert server.ask("GET", path).status == 200


def test_a_page_of_another_site_reaches_nothing(bundle: Path) -> None:
    """A name that its owner points at 127.0.0.1 carries that name in Host; a form or fetch carries its Origin."""
    with serving(bundle, "--allow-host", "zoo.example.org") as server:
        assert server.ask("GET", "/model", Host="evil.example").status == 421
        assert server.ask("GET", "/model", Host="localhost.evil.example:80").status == 421
        for host in ("localhost:1", "127.0.0.1", "[::1]:9", "LOCALHOST", "zoo.example.org"):
            assert server.ask("GET", "/healthz", Host=host).status == 200, host
        for origin in ("http://evil.example", "null", "http://localhost:3000", "http://["):
            assert server.ask("POST", "/predict", png(), Origin=origin).status == 403, origin
        assert server.ask("POST", "/predict", png(), Sec_Fetch_Site="cross-site").status == 403
        assert server.ask("GET", "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200
        own = f"http://127.0.0.1:{server.started['port']}"
        assert server.ask("POST", "/predict", png(), Host=own[7:], Origin=own).status == 200
        assert server.ask("POST", "/predict", png(), Origin="https://zoo.example.org").status == 200


def test_a_port_that_is_taken_is_one_line(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = refused(bundle, "--port", str(port))
    assert code == 1
    assert str(port) in err
    assert len(err.splitlines()) == 1


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head() -> None:
    """Without TCP_NODELAY the body of each answer came 40 ms after its head, because a client acknowledges late."""

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            found.set_result(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def story() -> int:
        nonlocal found
        found = asyncio.get_running_loop().create_future()
        with _listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
            async with await asyncio.get_running_loop().create_server(Accepted, sock=listener):
                _, writer = await asyncio.open_connection(*listener.getsockname())
                option = await found
                writer.close()
                return option

    found: asyncio.Future[int]
    assert asyncio.run(story()) != 0


def test_both_addresses_of_this_machine_can_be_served(bundle: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with serving(bundle, "--host", "::1") as server:
        assert server.started["url"].startswith("http://[::1]:")
        assert server.ask("GET", "/healthz", Host=f"[::1]:{server.started['port']}").status == 200


def test_without_the_extra_the_line_says_what_to_install(bundle: Path) -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None; from zoo.edge.__main__ import main; "
        f"sys.exit(main(['serve', {str(bundle)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'edgezoo[serve]'" in done.stderr


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    model = tmp_path / "slow.onnx"
    model.write_bytes(slow_model().SerializeToString())
    with serving(model, "--body-timeout", "60") as server, server.connect() as connection:
        connection.sendall(request("POST", "/predict", Content_Length="1000"))
        wait_until(lambda: server.metric("zoo_in_flight") >= 2)  # it, and the question itself
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None, "it waits for the body"
        server.process.send_signal(signal.SIGINT)
        server.process.communicate(timeout=10)
        assert server.process.returncode == 0


def test_the_verb_of_the_command_line_serves_too(bundle: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo_cli", "serve", str(bundle), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "4 golden images" in line
        assert "http://127.0.0.1:" in line
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_help_names_the_largest_image_that_can_be_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert str(MAX_PIXELS) in capsys.readouterr().out
