"""How unlike training a row of features is: by the formula, for any input, and from which score on."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from beside_images import make_manifest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from page_subjects import decided, subject_of
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from zoo.edge import describe_decisions
from zoo.evaluation import bound_share, count_axes, fit_space, judge_novelty, score_novelty, settle_novelty
from zoo.evaluation.page import Subject
from zoo.evaluation.page._decisions import show_novelty
from zoo.evaluation.page._methods import say_decisions
from zoo.spec import Abstention, Novelty
from zoo.workflow._unlike import settle_threshold


def _rows(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Rows that lie near five directions, as features of a network do."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(5, width))
    return np.asarray(np.maximum(rng.normal(size=(n, 5)) @ directions + 0.1 * rng.normal(size=(n, width)) + 1, 0))


SPACE = fit_space(_rows(200, 24))
assert SPACE is not None


@pytest.mark.parametrize(("n", "width"), [(200, 24), (30, 100)], ids=["more rows", "more features"])
def test_the_score_is_the_distance_of_probabilistic_pca(n: int, width: int) -> None:
    """scikit-learn's PCA gives the same covariance, and so the same Mahalanobis distance."""
    rows, others = _rows(n, width), _rows(50, width, seed=1)
    space = fit_space(rows)
    assert space is not None
    unit, seen = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, others))
    k = space.axes.shape[1]
    assert k == count_axes(n, width)
    model = PCA(k, svd_solver="full").fit(unit)
    rest = np.var(unit - model.inverse_transform(model.transform(unit)), axis=0, ddof=1).sum() / (width - k)
    axes = model.components_
    covariance = axes.T @ np.diag(model.explained_variance_) @ axes + rest * (np.eye(width) - axes.T @ axes)
    away = seen - unit.mean(axis=0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", away, np.linalg.inv(covariance), away) / width)
    assert score_novelty(others, space) == pytest.approx(expected, rel=1e-4)


def test_a_training_image_scores_about_one_and_another_kind_more() -> None:
    own = score_novelty(_rows(200, 24, seed=2), SPACE)
    others = score_novelty(np.random.default_rng(3).uniform(0, 1, (200, 24)), SPACE)
    assert 0.8 < np.median(own) < 1.25
    assert others.min() > own.max()


def test_how_sure_the_network_is_does_not_matter() -> None:
    rows = _rows(20, 24)
    assert score_novelty(rows * 1000, SPACE) == pytest.approx(score_novelty(rows, SPACE), rel=1e-4)


@given(arrays(np.float32, (3, 24), elements=st.floats(width=32, allow_nan=False)))
def test_every_input_has_a_finite_score(rows: np.ndarray) -> None:
    scores = score_novelty(rows, SPACE)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()


@pytest.mark.parametrize(("n", "width"), [(19, 64), (100, 1), (100, 2**14 + 1)])
def test_too_few_images_or_features_say_nothing(n: int, width: int) -> None:
    assert count_axes(n, width) == 0
    assert fit_space(np.ones((n, width), np.float32)) is None


def test_images_that_are_all_the_same_have_a_space() -> None:
    space = fit_space(np.ones((40, 16)))
    assert space is not None
    assert np.isfinite(score_novelty(_rows(5, 16), space)).all()


def test_the_threshold_lets_no_more_pass_than_asked_for_on_average() -> None:
    """Over many validation sets: at most 2 % of new images, as a conformal quantile promises."""
    rng = np.random.default_rng(0)
    passed = [np.mean(rng.normal(size=500) > settle_novelty(rng.normal(size=120)).threshold) for _ in range(400)]
    assert 0.014 < np.mean(passed) <= 0.0205


def test_few_validation_images_set_the_threshold_at_the_largest() -> None:
    scores = np.arange(30.0)
    found = settle_novelty(scores)
    assert (found.threshold, found.n, found.share) == (29.0, 30, 0.02)
    assert settle_novelty(np.arange(99.0)).threshold == 97.0


def test_images_of_one_patient_count_once() -> None:
    """Alike images of a patient are not so many independent ones: of new patients far more would be flagged."""
    rng = np.random.default_rng(0)

    def draw(patients: int) -> tuple[np.ndarray, np.ndarray]:
        groups = np.repeat(np.arange(patients), 5)
        return rng.normal(size=patients)[groups] + 0.1 * rng.normal(size=len(groups)), groups + 1000

    passed = []
    for _ in range(400):
        scores, groups = draw(60)
        passed.append(np.mean(draw(100)[0] > settle_novelty(scores, groups=groups).threshold))
    assert 0.012 < np.mean(passed) <= 0.0215
    scores, groups = draw(10)
    few = settle_novelty(scores, groups=groups)
    assert (few.threshold, few.n, few.grouped) == (scores.max(), 10, True)
    each = settle_novelty(scores, groups=np.arange(50))
    assert msgspec.structs.replace(each, grouped=False) == settle_novelty(scores)


def test_too_few_patients_for_the_share_are_said() -> None:
    scores, groups = np.arange(300, dtype=np.float32), np.repeat(np.arange(10), 30)
    assert settle_threshold(scores, None)[1] == ()
    novelty, notes = settle_threshold(scores, groups)
    assert novelty is not None
    assert (novelty.n, len(notes)) == (10, 1)
    assert "of 10 groups" in notes[0]


@pytest.mark.parametrize(("n", "share"), [(10, 1 / 11), (49, 0.02), (500, 0.02)])
def test_the_share_that_passes_is_one_number_wherever_it_stands(n: int, share: float) -> None:
    """Of ten images the largest score is passed by 1 in 11, whatever share was asked for."""
    novelty = Novelty(kind="features", threshold=1.0, share=0.02, n=n, grouped=True)
    assert novelty.passing == pytest.approx(share)
    manifest = make_manifest(abstention=Abstention(novelty=novelty))
    report = msgspec.structs.replace(subject_of("three", images=False).report, **decided())
    subject = Subject(report=report, manifest=manifest)
    said = "9.09" if n == 10 else "2"
    assert f"at most {said} % of images like those of validation exceed" in " ".join(say_decisions(subject))
    assert f"At most {'9' if n == 10 else '2'} % of images like those of validation" in show_novelty(subject)
    told = describe_decisions(manifest)["unlike training"]
    assert f"{n} groups of validation images" in told


def test_the_report_counts_and_ranks_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    own, others = rng.normal(0, 1, 80).round(1), rng.normal(1, 1, 50).round(1)  # with ties
    novelty = Novelty(kind="features", threshold=1.0, share=0.02, n=50)
    found = judge_novelty(own, novelty, {"cats": others})
    assert found.flagged is not None
    assert found.flagged.value == np.mean(own > 1.0)
    (cats,) = found.unlike
    assert cats.auroc is not None
    assert cats.auroc.value == pytest.approx(roc_auc_score(np.repeat([0, 1], [80, 50]), np.concatenate([own, others])))
    assert cats.auroc.low < cats.auroc.value < cats.auroc.high
    assert cats.flagged is not None
    assert (cats.n, cats.flagged.value) == (50, np.mean(others > 1.0))
    assert found.flagged == bound_share(own > 1.0)


def test_images_of_few_patients_have_a_wider_interval() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 20)
    own, others = rng.normal(size=8)[groups] + 0.1 * rng.normal(size=160), rng.normal(1, 1, 60)
    novelty = Novelty(kind="features", threshold=0.5, share=0.02, n=50)
    alone, together = (judge_novelty(own, novelty, {"x": others}, one) for one in (None, groups))
    for get in (lambda report: report.flagged, lambda report: report.unlike[0].auroc):
        assert get(together).high - get(together).low > get(alone).high - get(alone).low


@pytest.mark.parametrize(("others", "method"), [([0.1, 0.9, 2.0], "delong"), ([3.0, 4.0], "wilson"), ([0.5], "wilson")])
def test_auroc_of_few_other_images_has_an_interval_that_holds_it(others: list[float], method: str) -> None:
    """By DeLong's variance; of AUROC 1 and of a single image, which have none, as of so many trials."""
    novelty = Novelty(kind="features", threshold=0.5, share=0.02, n=50)
    found = judge_novelty(np.linspace(0, 1, 20), novelty, {"x": np.array(others)}).unlike[0].auroc
    assert found is not None
    assert found.method == method
    assert found.low <= found.value <= found.high
    assert found.low < found.high
