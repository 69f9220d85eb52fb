"""A refused quantisation says what was tried: as a table, and in the document of --json."""

from __future__ import annotations

from typing import Any

import pytest
from cli_running import run_zoo

from zoo.errors import QuantizationError
from zoo.spec import Bars, Guard, Interval, Quantization, Rung, Speed
from zoo_cli import export as verb

GUARD = Guard(
    split="val",
    n=160,
    clusters=40,
    macro_auroc=Interval(value=-0.03, low=-0.05, high=-0.01),
    undefined=None,
    agreement=Interval(value=0.9, low=0.85, high=0.94, method="wilson"),
    sensitivity=Interval(value=-0.1, low=-0.2, high=0.0),
    sensitivity_label="malignant",
    sensitivity_n=20,
    copies=0,
    sure=150,
    kept=Interval(value=0.9, low=0.84, high=0.94, method="wilson"),
    mean_shift=0.01,
    max_abs_probability=0.4,
)
RUNG = Rung(
    name="int8, all layers",
    kind="int8",
    excluded=(),
    size_bytes=3_800_000,
    val=GUARD,
    alike=None,
    verdict="worse",
    speed=Speed(
        ratio=Interval(value=1.4, low=1.3, high=1.5), float32_ms=14.0, ms=10.0, pairs=30, threads=2, machine="CPU"
    ),
    refused=("90.0% of 150 labels of which float32 is sure stay",),
)
TRIED = Quantization(
    kind="int8",
    target="avx2",
    scheme="uint8 activations",
    measured="kernels",
    calibration="entropy",
    calibration_images=256,
    compared_images=64,
    calibration_errors={"minmax": 0.2, "entropy": 0.1},
    layers=49,
    excluded=(),
    rungs=(RUNG,),
    bars=Bars(),
    verdict=None,
    alike=None,
    val=None,
    test=None,
    speed=None,
    size_ratio=None,
    tolerance=None,
)


REASON = "int8 refused: none of 1 rungs"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def export(_: object, **given: Any) -> None:
        asked.append(given)
        raise QuantizationError(REASON, quantization=TRIED)

    monkeypatch.setattr(verb.zoo, "export", export)
    return asked


def test_the_table_is_on_stdout_and_the_reason_on_stderr(refused: list[dict[str, Any]]) -> None:
    ran = run_zoo(
        "export", "--onnx", "--int8", "--target", "avx2", "--bar", "auroc=0.005", "--accept-unproven",
    )  # fmt: skip
    assert ran.code == 3
    assert ran.line == f"zoo: {REASON}"
    for part in (
        "int8, all layers",
        "3.8 MB",
        "1.40x",
        "-0.0300 (-0.0500 to -0.0100)",
        "-0.100 malignant",
        "90.0% of 150",
        "worse",
    ):
        assert part in ran.out
    for part in ("160 images", "40 groups", "256 training images", "by entropy"):
        assert part in ran.out
    assert TRIED.rungs[0].refused[0] not in ran.out, "the line on stderr gives it"
    assert refused[0]["quantize"] == "int8"
    assert refused[0]["target"] == "avx2"
    assert refused[0]["bars"] == ["auroc=0.005"]
    assert refused[0]["accept_unproven"] is True


def test_the_document_of_a_refusal_holds_every_candidate(refused: list[dict[str, Any]]) -> None:
    ran = run_zoo("export", "--onnx", "--int8", "--json")
    assert ran.code == 3
    error = ran.document["error"]
    assert error["type"] == "QuantizationError"
    (rung,) = error["quantization"]["rungs"]
    assert rung["refused"] == list(TRIED.rungs[0].refused)
    assert rung["val"]["macro_auroc"]["low"] == -0.05
    assert error["quantization"]["calibration_errors"]["entropy"] == 0.1
    assert len(refused) == 1


def test_int8_and_fp16_exclude_each_other() -> None:
    ran = run_zoo("export", "--onnx", "--int8", "--fp16", "--json")
    assert ran.code == 2
    error = ran.document["error"]
    assert (error["code"], error["options"]) == ("option-conflict", ["--int8", "--fp16"])
