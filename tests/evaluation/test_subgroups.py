"""Groups of a report: measured like the whole, tested against the others, silent where they are too few."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from zoo.evaluation import Cases, Share, bound_share, find_segments, measure_groups
from zoo.evaluation._grouping import cut_cells
from zoo.evaluation._influence import Estimate, auroc_of, bound, estimate_variance
from zoo.evaluation.subgroups import LEAST_IMAGES, LEAST_PATIENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def answers(n: int, classes: int = 2, seed: int = 0, strength: float = 2.0) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), targets] += strength
    return logits, targets


def failing_site(n: int = 400) -> tuple[Cases, list[str]]:
    """A model that guesses at one of four sites."""
    logits, targets = answers(n)
    sites = [("north", "south", "east", "west")[at % 4] for at in range(n)]
    at_north = np.array(sites) == "north"
    logits[at_north] = np.random.default_rng(1).normal(size=(at_north.sum(), 2))
    return Cases.of(logits, targets), sites


def test_a_group_has_the_metrics_of_its_images() -> None:
    logits, targets = answers(300, classes=3)
    groups = np.array(["a", "b"])[np.arange(300) % 2]
    cases = Cases.of(logits, targets)
    row = measure_groups(cases, {"site": groups.tolist()})[0]
    one = groups == "a"
    called = logits.argmax(axis=1)
    ranks = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    odds = ranks - np.log1p(-np.exp(ranks))
    areas = [roc_auc_score(targets[one] == k, odds[one, k]) for k in range(3)]
    assert (row.column, row.group, row.n) == ("site", "a", 150)
    assert row.metrics["accuracy"].value == pytest.approx((called == targets)[one].mean())
    assert row.metrics["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(targets[one], called[one]))
    assert row.metrics["macro_auroc"].value == pytest.approx(np.mean(areas))


def test_labels_of_several_are_averaged_over_what_is_known() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(400, 3)), rng.integers(0, 2, (400, 3))
    targets[rng.random((400, 3)) < 0.2] = -1
    row = measure_groups(Cases.of(logits, targets), {"sex": ["F"] * 400})[0]
    known = targets >= 0
    right = ((logits >= 0) == (targets == 1)) & known
    assert row.metrics["accuracy"].value == pytest.approx((right.sum(axis=0) / known.sum(axis=0)).mean())
    areas = [roc_auc_score(targets[known[:, k], k], logits[known[:, k], k]) for k in range(3)]
    assert row.metrics["macro_auroc"].value == pytest.approx(np.mean(areas))


def test_the_spread_of_auroc_is_that_of_delong() -> None:
    logits, targets = answers(120)
    cases = Cases.of(logits, targets)
    found = auroc_of(cases, np.ones(120, np.bool_))
    score = logits[:, 1] - logits[:, 0]
    positive, negative = score[targets == 1], score[targets == 0]
    wins = (positive[:, None] > negative).astype(float)
    expected = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(wins.mean())
    assert estimate_variance(cases, found.influence, found.images) == pytest.approx(expected)


@pytest.mark.parametrize("patients", [None, 30, 60])
def test_intervals_of_groups_hold_the_truth(patients: int | None) -> None:
    rng = np.random.default_rng(0)
    held = {"accuracy": 0, "macro_auroc": 0}
    truth = {"accuracy": stats.norm.cdf(1.5 / 2**0.5), "macro_auroc": stats.norm.cdf(1.5)}
    runs, n = 300, 120 if patients is None else 4 * patients
    for _ in range(runs):
        who = np.arange(n) if patients is None else rng.integers(0, patients, n)
        own = rng.normal(size=who.max() + 1)[who]
        # the two logits differ by a normal number around -1.5 or 1.5 with a variance of 2, half of it a patient's own
        share = 0.0 if patients is None else 0.5
        targets = rng.integers(0, 2, who.max() + 1)[who]
        gap = np.where(targets == 1, 1.5, -1.5) + 2**0.5 * (share**0.5 * own + (1 - share) ** 0.5 * rng.normal(size=n))
        cases = Cases.of(np.stack([-gap / 2, gap / 2], axis=1), targets, groups=None if patients is None else who)
        row = measure_groups(cases, {"site": ["a"] * n})[0]
        truth["accuracy"] = stats.norm.cdf(1.5 / 2**0.5)
        truth["macro_auroc"] = stats.norm.cdf(3 / 2)
        for name in held:
            held[name] += row.metrics[name].low <= truth[name] <= row.metrics[name].high
    for name, count in held.items():
        assert 0.92 <= count / runs <= 0.985, name


def test_a_group_in_which_the_model_guesses_is_found() -> None:
    cases, sites = failing_site()
    rows = {row.group: row for row in measure_groups(cases, {"site": sites})}
    worst = rows["north"].differences["accuracy"]
    assert worst.value < -0.2
    assert worst.high < 0
    assert worst.p <= worst.p_holm < 0.001
    assert rows["north"].differences["macro_auroc"].p_holm < 0.001
    segments = find_segments(cases, {"site": sites}, {"brightness": np.random.default_rng(2).random(cases.n)})
    assert [(row.column, row.group) for row in segments] == [("site", "north")]
    assert segments[0].metrics["accuracy"].high > rows["north"].metrics["accuracy"].high, "corrected for many"


def test_a_property_of_the_pixels_can_be_a_segment() -> None:
    logits, targets = answers(600)
    dark = np.random.default_rng(3).random(600)
    logits[dark < 0.25] = np.random.default_rng(4).normal(size=((dark < 0.25).sum(), 2))
    (row,) = find_segments(Cases.of(logits, targets), {}, {"brightness": dark})
    assert row.column == "brightness"
    assert row.n == 150
    assert row.group.startswith(f"{dark.min():.4g}")


@pytest.mark.parametrize("clusters", [None, 60])
def test_nothing_is_found_where_there_is_nothing(clusters: int | None) -> None:
    rng = np.random.default_rng(5)
    alarms = weak = 0
    runs, n = 60, 300
    for _ in range(runs):
        who = np.arange(n) if clusters is None else rng.integers(0, clusters, n)
        targets = rng.integers(0, 2, who.max() + 1)[who]
        logits = rng.normal(size=(n, 2)) + rng.normal(size=(who.max() + 1, 2))[who]
        logits[np.arange(n), targets] += 2
        of = rng.integers(0, 5, who.max() + 1)[who]
        columns = {"site": [f"s{one}" for one in of], "sex": ["FM"[one % 2] for one in of]}
        cases = Cases.of(logits, targets, groups=None if clusters is None else who)
        rows = measure_groups(cases, columns)
        alarms += any(gap.p_holm < 0.05 for row in rows for gap in row.differences.values())
        weak += bool(find_segments(cases, columns, {"brightness": rng.random(n)}))
    assert alarms <= 7  # 3 are expected at most; 8 or more come once in a hundred
    assert weak <= 7


def test_accuracy_is_tested_exactly_where_images_are_independent() -> None:
    cases, sites = failing_site(200)
    row = next(one for one in measure_groups(cases, {"site": sites}) if one.group == "north")
    inside = np.array(sites) == "north"
    right = cases.right > 0
    table = [[(right & inside).sum(), (~right & inside).sum()], [(right & ~inside).sum(), (~right & ~inside).sum()]]
    assert row.differences["accuracy"].p == pytest.approx(stats.fisher_exact(table).pvalue)


def test_few_images_or_patients_get_no_number() -> None:
    logits, targets = answers(200)
    rare = ["rare"] * (LEAST_IMAGES - 1) + ["common"] * (201 - LEAST_IMAGES)
    few, rest = sorted(measure_groups(Cases.of(logits, targets), {"site": rare}), key=lambda row: row.group != "rare")
    assert (few.n, few.patients, few.metrics, few.differences) == (None, None, {}, {})
    assert set(few.undefined) == {"all"}
    assert rest.n == 201 - LEAST_IMAGES
    assert not rest.differences, "the others are too few to be compared with"
    patients = np.where(np.arange(200) < 100, np.arange(200) % (LEAST_PATIENTS - 1), np.arange(200))
    half = ["rare"] * 100 + ["common"] * 100
    rows = measure_groups(Cases.of(logits, targets, groups=patients), {"site": half})
    assert {row.group: row.n for row in rows} == {"common": 100, "rare": None}


def test_a_class_of_few_images_leaves_auroc_undefined_and_accuracy_not() -> None:
    logits, targets = answers(100)
    targets[:] = 0
    targets[:3] = 1
    (row,) = measure_groups(Cases.of(logits, targets), {"site": ["a"] * 100})
    assert set(row.metrics) == {"accuracy"}
    assert set(row.undefined) == {"balanced_accuracy", "macro_auroc"}


def test_numbers_are_cut_by_their_own_values_and_missing_ones_are_a_group() -> None:
    ages = [str(20 + at % 40) for at in range(200)] + ["", "NA"]
    assert list(cut_cells("age", ages)) == ["20 to 29", "30 to 39", "40 to 49", "50 to 59", "missing"]
    assert cut_cells("age", ages)["missing"].sum() == 2
    doses = [str(at / 7) for at in range(100)]
    assert [int(mask.sum()) for mask in cut_cells("dose", doses).values()] == [25, 25, 25, 25]
    assert list(cut_cells("grade", [str(1 + at % 3) for at in range(30)])) == ["1", "2", "3"]
    assert list(cut_cells("sex", ["f", "F", " F", "M", ""])) == ["F", "M", "missing"] or list(
        cut_cells("sex", ["f", "F", " F", "M", ""])
    ) == ["f", "M", "missing"]


def test_no_image_is_lost_between_groups() -> None:
    dates = [str(20240101 + at % 31) for at in range(93)]
    assert len(cut_cells("date", dates)) == 4
    for cells in (dates, ["missing", "", "Missing", "x"] * 10, ["other values", *map(chr, range(65, 90))] * 2):
        assert np.sum(list(cut_cells("date", cells).values())) == len(cells)


def test_a_column_that_names_the_images_divides_nothing() -> None:
    logits, targets = answers(100)
    assert measure_groups(Cases.of(logits, targets), {"accession": [f"x{at}" for at in range(100)]}) == ()


def test_two_groups_of_one_column_are_one_test() -> None:
    logits, targets = answers(200)
    sexes = ["FM"[at % 2] for at in range(200)]
    a, b = measure_groups(Cases.of(logits, targets), {"sex": sexes})
    assert a.differences["accuracy"].p_holm == b.differences["accuracy"].p_holm
    smallest = min(gap.p for gap in a.differences.values())
    assert min(gap.p_holm for gap in a.differences.values()) == pytest.approx(min(1.0, 2 * smallest))


def test_more_shares_of_a_group_come_by_its_mask() -> None:
    logits, targets = answers(100)
    first = np.arange(100) < 50
    shares = {"first": Share(first, np.ones(100, np.bool_)), "none": Share(first, np.zeros(100, np.bool_))}
    rows = measure_groups(Cases.of(logits, targets), {"sex": ["FM"[at % 2] for at in range(100)]}, shares)
    assert [row.metrics["first"].value for row in rows] == [0.5, 0.5]
    assert all("none" not in row.metrics for row in rows)


def test_a_value_that_no_image_moves_is_exact_and_a_perfect_one_is_not() -> None:
    logits, targets = answers(100, strength=50)
    cases = Cases.of(logits, targets)
    found = auroc_of(cases, np.ones(100, np.bool_))
    assert isinstance(found, Estimate)
    assert bound(cases, found).low < 1.0
    tied = auroc_of(cases, np.ones(100, np.bool_), np.zeros((100, 2)))
    assert isinstance(tied, Estimate)
    assert (bound(cases, tied).low, bound(cases, tied).high) == (0.5, 0.5)


def test_patients_who_are_all_alike_leave_an_interval() -> None:
    patients = np.repeat(np.arange(20), 2)
    targets = np.tile([0, 1], 20)
    cases = Cases.of(np.tile([[1.0, 0.0]], (40, 1)), targets, groups=patients)
    (row,) = measure_groups(cases, {"site": ["a"] * 40})
    assert row.metrics["accuracy"].value == 0.5
    assert row.metrics["accuracy"].high - row.metrics["accuracy"].low > 0.3


def two_sites(*, shared: bool) -> tuple[Cases, list[str]]:
    """An easy and a hard label, answered alike at both sites, of which each site knows one, and a third one."""
    rng = np.random.default_rng(0)
    n = 400
    targets = rng.integers(0, 2, (n, 3))
    logits = rng.normal(size=(n, 3)) + (2 * targets - 1) * np.array([2.0, 0.3, 1.0])
    at_a = np.arange(n) % 2 == 0
    targets[~at_a, 0] = targets[at_a, 1] = -1
    if not shared:
        targets[:, 2] = -1
    return Cases.of(logits, targets), np.where(at_a, "A", "B").tolist()


def test_sites_that_know_other_labels_are_not_compared_and_that_is_said() -> None:
    cases, sites = two_sites(shared=False)
    for row in measure_groups(cases, {"site": sites}):
        assert row.n == 200
        assert set(row.metrics) == {"accuracy", "balanced_accuracy", "macro_auroc"}
        assert row.differences == {}
        assert set(row.undefined) == {"accuracy difference", "macro_auroc difference"}
    assert find_segments(cases, {"site": sites}, {}) == ()


def test_sites_are_compared_by_the_labels_that_both_know() -> None:
    cases, sites = two_sites(shared=True)
    at_a = np.array(sites) == "A"
    row = measure_groups(cases, {"site": sites})[0]
    areas = [roc_auc_score(cases.targets[one, 2], cases.scores[one, 2]) for one in (at_a, ~at_a)]
    right = cases.predicted[:, 2] == cases.targets[:, 2]
    assert row.differences["macro_auroc"].value == pytest.approx(areas[0] - areas[1])
    assert row.differences["accuracy"].value == pytest.approx(right[at_a].mean() - right[~at_a].mean())
    assert min(one.p for one in row.differences.values()) > 0.01
    assert find_segments(cases, {"site": sites}, {}) == ()


def test_a_segment_is_told_by_the_accuracy_that_was_compared() -> None:
    """Or "in all others" would be an accuracy that no images have."""
    cases, sites = two_sites(shared=True)
    at_a = np.array(sites) == "A"
    spoilt = np.where(at_a & (np.arange(400) % 3 > 0), 1 - cases.predicted[:, 2], cases.predicted[:, 2])
    predicted = np.column_stack([cases.predicted[:, :2], spoilt])
    (row,) = find_segments(replace(cases, predicted=predicted), {"site": sites}, {})
    right = spoilt == cases.targets[:, 2]
    assert row.metrics["accuracy"].value == pytest.approx(right[at_a].mean())
    assert row.metrics["accuracy"].value - row.differences["accuracy"].value == pytest.approx(right[~at_a].mean())


def misses(n: int, *, worse: float, patients: int | None = None, seed: int = 0) -> tuple[Cases, list[str], Share]:
    """Two sites, with sensitivity of 0.9 at an operating point, less `worse` at the second; and that sensitivity."""
    rng = np.random.default_rng(seed)
    logits, targets = answers(n, seed=seed)
    groups = None if patients is None else np.arange(n) % patients
    second = (np.arange(n) if groups is None else groups) % 2 == 1
    drawn = rng.random(n)
    if groups is not None:  # half of the images of a patient share their luck
        drawn = np.where(rng.random(n) < 0.5, rng.random(patients)[groups], drawn)
    share = Share(drawn < 0.9 - worse * second, targets == 1)
    return Cases.of(logits, targets, groups=groups), np.where(second, "second", "first").tolist(), share


def test_misses_at_an_operating_point_are_compared_between_groups() -> None:
    cases, sites, share = misses(600, worse=0.25)
    kept = Share(share.hits, share.trials, tested=False)
    shares = {"sensitivity for ill": share, "coverage": kept}
    row = next(one for one in measure_groups(cases, {"site": sites}, shares) if one.group == "second")
    at = np.array(sites) == "second"
    inside, outside = (share.hits[share.trials & side] for side in (at, ~at))
    assert row.metrics["sensitivity for ill"] == bound_share(share.hits, share.trials & at)
    assert set(row.differences) == {"accuracy", "macro_auroc", "sensitivity for ill"}
    found = row.differences["sensitivity for ill"]
    assert found.value == pytest.approx(inside.mean() - outside.mean())
    table = [[side.sum(), (~side).sum()] for side in (inside, outside)]
    assert found.p == pytest.approx(stats.fisher_exact(table)[1], rel=1e-6)
    assert found.low < found.value < found.high < 0
    ps = sorted(one.p for one in row.differences.values())  # two groups of one column are one test each
    assert found.p_holm == pytest.approx(found.p * (3 - ps.index(found.p)))


@pytest.mark.parametrize("patients", [None, 60])
def test_equal_misses_are_seldom_called_unequal(patients: int | None) -> None:
    """Images of one patient share their luck; Fisher's test of images would find differences in every fourth table."""
    found = []
    for seed in range(200):
        cases, sites, share = misses(300, worse=0.0, patients=patients, seed=seed)
        row = measure_groups(cases, {"site": sites}, {"sensitivity for ill": share})[0]
        found.append(row.differences["sensitivity for ill"].p < 0.05)
    assert np.mean(found) <= 0.08


def test_few_images_of_a_label_are_not_compared_and_that_is_said() -> None:
    cases, sites, share = misses(200, worse=0.3)
    few = share.trials & ((np.cumsum(share.trials & (np.array(sites) == "second")) <= 4) | (np.array(sites) == "first"))
    for row in measure_groups(cases, {"site": sites}, {"sensitivity for ill": Share(share.hits, few)}):
        assert "sensitivity for ill" in row.metrics
        assert "sensitivity for ill" not in row.differences
        assert set(row.undefined) == {"sensitivity for ill difference"}
