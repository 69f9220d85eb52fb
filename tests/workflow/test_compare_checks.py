"""`zoo compare` looks at every model before it trains the first: an error costs no training and leaves no run."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_runs import make_run
from pictures import rare_class
from refusals import refused

import zoo
from zoo.errors import DataError, UsageError, ZooError
from zoo.workflow._find import find_target
from zoo.workflow._judge import compare_judged, different_names
from zoo.workflow.compare import _share_images

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def nothing_trained(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails where a training begins or a run is left."""
    from zoo.workflow import _begin

    monkeypatch.setattr(_begin, "create_run", lambda *_, **__: pytest.fail("a training began"))
    before = sorted(place.glob("runs/*"))
    yield
    assert sorted(place.glob("runs/*")) == before


@pytest.mark.usefixtures("nothing_trained")
@pytest.mark.parametrize(
    ("models", "budget", "code"),
    [
        (["svm", "knn"], {"settings": {"class_weight": "balanced"}}, "class-weight-unsupported"),
        (["svm", "simple_cnn"], {"settings": {"features": "hog"}}, "features-unwanted"),
        (["svm", "simple_cnn"], {"batch_size": 1}, "training-too-few"),
        (["simple_cnn", "svm"], {"settings": {"nosuch": 1}}, "setting-unknown"),
        (["svm", "ghostnet_100"], {"size": 16}, "size-too-small"),
        (["svm", "nosuch"], {}, "target-unknown"),
        (["svm", "simple_cnn"], {"fold": "none"}, "folds-none"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_a_model_that_would_fail_stops_the_comparison_first(
    colours: Path, models: list[str], budget: Any, code: str
) -> None:
    with refused(code, ZooError):
        zoo.compare(models, colours, budget=budget)


@pytest.mark.usefixtures("nothing_trained")
def test_images_that_do_not_fit_a_finished_run_stop_it_too(
    svm_run: zoo.TrainResult, colour_run: zoo.TrainResult, colours: Path, tmp_path: Path
) -> None:
    other = rare_class(tmp_path / "rare.npz", side=4)
    with refused("label-unknown", ZooError):
        zoo.compare(["random_forest", svm_run.run], other)
    with refused("option-ignored", ZooError, options=["--epochs", "--set"]):
        zoo.compare([svm_run.run, colour_run.run], budget={"epochs": 3, "settings": {"class_weight": "balanced"}})
    with refused("resamples-invalid", ZooError):
        zoo.compare(["random_forest", svm_run.run], colours, resamples=0)
    with refused("provider-unknown", ZooError):
        zoo.compare(["random_forest", svm_run.run], colours, provider="abacus")


def test_a_bare_name_of_the_catalogue_is_the_model_though_a_run_bears_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """'zoo demo' makes runs/svm: 'zoo compare resnet18 svm' trained nothing after it, and said nothing."""
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/svm"))
    assert find_target("svm") is None
    assert "runs/svm" in caplog.text
    assert find_target("runs/svm") == Path("runs/svm").resolve()
    assert find_target("resnet18") is None
    make_run(Path("runs/mine"))
    assert find_target("mine") == Path("runs/mine").resolve()
    Path("random_forest").mkdir()
    assert find_target("random_forest") is None, "a folder that holds no model"
    monkeypatch.chdir("runs")
    caplog.clear()
    assert find_target("svm") == Path("svm").resolve()
    assert "not for the model" in caplog.text


def test_what_a_setting_says_of_the_images_is_not_taken_from_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    _, budget = _share_images([run], None, {"metric": "kappa", "settings": {"leaks": "keep"}})
    assert "leaks" not in budget
    assert _share_images([run], None, {})[1]["leaks"] == "drop"


def test_what_is_true_of_all_models_is_said_once(
    svm_run: zoo.TrainResult, colour_run: zoo.TrainResult, colours: Path, tmp_path: Path
) -> None:
    copy = shutil.copy(Path(svm_run.run) / "model.onnx", tmp_path)
    found = zoo.compare([svm_run.run, colour_run.run, copy], colours, split="val")
    assert len(set(found.notes)) == len(found.notes)
    assert next(note for note in found.notes if "best epoch was chosen by" in note).startswith("all models: ")


def test_files_of_one_name_in_two_folders_are_told_apart(
    svm_run: zoo.TrainResult, colours: Path, tmp_path: Path
) -> None:
    files = [tmp_path / folder / "model.onnx" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        shutil.copy(Path(svm_run.run) / "model.onnx", file)
    found = zoo.compare(files, colours)
    assert [row.name for row in found.models] == ["svm (a/model.onnx)", "svm (b/model.onnx)"]
    runs = [tmp_path / "x" / "fold-0", tmp_path / "y" / "fold-0", tmp_path / "other"]
    assert different_names(["svm", "svm", "knn"], runs) == ["svm (x/fold-0)", "svm (y/fold-0)", "knn"]


def test_a_model_named_twice_is_refused_before_any_answer(
    svm_run: zoo.TrainResult, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.edge import Runtime

    monkeypatch.setattr(Runtime, "logits", lambda *_: pytest.fail("a model was asked"))
    run, link = Path(svm_run.run), tmp_path / "link"
    link.symlink_to(run)
    for twice in ([run, run], [run, run / "model.onnx"], [link, run], ["svm", "knn", "svm"]):
        with refused("name-twice", UsageError, name=str(twice[-1])):
            zoo.compare(twice, colours)


GRADES = ("none", "mild", "moderate", "severe")


def opened(labels: tuple[str, ...], task: str, logits: np.ndarray, truth: np.ndarray) -> Any:
    """A file and its answers, as `compare_judged` takes them; columns and truth are given in the order of GRADES."""
    order = [GRADES.index(label) for label in labels]
    config = SimpleNamespace(class_weight="none")
    manifest = SimpleNamespace(task=task, temperature=1.0, members=(), provenance=SimpleNamespace(config=config))
    runtime = SimpleNamespace(
        manifest=manifest, size_bytes=1, draw_columns=lambda _: None, logits=lambda *_: logits[:1]
    )  # fmt: skip
    picture = SimpleNamespace(pixels=np.zeros((2, 2, 3), np.uint8))
    ids = [str(at) for at in range(len(truth))]
    images = SimpleNamespace(ids=ids, targets=np.argsort(order)[truth], groups=None, read=lambda _: picture)
    report = SimpleNamespace(labels=labels, data=SimpleNamespace(sha256="0"), notes=())
    return runtime, SimpleNamespace(report=report, logits=logits[:, order], images=images, about=())


def test_distances_of_grades_are_of_their_order_whichever_model_comes_first() -> None:
    """Or a model that knows the same names as plain classes makes neighbours of "mild" and "none" at will."""
    rng = np.random.default_rng(0)
    truth, logits = np.arange(40) % 4, rng.normal(size=(40, 4))
    grades, plain = opened(GRADES, "ordinal", logits, truth), opened(tuple(sorted(GRADES)), "multiclass", logits, truth)
    for first, second in ((grades, plain), (plain, grades)):
        found = compare_judged([first, second], "ab", resamples=100)
        assert found.labels == GRADES
        for model in found.models:
            assert model.metrics["mean_absolute_error"].value == pytest.approx(
                float(np.abs(logits.argmax(axis=1) - truth).mean())
            )
        assert [pair.metric for pair in found.pairs] == ["macro_auroc", "accuracy", "quadratic_kappa"]


def test_grades_in_another_order_are_refused() -> None:
    truth, logits = np.arange(40) % 4, np.random.default_rng(0).normal(size=(40, 4))
    first = opened(GRADES, "ordinal", logits, truth)
    compare_judged([first, opened(GRADES[::-1], "ordinal", logits, truth)], "ab", resamples=100)
    other = opened(tuple(sorted(GRADES)), "ordinal", logits, truth)
    plain = opened(tuple(sorted(GRADES)), "multiclass", logits, truth)
    with refused("compare-labels", DataError, model="c"):
        compare_judged([plain, first, other], "abc", resamples=100)
