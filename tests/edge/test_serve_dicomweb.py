"""STOW-RS and WADO-RS over real sockets: a real client, the statuses of the standard, and bodies made to harm."""

from __future__ import annotations

import io
import json
import os
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from clinical_cases import COLOUR, bundled, edited, painted, write_model
from edge_models import make_manifest
from serving import Answer, Server, png, serving
from starlette.requests import Request

from zoo.edge import Runtime
from zoo.edge._intake import Intake
from zoo.edge.clinical._sr import Report, code_label
from zoo.edge.serve import Settings, _dicomweb, _kept
from zoo.edge.serve._application import Service
from zoo.edge.serve._kept import Kept
from zoo.edge.serve._models import Models, open_served
from zoo.edge.serve._sources import ServedPath
from zoo.edge.serve._work import Sent
from zoo.errors import ImageError
from zoo.spec import Numeric, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
highdicom = pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")

STUDIES = "/dicom-web/studies"
RELATED = 'multipart/related; type="application/dicom"; boundary=zoo'
OTHER_STUDY, SOP_CLASS, NOT_UNDERSTOOD, RESOURCES = 0xA900, 0x0122, 0xC000, 0xA700


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    with serving(model, "--images", "4", "--max-body", "400000", "--max-pixels", "20000") as running:
        yield running


def related(*files: bytes, head: bytes = b"Content-Type: application/dicom\r\n", boundary: bytes = b"zoo") -> bytes:
    parts = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n" + data + b"\r\n" for data in files)
    return parts + b"--" + boundary + b"--\r\n"


def store(server: Server, *files: bytes, path: str = STUDIES, **headers: str) -> Answer:
    return server.ask("POST", path, related(*files), Content_Type=headers.pop("Content_Type", RELATED), **headers)


def said(answer: Answer) -> dict[str, Any]:
    """The Store Instances Response as pydicom reads it: UIDs stored, UIDs failed with reasons, reasons of others."""
    assert answer.headers["content-type"] == "application/dicom+json"
    document = pydicom.Dataset.from_json(answer.json)
    return {
        "stored": [str(one.ReferencedSOPInstanceUID) for one in document.get("ReferencedSOPSequence", [])],
        "failed": {
            str(one.ReferencedSOPInstanceUID): one.FailureReason for one in document.get("FailedSOPSequence", [])
        },
        "other": [one.FailureReason for one in document.get("OtherFailuresSequence", [])],
        "url": document.RetrieveURL,
    }


def uid(data: bytes, keyword: str = "SOPInstanceUID") -> str:
    return str(pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True)[keyword].value)


def test_a_real_client_stores_an_image_and_retrieves_the_answer(server: Server, model: Path) -> None:
    client_module = pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")
    image = pydicom.dcmread(io.BytesIO(painted((160, 0, 130), PatientName="Zzyzx^Canaria")))
    client = client_module.DICOMwebClient(f"{server.started['url']}dicom-web")
    stored = client.store_instances([image], image.StudyInstanceUID)
    assert [one.ReferencedSOPInstanceUID for one in stored.ReferencedSOPSequence] == [image.SOPInstanceUID]
    reports = [highdicom.sr.srread(written(one)) for one in client.retrieve_study(image.StudyInstanceUID)]
    report = reports[-1]
    row = Runtime.open(model, threads=1).answer(painted((160, 0, 130))).row()
    (group,) = report.content.get_image_measurement_groups()
    values = {one.name.value: one.value for one in group.get_measurements()}
    found = {label: values[code_label(label, "probability")] for label in row["probabilities"]}
    assert found == row["probabilities"]
    assert report.PatientName == "Zzyzx^Canaria"
    alone = client.retrieve_instance(image.StudyInstanceUID, report.SeriesInstanceUID, report.SOPInstanceUID)
    assert alone.SOPInstanceUID == report.SOPInstanceUID


def written(dataset: Any) -> io.BytesIO:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return stream


def test_each_instance_is_stored_or_failed_for_a_reason(server: Server) -> None:
    whole = painted((255, 0, 0))
    damaged = painted((255, 0, 0), SOPInstanceUID="1.2.3.1")[:-20]
    report = edited("test-SR.dcm", SOPInstanceUID="1.2.3.2")
    answer = store(server, whole, damaged, report, b"rubbish")
    found = said(answer)
    assert answer.status == 202
    assert found["stored"] == [uid(whole)]
    assert found["failed"] == {"1.2.3.1": NOT_UNDERSTOOD, "1.2.3.2": SOP_CLASS}
    assert found["other"] == [NOT_UNDERSTOOD]
    assert found["url"].endswith(f"{STUDIES}/{uid(whole, 'StudyInstanceUID')}")
    assert store(server, whole).status == 200
    none = store(server, damaged, b"", png())
    assert (none.status, said(none)["stored"], len(said(none)["other"])) == (409, [], 2)


def test_an_instance_of_another_study_than_the_path_names_fails(server: Server) -> None:
    whole = painted((255, 0, 0))
    answer = store(server, whole, path=f"{STUDIES}/1.2.3")
    assert (answer.status, said(answer)["failed"]) == (409, {uid(whole): OTHER_STUDY})
    assert store(server, whole, path=f"{STUDIES}/{uid(whole, 'StudyInstanceUID')}").status == 200


def test_an_image_with_too_many_pixels_is_refused_by_its_header(server: Server) -> None:
    large = edited(Rows=2000, Columns=2000)
    assert said(store(server, large))["failed"] == {uid(large): RESOURCES}


def test_a_report_is_one_file_or_a_part(server: Server) -> None:
    data = painted((255, 0, 0), StudyInstanceUID="1.2.3.77")
    store(server, data)
    path = f"{STUDIES}/1.2.3.77"
    one = server.ask("GET", path, Accept="application/dicom")
    assert (one.status, one.headers["content-type"], one.body[128:132]) == (200, "application/dicom", b"DICM")
    several = server.ask("GET", path)
    assert several.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert one.body in several.body
    store(server, data)
    assert server.ask("GET", path, Accept="application/dicom").status == 406, "two reports are not one file"
    for accept in ("text/html", 'multipart/related; type="image/jpeg"', f"{RELATED}; transfer-syntax=1.2.3"):
        assert server.ask("GET", path, Accept=accept).status == 406, accept


@pytest.mark.parametrize("path", ["/1.2.3.404", "/1.2.3.404/series/1.2/instances/1.2", "/x", "/1.2/series/1.2"])
def test_what_is_not_here_is_not_found(server: Server, path: str) -> None:
    assert server.ask("GET", STUDIES + path).status == 404


@pytest.mark.parametrize(
    "kind",
    [
        *("", "application/dicom", "application/octet-stream", "application/json", "multipart/form-data; boundary=zoo"),
        *("multipart/related; boundary=zoo", 'multipart/related; type="application/dicom+xml"; boundary=zoo'),
        *("multipart/mixed; boundary=zoo", "nonsense", "/", 'multipart/related; type="'),
    ],
)
def test_other_content_types_are_refused(server: Server, kind: str) -> None:
    answer = store(server, bundled(), Content_Type=kind)
    assert (answer.status, answer.json["error"]["type"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize("kind", [b"image/jpeg", b"application/json", b"multipart/related; boundary=in", b"", b"x"])
def test_parts_of_another_type_are_refused(server: Server, kind: bytes) -> None:
    body = related(bundled(), head=b"Content-Type: " + kind + b"\r\n")
    answer = server.ask("POST", STUDIES, body, Content_Type=RELATED)
    assert answer.status == 415
    assert "multipart/related" in answer.json["error"]["message"], "it names what this path takes"


_DICOM = 'multipart/related; type="application/dicom"'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (_DICOM, related(b"x")),
        (f"{_DICOM}; boundary=", related(b"x")),
        (f"{_DICOM}; boundary={'z' * 71}", related(b"x", boundary=b"z" * 71)),
        (f"{_DICOM}; boundary=other", related(b"x")),
        (RELATED, b""),
        (RELATED, b"--zoo--\r\n"),
        (RELATED, b"--zoo"),
        (RELATED, related(b"x")[:-8]),
        (RELATED, b"--zoo\r\nContent-Type application/dicom\r\n\r\nx\r\n--zoo--"),
        (RELATED, b"--zoo\r\n" + b"A: b\r\n" * 3000 + b"\r\nx\r\n--zoo--"),
        (RELATED, b"--zoo\r\nA: " + b"b" * 100_000 + b"\r\n\r\nx\r\n--zoo--"),
        (RELATED, related(*[b"x"] * 5)),
        (RELATED, b"\r\n--zoo" * 40_000),
    ],
)
def test_bodies_that_are_not_what_they_say_are_refused(server: Server, kind: str, body: bytes) -> None:
    answer = server.ask("POST", STUDIES, body, Content_Type=kind)
    assert (answer.status, answer.json["error"]["type"]) == (400, "BadRequest")


def test_bodies_that_real_programs_send_are_taken(server: Server) -> None:
    data = bundled()
    for body, kind in (
        (b"\r\n" + related(data), RELATED),
        (b"This is a message in MIME format.\r\n" + related(data), RELATED),
        (related(data, head=b""), RELATED),
        (related(data, head=b"content-TYPE:application/dicom;transfer-syntax=1.2.840.10008.1.2.1\r\n"), RELATED),
        (related(data, head=b"MIME-Version: 1.0\r\nContent-Type: application/dicom\r\nContent-ID: <1>\r\n"), RELATED),
        (related(data, boundary=b"a  b"), 'multipart/related; boundary="a  b"; type="application/dicom"'),
        (related(data, boundary=b"a b"), 'Multipart/Related; boundary="a b"; type=application/dicom'),
        (related(data).removesuffix(b"\r\n") + b"\r\nepilogue", RELATED),
    ):
        answer = server.ask("POST", STUDIES, body, Content_Type=kind)
        assert (answer.status, said(answer)["stored"]) == (200, [uid(data)]), body[:80]


def test_limits_of_the_server_hold(server: Server) -> None:
    assert store(server, bytes(400_001)).status == 413
    assert store(server, bundled(), Content_Encoding="gzip").status == 415
    assert store(server, bundled(), Accept="image/png").status == 406
    assert server.ask("PUT", STUDIES, b"", Content_Type=RELATED).status == 405
    assert server.ask("GET", STUDIES).status == 405


def test_a_token_is_asked_for_on_every_path(model: Path) -> None:
    """Reports hold the patient's name."""
    token = "0123456789abcdef-XYZ"  # noqa: S105 - of this test
    with serving(model, environment={"ZOO_SERVE_TOKEN": token}) as server:
        assert store(server, bundled()).status == 401
        study = f"{STUDIES}/{uid(bundled(), 'StudyInstanceUID')}"
        assert store(server, bundled(), Authorization=f"Bearer {token}").status == 200
        assert server.ask("GET", study).status == 401
        assert server.ask("GET", f"{study}/series/1.2/instances/1.2").status == 401
        assert server.ask("GET", study, Authorization=f"Bearer {token}").status == 200


def test_nothing_of_a_patient_is_counted_or_logged(model: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    study = "1.2.826.0.1.77777"
    data = painted((255, 0, 0), PatientName="CANARY^PATIENT", PatientID="CANARY", StudyInstanceUID=study)
    with serving(model, "--access-log", str(log)) as server:
        stored = store(server, data, data[:-30], b"CANARY", path=f"{STUDIES}/{study}")
        assert stored.status == 202
        assert b"CANARY" in server.ask("GET", f"{STUDIES}/{study}").body
        server.ask("GET", f"{STUDIES}/{study}/series/1.2.77777/instances/1.2.77777")
        metrics = server.ask("GET", "/metrics").body.decode()
        code, out, err = server.leave()
    assert (code, out, err) == (0, "", "")
    lines = log.read_text()
    for text in (metrics, lines, stored.body.decode()):
        assert "CANARY" not in text
    assert "77777" not in metrics + lines
    routes = [json.loads(line)["route"] for line in lines.splitlines()]
    assert routes[:3] == [f"{STUDIES}/STUDY"] * 2 + [f"{STUDIES}/STUDY/series/SERIES/instances/INSTANCE"]
    assert json.loads(lines.splitlines()[0])["images"] == 3


def test_a_server_that_cannot_give_reports_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = make_manifest()
    assert _dicomweb.explain_absence(manifest) is None
    beside = TableSpec(columns=(Numeric(name="age", mean=50.0, std=10.0, missing="refuse"),))
    assert "columns" in str(_dicomweb.explain_absence(msgspec.structs.replace(manifest, table=beside)))
    monkeypatch.setattr(_dicomweb, "has_highdicom", lambda: False)
    assert "edgezoo[dicom-sr]" in str(_dicomweb.explain_absence(manifest))


def test_a_package_that_is_there_and_broken_gives_no_reports(model: Path, tmp_path: Path) -> None:
    """An offer that a request then cannot have would end in a defect."""
    (tmp_path / "highdicom").mkdir()
    (tmp_path / "highdicom/__init__.py").write_text("import a_package_that_is_not_there\n")
    found = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with serving(model, environment={"PYTHONPATH": found}) as broken:
        assert store(broken, bundled()).status == 404
        assert broken.ask("POST", "/predict", bundled(), Accept="application/dicom").status == 406
        described = broken.ask("GET", "/openapi.json").json["paths"]
        assert STUDIES not in described
        assert "application/dicom" not in described["/predict"]["post"]["responses"]["200"]["content"]


def test_the_address_of_a_report_is_true_or_relative(model: Path) -> None:
    """Behind a proxy any name may arrive; one that is none must not end in a defect, or in an address."""
    path = f"{STUDIES}/{uid(bundled(), 'StudyInstanceUID')}"
    names = {"example.org": "http://example.org", "example.org:8443": "http://example.org:8443"}
    names |= {"[::1]:80": "http://[::1]:80", "[": "", "x/y": "", "x@y": ""}
    with serving(model, "--host", "0.0.0.0", "--insecure-no-token") as open_server:  # noqa: S104 - any name is taken
        found = {host: store(open_server, bundled(), Host=host) for host in names}
    assert {host: said(answer)["url"] for host, answer in found.items()} == {
        host: base + path for host, base in names.items()
    }


def test_reports_are_forgotten_when_their_time_is_over_or_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, now = Kept(), [0.0]
    monkeypatch.setattr(_kept.time, "monotonic", lambda: now[0])
    kept.add(Report(b"a", "1", "2", "3"))
    now[0] = _kept.SECONDS / 2
    kept.add(Report(b"b", "1", "4", "5"))
    assert kept.find("1") == [b"a", b"b"]
    assert kept.find("1", "4", "5") == [b"b"]
    assert kept.find("1", "2", "5") == kept.find("2") == []
    now[0] = _kept.SECONDS
    assert kept.find("1") == [b"b"]
    monkeypatch.setattr(_kept, "_MOST", 2)
    for name in "67":
        kept.add(Report(name.encode(), "1", name, name))
    assert kept.find("1") == [b"6", b"7"]
    monkeypatch.setattr(_kept, "_MOST_BYTES", 5)
    kept.add(Report(b"12345", "1", "8", "8"))
    assert kept.find("1") == [b"12345"]
    now[0] *= 3
    kept.drop_old()
    assert len(kept) == 0


def test_a_report_whose_request_was_answered_without_it_is_not_kept(model: Path) -> None:
    """Nobody has its address, and its timer has run."""
    runtime, gone, leaves = Runtime.open(model, threads=1), Event(), [False, True]
    sent = SimpleNamespace(model=SimpleNamespace(runtime=runtime), gone=gone)

    def answer(*_: object) -> Any:
        if leaves.pop(0):
            gone.set()
        return runtime.answer(bundled())

    web = _dicomweb.DicomWeb(
        SimpleNamespace(row=answer),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        SimpleNamespace(images=1, hosts=()),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
    )
    for _ in range(2):
        web._answer_one(sent, bundled(), "image 1", None, _dicomweb._Outcome())  # type: ignore[arg-type]
        assert len(web._kept) == 1


def test_answers_of_predict_take_the_form_that_is_accepted(server: Server) -> None:
    data = bundled()
    row = server.ask("POST", "/predict", data).json
    fhir = server.ask("POST", "/predict", data, Accept="application/fhir+json")
    report = server.ask("POST", "/predict", data, Accept="application/dicom")
    several = server.ask("POST", "/predict", data, Accept='multipart/related; type="application/dicom"')
    assert [one.status for one in (fhir, report, several)] == [200] * 3
    assert fhir.headers["content-type"] == "application/fhir+json"
    assert fhir.json["resourceType"] == "DiagnosticReport"
    assert fhir.json["contained"][2]["valueQuantity"]["value"] == row["probabilities"]["red"]
    (group,) = highdicom.sr.srread(io.BytesIO(report.body)).content.get_image_measurement_groups()
    assert group.get_measurements()[0].value == row["probabilities"]["red"]
    assert b"DICM" in several.body
    assert "application/dicom" in server.ask("GET", "/openapi.json").body.decode()


def test_predict_refuses_a_form_that_it_cannot_give(server: Server) -> None:
    assert server.ask("POST", "/predict", bundled(), Accept="text/html").status == 406
    assert server.ask("POST", "/predict", png(), Accept="application/dicom").status == 422
    assert server.ask("POST", "/predict?top=1", bundled(), Accept="application/fhir+json").status == 400
    assert server.ask("POST", "/predict", b"rubbish", Accept="application/fhir+json").status == 422


def test_several_images_are_a_bundle_or_parts(server: Server) -> None:
    def form(*files: bytes) -> bytes:
        head = b'--f\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        return b"".join(head + data + b"\r\n" for data in files) + b"--f--\r\n"

    kind = "multipart/form-data; boundary=f"
    both, mixed = form(bundled(), bundled(COLOUR)), form(bundled(), b"rubbish")
    answer = server.ask("POST", "/predict", mixed, Content_Type=kind, Accept="application/fhir+json")
    kinds = [one["resource"]["resourceType"] for one in answer.json["entry"]]
    assert kinds == ["DiagnosticReport", "OperationOutcome"]
    parts = server.ask(
        "POST", "/predict", both, Content_Type=kind, Accept='multipart/related; type="application/dicom"'
    )
    assert (parts.status, parts.body.count(b"Content-Type: application/dicom")) == (200, 2)
    assert server.ask("POST", "/predict", both, Content_Type=kind, Accept="application/dicom").status == 422
    assert server.ask("POST", "/predict", mixed, Content_Type=kind, Accept=RELATED).status == 422


def test_what_this_machine_cannot_do_is_a_503(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """409 told the archive that its images are bad, where the decoder was killed."""
    sound, damaged = painted((255, 0, 0)), painted((255, 0, 0), SOPInstanceUID="1.2.3.1")[:-20]
    settings = Settings()
    service = Service(Models([open_served(ServedPath(model), settings)]), settings, None)
    real = Intake.read

    def read(intake: Intake, source: Any, **how: Any) -> Any:
        if source == sound:
            raise ImageError(None, "killed", code="image-decoder-killed")
        return real(intake, source, **how)

    monkeypatch.setattr(Intake, "read", read)

    def answer(*files: bytes) -> tuple[int, list[int]]:
        sent = Sent(
            Request({"type": "http", "headers": [(b"content-type", RELATED.encode())], "scheme": "http"}),
            related(*files),
            service.models.all[0],
        )
        found = service._dicomweb._answer(sent, None)
        assert ("retry-after" in found.headers) is (found.status_code == 503)
        failed = json.loads(found.body)["00081198"]["Value"]
        return found.status_code, [one["00081197"]["Value"][0] for one in failed]

    assert answer(sound) == (503, [RESOURCES])
    assert answer(sound, damaged) == (409, [RESOURCES, NOT_UNDERSTOOD])
