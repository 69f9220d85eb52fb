"""What a server answers, path by path, over real sockets."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from edge_models import deep_manifest, make_bundle, make_manifest, make_model
from serving import Server, png, read_answer, request, serving

from zoo.edge import Runtime
from zoo.edge._explain import map_occlusion
from zoo.edge.page import INDEX, assets
from zoo.edge.serve._shapes import Row
from zoo.errors import ModelError
from zoo.readers import read
from zoo.spec import Manifest, decode, to_builtins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("served") / "mean.zoo")


@pytest.fixture(scope="module")
def server(bundled: Path) -> Iterator[Server]:
    with serving(bundled) as running:
        yield running


def test_the_start_line_says_where_what_and_that_it_was_proven(server: Server) -> None:
    said = server.started
    assert said["url"] == f"http://127.0.0.1:{said['port']}/"
    assert (said["model"], said["labels"], said["verified"], said["token"]) == ("mean-colour", 3, 4, False)


def test_predict_answers_the_row_of_zoo_predict(server: Server, bundled: Path) -> None:
    answer = server.ask("POST", "/predict", png())
    expected = Runtime.open(bundled, threads=1).answer(png(), name="image")
    assert answer.status == 200
    assert answer.json == expected.row()
    decode(answer.body, Row, "row", ModelError)


def test_predict_takes_top_as_the_command_line_does(server: Server) -> None:
    assert list(server.ask("POST", "/predict?top=1", png()).json["probabilities"]) == ["red"]


def test_a_multilabel_row_brings_its_labels(tmp_path: Path) -> None:
    model = tmp_path / "several.onnx"
    model.write_bytes(make_model(make_manifest(task="multilabel")).SerializeToString())
    with serving(model) as server:
        row = server.ask("POST", "/predict", png((255, 255, 0))).json
        assert server.started["verified"] is None, "a lone file has no golden set"
        assert server.ask("GET", "/card").status == 404
    assert row["labels"] == ["red", "green"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty file"),
        (b"this is no picture", "not an image by its first bytes"),
        (png()[:50], "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, ""),
        (gzip.compress(png(), mtime=0), "not an image by its first bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not an image by its first bytes"),
    ],
)
def test_what_is_no_image_gets_a_422_and_the_next_request_an_answer(server: Server, body: bytes, why: str) -> None:
    answer = server.ask("POST", "/predict", body)
    assert answer.status == 422
    assert answer.json["error"]["type"] == "ImageError"
    assert why in answer.json["error"]["message"]
    assert "\n" not in answer.json["error"]["message"]
    assert server.ask("POST", "/predict", png()).status == 200


@pytest.mark.parametrize(
    "query",
    ["url=http://10.0.0.1/a.png", "top=0", "top=-1", "top=1&top=2", "frame=x", "top=%D9%A1", f"top={1:0>5000}"],
    ids=range(7),
)
def test_a_query_that_is_not_known_is_refused_and_not_repeated(server: Server, query: str) -> None:
    answer = server.ask("POST", f"/predict?{query}", png())
    assert (answer.status, answer.json["error"]["type"]) == (400, "BadRequest")
    assert "10.0.0.1" not in answer.body.decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Encoding": "gzip"},
        {"Content_Encoding": "identity, gzip"},
        {"Content_Type": "multipart/related; boundary=x"},
        {"Content_Type": "TEXT/plain"},
    ],
)
def test_what_can_hold_no_image_is_refused_by_its_head(server: Server, headers: dict[str, str]) -> None:
    answer = server.ask("POST", "/predict", png(), **headers)
    assert (answer.status, answer.json["error"]["type"]) == (415, "UnsupportedMediaType")


def test_the_manifest_is_the_bundles(server: Server, bundled: Path) -> None:
    manifest = decode(server.ask("GET", "/model").body, Manifest, "manifest", ModelError)
    assert manifest == decode((bundled / "manifest.json").read_bytes(), Manifest, "manifest", ModelError)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/card", "text/markdown"),
        ("/healthz", "application/json"),
        ("/metrics", "text/plain"),
        ("/model", "application/json"),
        ("/openapi.json", "application/json"),
    ],
)
def test_every_page_has_its_type_a_head_and_the_security_headers(server: Server, path: str, kind: str) -> None:
    answer = server.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    assert SECURITY.items() <= answer.headers.items()
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers
    with server.connect() as connection:
        connection.sendall(request("HEAD", path, Connection="close"))
        whole = b"".join(iter(lambda: connection.recv(65536), b""))
    assert whole.startswith(b"HTTP/1.1 200 ")
    assert whole.endswith(b"\r\n\r\n"), "a HEAD has no body"


@pytest.mark.parametrize("path", ["/nothing", "/../../etc/passwd", "/assets/../x.py", "/%2e%2e/%2e%2e/x", "/predict/"])
def test_a_path_that_is_not_there_is_a_404_which_does_not_repeat_it(server: Server, path: str) -> None:
    answer = server.ask("GET", path)
    assert (answer.status, answer.json["error"]["type"]) == (404, "NotFound")
    assert "passwd" not in answer.body.decode()
    assert SECURITY.items() <= answer.headers.items()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/predict"), ("HEAD", "/predict"), ("POST", "/model"), ("TRACE", "/")]
)
def test_a_method_that_is_not_taken_names_those_that_are(server: Server, method: str, path: str) -> None:
    with server.connect() as connection:
        connection.sendall(request(method, path, Connection="close"))
        head = connection.recv(65536).decode().lower()
    assert head.startswith("http/1.1 405 ")
    assert "\r\nallow: " in head


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    with server.connect() as connection:
        connection.sendall(b"".join(request("POST", "/predict", png(colour)) for colour in colours))
        labels = [read_answer(connection).json["label"] for _ in colours]
    assert labels == ["red", "green", "blue"]


def test_a_chunked_body_is_one_image(server: Server) -> None:
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (png()[:9], png()[9:]))
    data = request("POST", "/predict", Transfer_Encoding="chunked", Expect="100-continue") + parts + b"0\r\n\r\n"
    assert server.send(data).json["label"] == "red"


def test_the_metrics_parse_and_count(server: Server) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    before = server.metric("zoo_request_seconds_count")
    server.ask("POST", "/predict", png())
    assert server.metric("zoo_request_seconds_count") == before + 1
    families = {f.name for f in parser.text_string_to_metric_families(server.ask("GET", "/metrics").body.decode())}
    assert {
        "zoo_requests",
        "zoo_request_seconds",
        "zoo_refused",
        "zoo_in_flight",
        "zoo_queue_depth",
        "zoo_connections",
        "zoo_model_info",
    } <= families


def test_paths_that_are_not_there_make_one_series(server: Server) -> None:
    for i in range(5):
        server.ask("GET", f"/scan-{i}")
    lines = [line for line in server.ask("GET", "/metrics").body.decode().splitlines() if 'status="404"' in line]
    assert not any("scan" in line for line in lines)


def test_nothing_of_a_patient_is_answered_counted_or_logged(tmp_path: Path) -> None:
    """Every text element holds the canary; one file is answered and one is refused."""
    pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
    canary = "CANARY^PATIENT"
    model = tmp_path / "gray.onnx"
    model.write_bytes(make_model(deep_manifest(dtype="float32")).SerializeToString())
    whole = _dicom(canary)
    with serving(model) as server:
        good = server.ask("POST", "/predict", whole)
        bad = server.ask("POST", "/predict", whole[:-40])
        metrics = server.ask("GET", "/metrics").body.decode()
        code, out, err = server.leave()
    assert (good.status, bad.status, code) == (200, 422, 0), (good.body, bad.body)
    assert good.json["image"] == "image"
    for text in (good.body.decode(), bad.body.decode(), metrics, out, err):
        assert "CANARY" not in text
    assert out == err == ""


def _dicom(canary: str) -> bytes:
    from io import BytesIO

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    content = Dataset()
    content.SOPClassUID, content.SOPInstanceUID = CTImageStorage, generate_uid()
    content.PatientName = content.PatientID = content.InstitutionName = content.StudyDescription = canary
    content.Rows, content.Columns, content.SamplesPerPixel = 8, 8, 1
    content.BitsAllocated, content.BitsStored, content.HighBit, content.PixelRepresentation = 16, 12, 11, 0
    content.PhotometricInterpretation = "MONOCHROME2"
    content.PixelData = b"\x10\x01" * 64
    content.file_meta = FileMetaDataset()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.file_meta.MediaStorageSOPClassUID = CTImageStorage
    content.file_meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    stream = BytesIO()
    content.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_explain_answers_the_map_of_zoo_explain(server: Server, bundled: Path) -> None:
    image = png(size=(24, 24))
    answer = server.ask("POST", "/explain?label=blue", image)
    expected = map_occlusion(Runtime.open(bundled, threads=1), read(image), "blue")
    assert answer.status == 200
    assert answer.json == to_builtins(expected) | {"values": [list(row) for row in expected.values]}
    assert server.ask("POST", "/explain", image).json["label"] == "red"


def test_explain_refuses_what_predict_refuses_and_a_label_it_does_not_know(server: Server) -> None:
    answer = server.ask("POST", "/explain?label=mauve", png())
    assert (answer.status, answer.json["error"]["type"]) == (400, "BadRequest")
    assert "mauve" not in answer.body.decode()
    assert server.ask("POST", "/explain?top=1", png()).status == 400
    assert server.ask("POST", "/explain", b"no picture").status == 422


def test_the_page_and_all_it_brings_are_served_as_they_are(server: Server) -> None:
    brought = assets()
    assert server.ask("GET", "/").body == brought.pop(INDEX)
    for name, content in brought.items():
        answer = server.ask("GET", f"/assets/{name}")
        assert (answer.status, answer.body) == (200, content), name
        assert answer.headers["content-type"].split(";")[0] in {"text/css", "text/javascript", "image/svg+xml"}
