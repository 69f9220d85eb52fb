"""Several models in one server: each is found by its name and version, and nothing of one is answered by another."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from edge_models import make_bundle, make_manifest
from serving import Server, png, refused, serving

from zoo.edge import Runtime
from zoo.edge.serve import ServedPath, read_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

TOKEN = "0123456789abcdef-XYZ"  # noqa: S105 - of these tests
PIXELS = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [200, 10, 10]}]}'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three files of two names; the second version of `skin` answers with other words."""
    folder = tmp_path_factory.mktemp("several")
    given = {
        "skin": make_manifest(name="skin"),
        "newer": make_manifest(name="skin", labels=("rot", "gruen", "blau")),
        "chest": make_manifest(name="chest", labels=("left", "middle", "right")),
    }
    return {name: make_bundle(folder / f"{name}.zoo", manifest=manifest) for name, manifest in given.items()}


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[Server]:
    with serving((files["skin"], files["newer"], files["chest"])) as running:
        yield running


def _version(path: Path) -> str:
    return Runtime.open(path).mark


def test_each_is_told_with_its_name_and_version_in_the_order_given(server: Server, files: dict[str, Path]) -> None:
    told = server.ask("GET", "/models").json
    assert [(one["name"], one["version"]) for one in told] == [
        ("skin", _version(files["skin"])),
        ("skin", _version(files["newer"])),
        ("chest", _version(files["chest"])),
    ]
    assert told[2]["labels"] == ["left", "middle", "right"]
    assert all(one["verified"] == 4 for one in told)
    assert [one["version"] for one in server.started["models"]] == [one["version"] for one in told]
    assert (server.started["model"], server.started["verified"]) == ("skin", 4)


def test_plain_paths_answer_for_the_first_and_for_the_one_that_is_named(server: Server, files: dict[str, Path]) -> None:
    asked = {
        "": ("skin", "red"),
        "?model=skin": ("skin", "red"),
        "?model=chest": ("chest", "left"),
        f"?model=skin&version={_version(files['newer'])}": ("newer", "rot"),
        f"?version={_version(files['chest'])}": ("chest", "left"),
    }
    for query, (which, label) in asked.items():
        answer = server.ask("POST", f"/predict{query}", png())
        assert answer.json.keys() == {"image", "label", "probability", "probabilities"}
        assert answer.json["label"] == label, query
        assert answer.headers["zoo-model-version"] == _version(files[which])
        heat = server.ask("POST", f"/explain{query}", png()).json
        assert heat["label"] == label, query
        assert tuple(server.ask("GET", f"/model{query}").json["labels"]) == Runtime.open(files[which]).labels
        assert server.ask("GET", f"/card{query}").body == b"# mean colour\n"


def test_the_protocol_reaches_each_by_name_and_by_version(server: Server, files: dict[str, Path]) -> None:
    old, new = _version(files["skin"]), _version(files["newer"])
    asked = {"skin": (old, "red"), f"skin/versions/{new}": (new, "rot"), f"skin/versions/{old}": (old, "red")}
    for place, (version, label) in asked.items():
        told = server.ask("GET", f"/v2/models/{place}").json
        assert (told["name"], told["versions"]) == ("skin", [old, new])
        assert server.ask("GET", f"/v2/models/{place}/ready").json == {"name": "skin", "ready": True}
        answer = server.ask("POST", f"/v2/models/{place}/infer", PIXELS).json
        assert (answer["model_name"], answer["model_version"]) == ("skin", version)
        assert answer["outputs"][1]["data"] == [label]
    assert server.ask("POST", "/v2/models/chest/infer", PIXELS).json["outputs"][1]["data"] == ["left"]


def test_a_model_that_is_not_there_is_404_with_those_there_are(server: Server, files: dict[str, Path]) -> None:
    known = [f"{name} {_version(files[of])}" for name, of in (("skin", "skin"), ("skin", "newer"), ("chest", "chest"))]
    for query in ("model=CANARY", f"model=chest&version={_version(files['skin'])}", "version=0"):
        for method, path in (("POST", "/predict"), ("POST", "/explain"), ("GET", "/model"), ("GET", "/card")):
            answer = server.ask(method, f"{path}?{query}", png() if method == "POST" else None)
            assert answer.status == 404, path
            assert (answer.json["error"]["type"], answer.json["error"]["models"]) == ("UnknownModel", known)
            assert b"CANARY" not in answer.body
    for path in ("CANARY", "CANARY/ready", "skin/versions/0", "skin/versions/0/ready"):
        answer = server.ask("GET", f"/v2/models/{path}")
        assert (answer.status, list(answer.json)) == (404, ["error"])
        assert all(one in answer.json["error"] for one in known)
    assert server.ask("POST", "/v2/models/chest/versions/0/infer", PIXELS).status == 404
    assert server.ask("POST", "/predict?model=skin&model=chest", png()).status == 400


def test_metrics_count_by_model_and_prometheus_reads_them(server: Server) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    server.ask("POST", "/predict?model=chest", png())
    text = server.ask("GET", "/metrics").body.decode()
    samples = [one for family in parser.text_string_to_metric_families(text) for one in family.samples]
    seen = {one.labels["model"] for one in samples if one.name == "zoo_requests_total"}
    assert {"skin", "chest"} <= seen <= {"skin", "chest", ""}
    asked = [one for one in samples if one.name == "zoo_request_seconds_count" and one.labels["model"] == "chest"]
    assert any(one.labels["route"] == "/predict" and one.value >= 1 for one in asked)
    told = {(one.labels["name"], one.labels["version"]) for one in samples if one.name == "zoo_model_info"}
    assert told == {(one["model"], one["version"]) for one in server.started["models"]}
    assert "CANARY" not in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell less of a process")
def test_the_page_counts_the_families_of_metrics(files: dict[str, Path]) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
    (row,) = (line for line in page.splitlines() if line.startswith("| Prometheus "))
    with serving(files["chest"]) as server:
        counts = []
        for body in (b"", png(), b"no image"):
            if body:
                server.ask("POST", "/predict", body)
            text = server.ask("GET", "/metrics").body.decode()
            counts.append(len([*parser.text_string_to_metric_families(text)]))
    assert [int(one) for one in re.findall(r"\b\d+\b", row)] == [counts[0], counts[-1]]


def test_the_access_log_tells_two_versions_of_one_name_apart(files: dict[str, Path], tmp_path: Path) -> None:
    log, known = tmp_path / "access.log", [_version(files[of]) for of in ("skin", "newer")]
    with serving((files["skin"], files["newer"]), "--access-log", str(log)) as server:
        for version in known:
            assert server.ask("POST", f"/predict?version={version}", png()).status == 200
        server.ask("GET", "/healthz")
        server.leave()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["model"], line["version"]) for line in lines] == [*(("skin", one) for one in known), ("", "")]


def test_no_name_is_told_to_whoever_has_no_token(files: dict[str, Path]) -> None:
    with serving((files["skin"], files["chest"]), environment={"ZOO_SERVE_TOKEN": TOKEN}) as server:
        for path in ("/models", "/model?model=chest", "/model?model=none", "/v2/models/none/versions/1"):
            assert server.ask("GET", path).status == 401, path
        text = server.ask("GET", "/openapi.json").body
    assert b"chest" not in text
    assert b"skin" not in text


def test_two_files_of_one_name_and_version_are_refused(files: dict[str, Path]) -> None:
    code, problem = _refusal(files["skin"], files["skin"])
    assert (code, problem["code"], problem["name"]) == (2, "serve-model-twice", "skin")
    assert problem["paths"] == [str(files["skin"])] * 2


def test_one_file_is_served_under_two_names(files: dict[str, Path]) -> None:
    with serving((files["skin"], f"other={files['skin']}")) as server:
        assert [one["name"] for one in server.ask("GET", "/models").json] == ["skin", "other"]
        assert server.ask("POST", "/v2/models/other/infer", PIXELS).json["model_name"] == "other"


def test_a_name_before_a_path_is_read_as_such_and_a_file_stays_a_file(tmp_path: Path) -> None:
    odd = tmp_path / "a=b.onnx"
    odd.touch()
    named = f"skin={tmp_path / 'x.zoo'}"
    assert read_sources([odd, named, "x.zoo"]) == (
        ServedPath(odd),
        ServedPath(tmp_path / "x.zoo", "skin"),
        ServedPath(Path("x.zoo")),
    )


def _refusal(*models: Any) -> tuple[int, dict[str, Any]]:
    code, out = refused(models, of="stdout")
    return code, json.loads(out)["error"]
