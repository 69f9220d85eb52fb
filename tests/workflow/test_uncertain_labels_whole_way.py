"""From a table of 1, 0, -1 and nothing to runs, reports and comparisons, under each choice for -1."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from refusals import refused
from sklearn.metrics import roc_auc_score

import zoo
from zoo.data import open_data
from zoo.errors import DataError, UsageError
from zoo.runs import open_run
from zoo.spec import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

RULES = ("ignore", "positive", "negative")
NAMES = ("Edema", "Lung Opacity")


def chest(root: Path, *, n: int = 150, seed: int = 0) -> Path:
    """16 × 16 pictures of a bright corner and of stripes, which the table names, denies, doubts or leaves out."""
    rng = np.random.default_rng(seed)
    root.mkdir(exist_ok=True)
    lines = ["Path,split,label:Edema,label:Lung Opacity"]
    for i in range(n):
        has = rng.random(2) < 0.45
        pixels = rng.normal(110, 30, (16, 16))
        pixels[2:8, 2:8] += 60 * has[0]
        pixels[9::3] += 60 * has[1]
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{i}.png")
        cells = ["-1.0" if rng.random() < 0.2 else "1.0" if one else rng.choice(["0.0", ""]) for one in has]
        lines.append(f"{i}.png,{('train', 'train', 'train', 'val', 'test')[i % 5]},{','.join(cells)}")
    (root / "chest.csv").write_text("\n".join(lines) + "\n")
    return root / "chest.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("uncertain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        chest(root / "chest")
        yield root


@pytest.fixture(scope="module")
def runs(place: Path) -> dict[str, zoo.TrainResult]:
    settings = {"augment": "none", "ema": 0.9}
    return {
        rule: zoo.train(
            "simple_cnn", place / "chest/chest.csv", epochs=1, batch_size=16, uncertain=rule, settings=settings,
            out=f"runs/{rule}",
        )
        for rule in RULES
    }  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_a_run_is_judged_by_the_choice_that_it_records(
    runs: dict[str, zoo.TrainResult], place: Path, rule: str
) -> None:
    splits = open_data(place / "chest/chest.csv", uncertain=rule)
    found, targets = runs[rule].test, splits.test.targets
    p = zoo.open(runs[rule].run).probabilities(np.stack([splits.test.read(i).pixels for i in range(len(targets))]))
    for k, label in enumerate(NAMES):
        known = targets[:, k] != UNKNOWN
        area = found.per_class[label]["auroc"]
        assert area.value == pytest.approx(roc_auc_score(targets[known, k], p[known, k]), abs=1e-4)
        assert found.per_class[label].get("known", len(targets)) == known.sum()
    assert (found.per_class["Edema"].get("known") is None) == (rule != "ignore")
    assert open_run(Path(runs[rule].run)).record.card.train.uncertain == rule
    assert zoo.evaluate(runs[rule].run) == found
    assert zoo.evaluate(runs[rule].run, place / "chest/chest.csv") == found


def test_the_choices_are_three_different_data_sets(runs: dict[str, zoo.TrainResult]) -> None:
    assert len({result.test.data.sha256 for result in runs.values()}) == 3


def test_predictions_and_the_file_are_whole(runs: dict[str, zoo.TrainResult], place: Path) -> None:
    run = Path(runs["ignore"].run)
    with (run / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    splits = open_data(place / "chest/chest.csv")
    for row, target in zip(rows, splits.test.targets, strict=True):
        assert row["unknown"] == "|".join(name for name, value in zip(NAMES, target, strict=True) if value == UNKNOWN)
    assert json.loads((run / "report.json").read_text())["per_class"]["Edema"]["known"] < len(rows)
    zoo.export(run, bundle=True, out=place / "chest.zoo")
    assert zoo.verify(place / "chest.zoo").images >= 32
    assert "known" in (place / "chest.zoo/CARD.md").read_text()
    assert zoo.evaluate(place / "chest.zoo", place / "chest/chest.csv").metrics == runs["ignore"].test.metrics


def test_another_choice_judges_the_same_images(runs: dict[str, zoo.TrainResult], place: Path) -> None:
    """The division is that of training, whatever the answers are judged by: no training image comes into test."""
    table = place / "chest/chest.csv"
    found = zoo.evaluate(runs["positive"].run, uncertain="ignore")
    assert found.n == runs["positive"].test.n
    assert found.per_class["Edema"]["known"] == runs["ignore"].test.per_class["Edema"]["known"]
    assert found.data.sha256 == runs["ignore"].test.data.sha256
    assert zoo.evaluate(runs["positive"].run, table, uncertain="ignore").metrics == found.metrics


def test_runs_under_different_choices_are_compared_under_one(runs: dict[str, zoo.TrainResult]) -> None:
    paths = [result.run for result in runs.values()]
    with refused("compare-images", DataError):
        zoo.compare(paths)
    found = zoo.compare(paths, budget={"uncertain": "ignore"})
    assert found.n == runs["ignore"].test.n
    assert {pair.metric for pair in found.pairs} == {"macro_auroc", "accuracy"}
    of = {model.name.split("(")[-1].rstrip(")"): model for model in found.models}
    assert of["ignore"].metrics["macro_auroc"].value == runs["ignore"].test.metrics["macro_auroc"].value


def test_a_run_is_resumed_as_it_began(runs: dict[str, zoo.TrainResult]) -> None:
    with refused("option-ignored", UsageError, options=["--uncertain"]):
        zoo.train("simple_cnn", resume=True, uncertain="positive", out=runs["ignore"].run)


def test_an_ensemble_weighs_its_members_by_known_labels(runs: dict[str, zoo.TrainResult], place: Path) -> None:
    found = zoo.train(
        f"ensemble:{runs['ignore'].run},{runs['negative'].run}",
        place / "chest/chest.csv",
        leaks="keep",
        out="runs/both",
    )
    assert found.test.per_class["Edema"]["known"] == runs["ignore"].test.per_class["Edema"]["known"]
    assert open_run(Path(found.run)).record.card.train.uncertain == "ignore"


def test_classical_models_learn_what_is_known_or_refuse(place: Path) -> None:
    table = place / "chest/chest.csv"
    found = zoo.train("logistic_regression", table, size=16, out="runs/logistic")
    assert found.test.metrics["macro_auroc"].value > 0.7
    assert "known" in found.test.per_class["Edema"]
    with refused("labels-unknown", DataError, model="knn"):
        zoo.train("knn", table, size=16, out="runs/knn")
    assert zoo.train("knn", table, size=16, uncertain="negative", out="runs/knn").test.n == found.test.n


def test_an_int8_file_is_weighed_by_known_labels(runs: dict[str, zoo.TrainResult], place: Path) -> None:
    """The guard compares both files on the labels that somebody knows; a label of -1 must not stop it."""
    from zoo.artefact.quantize._guard import compare_labelled as guard

    splits = open_data(place / "chest/chest.csv")
    pixels = np.stack([splits.test.read(i).pixels for i in range(len(splits.test))])
    logits = zoo.open(runs["ignore"].run).logits(pixels)
    found = guard(logits, logits, splits.test.targets, NAMES, split="test", temperature=1.0)
    assert found.macro_auroc is not None
    assert found.macro_auroc.value == 0
    nobody = splits.test.targets.copy()
    nobody[:, 1] = UNKNOWN
    assert guard(logits, logits, nobody, NAMES, split="test", temperature=1.0).macro_auroc is not None
