"""nginx with `examples/deploy/nginx.conf` before a real server: client certificates, and what it must not write."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import pytest
from clinical_cases import painted
from edge_models import make_bundle
from serving import Server, png, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

CONFIGURATION = Path(__file__).resolve().parents[2] / "examples" / "deploy" / "nginx.conf"
NAME = "zoo.example.org"
STUDIES = "/dicom-web/studies"
KEY = "radiology-0123456789abcdef"


@dataclass
class Proxied:
    """A server and the port of the proxy before it."""

    server: Server
    port: int
    folder: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, client: str | None = "client", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body over TLS, with the certificate of `client`."""
        context = ssl.create_default_context(cafile=self.folder / "ca.crt")
        if client is not None:
            context.load_cert_chain(self.folder / f"{client}.crt", self.folder / f"{client}.key")
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection = http.client.HTTPConnection(NAME, timeout=30)
        connection.sock = context.wrap_socket(plain, server_hostname=NAME)
        try:
            given = {"Host": NAME, **{name.replace("_", "-"): value for name, value in headers.items()}}
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxied")
    if (program := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")) is None:
        pytest.skip("nginx is not installed")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    for ca, names in (("ca", ("server", "client")), ("other-ca", ("stranger",))):
        _openssl(folder, *f"req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.crt -days 2".split(), ca)
        for name in names:
            _openssl(folder, *f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr".split(), NAME)
            (folder / "names").write_text(f"subjectAltName=DNS:{NAME}\n")
            signing = f"x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days 2 -extfile names"
            _openssl(folder, *signing.split(), "-out", f"{name}.crt")
    (folder / "keys").write_text(f"radiology {KEY}\n")
    options = ["--token-file", str(folder / "keys"), "--allow-host", NAME]
    with serving(make_bundle(folder / "mean.zoo"), *options) as server, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        process = subprocess.Popen([program, "-c", str(_configure(folder, port, server.started["port"]))])
        try:
            _wait(process, port)
            yield Proxied(server, port, folder)
        finally:
            process.terminate()
            process.wait(20)


def _openssl(folder: Path, *arguments: str) -> None:
    given = [*arguments[:-1], "-subj", f"/CN={arguments[-1]}"] if arguments[0] == "req" else list(arguments)
    subprocess.run(["openssl", *given], cwd=folder, check=True, capture_output=True)


def _configure(folder: Path, port: int, upstream: int) -> Path:
    """The example as it is, but for ports and places, inside what a distribution's nginx.conf says."""
    text = CONFIGURATION.read_text()
    for was, now in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("server 127.0.0.1:8000", f"server 127.0.0.1:{upstream}"),
        ("/etc/zoo/tls/clients-ca.crt", str(folder / "ca.crt")),
        ("/etc/zoo/tls/", f"{folder}/"),
        ("/var/log/nginx/zoo.log crit", f"{folder}/zoo.log warn"),  # at warn it names each body that it writes
    ):
        assert was in text
        text = text.replace(was, now)
    (folder / "zoo.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    whole = folder / "nginx.conf"
    whole.write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log {folder}/main.log warn;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}include {folder}/zoo.conf;\n}}\n"
    )
    return whole


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "nginx refuses its configuration"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("nginx does not listen")


def test_without_a_certificate_of_this_ca_nothing_reaches_the_server(proxied: Proxied) -> None:
    def seen() -> float:
        text = proxied.server.ask("GET", "/metrics", Authorization=f"Bearer {KEY}").body.decode()
        lines = [line for line in text.splitlines() if line.startswith("zoo_requests_total{") and "/predict" in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = seen()
    for client in (None, "stranger"):
        status, _, body = proxied.ask("POST", "/predict", png(), client=client, Authorization=f"Bearer {KEY}")
        assert (status, b"probabilities" in body) == (400, False), client
    assert seen() == before
    status, _, body = proxied.ask("POST", "/predict", png(), Authorization=f"Bearer {KEY}")
    assert (status, json.loads(body)["label"]) == (200, "red")
    assert seen() == before + 1


def test_a_certificate_alone_is_no_key(proxied: Proxied) -> None:
    assert proxied.ask("POST", "/predict", png())[0] == 401
    assert proxied.ask("GET", "/healthz")[0] == 200


def test_a_browser_logs_in_through_it_with_a_cookie_for_tls_alone(proxied: Proxied) -> None:
    own = {"Origin": f"https://{NAME}"}
    status, headers, _ = proxied.ask("POST", "/login", json.dumps({"token": KEY}).encode(), **own)
    assert status == 200
    parts = {part.strip().lower() for part in headers["set-cookie"].split(";")}
    assert {"secure", "httponly", "samesite=strict"} <= parts
    cookie = headers["set-cookie"].partition(";")[0]
    assert proxied.ask("POST", "/predict", png(), Cookie=cookie, **own)[0] == 200
    for theirs in ("https://evil.example", f"https://{NAME}:8443", f"http://{NAME}:8080"):
        assert proxied.ask("POST", "/predict", png(), Cookie=cookie, Origin=theirs)[0] == 403, theirs


def test_the_address_of_a_report_is_that_of_the_proxy(proxied: Proxied) -> None:
    """The server speaks plain HTTP; an address with that scheme would be one that nobody answers."""
    pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")
    kind = 'multipart/related; type="application/dicom"; boundary=zoo'
    body = b"--zoo\r\nContent-Type: application/dicom\r\n\r\n" + painted((255, 0, 0)) + b"\r\n--zoo--\r\n"
    given = {"Authorization": f"Bearer {KEY}"}
    status, _, answer = proxied.ask("POST", STUDIES, body, Content_Type=kind, **given)
    assert status == 200
    (url,) = json.loads(answer)["00081190"]["Value"]
    reached = urlsplit(urljoin(f"https://{NAME}{STUDIES}", url))
    assert (reached.scheme, reached.netloc) == ("https", NAME)
    assert proxied.ask("GET", reached.path, **given)[0] == 200


def test_what_is_larger_than_the_server_takes_ends_at_the_proxy(proxied: Proxied) -> None:
    assert proxied.ask("POST", "/predict", b"", Content_Length="21000000", Authorization=f"Bearer {KEY}")[0] == 413


def test_no_image_and_no_query_is_written_by_it(proxied: Proxied) -> None:
    """nginx writes bodies beyond a buffer to a file, and requests to its logs; either would hold a patient."""
    large = png() + bytes(8_000_000)
    status, _, _ = proxied.ask("POST", "/predict?CANARY=1", large, Authorization=f"Bearer {KEY}")
    assert status == 400
    said = "".join(path.read_text() for path in proxied.folder.glob("*.log"))
    assert "temporary file" not in said
    assert "CANARY" not in said
