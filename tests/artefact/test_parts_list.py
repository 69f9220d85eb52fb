"""sbom.cdx.json: valid CycloneDX 1.6, complete, and made of nothing but the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from zoo.artefact._sbom import sbom
from zoo.errors import ModelError
from zoo.spec import Bars, Manifest, PluginOrigin, Quantization, Teacher, decode

KEPT = Path(__file__).resolve().parents[1] / "fixtures" / "signatures" / "small.zoo"
DIGEST = "ab" * 32


@pytest.fixture
def manifest() -> Manifest:
    return decode((KEPT / "manifest.json").read_bytes(), Manifest, "manifest.json", ModelError)


def of(manifest: Manifest, **origin: Any) -> dict[str, Any]:
    """The parts list of a manifest whose provenance is changed, as a checked document."""
    changed = msgspec.structs.replace(manifest, provenance=msgspec.structs.replace(manifest.provenance, **origin))
    data = sbom(changed, DIGEST)
    assert invalid(data) is None
    document: dict[str, Any] = json.loads(data)
    return document


def invalid(data: bytes) -> str | None:
    """What the official schema, strictly read and offline, has against it."""
    validation = pytest.importorskip(
        "cyclonedx.validation.json", reason="the official schema comes with cyclonedx-python-lib"
    )
    pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    from cyclonedx.schema import SchemaVersion

    problem = validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    return None if problem is None else str(problem)


def parts(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [part for part in document["components"] if part["type"] == kind]


def test_the_schema_is_really_asked(manifest: Manifest) -> None:
    document = of(manifest)
    document["components"][0]["type"] = "network"
    assert invalid(json.dumps(document).encode()) is not None


def test_the_one_of_a_kept_bundle_is_valid() -> None:
    assert invalid((KEPT / "sbom.cdx.json").read_bytes()) is None


def test_it_names_the_teacher_with_its_licence(manifest: Manifest) -> None:
    teacher = Teacher(name="t", run="r", sha256="a" * 64, licence="cc-by-nc-4.0", data="b" * 64, seen="known")
    (_, part) = parts(of(manifest, teacher=teacher), "machine-learning-model")
    assert (part["name"], part["version"], part["hashes"][0]["content"]) == ("t", "r", "a" * 64)
    assert "CC-BY-NC-4.0" in json.dumps(part["licenses"])


def test_it_names_model_data_runtime_and_training(manifest: Manifest) -> None:
    document = of(manifest)
    (model,) = parts(document, "machine-learning-model")
    assert model["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    assert {metric["type"] for metric in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]} >= {
        "macro AUROC"
    }
    (data,) = parts(document, "data")
    assert {"name": "zoo:fingerprint:sha256", "value": manifest.provenance.data.sha256} in data["properties"]
    versions = {part["name"]: (part["version"], part["scope"]) for part in parts(document, "library")}
    for name in ("numpy", "onnxruntime", "pillow", "msgspec"):
        assert versions[name] == (manifest.provenance.exported[name], "required")
    assert versions["torch"] == (manifest.provenance.versions["torch"], "excluded")
    refs = [part["bom-ref"] for part in document["components"]]
    assert len(set(refs)) == len(refs)
    assert {ref for entry in document["dependencies"] for ref in entry["dependsOn"]} <= set(refs)


def test_pretrained_weights_stand_there_with_licence_and_hash(manifest: Manifest) -> None:
    digest = "cd" * 32
    document = of(manifest, weights=f"hf-hub:timm/resnet18.a1_in1k sha256:{digest}", weights_licence="bsd-3-clause")
    _, weights = parts(document, "machine-learning-model")
    assert weights["name"] == "hf-hub:timm/resnet18.a1_in1k"
    assert weights["hashes"][0]["content"] == digest
    assert weights["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert weights["bom-ref"] in document["dependencies"][1]["dependsOn"]


def test_a_quantised_file_is_said_to_be_one(manifest: Manifest) -> None:
    assert not any(one["name"].startswith("zoo:quantization") for one in model_properties(manifest))
    made = Quantization(
        kind="int8", target="avx2", scheme="U8S8, weights of 7 bits", measured="kernels", calibration="minmax",
        calibration_images=256, compared_images=64, calibration_errors={}, layers=20, excluded=("stem", "last"),
        rungs=(), bars=Bars(), verdict=None, alike=None, val=None, test=None, speed=None, size_ratio=None,
        tolerance=None,
    )  # fmt: skip
    told = model_properties(msgspec.structs.replace(manifest, quantization=made))
    assert {"name": "zoo:quantization", "value": "int8"} in told
    assert {"name": "zoo:quantization:layers", "value": "18 of 20"} in told


def model_properties(manifest: Manifest) -> list[dict[str, str]]:
    (model,) = parts(of(manifest), "machine-learning-model")
    found: list[dict[str, str]] = model["properties"]
    return found


@pytest.mark.parametrize("licence", ["unknown", "CC BY 4.0", "apache-2.0", "see LICENSE.txt"])
def test_any_licence_gives_a_valid_document(manifest: Manifest, licence: str) -> None:
    of(manifest, weights="file:mine.safetensors", weights_licence=licence, code_licence=licence)


def test_a_plugin_of_a_third_party_is_named_with_what_it_installed(manifest: Manifest) -> None:
    plugin = PluginOrigin(name="acme", distribution="zoo_acme", version="1.0+local", record="ef" * 32)
    document = of(manifest, plugin=plugin)
    (part,) = (part for part in document["components"] if part["name"] == "zoo_acme")
    assert part["purl"] == "pkg:pypi/zoo-acme@1.0%2Blocal"
    assert {"name": "zoo:installed-files:sha256", "value": "ef" * 32} in part["properties"]


def test_the_serial_number_is_of_the_content(manifest: Manifest) -> None:
    assert of(manifest)["serialNumber"] == of(manifest)["serialNumber"]
    assert of(manifest)["serialNumber"] != of(manifest, run="another")["serialNumber"]
    assert of(manifest)["metadata"]["timestamp"] == manifest.provenance.created


def test_a_manifest_of_the_first_release_gives_one_too() -> None:
    """It knew no versions at export, no licence of the weights and no record of the plugin."""
    older = json.loads((KEPT / "manifest.json").read_text())
    for name in ("weights_licence", "code_licence", "trained", "exported"):
        del older["provenance"][name]
    del older["provenance"]["plugin"]["record"]
    older.pop("portable", None)
    read = decode(json.dumps(older), Manifest, "manifest.json", ModelError)
    assert read.provenance.exported == {}
    of(read)
