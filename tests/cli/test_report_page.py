"""`zoo report`, the page at the end of a training, and `zoo compare --html`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_running import run_zoo
from PIL import Image

from zoo.runs import open_run

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_training_leaves_a_page_and_a_card(at_work: Path) -> None:
    run = at_work / "runs/tiny"
    page = (run / "report.html").read_text("utf-8")
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert f"{report['metrics']['macro_auroc']['value']:.3f}" in page
    assert "data:image/png" in page
    assert report["data"]["sha256"] in page
    card = (run / "CARD.md").read_text("utf-8")
    assert f"| {report['metrics']['accuracy']['value']:.3f} |" in card


def test_the_page_of_a_run_is_that_of_its_training(copied: Callable[[str], Path]) -> None:
    run = copied("runs/tiny")
    before = {name: (run / name).read_bytes() for name in ("report.html", "report.json", "CARD.md")}
    ran = run_zoo("report", "runs/tiny", "--json")
    assert ran.code == 0, ran.err
    assert {name: Path(ran.document[name]).name for name in ("html", "json", "card")} == {
        "html": "report.html",
        "json": "report.json",
        "card": "CARD.md",
    }
    assert {name: (run / name).read_bytes() for name in before} == before


def test_without_images_there_is_no_name_of_a_file(copied: Callable[[str], Path]) -> None:
    run = copied("runs/tiny")
    assert run_zoo("report", "runs/tiny", "--no-images").code == 0
    page = (run / "report.html").read_text("utf-8")
    assert "data:image" not in page
    assert "digits/<wbr>" not in page


def test_heat_maps_are_there_where_they_are_asked_for(copied: Callable[[str], Path]) -> None:
    run = copied("runs/tiny")
    assert "What mistakes depend on" not in (run / "report.html").read_text("utf-8")
    ran = run_zoo("report", "runs/tiny", "--heatmaps")
    assert ran.code == 0, ran.err
    assert "What mistakes depend on" in (run / "report.html").read_text("utf-8")
    ran = run_zoo("report", "runs/tiny", "--heatmaps", "--no-images", "--json")
    assert ran.document["error"]["code"] == "option-ignored"


def test_images_of_another_kind_are_scored_beside_those_of_the_run(copied: Callable[[str], Path]) -> None:
    copied("runs/tiny")
    Path("odd").mkdir()
    for number in range(5):
        Image.effect_noise((8, 8), 90).save(Path("odd") / f"{number}.png")
    assert run_zoo("report", "runs/tiny", "--unlike", "odd", "--json").document["error"]["code"] == "option-missing"
    ran = run_zoo("report", "runs/tiny", "--unlike", "odd", "--out", "beside")
    assert ran.code == 0, ran.err
    (found,) = json.loads(Path("beside/report.json").read_text("utf-8"))["novelty"]["unlike"]
    assert found["n"] == 5
    assert "AUROC of the score" in Path("beside/report.html").read_text("utf-8")


def test_a_page_is_divided_and_pointed_by_the_words_of_evaluate(copied: Callable[[str], Path]) -> None:
    copied("runs/tiny")
    words = ("--operating", "sensitivity=0.5:1", "--prevalence", "1=0.02", "--by", "none")
    ran = run_zoo("report", "runs/tiny", *words, "--out", "here", "--json")
    assert ran.code == 0, ran.err
    written = json.loads(Path("here/report.json").read_text("utf-8"))
    judged = run_zoo("evaluate", "runs/tiny", *words, "--json").document
    assert written["operating"] == judged["operating"]
    assert written["operating"]["points"][0]["at"]["prevalence"] == 0.02
    assert written["subgroups"] == written["segments"] == []


def test_another_folder_is_not_written_over(copied: Callable[[str], Path]) -> None:
    copied("runs/tiny")
    assert run_zoo("report", "runs/tiny", "--out", "paper").code == 0
    assert sorted(path.name for path in Path("paper").iterdir()) == ["CARD.md", "report.html", "report.json"]
    assert run_zoo("report", "runs/tiny", "--out", "paper", "--json").document["error"]["code"] == "out-occupied"
    assert run_zoo("report", "runs/tiny", "--out", "paper", "--overwrite").code == 0


def test_images_of_another_place_are_judged_and_said_to_be_external(copied: Callable[[str], Path]) -> None:
    bundle = copied("tiny.zoo")
    for label in ("0", "1", "2"):
        for number in range(6):
            path = Path("site") / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 20 * number + 5 * int(label)).save(path)
    ran = run_zoo("report", str(bundle), "--data", "site", "--json")
    assert ran.document["error"]["code"] == "option-missing"
    ran = run_zoo("report", str(bundle), "--data", "site", "--out", "outside", "--json")
    assert ran.code == 0, ran.err
    page = Path("outside/report.html").read_text("utf-8")
    assert "which is not the data of the training" in page


def test_a_run_whose_images_are_gone_has_a_page_without_them(copied: Callable[[str], Path]) -> None:
    run = copied("runs/tiny")
    record = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps(record | {"source": str(run / "nowhere")}), "utf-8")
    ran = run_zoo("report", "runs/tiny")
    assert ran.code == 0, ran.err
    assert "the page shows no image" in ran.err
    page = (run / "report.html").read_text("utf-8")
    assert "data:image" not in page
    assert "ROC curve of" in page


@pytest.mark.parametrize("gone", ["answers.npz", "report.json"])
def test_a_run_without_answers_as_of_an_older_release_or_without_figures_is_judged_again(
    copied: Callable[[str], Path], gone: str
) -> None:
    run = copied("runs/tiny")
    before = json.loads((run / "report.json").read_text("utf-8"))
    (run / gone).unlink()
    ran = run_zoo("report", "runs/tiny")
    assert ran.code == 0, ran.err
    assert json.loads((run / "report.json").read_text("utf-8"))["metrics"] == before["metrics"]
    assert "ROC curve of" in (run / "report.html").read_text("utf-8")


def test_options_that_would_change_nothing_are_refused(copied: Callable[[str], Path]) -> None:
    copied("runs/tiny")
    ran = run_zoo("report", "runs/tiny", "--group", "a(b)", "--include-seen", "--json")
    assert ran.document["error"]["code"] == "option-ignored"
    assert ran.document["error"]["options"] == ["--group", "--include-seen"]


def test_an_unfinished_run_has_no_page(copied: Callable[[str], Path]) -> None:
    run = copied("runs/tiny")
    record = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps(record | {"status": "interrupted"}), "utf-8")
    assert run_zoo("report", "runs/tiny", "--json").document["error"]["code"] == "run-no-model"


def test_folds_have_one_page_of_all_their_answers(elsewhere: Path) -> None:
    for at in range(60):
        path = elsewhere / "images" / ("dark", "light")[at % 2] / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 60 + 60 * (at % 2) + at).save(path)
    ran = run_zoo("train", "logistic_regression", "--data", "images", "--folds", "3", "--out", "run", "--json")
    assert ran.code == 0, ran.err
    page = (elsewhere / "run/report.html").read_text("utf-8")
    assert "3-fold cross-validation" in page
    assert "other data" not in page
    assert not (elsewhere / "run/CARD.md").exists()
    assert run_zoo("report", "run", "--heatmaps", "--json").document["error"]["code"] == "option-ignored"
    assert all(
        (elsewhere / "run" / name / "report.html").is_file() for name in open_run(elsewhere / "run").record.folds
    )


def test_a_comparison_writes_its_page_once(copied: Callable[[str], Path]) -> None:
    copied("runs/tiny")
    shutil.copytree("runs/tiny", "runs/other")
    ran = run_zoo("compare", "runs/tiny", "runs/other", "--html", "both.html", "--resamples", "100", "--json")
    assert ran.code == 0, ran.err
    page = Path("both.html").read_text("utf-8")
    assert all(model["name"].replace("_", "_<wbr>") in page for model in ran.document["models"])
    again = run_zoo("compare", "runs/tiny", "runs/other", "--html", "both.html", "--json")
    assert again.document["error"]["code"] == "out-occupied"


@pytest.mark.parametrize("word", ["html", "page", "plot"])
def test_words_of_others_lead_to_the_verb(elsewhere: Path, word: str) -> None:
    assert elsewhere.is_dir()
    assert "zoo report" in run_zoo(word).err


@pytest.mark.parametrize("words", [("report", "runs/tiny"), ("train", "svm", "--data", "digits")])
def test_a_file_is_refused_where_a_folder_is_written(at_work: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    place = tmp_path / "t.csv"
    place.write_text("kept")
    ran = run_zoo(*words, "--out", place, "--json")
    assert at_work.is_dir()
    assert (ran.code, ran.document["error"]["code"]) == (2, "out-name")
    assert place.read_text() == "kept"
