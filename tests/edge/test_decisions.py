"""What is decided of an answer: one rule, by hand, in Python, in JavaScript and in C++."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from edge_models import make_manifest, make_point, make_sets

from zoo.edge import Prediction, answer_labels, decide, find_sets, score_labels
from zoo.edge._results import read_predictions
from zoo.edge._tables import describe_answer
from zoo.edge.page import assets
from zoo.spec import NOVELTY, Abstention, ErrorControl, Manifest, Novelty, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = Path(__file__).resolve().parents[2] / "examples/native"
NEW = Novelty(kind="features", threshold=3.5, share=0.01, n=300)


def decided(manifest: Manifest, *row: float, novelty: float = 0.0) -> dict[str, Any]:
    return expected([manifest], np.array([row], np.float32), np.array([novelty], np.float32))[0]


@pytest.mark.parametrize(
    ("points", "row", "label", "why"),
    [
        ({}, (0.2, 0.5, 0.3), "green", "without points the most probable"),
        ({"blue": 0.25}, (0.2, 0.5, 0.3), "blue", "a point that is reached goes before what is more probable"),
        ({"blue": 0.35}, (0.2, 0.5, 0.3), "green", "a point that is not reached: the best of those without a point"),
        ({"green": 0.6}, (0.2, 0.5, 0.3), "blue", "not green, whose point says no, though it is most probable"),
        ({"red": 0.1, "blue": 0.2}, (0.2, 0.5, 0.3), "red", "of two points the larger ratio: 2 to 1.5"),
        ({"red": 0.125, "blue": 0.125}, (0.25, 0.5, 0.25), "red", "of equal ratios the first"),
        ({"blue": 0.0, "red": 0.01}, (0.2, 0.5, 0.3), "blue", "the threshold 0 counts as tiny"),
        ({"red": 0.9, "green": 0.9, "blue": 0.9}, (0.2, 0.5, 0.3), "green", "no point is reached and all have one"),
        ({"blue": 0.25}, (0.25, 0.5, 0.25), "blue", "reached where equal"),
    ],
)
def test_the_label_answered_follows_the_points(
    points: dict[str, float], row: tuple[float, ...], label: str, why: str
) -> None:
    manifest = make_manifest(operating=tuple(make_point(*one) for one in points.items()))
    found = decided(manifest, *row)
    assert found["label"] == label, why
    assert found["probability"] == found["probabilities"][label]
    called = {name: found["probabilities"][name] >= threshold for name, threshold in points.items()}
    assert found.get("operating") == (called or None)
    assert not {"decision", "set", "novelty"} & set(found), "of what the file does not decide nothing is said"


@pytest.mark.parametrize(
    ("points", "row", "labels", "label"),
    [
        ({}, (0.5, 0.4, 0.9), ["red", "blue"], "blue"),
        ({"green": 0.3}, (0.2, 0.4, 0.45), ["green"], "green"),
        ({"blue": 0.95}, (0.2, 0.4, 0.9), [], "blue"),
    ],
)
def test_labels_of_several_are_given_by_their_points_or_half(
    points: dict[str, float], row: tuple[float, ...], labels: list[str], label: str
) -> None:
    manifest = make_manifest(task="multilabel", operating=tuple(make_point(*one) for one in points.items()))
    found = decided(manifest, *row)
    assert (found["labels"], found["label"]) == (labels, label)


@pytest.mark.parametrize(
    ("method", "quantiles", "row", "held"),
    [
        ("lac", (0.6,), (0.5, 0.4, 0.1), [0, 1]),
        ("lac", (0.4,), (0.5, 0.4, 0.1), []),
        ("lac", (0.1, 0.6, 0.95), (0.5, 0.4, 0.1), [1, 2]),
        ("lac", (0.5,), (0.5, 0.25, 0.25), [0]),  # 1 - p equals the quantile
        ("aps", (0.9,), (0.5, 0.4, 0.1), [0]),  # 0.5 + 0.4 as float32 is above 0.9
        ("aps", (0.75,), (0.25, 0.5, 0.25), [0, 1]),  # of equal labels the first
        ("aps", (0.1,), (0.5, 0.4, 0.1), [0]),  # the first is always in
        ("aps", (1.0,), (0.6, 0.3, 0.10000001), [0, 1, 2]),  # though the sum is above 1
        ("lac", (1.0,), (0.0, 0.0, 1.0), [0, 1, 2]),
    ],
)
def test_sets_hold_the_labels_within_their_quantile(
    method: str, quantiles: tuple[float, ...], row: tuple[float, ...], held: list[int]
) -> None:
    found = find_sets(np.array([row], np.float32), make_sets(*quantiles, method=method))
    assert np.flatnonzero(found[0]).tolist() == held


def test_scores_of_sets_are_those_of_the_papers() -> None:
    p = np.array([[0.5, 0.125, 0.375]], np.float32)
    assert score_labels(p, "lac").tolist() == [[0.5, 0.875, 0.625]]
    assert score_labels(p, "aps").tolist() == [[0.5, 1.0, 0.875]]


@pytest.mark.parametrize(
    ("abstention", "row", "novelty", "decision"),
    [
        (Abstention(), (0.4, 0.3, 0.3), 9, "label"),
        (Abstention(sets=make_sets(0.5)), (0.6, 0.2, 0.2), 9, "label"),
        (Abstention(sets=make_sets(0.8)), (0.6, 0.2, 0.2), 9, "uncertain"),  # three labels
        (Abstention(sets=make_sets(0.2)), (0.6, 0.2, 0.2), 9, "uncertain"),  # none
        (Abstention(error=ErrorControl(error=0.05, delta=0.1, threshold=0.75, n=9)), (0.75, 0.25, 0), 9, "label"),
        (Abstention(error=ErrorControl(error=0.05, delta=0.1, threshold=1.01, n=9)), (1, 0, 0), 9, "uncertain"),
        (Abstention(novelty=NEW), (1, 0, 0), 3.5, "label"),
        (Abstention(novelty=NEW), (1, 0, 0), 3.6, "unlike training"),
        (Abstention(novelty=NEW), (1, 0, 0), float("nan"), "unlike training"),
        (Abstention(novelty=NEW, sets=make_sets(0.2)), (0.6, 0.2, 0.2), 4, "unlike training"),  # goes before
    ],
)
def test_an_image_gets_no_label_where_the_model_does_not_know(
    abstention: Abstention, row: tuple[float, ...], novelty: float, decision: str
) -> None:
    assert decided(make_manifest(abstention=abstention), *row, novelty=novelty)["decision"] == decision


def test_a_set_of_another_label_than_the_answer_is_told_as_such() -> None:
    """An operating point may call what the set rules out; no probability is too low then."""
    answer = Prediction(
        image="a.png",
        label="blue",
        probability=0.2,
        probabilities={"red": 0.7, "green": 0.1, "blue": 0.2},
        decision="uncertain",
        set=("red",),
        operating={"blue": True},
    )
    assert answer.headline() == "a.png: uncertain: red; blue reaches its operating point"


def test_words_never_hide_the_label_that_was_called_behind_likelier_ones() -> None:
    """A point calls what is improbable: with the two likeliest alone nobody would read of it."""
    manifest = make_manifest(labels=("nevus", "bkl", "melanoma"), operating=(make_point("melanoma", 0.1),))
    (result,) = read_predictions(manifest, ["x"], {"probabilities": np.array([[0.70, 0.18, 0.12]])})
    assert describe_answer(result) == ["melanoma 0.1200"]
    assert describe_answer(result, 1) == ["melanoma 0.1200", "nevus 0.7000"]
    assert describe_answer(result, 3) == ["melanoma 0.1200", "nevus 0.7000", "bkl 0.1800"]
    both = make_manifest(labels=manifest.labels, operating=(*manifest.operating, make_point("bkl", 0.17)))
    (result,) = read_predictions(both, ["x"], {"probabilities": np.array([[0.70, 0.18, 0.12]])})
    assert describe_answer(result, 1) == ["melanoma 0.1200", "bkl 0.1800", "nevus 0.7000"]


def test_scores_that_decide_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="novelty"):
        decide(np.eye(3, dtype=np.float32), None, make_manifest(abstention=Abstention(novelty=NEW)))


def test_a_batch_is_decided_as_its_images_alone() -> None:
    manifests, p, novelty = cases()
    for manifest in manifests:
        whole = decide(p, novelty, manifest)
        alone = [decide(p[at : at + 1], novelty[at : at + 1], manifest) for at in range(len(p))]
        assert whole.labels.tolist() == [int(one.labels[0]) for one in alone]
        assert whole.decisions == (None if whole.decisions is None else tuple(one.decisions[0] for one in alone))  # type: ignore[index]
        assert answer_labels(p, manifest.labels, manifest.operating, manifest.task).tolist() == whole.labels.tolist()


def cases() -> tuple[list[Manifest], NDArray[np.float32], NDArray[np.float32]]:
    """Manifests of every kind, and answers of which many lie exactly on a threshold, or are equal."""
    rng = np.random.default_rng(5)
    p = rng.dirichlet([0.7] * 3, 150).astype(np.float32)
    p[:60] = np.round(p[:60] * 8) / 8
    p[100:110, 1] = p[100:110, 0]
    p[110] = (1, 0, 0)
    novelty = rng.normal(3.5, 1, len(p)).astype(np.float32)
    novelty[:20] = 3.5
    on = [float(value) for value in (*p[120:126, 0], 0.25, 0.5, 0.0, 1.0)]  # thresholds that answers meet exactly
    manifests = [make_manifest()]
    for turn in range(40):
        labels = rng.permutation(["red", "green", "blue"])[: turn % 4]
        points = tuple(make_point(str(label), on[int(rng.integers(len(on)))]) for label in labels)
        several = turn % 5 == 4
        quantiles = [1 - float(p[int(rng.integers(150)), int(rng.integers(3))]) for _ in range(3 if turn % 2 else 1)]
        sets = None if several or turn % 3 == 0 else make_sets(*quantiles, method="aps" if turn % 4 < 2 else "lac")
        if sets is not None and sets.method == "aps":
            sums = score_labels(p[130:133], "aps")
            sets = make_sets(*(sums[:, 1] if turn % 2 else sums[0, 1:2]).tolist(), method="aps")
        error = ErrorControl(error=0.05, delta=0.1, threshold=on[turn % len(on)], n=9) if turn % 7 == 3 else None
        abstention = Abstention(sets=sets, novelty=NEW if turn % 2 else None, error=error)
        manifests.append(
            make_manifest(
                task="multilabel" if several else "multiclass",
                operating=points,
                abstention=None if turn % 6 == 5 else abstention,
            )
        )
    return manifests, p, novelty


def expected(manifests: list[Manifest], p: NDArray[np.float32], novelty: NDArray[np.float32]) -> list[dict[str, Any]]:
    rows = []
    for manifest in manifests:
        new = manifest.abstention is not None and manifest.abstention.novelty is not None
        found = {"probabilities": p} | ({NOVELTY: novelty} if new else {})
        rows += [one.row() for one in read_predictions(manifest, ["x"] * len(p), found)]
    return rows


def test_javascript_decides_alike(tmp_path: Path) -> None:
    """The page, the exported folder and the sample of node take this module."""
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed")
    (tmp_path / "decide.mjs").write_bytes(assets()["decide.js"])
    (tmp_path / "ask.mjs").write_text(
        'import { readFileSync } from "node:fs";\nimport { decide } from "./decide.mjs";\n'
        "const { manifests, p, novelty } = JSON.parse(readFileSync(0, 'utf8'));\n"
        "const rows = p.map((row) => Float32Array.from(row));\n"
        "const said = manifests.flatMap((one) => rows.map((row, at) => decide(row, novelty[at], one)));\n"
        "console.log(JSON.stringify(said));\n"
    )
    manifests, p, novelty = cases()
    given = {
        "manifests": [json.loads(encode(one)) for one in manifests],
        "p": p.astype(float).tolist(),
        "novelty": novelty.astype(float).tolist(),
    }
    done = subprocess.run(
        [node, tmp_path / "ask.mjs"], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    for said, row in zip(json.loads(done.stdout), expected(manifests, p, novelty), strict=True):
        assert {"image": "x", **said} == row


_ASKING = r"""
#include <iostream>
#include "decide.hpp"
int main(int, char** arguments) {
  const Json manifest = read_manifest(arguments[1]);
  const auto labels = read_labels(manifest);
  for (std::string word; std::cin >> word;) {
    std::vector<float> p{std::stof(word)};
    while (p.size() < labels.size() && std::cin >> word) p.push_back(std::stof(word));
    std::cin >> word;
    std::cout << describe(decide(p.data(), std::stof(word), manifest), labels) << '\n';
  }
}
"""


def test_cpp_decides_alike(tmp_path: Path) -> None:
    """The header of the samples."""
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("g++ is not here")
    (tmp_path / "ask.cpp").write_text(_ASKING)
    command = [compiler, "-std=c++17", "-Wall", "-O1", f"-I{SAMPLES}", tmp_path / "ask.cpp", "-o", tmp_path / "ask"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    manifests, p, novelty = cases()
    lines = "\n".join(
        " ".join(repr(float(one)) for one in (*row, score)) for row, score in zip(p, novelty, strict=True)
    )
    said = []
    for manifest in manifests:
        (tmp_path / "manifest.json").write_bytes(encode(manifest))
        done = subprocess.run(
            [tmp_path / "ask", tmp_path / "manifest.json"], input=lines, capture_output=True, text=True, check=True
        )
        said += done.stdout.splitlines()
    for line, row in zip(said, expected(manifests, p, novelty), strict=True):
        called = [label for label in ("red", "green", "blue") if row.get("operating", {}).get(label)]
        joined = ["|".join(one) for one in (row.get("labels", []), called, row.get("set", []))]
        assert line.split("\t") == [row["label"], row.get("decision", ""), *joined]


def test_cpp_reads_labels_that_json_escapes(tmp_path: Path) -> None:
    if (compiler := shutil.which("g++")) is None:
        pytest.skip("g++ is not here")
    labels = ('a "b"\\', "naïve", "line\nbreak")
    (tmp_path / "manifest.json").write_bytes(encode(make_manifest(labels=labels)))
    (tmp_path / "ask.cpp").write_text(
        '#include <iostream>\n#include "decide.hpp"\nint main(int, char** a) {\n'
        "  for (const auto& label : read_labels(read_manifest(a[1]))) std::cout << label << '\\0';\n}\n"
    )
    program = tmp_path / "ask"
    subprocess.run([compiler, "-std=c++17", f"-I{SAMPLES}", tmp_path / "ask.cpp", "-o", program], check=True)
    done = subprocess.run([program, tmp_path / "manifest.json"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == list(labels)
