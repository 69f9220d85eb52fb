"""Each verb on one small run: what it prints, the keys that scripts read, and what it leaves."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_running import Ran, run_zoo

REPORT = {
    "schema",
    "model",
    "split",
    "n",
    "labels",
    "metrics",
    "per_class",
    "confusion",
    "calibration",
    "data",
    "undefined",
    "novelty",
    "notes",
    "clusters",
    "seen",
    "operating",
    "conformal",
    "abstention",
    "subgroups",
    "segments",
    "shortcuts",
    "baselines",
}
PARITY = {"images", "max_abs_logit", "max_abs_probability", "flips"}


def test_training_says_where_the_run_is_and_how_good_the_file_is(workplace: Path) -> None:
    result = json.loads((workplace / "train.json").read_text())
    assert {"run", "model", "best", "images_per_second", "seconds", "test"} <= set(result)
    assert {"epoch", "metric", "value"} <= set(result["best"])
    assert set(result["test"]) == REPORT
    assert (workplace / result["run"] / "model.onnx").is_file()
    said = (workplace / "train.err").read_text()
    assert "epoch 2/2" in said, "progress belongs on stderr"
    assert "Warning" not in said, "other packages' warnings are not the user's"


def test_evaluating_the_run_gives_the_numbers_of_training_again(at_work: Path) -> None:
    """Otherwise what was evaluated is not what ships."""
    trained = json.loads((at_work / "train.json").read_text())["test"]
    again = run_zoo("evaluate", "--json")
    assert again.code == 0
    assert again.document["metrics"] == trained["metrics"]
    text = run_zoo("evaluate", "tiny.zoo", "--data", "digits", "--split", "val")
    assert text.code == 0
    assert "val, " in text.out
    for word in ("macro AUROC", "sensitivity", "calibration", "note 1"):
        assert word in text.out
    assert max(map(len, text.out.splitlines())) <= 100


def test_labels_in_doubt_are_listed_in_the_place_of_the_report(at_work: Path) -> None:
    asked = ("evaluate", "runs/tiny", "--suspects", "3")
    found = run_zoo(*asked, "--json").document
    splits = json.loads((at_work / "runs" / "tiny" / "run.json").read_text())["data"]["splits"]
    assert found["n"] == splits["test"] + splits["val"]
    assert [row["rank"] for row in found["suspects"]] == [1, 2, 3][: found["found"]]
    assert {"image", "given", "suggested", "probability", "given_probability", "rank", "rank_in_class"} == set(
        found["suspects"][0]
    )
    table = run_zoo(*asked, "--table", "csv").out.splitlines()
    assert table[0] == "image,given,suggested,probability,given_probability,rank,rank_in_class"
    assert found["suspects"][0]["image"] in run_zoo(*asked).out
    assert run_zoo(*asked, "--split", "train", "--json").document["error"]["code"] == "suspects-learnt"
    assert run_zoo(*asked, "--prevalence", "0.1", "--json").document["error"]["code"] == "option-ignored"


def test_a_metric_without_a_value_is_shown_with_its_reason(at_work: Path, tmp_path: Path) -> None:
    """A set with one class has no AUROC; a silent gap would be read as a fault of the program."""
    for name in ("0.png", "1.png"):
        target = tmp_path / "set" / "3" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(at_work / "images" / name, target)
    ran = run_zoo("evaluate", "tiny.zoo", "--data", tmp_path / "set")
    assert ran.code == 0, ran.err
    assert "undefined:" in ran.out
    assert "of class" in ran.out


@pytest.mark.usefixtures("at_work")
def test_exporting_proves_the_file_and_says_so(workplace: Path, tmp_path: Path) -> None:
    result = json.loads((workplace / "export.json").read_text())
    assert {"path", "size_bytes", "parity", "quantization"} <= set(result)
    assert set(result["parity"]) >= PARITY
    assert result["parity"]["flips"] == 0
    text = run_zoo("export", "runs/tiny", "--onnx", "--preprocess", "none", "--out", tmp_path / "core.onnx")
    assert text.code == 0
    assert "core.onnx" in text.out
    assert run_zoo("predict", tmp_path / "core.onnx", "images").out == run_zoo("predict", "tiny.onnx", "images").out


@pytest.mark.usefixtures("at_work")
def test_the_bundle_proves_itself() -> None:
    assert {"path", "name", "provider", "files", "images", "max_abs_logit", "tolerance"} <= set(
        run_zoo("verify", "tiny.zoo", "--json").document
    )
    assert "golden set" in run_zoo("verify", "tiny.zoo").out
    lone = run_zoo("verify", "tiny.onnx")
    assert lone.code == 1
    assert "--bundle" in lone.err


@pytest.mark.slow
@pytest.mark.usefixtures("at_work")
def test_bench_measures_one_model_or_several_side_by_side() -> None:
    keys = {"provider", "p50_ms", "p95_ms", "p99_ms", "peak_rss_mb", "cold_start_ms", "size_bytes"}
    one = run_zoo("bench", "tiny.onnx", "--runs", "3", "--json").document
    assert keys <= set(one)
    two = run_zoo("bench", "tiny.onnx", "tiny.zoo", "--runs", "2", "--threads", "1")
    assert two.code == 0
    assert "tiny.onnx" in two.out
    assert "tiny.zoo" in two.out


@pytest.mark.usefixtures("at_work")
def test_comparing_gives_a_table_and_a_sentence_for_each_pair() -> None:
    found = run_zoo("compare", "runs/tiny", "tiny.zoo", "--data", "digits", "--json")
    assert found.code == 0, found.err
    document = found.document
    assert {"name", "metrics", "latency_ms", "size_bytes"} <= set(document["models"][0])
    assert {"a", "b", "metric", "delta", "low", "high", "p", "verdict"} <= set(document["pairs"][0])
    assert all(pair["verdict"] == "cannot tell" for pair in document["pairs"]), "it is the same model twice"


@pytest.mark.slow
def test_a_name_is_trained_first_and_the_better_model_is_named(workplace: Path, elsewhere: Path) -> None:
    """The sentence names the better one first, with a positive difference, whichever was named first."""
    ran = run_zoo("compare", workplace / "runs" / "tiny", "random_forest")
    assert ran.code == 0, ran.err
    assert re.search(r"random_forest .* simple_cnn .*: difference \+0\.", ran.out)
    assert (elsewhere / "runs" / "latest" / "model.onnx").is_file()


def test_good_images_are_answered_when_one_is_bad_and_the_status_is_1(at_work: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(at_work / "images", tmp_path / "images"))
    (images / "0b.png").write_bytes(b"no picture")
    ran = run_zoo("predict", "tiny.onnx", images, "--json")
    assert ran.code == 1
    rows = ran.document
    assert [Path(row["image"]).name for row in rows] == ["0.png", "0b.png", "1.png", "2.png", "3.png"]
    assert "error" in rows[1]
    for row in rows[:1] + rows[2:]:
        assert {"image", "label", "probability", "probabilities", "decision", "set"} <= set(row)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    text = run_zoo("predict", "tiny.onnx", images, "--top", "3")
    assert text.code == 1
    assert len(text.out.splitlines()) == 4
    assert all(line.count("\t") == 4 for line in text.out.splitlines())
    assert "1 of 5" in text.line


@pytest.mark.usefixtures("at_work")
def test_a_folder_of_the_wrong_kind_is_one_mistake_not_a_flood(tmp_path: Path) -> None:
    for i in range(14):
        (tmp_path / f"{i:02}.png").write_bytes(b"no picture")
    text = run_zoo("predict", "tiny.onnx", tmp_path)
    assert text.code == 1
    assert len(text.err.splitlines()) == 12
    assert text.err.splitlines()[-2].startswith("zoo: 4 more")
    assert "--csv lists each" in text.err
    assert len(run_zoo("predict", "tiny.onnx", tmp_path, "--json").document) == 14


@pytest.mark.usefixtures("at_work")
def test_predictions_as_csv_hold_every_probability(tmp_path: Path) -> None:
    ran = run_zoo("predict", "tiny.zoo", "images/0.png", "images/1.png", "--csv", tmp_path / "a.csv")
    assert (ran.code, ran.out) == (0, "")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["image"] for row in rows] == ["images/0.png", "images/1.png"]
    assert "p_9" in rows[0]


@pytest.mark.usefixtures("at_work")
def test_a_csv_that_can_not_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = run_zoo("predict", "tiny.zoo", "images", "--csv", tmp_path / "file" / "a.csv")
    assert ran.code == 1
    assert ran.err.startswith("zoo: cannot write")
    assert ran.err.count("\n") == 1


def test_a_name_that_is_not_text_is_answered_too(at_work: Path, tmp_path: Path) -> None:
    """Archives of old systems hold file names that are not UTF-8; one of them must not end the whole run."""
    name = tmp_path / "r\udcfcntgen.png"
    try:
        shutil.copy(at_work / "images" / "0.png", name)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    ran = run_zoo("predict", "tiny.onnx", tmp_path, "--json")
    assert ran.code == 0
    assert ran.document[0]["label"]


@pytest.mark.usefixtures("at_work")
def test_predicting_needs_no_training_framework() -> None:
    """A device has numpy, onnxruntime, Pillow, msgspec, Typer and PyYAML; nothing else may be imported."""
    code = """
import sys
absent = "torch torchvision timm sklearn scipy onnx skl2onnx safetensors requests matplotlib pandas rich".split()
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from zoo_cli.main import main
sys.exit(main(["predict", "tiny.zoo", "images", "--json"]) or main(["verify", "tiny.zoo", "--json"]))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert all("uncertain" in line for line in ran.stderr.splitlines())  # of the answers, no more


def test_the_store_of_weights_is_listed_filled_and_checked(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    assert run_zoo("weights", "list", "--json").document == []
    assert "no weights" in run_zoo("weights", "list").out
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "w.safetensors")
    got = run_zoo("weights", "import", "resnet18", tmp_path / "w.safetensors", "--json")
    assert got.code == 0, got.err
    assert {"model", "source", "path", "size", "sha256", "licence"} <= set(got.document[0])
    (row,) = run_zoo("weights", "lock", "--json").document
    assert row["models"] == ["resnet18", "unet_resnet18"]  # its encoder starts from the same file
    assert "resnet18" in run_zoo("weights", "list").out
    with Path(row["path"]).open("ab") as stream:
        stream.write(b"x")
    assert run_zoo("weights", "lock").code == 1
    offline = run_zoo("weights", "fetch", "resnet34", "--json")
    assert (offline.code, offline.document["error"]["code"]) == (1, "weights-unreachable")
    assert "import resnet34" in offline.err


@pytest.mark.slow
def test_doctor_tells_what_is_here_and_ends_well_when_nothing_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZOO_PLUGINS", "simple_cnn")  # the others are then left out, which is not a fault
    ran = run_zoo("doctor", "--json")
    found = ran.document
    assert ran.code == 0, found["problems"]
    assert {
        "python",
        "packages",
        "cpu",
        "onnxruntime",
        "cuda",
        "plugins",
        "weights",
        "offline",
        "problems",
    } <= set(found)
    assert {row["name"] for row in found["packages"]} >= {"numpy", "onnxruntime", "torch"}
    assert "CPUExecutionProvider" in found["onnxruntime"]["providers"]
    assert found["offline"]["switches"] == ["ZOO_OFFLINE"]


@pytest.mark.slow
def test_doctor_ends_with_status_1_and_the_remedy_when_something_installed_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import msgspec

    from zoo import registry

    status = "boom: it needs a key that is not allowed by ZOO_PLUGINS"  # its own words decide nothing

    def examine(state: str) -> Ran:
        rows = [msgspec.structs.replace(row, state=state, status=status) for row in registry.plugins()[:1]]
        monkeypatch.setattr(registry, "check_plugins", lambda _: rows)
        return run_zoo("doctor", "--json")

    broken = examine("broken")
    assert (broken.code, broken.document["problems"]) == (1, [status])
    for state in ("prints", "missing", "forbidden", "slow"):
        assert examine(state).document["problems"] == []


@pytest.mark.slow
def test_the_demo_walks_the_whole_path_and_leaves_what_it_names(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With less training than a user gets; the steps are the same."""
    from zoo_cli import demo

    monkeypatch.setattr(demo, "EPOCHS", {"simple_cnn": 1, "svm": None})
    ran = run_zoo("demo", "--out", "shown", "--json")
    assert ran.code == 0, ran.err
    found = ran.document
    assert all(Path(path).exists() for path in found["paths"].values())
    assert found["best"] == "svm"
    assert len(found["predictions"]) == demo.PICTURES
    assert found["verification"]["images"] >= 32
    assert all(command.startswith("zoo ") for command in found["seconds"])
    again = run_zoo("demo", "--out", "shown")
    assert again.code == 1
    assert "not empty" in again.err
    assert Path.cwd() == elsewhere
