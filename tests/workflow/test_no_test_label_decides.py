"""No interface lets a test label, or a test image, reach a temperature, a threshold, a quantile or a weight.

The same trainings and exports are done with the test images and labels as they are, and with noise and shuffled labels
in their place. All that is chosen must be equal to the last digit, and the reports must differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import zoo
from zoo.edge.bundle import open_model
from zoo.runs import open_run
from zoo.spec import to_builtins

RULES = ("sensitivity=0.8:2", "cost=3:0")
OTHER = ("specificity=0.9:1",)


def write_digits(path: Path, *, false: bool) -> Path:
    """Three digits, the last of them rare in training; `false`: no test image has its label, and none is a digit."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(np.flatnonzero(found.target < 3))
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)
    train = [row for row in order[:240] if found.target[row] < 2][:110]
    train += [row for row in order[:240] if found.target[row] == 2][:8]
    parts = {"train": np.array(train), "val": order[240:400], "test": order[400:]}
    arrays: dict[str, Any] = {f"{name}_images": images[rows] for name, rows in parts.items()}
    arrays |= {f"{name}_labels": found.target[rows, None] for name, rows in parts.items()}
    rng = np.random.default_rng(1)
    if false:
        arrays["test_labels"] = rng.permutation(arrays["test_labels"])
        arrays["test_images"] = rng.integers(0, 256, arrays["test_images"].shape, np.uint8)
    np.savez(path, **arrays)
    return path


def all_that_is_chosen(path: str | Path) -> dict[str, Any]:
    """Of a file: its graph with every constant in it, and what its manifest decides by."""
    contents = open_model(Path(path))
    model = onnx.load_from_string(contents.model)
    del model.metadata_props[:]
    manifest = contents.manifest
    chosen = {"temperature": manifest.temperature, "operating": manifest.operating, "abstention": manifest.abstention}
    weights = [member.weight for member in manifest.members]
    return {**to_builtins(chosen), "weights": weights, "graph": model.SerializeToString(deterministic=True)}


def thresholds(report: zoo.EvalReport) -> list[float]:
    assert report.operating is not None
    return [point.threshold for point in report.operating.points]


def go_all_ways(root: Path, *, false: bool) -> tuple[dict[str, Any], list[Any]]:
    """Everything that was chosen, by each verb, and what the reports say."""
    root.mkdir()
    data = write_digits(root / "digits3.npz", false=false)
    network = {"ema": 0.9, "error": 0.2, "sets": "aps", "coverage": 0.6, "loss": "auto"}
    own = root / "a"
    zoo.train("simple_cnn", data, epochs=4, batch_size=16, out=own, settings=network, operating=RULES)
    zoo.train("svm", data, out=root / "b", settings={"sets_per_class": True, "coverage": 0.8})
    chosen: dict[str, Any] = {}
    for name in ("a", "b"):
        record = open_run(root / name).record
        chosen[f"run.json of {name}"] = to_builtins(
            {"temperature": record.temperature, "operating": record.operating, "abstention": record.abstention,
             "best": record.best, "shift": record.shift, "loss": record.loss, "learnt": record.learnt}
        )  # fmt: skip
        chosen[f"file of {name}"] = all_that_is_chosen(root / name / "model.onnx")
    together = zoo.train(f"ensemble:{own},{root / 'b'}", out=root / "e", operating=RULES[:1])
    chosen["ensemble"] = all_that_is_chosen(root / "e" / "model.onnx")
    exported = zoo.export(own, bundle=True, operating=OTHER, out=root / "other.zoo").path
    chosen["exported"] = all_that_is_chosen(exported)
    chosen["fp16"] = all_that_is_chosen(
        zoo.export(
            own,
            quantize="fp16",
            target="gpu",
            accept_unproven=True,
            out=root / "half.onnx",
        ).path
    )
    reports = [zoo.evaluate(own), zoo.evaluate(own, operating=OTHER, prevalence=["0.1"]), together.test]
    reports.append(
        zoo.evaluate(own, write_digits(root / "elsewhere.npz", false=not false), operating=OTHER, include_seen=True)
    )
    chosen["of reports"] = [thresholds(report) for report in reports]
    chosen["file of a after all"] = all_that_is_chosen(own / "model.onnx")
    return chosen, [open_model(Path(exported)).manifest.report, *reports]


@pytest.mark.slow  # four trainings, two ensembles, eight exports and evaluations
def test_all_that_is_chosen_is_the_same_whatever_the_test_labels_are(tmp_path: Path) -> None:
    (first, told), (second, told_else) = (go_all_ways(tmp_path / str(false), false=false) for false in (False, True))
    assert len(first["run.json of a"]["operating"]) == len(RULES)
    assert first["run.json of a"]["abstention"]["sets"]["method"] == "aps"
    assert first["exported"]["operating"] != first["file of a"]["operating"]
    for name, chosen in first.items():
        assert chosen == second[name], name
    for before, after in zip(told, told_else, strict=True):  # else the above would say nothing
        assert before.metrics["accuracy"] != after.metrics["accuracy"]
        assert before.operating != after.operating
        assert before.abstention != after.abstention
