"""The test behind `zoo monitor`: it raises few false alarms however often it is asked, and it sees what changes."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.edge._martingale import bet, find_change, most, rank_values, weigh_shares

ALPHA = 0.05
STREAMS, REFERENCE, LENGTH = 600, 100, 500


def draw_p(kind: str, *, shift: float = 0.0, begin: int = 0) -> np.ndarray:
    """(LENGTH, STREAMS) p-values of streams that leave their reference from `begin` on by `shift`."""
    random = np.random.default_rng(5)
    rows = []
    for stream in range(STREAMS):
        values = np.round(random.standard_normal(REFERENCE + LENGTH), 1)  # so that there are ties
        values[REFERENCE + begin :] *= 1 + (shift if kind == "spread" else 0)
        values[REFERENCE + begin :] += shift if kind == "numbers" else 0
        rows.append(rank_values(f"{kind} {stream}", sorted(values[:REFERENCE]), values[REFERENCE:]))
    return np.stack(rows, axis=1)


def draw_shares(share: float, later: float, *, begin: int = 0) -> np.ndarray:
    """(LENGTH, STREAMS) evidence of shares that are another from `begin` on."""
    random = np.random.default_rng(7)
    hits = random.binomial(REFERENCE, share, STREAMS)
    chance = np.where(np.arange(LENGTH) < begin, share, later)[:, None]
    return weigh_shares(hits, REFERENCE, random.random((LENGTH, STREAMS)) < chance)


def check_rate(evidence: np.ndarray) -> None:
    alarms = (evidence.max(axis=0) >= np.log(1 / ALPHA)).sum()
    allowed = STREAMS * ALPHA + 2.33 * np.sqrt(STREAMS * ALPHA * (1 - ALPHA))  # its binomial error, one in a hundred
    assert alarms <= allowed, "the bound is Ville's"


def test_without_drift_few_streams_of_numbers_ever_raise_an_alarm() -> None:
    check_rate(bet(draw_p("numbers")))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.5])
def test_without_drift_few_streams_of_shares_ever_raise_an_alarm(share: float) -> None:
    check_rate(draw_shares(share, share))


def test_p_values_are_uniform_though_the_reference_is_small_and_values_are_tied() -> None:
    p = draw_p("numbers")
    assert ((p >= 0) & (p <= 1)).all()
    for part in (p[:20], p[-20:]):
        counts = np.histogram(part, 10, (0, 1))[0] / part.size
        assert np.abs(counts - 0.1).max() < 4 * np.sqrt(0.09 / part.size)


def check_seen(evidence: np.ndarray) -> None:
    over = evidence >= np.log(1 / ALPHA)
    seen = over.any(axis=0)
    assert seen.mean() > 0.9
    assert np.median(over.argmax(axis=0)[seen]) < 220, "within 120 images"


@pytest.mark.parametrize(("kind", "shift"), [("numbers", 0.7), ("numbers", -0.7), ("spread", 1.5)])
def test_a_change_of_numbers_is_seen_soon_after_it_began(kind: str, shift: float) -> None:
    check_seen(bet(draw_p(kind, shift=shift, begin=100)))


@pytest.mark.parametrize(("share", "later"), [(0.1, 0.35), (0.0, 0.1), (0.5, 0.2)])
def test_a_change_of_shares_is_seen_soon_after_it_began(share: float, later: float) -> None:
    check_seen(draw_shares(share, later, begin=100))


def test_it_says_where_a_share_changed() -> None:
    stream = np.arange(300)[:, None] % np.where(np.arange(300) < 120, 10, 2)[:, None] == 0
    evidence = weigh_shares(np.array([10]), 100, stream)
    alarm = int((evidence[:, 0] > np.log(1 / ALPHA)).argmax())
    assert 120 < alarm < 180
    assert 100 <= find_change(10, 100, stream[: alarm + 1, 0]) <= 130


def test_a_longer_stream_changes_nothing_of_what_was_said_before() -> None:
    values = np.random.default_rng(0).standard_normal(60)
    reference = sorted(np.random.default_rng(1).standard_normal(30))
    whole, begun = (rank_values("brightness", reference, values[:count]) for count in (60, 25))
    assert (whole[:25] == begun).all()
    assert (bet(whole[:, None])[:25] == bet(begun[:, None])).all()
    hits = values[:, None] > 0
    shares = [weigh_shares(np.array([9]), 30, hits[:count])[:20] for count in (60, 25)]
    np.testing.assert_allclose(*shares, rtol=1e-12)


def test_so_few_images_cannot_raise_an_alarm() -> None:
    assert most(0) == -np.inf
    assert most(5) < np.log(100) < most(40)
    assert bet(np.zeros((5, 1))).max() <= most(5)


def test_the_martingale_has_mean_one() -> None:
    """On independent uniform p-values, whatever the number of steps."""
    p = np.random.default_rng(3).random((20, 20_000))
    assert np.exp(bet(p)[-1]).mean() == pytest.approx(1, abs=0.03)
