"""The OpenAPI document says what the server does: checked by itself, and by schemathesis' generated requests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from edge_models import make_bundle, make_manifest
from serving import Server, png, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

_INFERENCE = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}]}'
HAS_REPORTS = find_spec("highdicom") is not None
_STUDIES = ("", "/{study}", "/{study}/series/{series}/instances/{instance}")
_RELATED = """
from schemathesis.transport.requests import REQUESTS_TRANSPORT

@REQUESTS_TRANSPORT.serializer("multipart/related")
def related(context, value):
    part = value if isinstance(value, bytes) else str(value).encode()
    kind = 'multipart/related; type="application/dicom"; boundary=zoo'
    return {"data": b"--zoo\\r\\n\\r\\n" + part + b"\\r\\n--zoo--", "headers": {"Content-Type": kind}}
"""
"""Schemathesis cannot write this type by itself."""
TOKEN = "0123456789abcdef-XYZ"  # noqa: S105 - of these tests


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(make_bundle(tmp_path_factory.mktemp("described") / "mean.zoo")) as running:
        yield running


def test_every_path_answers_as_it_is_described(server: Server) -> None:
    described = server.ask("GET", "/openapi.json").json
    assert described["openapi"] == "3.1.0"
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if path.startswith("/dicom-web"):  # tests/edge/test_serve_dicomweb.py has files for these
                continue
            body = {"infer": _INFERENCE, "login": b'{"token": "none"}'}.get(path.rpartition("/")[2], png())
            answer = server.ask(method.upper(), path, body if method == "post" else None)
            kinds = operation["responses"][str(answer.status)]["content"]
            assert answer.status == 200, path
            assert answer.headers["content-type"].split(";")[0] in kinds, path


def test_its_schemas_are_the_types_that_answer(server: Server) -> None:
    schemas = server.ask("GET", "/openapi.json").json["components"]["schemas"]
    assert {
        "Row",
        "Unanswered",
        "HeatMap",
        "Problem",
        "InferenceProblem",
        "Health",
        "Manifest",
        "Asked",
        "Told",
    } <= schemas.keys()
    assert set(schemas["Row"]["required"]) == {"image", "label", "probability", "probabilities"}
    assert schemas["Row"]["additionalProperties"] is False


def test_a_token_is_described_where_one_is_asked_for(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "mean.zoo")
    with serving(bundle, environment={"ZOO_SERVE_TOKEN": TOKEN}) as server:
        described = server.ask("GET", "/openapi.json").json
    assert "mean-colour" not in str(described), "whoever has no token reads this too"
    assert described["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert described["components"]["securitySchemes"]["session"]["name"] == "zoo_session"
    asking = {path for path, methods in described["paths"].items() for one in methods.values() if "security" in one}
    assert asking == {
        *("/predict", "/explain", "/models", "/model", "/card", "/metrics"),
        *(f"/v2/models/{{name}}{of}{part}" for of in ("", "/versions/{version}") for part in ("", "/ready", "/infer")),
        *(f"/dicom-web/studies{part}" for part in _STUDIES if HAS_REPORTS),
    }
    for path in asking:
        assert all("401" in one["responses"] for one in described["paths"][path].values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one model", "several models and a key"])
def test_generated_requests_meet_no_answer_that_is_not_described(server: Server, tmp_path: Path, kind: str) -> None:
    """Schemathesis sends valid and broken queries, bodies, methods and headers, and holds every answer to the document.

    One check is left out: that whatever fits a body's schema is accepted. No schema can say what an image is.
    """
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    if kind == "one model":
        _generate(server, tmp_path)
        return
    bundles = tuple(make_bundle(tmp_path / name, manifest=make_manifest(name=name)) for name in ("skin", "chest"))
    with serving(bundles, environment={"ZOO_SERVE_TOKEN": TOKEN}) as several:
        _generate(several, tmp_path, "--header", f"Authorization: Bearer {TOKEN}")


def _generate(server: Server, place: Path, *options: str) -> None:
    (place / "related.py").write_text(_RELATED)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.started['url']}openapi.json", *options),
            *("--exclude-checks", "positive_data_acceptance", "--max-examples", "25", "--seed", "1", "--no-color"),
            *("--generation-database", "none"),
        ],
        capture_output=True,
        text=True,
        cwd=place,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *sys.path]), "SCHEMATHESIS_HOOKS": "related"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    tested, generated = re.search(r"Tested: (\d+)", done.stdout), re.search(r"(\d+) generated", done.stdout)
    assert tested is not None
    assert generated is not None
    assert int(tested[1]) == 20 + (4 if HAS_REPORTS else 0)
    assert int(generated[1]) > 50
