"""A file that has operating points, sets and a threshold of novelty is answered by them, wherever it is opened."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
import pytest
from edge_models import (
    COLOURS,
    deciding_manifest,
    make_bundle,
    make_manifest,
    make_model,
    make_point,
    make_sets,
    paint,
    seal,
)
from onnx import helper
from page_subjects import decided, subject_of
from refusals import refused

from zoo.artefact import set_manifest
from zoo.artefact._card import model_card
from zoo.edge import Runtime, explain_images, predict_csv, verify, write_csv
from zoo.edge.__main__ import main
from zoo.edge.page import assets
from zoo.edge.serve._shapes import Row
from zoo.errors import GateError, ModelError, ResumeError, UsageError
from zoo.spec import NOVELTY, Abstention, encode
from zoo.workflow._golden import write_proven_bundle

if TYPE_CHECKING:
    from pathlib import Path

DECISIONS = {
    "red.png": ("red", "label", ["red"], False),
    "purple.png": ("blue", "uncertain", ["red"], True),
    "grey.png": ("blue", "uncertain", ["red", "green"], True),
    "white.png": ("blue", "unlike training", ["red", "green", "blue"], True),
    "dim.png": ("red", "label", ["red"], False),
}
"""Of each of `COLOURS`: label, decision, set, and whether blue reaches its point."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(make_model(deciding_manifest()).SerializeToString())
    return tmp_path / "model.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        paint(tmp_path / "images" / name, colour)
    return tmp_path / "images"


def without_output(model: onnx.ModelProto) -> onnx.ModelProto:
    kept = [one for one in model.graph.output if one.name != NOVELTY]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def test_predictions_follow_the_manifest(file: Path, folder: Path) -> None:
    rows = {one.image.rpartition("/")[2]: one.row() for one in Runtime.open(file).predict(folder)}
    said = {name: (row["label"], row["decision"], row["set"], row["operating"]["blue"]) for name, row in rows.items()}
    assert said == DECISIONS
    assert rows["white.png"]["novelty"] == 255
    assert rows["grey.png"]["probability"] == rows["grey.png"]["probabilities"]["blue"]
    again = Runtime.open(file).answer(folder / "white.png").row()
    assert again == {**rows["white.png"], "image": again["image"]}


def test_the_score_is_asked_for_only_where_it_decides(tmp_path: Path, folder: Path) -> None:
    """A file may give it before a threshold is chosen: `Runtime.novelty` is how one is chosen."""
    manifest = deciding_manifest(abstention=None)
    (tmp_path / "model.onnx").write_bytes(make_model(manifest).SerializeToString())
    runtime = Runtime.open(tmp_path / "model.onnx")
    assert not {"novelty", "decision", "set"} & set(runtime.answer(folder / "white.png").row())
    batch = np.full((2, 4, 4, 3), (90, 0, 0), np.uint8)
    assert runtime.novelty(batch).tolist() == [30, 30]
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(make_model().SerializeToString())
    with refused("novelty-missing", UsageError):
        Runtime.open(plain).novelty(batch)


def test_a_manifest_set_later_decides(tmp_path: Path, folder: Path) -> None:
    """Points are chosen with the exported file itself, and then written into it."""
    model = make_model(deciding_manifest(abstention=None, operating=()))
    set_manifest(model, deciding_manifest())
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert Runtime.open(tmp_path / "model.onnx").answer(folder / "white.png").row()["decision"] == "unlike training"


@pytest.mark.parametrize("listed", [True, False])
def test_a_file_without_the_score_that_it_decides_by_is_refused(tmp_path: Path, listed: bool) -> None:
    model = without_output(make_model(deciding_manifest()))
    if not listed:
        set_manifest(model, deciding_manifest(outputs=("probabilities", "logits")))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with refused("model-outputs", ModelError, output=NOVELTY):
        Runtime.open(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    "changes",
    [
        {"operating": (make_point("yellow", 0.2),)},
        {"operating": (make_point("red", 0.2), make_point("red", 0.3))},
        {"abstention": Abstention(sets=make_sets(0.5, 0.5))},
        {"abstention": Abstention(sets=make_sets(0.5)), "task": "multilabel"},
    ],
)
def test_points_and_sets_of_other_labels_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "model.onnx").write_bytes(make_model(make_manifest(**changes)).SerializeToString())
    with refused("model-decisions", ModelError):
        Runtime.open(tmp_path / "model.onnx")


def test_a_score_that_is_no_number_is_no_answer(tmp_path: Path, folder: Path) -> None:
    model = make_model(deciding_manifest())
    node = next(one for one in model.graph.node if NOVELTY in one.output)
    node.output[0] = "bright"
    model.graph.node.append(helper.make_node("Sub", ["bright", "half"], ["less"]))
    model.graph.node.append(helper.make_node("Sqrt", ["less"], [NOVELTY]))  # of a black image NaN
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    runtime = Runtime.open(tmp_path / "model.onnx")
    runtime.answer(folder / "red.png")
    with refused("model-answer-not-finite", ModelError):
        runtime.answer(np.zeros((4, 4, 3), np.uint8))


def test_words_say_why_there_is_no_answer(file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(file), str(folder)]) == 0
    out, err = capsys.readouterr()
    words = dict(line.rpartition("/")[2].split("\t") for line in out.splitlines())
    assert words["red.png"] == "red 0.9993"
    assert words["grey.png"].startswith("uncertain: red or green (set built for 90 %)")
    assert words["purple.png"].startswith("uncertain: red 0.7159 is below 0.8")
    assert words["grey.png"].endswith("blue reaches its operating point"), "who looks for it must hear of it"
    assert words["white.png"].startswith("unlike training: not answered")
    assert "of 5 images 2 are uncertain, 1 is unlike training" in err
    assert main(["predict", str(file), str(folder / "white.png"), "--top", "2"]) == 0
    assert capsys.readouterr().out.count("\t") == 3


def test_json_rows_have_the_keys(file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["predict", str(file), str(folder), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert all({"decision", "set", "operating", "novelty"} <= set(row) for row in rows)
    for row in rows:
        msgspec.convert(row, Row)  # what `zoo serve` says that it answers


def test_a_table_has_the_columns_and_resumes(file: Path, folder: Path, tmp_path: Path) -> None:
    runtime = Runtime.open(file)
    whole = list(predict_csv(runtime, folder, tmp_path / "whole.csv"))
    with (tmp_path / "whole.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[3:7] == ["decision", "set", "operating", "novelty"]
    grey = next(row for row in rows if row["image"].endswith("grey.png"))
    assert (grey["decision"], grey["set"], grey["operating"]) == ("uncertain", "red|green", "blue")
    assert write_csv(tmp_path / "same.csv", whole, runtime.manifest) == 5
    assert (tmp_path / "same.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    begun = predict_csv(runtime, folder, tmp_path / "out.csv")
    for _ in range(3):
        next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert list(predict_csv(runtime, folder, tmp_path / "out.csv", resume=True)) == whole
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    frame = pytest.importorskip("pandas", reason="pandas is not installed") and runtime.predict(folder).to_frame()
    assert list(frame.columns) == [*rows[0]]


def test_a_table_with_another_decision_is_not_resumed(file: Path, folder: Path, tmp_path: Path) -> None:
    runtime, target = Runtime.open(file), tmp_path / "out.csv"
    begun = predict_csv(runtime, folder, target)
    for _ in range(3):
        next(begun)
    begun.close()  # type: ignore[attr-defined]
    part = tmp_path / "out.csv.part"
    part.write_text(part.read_text().replace(",uncertain,", ",label,"))
    with refused("resume-damaged", ResumeError):
        list(predict_csv(runtime, folder, target, resume=True))


def test_tables_of_files_that_do_not_decide_stay_as_they_were(model_file: Path, folder: Path, tmp_path: Path) -> None:
    list(predict_csv(Runtime.open(model_file), folder, tmp_path / "out.csv"))
    first = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert first == "image,label,probability,p_red,p_green,p_blue,error"


def test_a_map_is_of_the_label_answered(file: Path, folder: Path) -> None:
    runtime = Runtime.open(file)
    (result,) = explain_images(runtime, folder / "purple.png", out=None)
    assert result.row()["label"] == "blue"


def test_a_map_says_that_its_image_has_no_answer(file: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {row.image: row for row in explain_images(Runtime.open(file), folder)}
    assert {name: row.decision for name, row in found.items()} == {  # type: ignore[union-attr]
        str(folder / name): decision for name, (_, decision, _, _) in DECISIONS.items()
    }
    assert main(["explain", str(file), str(folder / "white.png"), "--out", str(folder / "maps")]) == 0
    assert "unlike training" in capsys.readouterr().out


def test_verify_compares_scores_and_says_how_it_decides(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=deciding_manifest())
    proof = verify(bundle)
    assert proof.max_abs_novelty is not None
    assert proof.max_abs_novelty < 1e-6
    assert set(proof.decisions) == {"operating points", "sets of labels", "error", "unlike training"}
    with np.load(bundle / "golden.npz") as golden:
        arrays = dict(golden)
    arrays[NOVELTY] = arrays[NOVELTY] + np.float32([0, 1, 0, 0])
    np.savez(bundle / "golden.npz", **arrays)
    seal(bundle, deciding_manifest())
    with refused("golden-mismatch", GateError, mismatches=1):
        verify(bundle, isolated=False)


def test_a_bundle_holds_the_score_of_every_golden_image(file: Path, tmp_path: Path) -> None:
    """Decisions follow from numbers, so all of these are compared."""
    target = tmp_path / "made.zoo"
    write_proven_bundle(target, file.read_bytes(), deciding_manifest(), golden="generated", splits=None)
    with np.load(target / "golden.npz") as golden:
        assert len(golden[NOVELTY]) == len(golden["logits"]) >= 32
    assert "## Decisions" in (target / "CARD.md").read_text()
    assert verify(target, isolated=False).max_abs_novelty == 0


def test_verify_refuses_scores_of_another_shape(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "mean.zoo", manifest=deciding_manifest())
    with np.load(bundle / "golden.npz") as golden:
        arrays = dict(golden)
    np.savez(bundle / "golden.npz", **arrays | {NOVELTY: np.zeros(9, np.float32)})
    seal(bundle, deciding_manifest())
    with refused("golden-damaged", ModelError):
        verify(bundle, isolated=False)


def test_a_card_shows_names_of_labels_as_they_are() -> None:
    names = dict(zip(make_manifest().labels, ("a|b", "<script>", "c"), strict=False))
    card = model_card(msgspec.structs.replace(make_manifest(), labels=tuple(names.values())))
    assert r"a\|b, \<script\>, c" in card


def test_card_says_how_it_decides() -> None:
    card = model_card(deciding_manifest())
    for text in (
        "## Decisions",
        "blue from 0.2 on",
        "90 %",
        "at most 5 % of answers wrong",
        "Some such images still pass",
    ):
        assert text in card
    assert "It answers every image" in model_card(make_manifest())
    assert "images of the results" not in card


def test_card_says_what_decisions_made_of_the_images_judged() -> None:
    report = msgspec.structs.replace(subject_of("two", images=False).report, **decided())
    own = deciding_manifest(operating=(make_point("class 0", 0.4375),))
    card = model_card(msgspec.structs.replace(own, report=report))
    for text in (
        "class 0, sensitivity=0.9: sensitivity 0.800 (0.750 – 0.850), specificity 0.700",
        "Sets that hold the right label: 0.850",
        "Images answered: 0.800 (0.750 – 0.850); of those wrong: 0.100",
        "Images called unlike training: 0.050",
    ):
        assert text in card
    assert "Images answered" not in model_card(msgspec.structs.replace(make_manifest(), report=report))


def test_info_says_how_it_decides(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", str(file)])
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("blue from 0.2 on", "built to hold the right label for 90 % of images", "above 200"):
        assert text in shown


def test_the_page_says_first_that_there_is_no_answer(file: Path, folder: Path, tmp_path: Path) -> None:
    """`words.js` on rows and manifest of a real file, in node."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    for name, content in assets().items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "ask.js").write_text(
        'import { readFileSync } from "node:fs";\nimport { always, decisions, verdict } from "./words.js";\n'
        "const [manifest, rows] = JSON.parse(readFileSync(0, 'utf8'));\n"
        "const said = [rows.map((row) => verdict(row, manifest)), decisions(manifest), always(manifest)];\n"
        "console.log(JSON.stringify(said));\n"
    )
    runtime = Runtime.open(file)
    rows = [runtime.answer(folder / name).row() for name in COLOURS]
    given = json.dumps([json.loads(encode(runtime.manifest)), rows])
    done = subprocess.run([node, tmp_path / "ask.js"], input=given, capture_output=True, text=True, check=True)
    verdicts, decides, limits = json.loads(done.stdout.replace("\u00a0", " "))
    titles = dict(zip(COLOURS, (one["title"] for one in verdicts), strict=True))
    assert titles == {
        "red.png": "red",
        "purple.png": "Uncertain: perhaps red",
        "grey.png": "Uncertain: red or green",
        "white.png": "Not answered: unlike the images it was trained on",
        "dim.png": "red",
    }
    assert [one["answered"] for one in verdicts] == [True, False, False, False, True]
    assert "90 % of images" in verdicts[2]["close"]
    assert "blue reaches its operating point" in verdicts[2]["close"]
    assert set(decides) == {"Called from", "Uncertain", "Not answered"}
    assert not any("for any image" in one["text"] for one in limits)
