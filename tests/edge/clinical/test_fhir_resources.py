"""FHIR resources are valid R4, say what the answer says, and invent nothing."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from edge_models import deciding_manifest, make_manifest, make_model

from zoo.edge import Failure, Prediction, Runtime
from zoo.edge.clinical._author import Author
from zoo.edge.clinical._fhir import FHIR_BUNDLE, check_subject, entry, write_resource
from zoo.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.spec import Manifest

RED, PURPLE, WHITE = (255, 0, 0), (160, 0, 130), (255, 255, 255)


def asked(folder: Path, colour: tuple[int, int, int], manifest: Manifest | None = None) -> tuple[Prediction, Author]:
    import numpy as np

    path = folder / "model.onnx"
    path.write_bytes(make_model(manifest or deciding_manifest()).SerializeToString())
    runtime = Runtime.open(path)
    result = runtime.answer(np.full((4, 6, 3), colour, np.uint8), name="x.png")
    assert isinstance(result, Prediction)
    return result, Author.of(runtime)


def validated(resource: Any) -> None:
    """As the schemas of R4B take it, which has these resources as R4 has them."""
    pytest.importorskip("fhir.resources", reason="fhir.resources is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydantic, about the package's own fields
        from fhir.resources.R4B import get_fhir_model_class

        get_fhir_model_class(resource["resourceType"]).model_validate_json(msgspec.json.encode(resource))


def contained(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in report["contained"]}


def parts(observation: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for one in observation.get("component", []):
        (value,) = (value for key, value in one.items() if key.startswith("value"))
        found[one["code"]["text"]] = value["value"] if isinstance(value, dict) else value
    return found


@pytest.mark.parametrize(
    ("colour", "decision"), [(RED, "label"), (PURPLE, "uncertain"), (WHITE, "unlike training")], ids=str
)
def test_a_report_holds_the_row_of_predict(tmp_path: Path, colour: tuple[int, int, int], decision: str) -> None:
    result, author = asked(tmp_path, colour)
    report = msgspec.json.decode(msgspec.json.encode(write_resource(result, author)))
    validated(report)
    row, found = result.row(), contained(report)
    assert {f"#{name}" for name in found if name != "model"} == {one["reference"] for one in report["result"]}
    for number, (label, value) in enumerate(row["probabilities"].items(), 1):
        observation = found[f"class-{number}"]
        assert observation["valueQuantity"] == {"value": value, "system": "http://unitsofmeasure.org", "code": "1"}
        assert label in observation["code"]["text"]
        assert parts(observation)["In the set of labels"] == (label in row["set"])
    assert parts(found["class-3"])["Operating point reached"] == row["operating"]["blue"]
    assert parts(found["class-3"])["Operating point"] == 0.2
    assert found["novelty"]["valueQuantity"]["value"] == row["novelty"]
    assert parts(found["answer"]) == {"Label": row["label"], "Decision": decision}
    given = found["answer"].get("valueCodeableConcept", {}).get("text")
    assert given == (row["label"] if decision == "label" else None), "a label that is no answer must not look like one"
    assert ("dataAbsentReason" in found["answer"]) == (decision != "label")
    assert report["status"] == "preliminary"


def test_it_names_the_model_by_its_hash_and_says_a_computer_made_it(tmp_path: Path) -> None:
    result, author = asked(tmp_path, RED)
    report = write_resource(result, author)
    device = contained(report)["model"]
    assert device["deviceName"][0]["name"] == "mean-colour"
    assert device["version"][0]["value"] == author.sha256
    for text in (report["conclusion"], device["note"][0]["text"]):
        assert "computer" in text
        assert author.sha256 in text
        assert author.manifest.intended_use in text
    assert all(one["device"] == {"reference": "#model"} for one in report["contained"] if one["id"] != "model")


def test_what_is_not_known_is_not_there(tmp_path: Path) -> None:
    result, author = asked(tmp_path, RED, make_manifest())
    report = write_resource(result, author)
    assert not {"subject", "encounter", "effectiveDateTime", "imagingStudy", "performer", "category"} & report.keys()
    assert parts(contained(report)["answer"]) == {"Label": "red"}
    assert "novelty" not in contained(report)


def test_subject_and_study_stand_where_they_are_given(tmp_path: Path) -> None:
    result, author = asked(tmp_path, RED)
    report = write_resource(result, author, study="1.2.3", subject="Patient/7")
    validated(report)
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    subjects = [one["subject"] for one in (report, *report["contained"]) if one["resourceType"] != "Device"]
    assert subjects == [{"reference": "Patient/7"}] * 6


def test_labels_of_a_multilabel_model_are_given_each(tmp_path: Path) -> None:
    result, author = asked(tmp_path, (255, 255, 0), make_manifest(task="multilabel"))
    report = write_resource(result, author)
    validated(report)
    found = contained(report)
    assert [parts(found[f"class-{number}"])["Given"] for number in (1, 2, 3)] == [True, True, False]
    assert found["answer"]["valueString"] == "red; green"
    none, author = asked(tmp_path, (0, 0, 0), make_manifest(task="multilabel"))
    assert contained(write_resource(none, author))["answer"]["valueString"] == "no label"


def test_an_image_without_answer_is_an_outcome_and_several_are_a_bundle(tmp_path: Path) -> None:
    result, author = asked(tmp_path, RED)
    failed = write_resource(Failure("y.png", "not an image"), author)
    validated(failed)
    assert failed["issue"][0]["diagnostics"] == "not an image"
    before, behind = FHIR_BUNDLE
    both = before + b",".join(map(entry, (write_resource(result, author), failed))) + behind
    document = msgspec.json.decode(both)
    validated(document)
    kinds = [one["resource"]["resourceType"] for one in document["entry"]]
    assert kinds == ["DiagnosticReport", "OperationOutcome"]
    assert len({one["fullUrl"] for one in document["entry"]}) == 2


@pytest.mark.parametrize("subject", ["Patient/7", "https://fhir.example.org/r4/Patient/a-b.c", "Group/1"])
def test_references_are_taken(subject: str) -> None:
    check_subject(subject)


@pytest.mark.parametrize("subject", ["", "7", "Patient/", "Patient/a b", "Observation/7", "Patient/" + "x" * 65])
def test_what_is_no_reference_is_refused(subject: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_subject(subject)
    assert caught.value.code == "option-value"
