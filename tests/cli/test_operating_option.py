"""`--operating` and `--prevalence`: read alike by every verb that takes them, and answered in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_running import run_zoo

RULE = "sensitivity=0.5:3"


@pytest.mark.slow
def test_a_point_is_chosen_and_shown_with_what_it_is_worth(at_work: Path) -> None:
    ran = run_zoo("evaluate", "runs/tiny", "--operating", RULE, "--prevalence", "0.02")
    assert ran.code == 0, ran.err
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["3", "sensitivity=0.5"] in [line[:2] for line in lines]
    assert [line[:2] for line in lines if line[1:2] in (["these"], ["0.02,"])] == [["3", "these"], ["3", "0.02,"]]
    assert any(line.startswith("sets of labels") for line in ran.out.splitlines())
    report = run_zoo("evaluate", "runs/tiny", "--operating", RULE, "--prevalence", "3=0.02", "--json").document
    assert report["operating"]["points"][0]["at"]["prevalence"] == 0.02
    assert report["conformal"]["wanted"] == 0.9
    assert {"points", "curves"} == set(report["operating"])
    assert at_work.is_dir()


@pytest.mark.slow
def test_an_export_has_the_point_in_its_manifest(at_work: Path, tmp_path: Path) -> None:
    from zoo.edge.bundle import open_model

    rules = ("--operating", RULE, "--operating", "youden:0")
    ran = run_zoo("export", "runs/tiny", "--onnx", *rules, "--out", tmp_path / "a.onnx")
    assert ran.code == 0, ran.err
    assert [point.label for point in open_model(tmp_path / "a.onnx").manifest.operating] == ["3", "0"]
    assert open_model(at_work / "runs" / "tiny" / "model.onnx").manifest.operating == ()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("train", "svm", "--operating", "sensitivity=0.9"), "setting-value"),
        (("train", "svm", "--operating", "youden:melanoma"), "label-unknown"),
        (("evaluate", "runs/tiny", "--operating", "sensitivity=2:3"), "option-value"),
        (("evaluate", "runs/tiny", "--prevalence", "0.1"), "option-ignored"),
        (("evaluate", "runs/tiny", "--corruptions", "noise", "--unlike", "."), "option-ignored"),
        (("evaluate", "runs/tiny", "--corruptions", "noise", "--severities", "²"), "option-value"),
        (("evaluate", "runs/tiny", "--suspects", "3", "--images", "9"), "option-ignored"),
        (("evaluate", "runs/tiny", "--recalibrate", "here.onnx", "--suspects", "3"), "option-ignored"),
        (("evaluate", "tiny.zoo", "--data", "digits", "--operating", RULE), "operating-without-run"),
        (("export", "tiny.zoo", "--web", "page", "--operating", RULE), "export-again"),
    ],
)
def test_what_makes_no_sense_ends_with_2_and_its_code(at_work: Path, words: tuple[str, ...], code: str) -> None:
    ran = run_zoo(*words, "--json")
    assert (ran.code, ran.document["error"]["code"]) == (2, code)
    assert not (at_work / "page").exists()
