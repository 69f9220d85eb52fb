"""`zoo info MODEL`: the text holds what people choose by, as the JSON does."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from cli_running import run_zoo

import zoo
from zoo.spec import Latency


def test_info_says_how_much_a_network_computes() -> None:
    assert re.search(r"^MACs +1 814 million", run_zoo("info", "resnet18").out, re.MULTILINE)
    assert "MACs" not in run_zoo("info", "svm").out  # its card states none


def test_info_of_what_is_fitted_in_one_step_names_no_steps() -> None:
    out = run_zoo("info", "svm").out
    assert "one step" in out
    assert "features pixels" in " ".join(out.split())
    assert " lr " not in out
    assert "lr 0." in run_zoo("info", "resnet18").out


def test_info_says_a_latency_with_the_machine_it_was_measured_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time without its machine misleads; a card without a time must not show an empty line."""
    card = zoo.info("resnet18")
    for latency, expected in (
        (
            Latency(fp32_ms=17.9, int8_ms=5.5, machine="EPYC"),
            "float32 17.9 ms, int8 5.5 ms; EPYC",
        ),
        (Latency(fp32_ms=17.9, machine="EPYC"), "float32 17.9 ms; EPYC"),
    ):
        monkeypatch.setattr(zoo, "info", lambda _, said=latency: msgspec.structs.replace(card, latency=said))
        assert f"latency     {expected}\n" in run_zoo("info", "resnet18").out
    monkeypatch.setattr(zoo, "info", lambda _: msgspec.structs.replace(card, latency=None))
    assert "latency" not in run_zoo("info", "resnet18").out


def test_info_of_a_run_is_that_of_its_file(tmp_path: Path) -> None:
    zoo.train("logistic_regression", "digits", out=tmp_path / "run")
    out = run_zoo("info", str(tmp_path / "run")).out
    assert "run run\n" in out
    (tmp_path / "run" / "model.onnx").unlink()
    gone = run_zoo("info", str(tmp_path / "run"), "--json")
    error = gone.document["error"]
    assert (gone.code, error["code"], error["status"]) == (1, "run-no-model", "done")
    assert "zoo export" in gone.err
