"""What a comparison and a training say, and the tables that go into a paper; no model is opened here."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from cli_running import run_zoo
from refusals import refused

from zoo.errors import UsageError
from zoo.evaluation import report
from zoo.evaluation.comparison import Comparison, Contender, compare
from zoo.spec import EvalReport, Fingerprint, Interval
from zoo_cli.compare import _models, _tests, as_text
from zoo_cli.compare import compare as verb
from zoo_cli.options import refuse_formats
from zoo_cli.output import format_table_as, rare_table, verdict_table

LABELS = ("a", "b", "c")
TARGETS = np.arange(240) % 3


def answers(strength: float, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(len(TARGETS), 3))
    logits[np.arange(len(TARGETS)), TARGETS] += strength
    return logits


def contender(name: str, strength: float, seed: int, weight: str = "none") -> Contender:
    return Contender(name, answers(strength, seed), latency_ms=1.5, size_bytes=2_000_000, class_weight=weight)


@pytest.fixture(scope="module")
def three() -> Comparison:
    """good, good again under another name, and bad, which weighed classes."""
    models = [contender("good_net", 4, 0), contender("copy", 4, 0), contender("bad", 0.5, 1, "balanced")]
    return compare(models, TARGETS, LABELS, resamples=199, per_class=True)


def judge(logits: np.ndarray, targets: np.ndarray) -> EvalReport:
    about = Fingerprint(name="made", sha256="0", n=len(targets), splits={})
    labels = LABELS[: logits.shape[1]]
    return report(logits, targets, labels, model="m", split="test", temperature=1, fingerprint=about, resamples=50)


def test_a_verdict_says_which_interval_and_which_p_it_has(three: Comparison) -> None:
    (line,) = (line for line in as_text(three).splitlines() if re.search(r"good_net .*bad .*accuracy", line))
    assert re.search(
        r"difference \+0\.\d{3} \(95 % interval 0\.\d{3} to 0\.\d{3}, not corrected\), p ≤ 0\.030 \(Holm, 3 pairs\)",
        line,
    )
    assert "--resamples" in as_text(three)
    alone = as_text(compare([contender("x", 2, 0), contender("y", 1.5, 1)], TARGETS, LABELS, resamples=199))
    assert "corrected" not in alone
    assert "Holm" not in alone


def test_an_upper_bound_of_p_is_rounded_up() -> None:
    """2 / 1500 is 0.00133: 'at most 0.001' would be false."""
    models = [contender("x", 4, 0), contender("y", 0.5, 1)]
    assert "p ≤ 0.002" in as_text(compare(models, TARGETS, LABELS, resamples=1499))


def test_what_was_not_told_says_how_many_images_would_tell_it() -> None:
    """And what a stated margin makes of it; with groups, how many of those."""
    models = [contender("x", 2, 0), contender("y", 1.9, 1)]
    alone = as_text(compare(models, TARGETS, LABELS, resamples=199))
    assert re.search(r"power of 80 %: a difference of 0\.\d+ needs about [\d ]+ images$", alone, re.MULTILINE)
    assert "margin" not in alone
    stated = as_text(compare(models, TARGETS, LABELS, resamples=199, margin=0.001, groups=np.arange(240) // 2))
    assert "cannot tell whether either is worse by more than 0.001" in stated
    assert re.search(r", a difference of 0\.001 needs about [\d ]+ images of [\d ]+ groups$", stated, re.MULTILINE)
    assert "equivalent within 0.4: " in as_text(compare(models, TARGETS, LABELS, resamples=199, margin=0.4))


def test_models_that_answer_alike_are_said_to(three: Comparison) -> None:
    lines = [line for line in as_text(three).splitlines() if "good_net and copy" in line]
    assert len(lines) == 2
    assert all("both answer alike on each of the 240 images" in line for line in lines)


def test_models_that_weighed_classes_differently_are_named(three: Comparison) -> None:
    (line,) = (line for line in as_text(three).splitlines() if "weighed differently" in line)
    assert "good_net none, copy none, bad balanced" in line
    same = compare([contender("x", 2, 0), contender("y", 1, 1)], TARGETS, LABELS, resamples=20)
    assert "weighed" not in as_text(same)


def test_csv_has_every_number_in_full_and_reads_back(three: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(format_table_as("csv", *_models(three)))))
    assert [row["model"] for row in rows] == ["good_net", "copy", "bad"]
    found = three.models[2].metrics["macro_auroc"]
    names = ("macro AUROC", "macro AUROC low", "macro AUROC high")
    assert [float(rows[2][name]) for name in names] == [found.value, found.low, found.high]
    tests = list(csv.DictReader(io.StringIO(format_table_as("csv", *_tests(three, "csv")))))
    assert len(tests) == len(three.pairs) + len(three.per_class)
    alike, apart = tests[0], tests[1]
    assert (alike["a - b"], alike["a - b low"]) == ("", "")
    assert float(apart["p Holm"]) == three.pairs[1].p_holm
    assert apart["p Holm at most"] == "yes"


CELLS = ["50 % & more_", r"a|b\c", "#1 {x} $5 ~^", '-0.5, "so"', Interval(value=-0.5, low=-0.75, high=0.25), 3, None]


def test_each_format_escapes_its_own_signs() -> None:
    header = list("abcdefg")
    head, row = csv.reader(io.StringIO(format_table_as("csv", header, [CELLS])))
    assert head == ["a", "b", "c", "d", "e", "e low", "e high", "f", "g"]
    assert row == [CELLS[0], CELLS[1], CELLS[2], '\'-0.5, "so"', "-0.5", "-0.75", "0.25", "3", ""]
    latex = format_table_as("latex", header, [CELLS]).splitlines()[5]
    assert latex == (
        r"50 \% \& more\_ & a|b\textbackslash{}c & \#1 \{x\} \$5 \textasciitilde{}\textasciicircum{} & "
        r'-0.5, "so" & $-$0.500 ($-$0.750 to 0.250) & 3 &  \\'
    )
    markdown = format_table_as("markdown", header, [CELLS]).splitlines()
    assert markdown[1] == "| --- | --- | --- | --- | ---: | ---: | ---: |"
    assert markdown[2] == r'| 50 % \& more\_ | a\|b\\c | #1 {x} $5 \~^ | -0.5, "so" | -0.500 (-0.750 to 0.250) | 3 |  |'


def test_one_format_at_a_time_and_no_choice_without_a_table() -> None:
    with refused("option-conflict", UsageError):
        refuse_formats("csv", as_json=True)
    with refused("option-ignored", UsageError, options=["--per-class"]):
        refuse_formats(None, per_class=True, as_json=False)
    refuse_formats("csv", per_class=True, as_json=False)
    with refused("option-missing", UsageError, options=["--tests"]):  # they would be made and not shown
        verb(["a", "b"], table="csv", per_class=True)


def test_a_rare_class_that_is_missed_is_shown_after_a_training() -> None:
    """Accuracy is 0.9 where not one image of the rare class is found."""
    targets = np.array([0] * 90 + [1] * 10)
    shown = rare_table(judge(np.tile([1.0, 0.0], (100, 1)), targets))
    assert re.search(r"^b +10  0\.000 \(0\.000 to ", shown, re.MULTILINE)
    assert "never given as an answer: b (10 images)" in shown
    assert rare_table(judge(answers(2, 0), TARGETS)) == ""
    several = np.stack([targets, 1 - targets, np.arange(100) % 2], axis=1)
    found = rare_table(judge(np.where(several == 1, 1.0, -1.0) * [-1, 1, 1], several))
    assert re.search(r"^a +10  0\.000 ", found, re.MULTILINE)


def test_a_metric_that_cannot_be_computed_says_why_in_its_place() -> None:
    """A reader of 'accuracy' alone would not know that there is no AUROC."""
    targets = np.arange(12) % 2  # no image of c
    found = judge(answers(2, 0)[:12], targets)
    why = found.undefined["macro_auroc"]
    assert re.search(rf"^macro AUROC +- \({re.escape(why)}\)$", verdict_table(found), re.MULTILINE)


@pytest.mark.usefixtures("elsewhere")
def test_a_model_that_is_fitted_in_one_step_has_no_best_epoch(tmp_path_factory: pytest.TempPathFactory) -> None:
    from pictures import rare_class

    rare = rare_class(tmp_path_factory.mktemp("pictures") / "rare.npz", side=4)
    ran = run_zoo("train", "logistic_regression", "--data", rare)
    assert ran.code == 0, ran.err
    assert "best epoch" not in ran.out
    assert re.search(r"^class weight +none$", ran.out, re.MULTILINE)
    assert "--set class_weight=balanced" in ran.out
    table = run_zoo("evaluate", "runs/latest", "--table", "csv", "--per-class")
    rows = list(csv.DictReader(io.StringIO(table.out)))
    assert [row["class"] for row in rows] == ["0", "1"]
    assert {"sensitivity", "PPV", "NPV low", "AUPRC high"} <= set(rows[0])
