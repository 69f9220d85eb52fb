"""Whoever reads a number of an int8 file that was shipped without proof is told so, wherever the number stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from edge_models import COLOURS, make_bundle, make_manifest
from PIL import Image
from smaller_files import made_smaller

from zoo.edge import Runtime, verify
from zoo.edge.__main__ import main
from zoo.edge.clinical._author import Author

if TYPE_CHECKING:
    from pathlib import Path

DOUBT = "this int8 file was not shown to be as good as float32"
LOOSENED = "the bar on auroc was loosened from 0.01 to 0.1"


@pytest.fixture(params=["as good", "cannot tell"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    """A bundle in int8, and whether it was shipped without proof."""
    manifest = make_manifest(quantization=made_smaller(request.param, notes=(LOOSENED,)))
    return make_bundle(tmp_path / "small.zoo", manifest=manifest), request.param == "cannot tell"


def test_info_and_verify_say_it(small: tuple[Path, bool], capsys: pytest.CaptureFixture[str]) -> None:
    bundle, unproven = small
    assert main(["info", str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "int8 for avx2" in said
    assert LOOSENED in said
    assert (DOUBT in said) is unproven
    assert main(["verify", str(bundle)]) == 0
    assert (DOUBT in capsys.readouterr().out) is unproven
    assert (verify(bundle, isolated=False).doubt is not None) is unproven


def test_predict_says_it_once_beside_its_answers(
    small: tuple[Path, bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, unproven = small
    for name, colour in COLOURS.items():
        Image.new("RGB", (9, 9), colour).save(tmp_path / name)
    assert main(["predict", str(bundle), *(str(tmp_path / name) for name in COLOURS)]) == 0
    ran = capsys.readouterr()
    assert ran.err.count(DOUBT) == unproven
    assert DOUBT not in ran.out


def test_reports_for_a_hospital_say_it(small: tuple[Path, bool]) -> None:
    bundle, unproven = small
    assert (DOUBT in Author.of(Runtime.open(bundle)).statement()) is unproven


def test_a_server_says_it_of_its_models(small: tuple[Path, bool]) -> None:
    pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    from serving import serving

    bundle, unproven = small
    with serving((bundle,)) as server:
        (told,) = server.ask("GET", "/models").json
        for facts in (told, server.started):
            assert str(facts["doubt"]).startswith(DOUBT) is unproven


def test_the_manifest_itself_keeps_the_verdict(small: tuple[Path, bool], capsys: pytest.CaptureFixture[str]) -> None:
    bundle, unproven = small
    assert main(["info", str(bundle), "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (document["quantization"]["verdict"] == "cannot tell") is unproven
