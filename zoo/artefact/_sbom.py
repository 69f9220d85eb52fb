"""sbom.cdx.json: what a bundle is made of, as a CycloneDX 1.6 document (ECMA-424).

Written by hand, because the Python library of CycloneDX knows no model card; the tests hold it to the official schema.
The serial number comes from the content and the time from the run, so the same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from zoo.edge.bundle import MODEL
from zoo.evaluation import title_of
from zoo.spec import Manifest, to_builtins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.spec import EvalReport

__all__ = ["SBOM", "sbom"]

SBOM = "sbom.cdx.json"

_RUNTIME = ("msgspec", "numpy", "onnxruntime", "pillow")
"""What running the model needs; they do not travel in the bundle."""

_SPDX = {
    name.lower(): name
    for name in (
        "0BSD",
        "AGPL-3.0-only",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC-BY-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "GPL-3.0-only",
        "ISC",
        "LGPL-3.0-only",
        "MIT",
        "MPL-2.0",
        "Unlicense",
    )
}
"""The spelling that the schema asks for; a licence that is not here is given as a plain name."""

_MODEL_REF, _DATA_REF, _WEIGHTS_REF = "model", "data", "pretrained-weights"

Part = dict[str, Any]


def sbom(manifest: Manifest, model_sha256: str) -> bytes:
    """The document.

    Args:
        manifest: manifest of the bundle; its files need not be listed yet.
        model_sha256: hash of model.onnx.

    Returns:
        Indented JSON in UTF-8.
    """
    origin = manifest.provenance
    runtime = [_package(name, origin.exported[name]) for name in _RUNTIME if name in origin.exported]
    training = [
        _package(name, version, scope="excluded")
        for name, version in sorted(origin.versions.items())
        if name not in {*_RUNTIME, "python", "edgezoo"}
    ]
    parts = [
        _model(manifest, model_sha256),
        *_members(manifest),
        *_weights(manifest),
        *_teacher(manifest),
        _data(manifest),
        *_plugin(manifest),
    ]
    whole = {"type": "application", "bom-ref": "bundle", "name": f"{manifest.name}.zoo", "version": origin.run}
    made_by = _package("edgezoo", origin.exported.get("edgezoo", "unknown"), kind="application")
    made_by.pop("bom-ref")
    needed = [part["bom-ref"] for part in (*parts[1:], *runtime)]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": origin.created, "tools": {"components": [made_by]}, "component": whole},
        "components": [*parts, *runtime, *training],
        "dependencies": [
            {"ref": "bundle", "dependsOn": [_MODEL_REF]},
            {"ref": _MODEL_REF, "dependsOn": needed},
        ],
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()
    numbered = {"serialNumber": f"urn:uuid:{uuid.UUID(bytes=digest[:16], version=5)}"}
    return json.dumps(document | numbered, indent=2, ensure_ascii=False).encode() + b"\n"


def _model(manifest: Manifest, sha256: str) -> Part:
    origin = manifest.provenance
    card: Part = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image classification"
            + (", several labels an image" if manifest.task == "multilabel" else ", one label an image"),
            "modelArchitecture": origin.model,
            "datasets": [{"ref": _DATA_REF}],
            "inputs": [{"format": f"image, {manifest.input.dtype}, {manifest.input.channels} channels"}],
            "outputs": [{"format": name} for name in manifest.outputs],
        },
        "considerations": {
            "useCases": [manifest.intended_use],
            "technicalLimitations": list(origin.notes) or ["not evaluated on images of other sites or devices"],
        },
    }
    if manifest.report is not None:
        card["quantitativeAnalysis"] = {"performanceMetrics": list(_metrics(manifest.report))}
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL_REF,
        "name": manifest.name,
        "version": origin.run,
        "hashes": [_hash(sha256)],
        "licenses": _licences(manifest.licence),
        "modelCard": card,
        "properties": _properties(
            {
                "zoo:file": MODEL,
                "zoo:config": json.dumps(to_builtins(origin.config), sort_keys=True),
                **_describe_quantization(manifest),
                **{f"zoo:trained:{name}:sha256": value for name, value in sorted(origin.trained.items())},
            }
        ),
    }


def _describe_quantization(manifest: Manifest) -> dict[str, str]:
    """How the model was quantised; empty for float32. The manifest says what it cost."""
    found = manifest.quantization
    if found is None:
        return {}
    return {
        "zoo:quantization": found.kind,
        "zoo:quantization:target": found.target,
        "zoo:quantization:scheme": found.scheme,
        "zoo:quantization:layers": f"{found.layers - len(found.excluded)} of {found.layers}",
    }


def _metrics(report: EvalReport) -> Iterable[Part]:
    for name, value in report.metrics.items():
        yield {
            "type": title_of(name),
            "value": f"{value.value:.6g}",
            "slice": f"{report.split}, {report.n} images",
            "confidenceInterval": {"lowerBound": f"{value.low:.6g}", "upperBound": f"{value.high:.6g}"},
        }


def _weights(manifest: Manifest) -> Iterable[Part]:
    """The pretrained weights, if it began with any; of an ensemble those of each member."""
    origin = manifest.provenance
    begun: dict[str, str | None] = {}
    for one in manifest.members or (origin,):
        if one.weights is not None:
            begun[one.weights] = one.weights_licence
    for number, (weights, licence) in enumerate(begun.items()):
        source, _, sha256 = weights.partition(" sha256:")
        part: Part = {
            "type": "machine-learning-model",
            "bom-ref": f"{_WEIGHTS_REF}-{number}" if number else _WEIGHTS_REF,
            "name": source,
            "description": "weights that training began with",
        }
        if sha256:
            part["hashes"] = [_hash(sha256)]
        if licence is not None:
            part["licenses"] = _licences(licence)
        yield part


def _teacher(manifest: Manifest) -> Iterable[Part]:
    """The model whose answers it learnt from, if there was one; it is not in the bundle."""
    teacher = manifest.provenance.teacher
    if teacher is not None:
        yield {
            "type": "machine-learning-model",
            "bom-ref": "teacher",
            "name": teacher.name,
            "version": teacher.run,
            "description": "the teacher whose answers it learnt from; not in the bundle",
            "hashes": [_hash(teacher.sha256)],
            "licenses": _licences(teacher.licence),
        }


def _members(manifest: Manifest) -> Iterable[Part]:
    """The networks of an ensemble, which lie in its one file."""
    for number, member in enumerate(manifest.members):
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"member-{number}",
            "name": member.name,
            "version": member.run,
            "description": "a network of the ensemble",
            "licenses": _licences(member.licence),
            "properties": _properties(
                {
                    "zoo:weight": f"{member.weight:.6f}",
                    "zoo:plugin": f"{member.plugin.name} of {member.plugin.distribution} {member.plugin.version}",
                    "zoo:code:licence": member.code_licence,
                    "zoo:fingerprint:sha256": member.data.sha256,
                    "zoo:config": json.dumps(to_builtins(member.config), sort_keys=True),
                    **{f"zoo:trained:{name}:sha256": value for name, value in sorted(member.trained.items())},
                }
            ),
        }


def _data(manifest: Manifest) -> Part:
    data = manifest.provenance.data
    return {
        "type": "data",
        "bom-ref": _DATA_REF,
        "name": data.name,
        "description": f"{data.n} images it was trained, chosen and judged on; none of them is in the bundle"
        + ("" if manifest.golden == "generated" else " but those of the golden set"),
        "scope": "excluded",
        "data": [{"type": "dataset", "name": data.name}],
        "properties": _properties(
            {
                "zoo:fingerprint:sha256": data.sha256,
                **{f"zoo:images:{name}": str(count) for name, count in sorted(data.splits.items())},
            }
        ),
    }


def _plugin(manifest: Manifest) -> Iterable[Part]:
    """Where the network's code comes from."""
    plugin = manifest.provenance.plugin
    part = _package(plugin.distribution, plugin.version, scope="excluded")
    part["description"] = f"plugin {plugin.name}, whose code built the network"
    if manifest.provenance.code_licence is not None:
        part["licenses"] = _licences(manifest.provenance.code_licence)
    if plugin.record is not None:
        part["properties"] = _properties({"zoo:installed-files:sha256": plugin.record})
    yield part


def _package(name: str, version: str, *, scope: str = "required", kind: str = "library") -> Part:
    """A distribution of the package index, by its package URL."""
    purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'), safe='')}@{quote(version, safe='')}"
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "scope": scope, "purl": purl}


def _licences(licence: str) -> list[Part]:
    """One entry for each of the licences that hold together, "A AND B"."""
    named = ((one, _SPDX.get(one.lower())) for one in licence.split(" AND "))
    return [{"license": {"id": known} if known else {"name": one}} for one, known in named]


def _hash(sha256: str) -> Part:
    return {"alg": "SHA-256", "content": sha256}


def _properties(values: dict[str, str]) -> list[Part]:
    return [{"name": name, "value": value} for name, value in values.items()]
