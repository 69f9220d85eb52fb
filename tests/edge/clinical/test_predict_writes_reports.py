"""`zoo predict --sr OUT --fhir FILE`: documents beside rows that stay as they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from clinical_cases import bundled, painted, write_model
from edge_models import paint

from zoo._support.files import atomic_path
from zoo.edge.__main__ import main
from zoo.edge.clinical import _source

if TYPE_CHECKING:
    from pathlib import Path

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")

RED = (255, 0, 0)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(painted(RED))
    (folder / "b.dcm").write_bytes(bundled())
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    status = main(["predict", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_each_dicom_image_gets_a_report_and_rows_keep_their_keys(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")
    model = write_model(tmp_path)
    status, plain = run(capsys, model, images)
    assert status == 0
    status, rows = run(capsys, model, images, "--sr", tmp_path / "out", "--fhir", tmp_path / "f.json")
    assert (status, rows) == (0, plain)
    reports = [pydicom.dcmread(path) for path in (tmp_path / "out").iterdir()]
    assert {f"{one.SOPInstanceUID}.dcm" for one in reports} == {path.name for path in (tmp_path / "out").iterdir()}
    assert len(reports) == 2
    assert [one["resource"]["resourceType"] for one in json.loads((tmp_path / "f.json").read_text())["entry"]] == [
        "DiagnosticReport"
    ] * 2


def test_both_reports_of_an_image_take_one_look_at_its_header(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")
    looked, read = [], _source.read_header
    monkeypatch.setattr(_source, "read_header", lambda *given: looked.append(given[1]) or read(*given))
    options = ("--sr", tmp_path / "out", "--fhir", tmp_path / "f.json")
    assert run(capsys, write_model(tmp_path), images, *options)[0] == 0
    assert sorted(looked) == [str(images / "a.dcm"), str(images / "b.dcm")]


def test_one_image_is_one_fhir_report_that_names_study_and_subject(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, target = write_model(tmp_path), tmp_path / "f.json"
    assert run(capsys, model, images / "a.dcm", "--fhir", target, "--subject", "Patient/7")[0] == 0
    report = json.loads(target.read_text())
    study = pydicom.dcmread(images / "a.dcm").StudyInstanceUID
    assert report["resourceType"] == "DiagnosticReport"
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{study}"
    assert report["subject"] == {"reference": "Patient/7"}
    before = target.read_bytes()
    status, problem = run(capsys, model, images / "a.dcm", "--fhir", target)
    assert (status, problem["error"]["code"]) == (1, "out-occupied")
    assert target.read_bytes() == before
    assert run(capsys, model, images / "a.dcm", "--fhir", target, "--overwrite")[0] == 0


def test_a_picture_that_is_not_dicom_has_a_fhir_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = paint(tmp_path / "a.png", RED)
    assert run(capsys, write_model(tmp_path), picture, "--fhir", tmp_path / "f.json")[0] == 0
    assert "imagingStudy" not in json.loads((tmp_path / "f.json").read_text())


def test_a_picture_that_is_not_dicom_has_no_dicom_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")
    pictures = [paint(tmp_path / name, RED) for name in ("a.png", "b.png")]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    options = ("--sr", tmp_path / "out", "--fhir", tmp_path / "f.json")
    status, problem = run(capsys, write_model(tmp_path), *pictures, tmp_path / "bad.png", *options)
    assert (status, problem["error"]["code"], problem["error"]["answers"]) == (1, "report-source-format", 2)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "f.json").exists(), "a call that ends in an error writes nothing"


def test_one_picture_among_dicom_files_is_named_and_the_others_have_reports(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")
    paint(images / "c.png", RED)
    status = main(["predict", str(write_model(tmp_path)), str(images), "--sr", str(tmp_path / "out"), "--json"])
    said = capsys.readouterr()
    assert (status, len(json.loads(said.out)), len(list((tmp_path / "out").iterdir()))) == (1, 3, 2)
    assert "c.png" in said.err


def test_a_folder_that_holds_files_gets_no_reports(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")
    model = write_model(tmp_path)
    status, problem = run(capsys, model, images, "--sr", images)
    assert (status, problem["error"]["code"]) == (1, "out-occupied")
    (tmp_path / "empty").mkdir()
    assert run(capsys, model, images, "--sr", tmp_path / "empty")[0] == 0


def test_a_subject_needs_a_fhir_report(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, problem = run(capsys, write_model(tmp_path), images, "--subject", "Patient/7")
    assert (status, problem["error"]["code"]) == (2, "option-missing")


def test_where_nothing_is_answered_the_outcome_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    status, _ = run(capsys, write_model(tmp_path), tmp_path / "bad.png", "--fhir", tmp_path / "f.json")
    assert status == 1
    assert json.loads((tmp_path / "f.json").read_text())["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("option", ["--fhir", "--sr", "--csv"])
def test_a_path_that_is_not_there_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    target = tmp_path / "out"
    status, problem = run(capsys, write_model(tmp_path), tmp_path / "typo", option, target)
    assert (status, problem["error"]["code"]) == (1, "file-missing")
    assert problem["error"]["path"] == str(tmp_path / "typo")
    assert not [*tmp_path.glob("out*")], "the right path would be refused then"


def test_reports_are_never_overwritten(tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, problem = run(capsys, write_model(tmp_path), images, "--sr", tmp_path / "out", "--overwrite")
    assert (status, problem["error"]["code"]) == (2, "option-conflict")
    assert problem["error"]["options"] == ["--sr", "--overwrite"]


def test_what_a_kill_left_of_a_report_goes_and_what_is_being_written_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, picture = tmp_path / "f.json", paint(tmp_path / "a.png", RED)
    (tmp_path / ".f.json.killed.part").write_bytes(b"half")
    (tmp_path / ".g.json.killed.part").write_bytes(b"of another file")
    with atomic_path(target) as busy:
        assert run(capsys, write_model(tmp_path), picture, "--fhir", target)[0] == 0
        assert {path.name for path in tmp_path.glob(".*.part")} == {busy.name, ".g.json.killed.part"}
    assert {path.name for path in tmp_path.glob(".*.part")} == {".g.json.killed.part"}
