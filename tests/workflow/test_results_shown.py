"""What each verb returns in Python: one line, a table, a document; `zoo.check` and `zoo.split` as the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

import zoo
from zoo.data import describe_data, open_data
from zoo.edge import Bench, Prediction
from zoo.errors import CatalogueError, OutputError, UsageError
from zoo.spec import Display, Manifest, ModelCard, Rows


@pytest.fixture(scope="module")
def results(place: Path, colour_run: zoo.TrainResult, svm_run: zoo.TrainResult) -> dict[str, Display]:
    """One result of each verb."""
    source = next(place.glob("hospital-*")) / "colours"
    exported = zoo.export(colour_run.run, bundle=True, out="shown.zoo")
    images = sorted(source.rglob("*.png"))[:2]
    return {
        "train": colour_run,
        "evaluate": zoo.evaluate(colour_run.run),
        "compare": zoo.compare([colour_run.run, svm_run.run]),
        "export": exported,
        "predict": Rows(zoo.open(exported.path).predict(images)),
        "explain": next(iter(zoo.explain(exported.path, images[:1]))),
        "verify": zoo.verify(exported.path, isolated=False),
        "bench": Bench(
            provider="cpu", p50_ms=1, p50_low_ms=1, p50_high_ms=2, p95_ms=2, p99_ms=2, peak_rss_mb=None,
            cold_start_ms=3, size_bytes=4, threads=1, runs=5, batch_size=1, images_per_second=6.0, image_size=(8, 8),
            nodes={},
        ),
        "info of a card": zoo.info("resnet18"),
        "info of a bundle": zoo.info(exported.path),
        "check": zoo.check(source),
        "split": zoo.split(source, "shown.csv", overwrite=True),
        "models": zoo.models("resnet"),
        "runs": zoo.list_runs(svm_run.run),
        "open_data": open_data(source),
        "describe_data": describe_data(source),
    }  # fmt: skip


def test_every_result_is_short_tabular_and_a_document(results: dict[str, Display]) -> None:
    for verb, result in results.items():
        lines = repr(result).splitlines()
        assert len(lines) == (len(result) if isinstance(result, Rows) else 1), verb
        assert max(map(len, lines)) < 350, verb
        assert " object at 0x" not in repr(result), verb
        assert json.loads(json.dumps(result.to_dict())), verb
        assert "<table" in result._repr_html_() or verb == "explain", verb


def test_every_result_is_a_frame(results: dict[str, Display]) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    for verb, result in results.items():
        for name in result.tables():
            frame = result.to_frame(name)
            assert len(frame) == len(result.tables()[name]), f"{verb}: {name}"
            assert list(frame), f"{verb}: {name}"
    assert set(results["compare"].to_frame("pairs")) >= {
        "a",
        "b",
        "metric",
        "delta",
        "low",
        "high",
        "p_holm",
        "verdict",
    }


def test_an_open_model_says_what_it_is_and_how_good_it_was(place: Path, results: dict[str, Display]) -> None:
    del place, results
    runtime = zoo.open("shown.zoo")
    line = repr(runtime)
    assert line.startswith("Runtime(shown.zoo, on cpu: simple_cnn: 3 labels")
    assert "macro AUROC" in line
    answers = runtime.predict(np.zeros((8, 8, 3), np.uint8))
    assert isinstance(next(answers), Prediction)
    assert list(answers) == []
    stopped = runtime.predict([np.zeros((8, 8, 3), np.uint8)] * 2)
    next(stopped)
    stopped.close()
    assert list(stopped) == []


def test_info_takes_what_the_command_line_takes(place: Path, results: dict[str, Display]) -> None:
    """A trial found that `zoo.info("rf.zoo")` fails where `zoo info rf.zoo` works."""
    run = Path(results["train"].run)  # type: ignore[attr-defined]
    for path in ("shown.zoo", run, run / "model.onnx"):
        found = zoo.info(path)
        assert isinstance(found, Manifest)
        assert found.report is not None
    assert isinstance(zoo.info("svm"), ModelCard)
    assert place
    with refused("model-unknown", CatalogueError):
        zoo.info("svn")


def test_check_writes_the_page_and_returns_the_findings(leaky: Path, tmp_path: Path) -> None:
    found = zoo.check(leaky, html=tmp_path / "audit.html")
    assert found.verdict == "leak"
    assert found.to_dict()["findings"][0]["across_splits"] is True
    assert "<html" in (tmp_path / "audit.html").read_text(encoding="utf-8")


def test_split_divides_as_it_is_told_and_replaces_nothing(colours: Path, tmp_path: Path) -> None:
    made = zoo.split(colours, tmp_path / "s.csv", folds=3)
    assert (made.column, list(made.parts)) == ("fold", ["0", "1", "2"])
    assert (
        sum(
            len(images) for images in (getattr(open_data(made.path, fold=0), name) for name in ("train", "val", "test"))
        )
        == 60
    )
    with refused("out-occupied", OutputError):
        zoo.split(colours, tmp_path / "s.csv")
    with refused("option-conflict", UsageError):
        zoo.split(colours, tmp_path / "t.csv", folds=3, val=0.2)
