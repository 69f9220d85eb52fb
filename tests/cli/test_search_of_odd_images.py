"""`zoo.pick` and `zoo.tune` on images that ask for more than a card says: 16 bits, grades, files that are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_running import run_zoo
from PIL import Image
from refusals import refused

import zoo
from zoo.errors import DataError, UsageError
from zoo.runs import open_run
from zoo.spec import Window

MINUTES = {"minutes": 5.0}
ONE = ["logistic_regression"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(folder: Path, labels: tuple[str, ...], *, counts: tuple[int, int, int] = (12, 6, 6), deep: bool) -> Path:
    """SPLIT/CLASS/image of noise, the brighter the later its class, in 16 or 8 bits."""
    rng = np.random.default_rng(0)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        for place, label in enumerate(labels):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = (40 + 50 * place + rng.normal(0, 30, (12, 12))).clip(0, 255)
                image = Image.fromarray((pixels * 16).astype(np.uint16) if deep else pixels.astype(np.uint8))
                image.save(folder / split / label / f"{label}{number}.png")
    return folder


@pytest.fixture
def deep(here: Path) -> Path:
    """A folder of gray PNGs of 16 bits that hold 12."""
    return draw(here / "deep", ("dark", "light"), deep=True)


def test_images_without_a_range_are_refused_before_the_first_trial_and_mended_in_the_same_folder(deep: Path) -> None:
    """Every trial failed alike, and the advice that each gave was an option that the verb had not."""
    with refused("intensity-range", DataError, found="uint16"):
        zoo.pick(deep, budget=MINUTES, out="search")
    assert not Path("search").exists()
    with refused("setting-value", UsageError):
        zoo.pick(deep, budget=MINUTES, out="search", settings={"preprocess.intensity": "nosuch"})
    ran = run_zoo(
        "pick", "--data", deep, "--models", ONE[0], "--budget", "minutes=5", "--out", "search",
        "--set", "preprocess.intensity=fitted", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert isinstance(open_run(Path(ran.document["run"])).record.card.preprocess.intensity, Window)


def test_a_search_takes_grades_and_their_order(here: Path) -> None:
    graded = draw(here / "graded", ("mild", "none", "severe"), deep=False)
    with refused("grades-order", DataError):
        zoo.pick(graded, budget=MINUTES, models=ONE, task="ordinal")
    ran = run_zoo(
        "pick", "--data", graded, "--models", ONE[0], "--budget", "minutes=5", "--json",
        "--task", "ordinal", "--order", "none,mild,severe", "--metric", "kappa",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    record = open_run(Path(ran.document["run"])).record
    assert (record.task, record.labels) == ("ordinal", ("none", "mild", "severe"))


@pytest.mark.parametrize("verb", [("pick",), ("tune", "simple_cnn"), ("compare", "svm", "simple_cnn")], ids=" ".join)
def test_verbs_that_train_several_models_take_the_order_of_grades(here: Path, verb: tuple[str, ...]) -> None:
    """They advised --order, and answered that there is no such option."""
    if verb[0] == "tune":
        pytest.importorskip("optuna")
    graded = draw(here / "graded", ("mild", "none", "severe"), deep=False)
    ran = run_zoo(*verb, "--data", graded, "--task", "ordinal", "--order", "none,mild", "--json")
    assert ran.document["error"]["code"] == "grades-order"
    ran = run_zoo(*verb, "--data", graded, "--task", "ordinal", "--order", "none,,severe", "--json")
    assert ran.document["error"]["option"] == "--order"


@pytest.mark.parametrize("setting", ["budget", "epochs", "features", "freeze", "pretrained", "steps", "train.epochs"])
def test_what_a_search_chooses_itself_is_no_setting_of_it(deep: Path, setting: str) -> None:
    with refused("option-conflict", UsageError):
        zoo.pick(deep, budget=MINUTES, settings={setting: 1})


def test_a_setting_chooses_the_metric_and_the_size_of_every_trial(deep: Path) -> None:
    settings = {"preprocess.intensity": "fitted", "metric": "accuracy", "preprocess.size": 16}
    found = zoo.pick(deep, budget=MINUTES, models=ONE, settings=settings)
    assert found.metric == "accuracy"
    assert open_run(Path(found.run)).record.card.preprocess.size == (16, 16)


SEVERAL = (
    ("pick", "--models", "logistic_regression", "--budget", "minutes=5"),
    ("tune", "logistic_regression", "--trials", "1"),
    ("compare", "logistic_regression", "random_forest"),
)


@pytest.mark.parametrize("verb", SEVERAL, ids=lambda verb: verb[0])
def test_verbs_that_train_several_models_leave_damaged_files_out(here: Path, verb: tuple[str, ...]) -> None:
    """They advised --skip-bad, and answered that there is no such option."""
    if verb[0] == "tune":
        pytest.importorskip("optuna")
    folder = draw(here / "damaged", ("dark", "light"), deep=False)
    (folder / "train" / "dark" / "dark0.png").write_bytes(b"no picture")
    for split in ("train", "val", "test"):  # the header is whole
        path = folder / split / "dark" / "dark1.png"
        path.write_bytes(path.read_bytes()[:120])
        path.rename(path.with_name("a first one.png"))
    refusal = run_zoo(*verb, "--data", folder, "--json")
    assert refusal.document["error"]["code"] == "images-unusable"
    ran = run_zoo(*verb, "--data", folder, "--skip-bad", "--json")
    assert ran.code == 0, ran.err
    report = ran.document if verb[0] == "compare" else ran.document["test"]
    assert report["n"] == 11
    if verb[0] == "tune":
        assert ran.document["recipe"]["skip_bad"] is True


@pytest.mark.parametrize("verb", SEVERAL, ids=lambda verb: verb[0])
def test_verbs_that_train_several_models_keep_leaks_where_they_are_told_to(here: Path, verb: tuple[str, ...]) -> None:
    if verb[0] == "tune":
        pytest.importorskip("optuna")
    folder = draw(here / "leaky", ("dark", "light"), deep=False)
    for path in (folder / "train" / "dark").iterdir():
        path.unlink()
    for path in (folder / "test" / "dark").iterdir():
        (folder / "train" / "dark" / path.name).write_bytes(path.read_bytes())
    refusal = run_zoo(*verb, "--data", folder, "--json")
    assert refusal.document["error"]["code"] == "class-copies"
    ran = run_zoo(*verb, "--data", folder, "--keep-leaks", "--json")
    assert ran.code == 0, ran.err
