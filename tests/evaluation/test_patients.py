"""Several images of one patient: intervals from resampled patients hold what they promise, those from images do not."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
from refusals import refused
from scipy.stats import norm

from zoo.errors import DataError
from zoo.evaluation import Cases, bootstrap, draws, interval, measure, ones, report
from zoo.evaluation.comparison import Contender, compare
from zoo.spec import EvalReport, Fingerprint, decode, encode

DATA = Fingerprint(name="made", sha256="0" * 64, n=1, splits={"test": 1})
PATIENTS, EACH, ALIKE, APART = 60, 8, 0.8, 1.5
"""Eight images of each of sixty patients, whose scores correlate with 0.8; sick patients score 1.5 higher."""


def scans(seed: int, patients: int = PATIENTS, each: int = EACH):
    """Logits (n, 2), targets (n,), groups (n,): half of the patients are sick, on all of their images."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), each)
    sick = groups % 2
    own, every = rng.normal(size=patients), rng.normal(size=len(groups))
    score = APART * (sick - 0.5) + np.sqrt(ALIKE) * own[groups] + np.sqrt(1 - ALIKE) * every
    return np.stack([np.zeros(len(score)), score], axis=1), sick, groups


def judge(logits, targets, groups=None, **options) -> EvalReport:
    given = {"model": "m", "split": "test", "temperature": 1.0, "fingerprint": DATA, "resamples": 200, **options}
    labels = [f"class {k}" for k in range(logits.shape[1])]
    return report(logits, targets, labels, groups=groups, **given)


@pytest.mark.slow
def test_patients_must_be_resampled_for_an_interval_of_95_percent():
    """200 studies: resampled images hold the truth about 6 times in 10, resampled patients about 95 in 100."""
    truth = {"macro_auroc": norm.cdf(APART / np.sqrt(2)), "accuracy": norm.cdf(APART / 2)}
    held = dict.fromkeys(itertools.product(truth, ("images", "patients")), 0)
    for seed in range(200):
        logits, targets, groups = scans(seed)
        for unit, known in (("images", None), ("patients", groups)):
            cases = Cases.of(logits, targets, groups=known)
            resampled = bootstrap(partial(measure, cases), draws(cases.n, 200, seed, cases.groups))
            point = measure(cases, ones(cases.n))
            for metric, right in truth.items():
                found = interval(float(point[metric][0]), resampled[metric], cases.clusters or cases.n)
                held[metric, unit] += found.low <= right <= found.high
    for metric in truth:
        assert 0.90 <= held[metric, "patients"] / 200 <= 0.99, held
        assert held[metric, "images"] / 200 <= 0.75, held


def test_a_draw_takes_every_image_of_a_patient_or_none():
    groups = np.array([7, 7, 2, 7, 2, 900])
    weights = np.concatenate(list(draws(6, 200, seed=1, groups=groups)))
    assert (weights[:, [0, 0, 2]] == weights[:, [1, 3, 4]]).all()
    assert (weights[:, [0, 2, 5]].sum(axis=1) == 3).all(), "as many patients are drawn as there are"
    assert weights.sum(axis=1).std() > 0


def test_patients_of_one_image_are_drawn_as_images_are():
    for plain, grouped in zip(draws(9, 50, seed=3), draws(9, 50, seed=3, groups=np.arange(9)), strict=True):
        np.testing.assert_array_equal(plain, grouped)


def test_the_report_says_how_many_patients_and_has_wider_intervals():
    logits, targets, groups = scans(0)
    alone, honest = judge(logits, targets), judge(logits, targets, groups)
    assert (alone.n, alone.clusters) == (480, None)
    assert (honest.n, honest.clusters) == (480, 60)
    assert decode(encode(honest), EvalReport, "report.json", DataError) == honest
    for name in ("accuracy", "macro_auroc", "macro_f1"):
        one, other = alone.metrics[name], honest.metrics[name]
        assert one.value == other.value
        assert other.high - other.low > 1.5 * (one.high - one.low), name
    assert honest.calibration.nll.high - honest.calibration.nll.low > 1.5 * (
        alone.calibration.nll.high - alone.calibration.nll.low
    )


def test_all_right_on_five_patients_is_five_trials_and_not_forty():
    """A hundred images of five patients prove what five patients prove."""
    groups = np.repeat(np.arange(5), 8)
    targets = (groups >= 2).astype(int)  # 2 healthy patients, 3 sick
    found = judge(8.0 * np.eye(2)[targets], targets, groups)
    assert found.metrics["accuracy"].method == "wilson"
    assert found.metrics["accuracy"].low == pytest.approx(5 / (5 + 3.8415), abs=1e-4)
    assert found.metrics["macro_auroc"].low == pytest.approx(2 / (2 + 3.8415), abs=1e-4)
    assert found.per_class["class 1"]["sensitivity"].low == pytest.approx(3 / (3 + 3.8415), abs=1e-4)
    assert found.per_class["class 1"]["specificity"].low == pytest.approx(2 / (2 + 3.8415), abs=1e-4)
    assert found.per_class["class 1"]["ppv"].low == pytest.approx(3 / (3 + 3.8415), abs=1e-4)


def test_few_patients_are_said_to_be_few():
    """With ten patients, 95 % intervals hold the truth about 85 times in 100, and the reader must know."""
    assert judge(*scans(0)).notes == ()
    few = "intervals come from 10 groups only; from fewer than 30 they are somewhat narrow"
    assert judge(*scans(0, patients=10), notes=["a defect"]).notes == ("a defect", few)
    logits, targets, _ = scans(0, patients=10)
    assert judge(logits, targets).notes == ()


def test_one_patient_is_one_trial():
    logits, targets, _ = scans(0, patients=2)
    found = judge(logits, targets, np.zeros(len(targets), int))
    assert found.clusters == 1
    assert found.metrics["accuracy"].method == "wilson"
    assert found.metrics["accuracy"].high - found.metrics["accuracy"].low > 0.6


def test_a_difference_on_few_patients_is_not_called_however_many_images_show_it():
    """One model is right on every image; on 4 patients that is a p of 2^-3, on 160 images it would be proof."""
    _, targets, groups = scans(0, patients=4, each=40)
    right = 4.0 * np.eye(2)[targets]
    pair = [Contender("right", right), Contender("wrong", -right)]
    alone = compare(pair, targets, "ab", resamples=200)
    honest = compare(pair, targets, "ab", groups=groups, resamples=200)
    assert (alone.clusters, honest.clusters) == (None, 4)
    assert {found.verdict for found in alone.pairs} == {"better"}
    assert {found.verdict for found in honest.pairs} == {"cannot tell"}
    smallest = {found.metric: found.p for found in honest.pairs}
    assert (smallest["macro_auroc"], smallest["accuracy"]) == (0.5, 0.125)


def test_equally_good_models_are_seldom_called_different_when_patients_repeat():
    called = {"images": 0, "patients": 0}
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        logits, targets, groups = scans(seed, patients=40)
        noise = rng.normal(size=(2, 40))[:, groups]  # each model errs alike on all images of a patient
        a, b = (logits + np.stack([np.zeros(len(targets)), one], axis=1) for one in noise)
        for name, known in (("images", None), ("patients", groups)):
            found = compare([Contender("a", a), Contender("b", b)], targets, "ab", groups=known, resamples=200)
            called[name] += found.pairs[0].verdict != "cannot tell"
    assert called["patients"] <= 8, called
    assert called["images"] >= 20, called


def test_groups_that_do_not_fit_are_refused():
    logits, targets, groups = scans(0)
    with refused("array-shape", DataError, array="groups", found=[479], expected=[480]):
        judge(logits, targets, groups[1:])
