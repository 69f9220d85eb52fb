"""A DICOM report says what the answer says, of the right image and patient, and other programs read it."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clinical_cases import CANARY, TWO_FRAMES, bundled, edited, painted, several_labels, write_model
from edge_models import deep_manifest, make_manifest

from zoo.edge import Prediction, Runtime
from zoo.edge.clinical import _sr
from zoo.edge.clinical._author import Author
from zoo.edge.clinical._source import read_source
from zoo.edge.clinical._sr import SCHEME, code_label, write_report
from zoo.errors import ImageError, UsageError

if TYPE_CHECKING:
    from zoo.spec import Manifest

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
highdicom = pytest.importorskip("highdicom", reason="the extra 'dicom-sr' is not installed")

RED, PURPLE, WHITE = (255, 0, 0), (160, 0, 130), (255, 255, 255)


def asked(folder: Path, data: bytes, manifest: Manifest | None = None, frame: int | None = None) -> tuple[Any, Any]:
    """The answer of a model, and its report as highdicom reads it."""
    runtime = Runtime.open(write_model(folder, manifest))
    result = runtime.answer(data, frame=frame)
    assert isinstance(result, Prediction), result
    report = write_report(read_source(data, "x"), result, Author.of(runtime), frame)
    return result, highdicom.sr.srread(io.BytesIO(report.content))


def group_of(document: Any) -> Any:
    (group,) = document.content.get_image_measurement_groups()
    return group


def numbers(document: Any) -> dict[str, float]:
    return {one.name.value: one.value for one in group_of(document).get_measurements()}


def words(document: Any, code: str) -> list[str]:
    found = group_of(document).get_qualitative_evaluations()
    return [one.value.meaning for one in found if (one.name.value, one.name.scheme_designator) == (code, SCHEME)]


@pytest.mark.parametrize(
    ("colour", "decision"), [(RED, "label"), (PURPLE, "uncertain"), (WHITE, "unlike training")], ids=str
)
def test_a_report_holds_the_row_of_predict(tmp_path: Path, colour: tuple[int, int, int], decision: str) -> None:
    """A rounded probability, or a label without its decision, would be another answer than the one evaluated."""
    result, document = asked(tmp_path, painted(colour))
    row = result.row()
    values = numbers(document)
    assert {label: values[code_label(label, "probability")] for label in row["probabilities"]} == row["probabilities"]
    assert (values["NOVELTY"], values["NOVELTY-LIMIT"]) == (row["novelty"], 200.0)
    assert values[code_label("blue", "point")] == 0.2
    assert words(document, "ANSWER") == [row["label"]]
    assert words(document, "DECISION") == [row["decision"]] == [decision]
    assert words(document, "SET") == row["set"]
    assert words(document, "REACHED") == [label for label, reached in row["operating"].items() if reached]
    assert words(document, "MISSED") == [label for label, reached in row["operating"].items() if not reached]
    finding = group_of(document).finding_type
    assert (None if finding is None else finding.meaning) == (row["label"] if decision == "label" else None)


def test_a_model_that_decides_nothing_says_no_decision(tmp_path: Path) -> None:
    result, document = asked(tmp_path, painted(RED), make_manifest())
    assert "decision" not in result.row()
    assert len(numbers(document)) == 3
    assert [words(document, code) for code in ("DECISION", "SET", "REACHED", "MISSED", "GIVEN")] == [[]] * 5
    assert group_of(document).finding_type.meaning == "red"


def test_every_label_that_a_multilabel_model_gives_is_there(tmp_path: Path) -> None:
    result, document = asked(tmp_path, painted((255, 255, 0)), several_labels())
    assert words(document, "GIVEN") == list(result.labels) == ["red", "green"]


def test_it_names_the_file_the_image_and_the_patient_and_says_a_computer_made_it(tmp_path: Path) -> None:
    data = painted(RED, PatientName=CANARY, PatientID="P-1", PatientSex="F", AccessionNumber="A-7")
    source = pydicom.dcmread(io.BytesIO(data))
    _, document = asked(tmp_path, data)
    for keyword in ("PatientName", "PatientID", "PatientSex", "AccessionNumber", "StudyInstanceUID"):
        assert document.get(keyword) == source.get(keyword), keyword
    assert (document.Modality, document.SOPClassUID.name) == ("SR", "Comprehensive SR Storage")
    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert document.PreliminaryFlag == "PRELIMINARY"
    sha256 = Runtime.open(tmp_path / "model.onnx").sha256
    text = {item.name.meaning: item.value for item in group_of(document)[0].ContentSequence if item.ValueType == "TEXT"}
    assert (text["Algorithm Name"], text["Algorithm Version"]) == ("mean-colour", sha256)
    comments = [item.value for item in group_of(document)[0].ContentSequence if item.name.meaning == "Comment"]
    assert sha256 in comments[0]
    assert "computer" in comments[0]
    assert make_manifest().intended_use in comments[0]
    (image,) = group_of(document).source_images
    assert image.referenced_sop_instance_uid == source.SOPInstanceUID
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_its_own_uids_are_fresh(tmp_path: Path) -> None:
    """Two reports of one UID are one object to an archive, which keeps the first."""
    (_, first), (_, second) = (asked(tmp_path, bundled()) for _ in range(2))
    uids = [getattr(one, name) for one in (first, second) for name in ("SOPInstanceUID", "SeriesInstanceUID")]
    assert len(set(uids)) == 4
    assert first.StudyInstanceUID == second.StudyInstanceUID


def test_the_frame_that_was_answered_is_named(tmp_path: Path) -> None:
    _, document = asked(tmp_path, bundled(TWO_FRAMES), frame=2)
    (image,) = group_of(document).source_images
    assert image.referenced_frame_numbers == [2]


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Buc^Jérôme"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "שרון^דבורה"),
    ],
)
def test_a_name_in_any_script_arrives_whole(tmp_path: Path, charset: Any, name: str) -> None:
    _, document = asked(tmp_path, painted(RED, SpecificCharacterSet=charset, PatientName=name))
    assert (document.SpecificCharacterSet, str(document.PatientName)) == ("ISO_IR 192", name)


def test_elements_that_are_not_valid_are_left_out_and_empty(tmp_path: Path) -> None:
    """An archive refuses a report with them, and a value that we mended would be invented."""
    wrong = {"PatientBirthDate": "1970.1.1", "PatientSex": "W", "PatientAge": "62", "StudyID": "x" * 30}
    _, document = asked(tmp_path, painted(RED, PatientIdentityRemoved="YES", **wrong))
    assert (document.PatientBirthDate, document.PatientSex, document.StudyID) == ("", "", "")
    assert "PatientAge" not in document
    assert "PatientIdentityRemoved" not in document, "it must say how, and the source does not"


def test_labels_are_cut_to_what_a_code_may_hold_and_stay_apart(tmp_path: Path) -> None:
    labels = ("a" * 80, "a" * 81, "back\\slash\tand tab")
    _, document = asked(tmp_path, painted(RED), make_manifest(labels=labels))
    found = group_of(document).get_measurements()
    assert {one.name.value for one in found} == {code_label(label, "probability") for label in labels}
    assert all(len(one.name.meaning) <= 64 and "\\" not in one.name.meaning for one in found)


def test_a_procedure_of_the_source_is_the_one_reported(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "36643-5", "LN", "XR Chest 2 Views"
    _, document = asked(tmp_path, painted(RED, ProcedureCodeSequence=[code]))
    named = [one for one in document.content[0].ContentSequence if one.name.meaning == "Procedure reported"]
    assert [one.value.value for one in named] == ["36643-5"]
    assert document.ProcedureCodeSequence[0].CodeMeaning == "XR Chest 2 Views"


def test_a_source_that_no_report_can_be_about_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read_source(b"\x89PNG\r\n\x1a\n" + bytes(600), "x")
    assert caught.value.code == "report-source-format"
    for keyword in ("StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID"):
        with pytest.raises(ImageError) as caught:
            read_source(painted(RED, **{keyword: None}), "x")
        assert (caught.value.code, caught.value.fields["element"]) == ("report-source-uid", keyword)
    with pytest.raises(ImageError) as caught:
        read_source(painted(RED, StudyInstanceUID="1.2.x"), "x")
    assert caught.value.code == "report-source-uid"
    with pytest.raises(ImageError) as caught:
        asked(tmp_path, painted(RED, SOPClassUID="1.2.840.10008.5.1.4.1.1.6"))  # ultrasound, retired
    assert caught.value.code == "report-source-class"


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setattr(_sr, "_MODULES", ("highdicom",))
    with pytest.raises(UsageError) as caught:
        _sr.check_highdicom()
    assert (caught.value.code, caught.value.fields["extra"]) == ("package-missing", "dicom-sr")


def test_nothing_of_a_patient_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """highdicom logs the UID of each image, and names that it finds odd."""
    with caplog.at_level("DEBUG"):
        data = painted(RED, PatientName="Canaria", StudyInstanceUID="1.2.3.999")
        asked(tmp_path, data)
    assert caplog.records == []


@pytest.mark.parametrize("program", ["dsrdump", "dciodvfy"])
def test_other_programs_read_it_and_find_no_error(tmp_path: Path, program: str) -> None:
    """dcmtk's reader of reports, and the validator of dicom3tools."""
    command = shutil.which(program) or shutil.which(program, path=str(sys.prefix) + "/bin")
    if command is None:
        pytest.skip(f"{program} is not installed")
    runtime = Runtime.open(write_model(tmp_path))
    for number, colour in enumerate((RED, PURPLE, WHITE)):
        data = painted(colour, PatientName="Wang^XiaoDong=王^小东", SpecificCharacterSet="GB18030")
        report = write_report(read_source(data, "x"), runtime.answer(data), Author.of(runtime))  # type: ignore[arg-type]
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(report.content)
        done = subprocess.run([command, str(path)], capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "Error" not in said, said
        assert ("Comprehensive SR" if program == "dsrdump" else "ComprehensiveSR") in said


@pytest.mark.slow
def test_every_image_of_pydicom_has_a_report_that_reads_back(tmp_path: Path) -> None:
    """Files of many devices, syntaxes and scripts; what the model answers is reported or refused by a code."""
    deep = tmp_path / "deep"
    deep.mkdir()
    models = [write_model(tmp_path), write_model(deep, deep_manifest(dtype="float32"))]
    runtimes = [Runtime.open(path) for path in models]
    codes, written = set(), 0
    for path in sorted((Path(pydicom.__path__[0]) / "data").glob("*_files/*.dcm")):
        data = path.read_bytes()
        for runtime in runtimes:
            result = runtime.answer(data, frame=1)
            if not isinstance(result, Prediction):
                continue
            try:
                report = write_report(read_source(data, "x"), result, Author.of(runtime), 1)
            except ImageError as problem:
                codes.add(problem.code)
                continue
            document = highdicom.sr.srread(io.BytesIO(report.content))
            assert numbers(document)[code_label(result.label, "probability")] == result.probability, path.name
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                source = pydicom.dcmread(path, force=True, stop_before_pixels=True)
                assert str(document.PatientName) == str(source.get("PatientName", "")), path.name
            written += 1
    assert written > 40
    assert codes <= {"report-source-uid", "report-source-class"}


def test_the_code_of_a_label_does_not_change() -> None:
    """Readers of a hospital map these codes; another one would be another finding to them."""
    assert code_label("blue") == "L16477688c0e0069"
    assert len(code_label("blue", "probability")) == 16


def test_a_header_of_any_bytes_is_read_or_refused() -> None:
    """Whatever the reader of pixels lets pass must not bring this one down, here on files that are cut."""
    whole, said = edited(PatientName=CANARY), set()
    for end in range(0, len(whole), 23):
        try:
            read_source(whole[:end], "x")
        except ImageError as problem:
            said.add(str(problem))
    assert said
    assert not any(CANARY in text for text in said)
