"""The search for near-duplicates: no pair lost, none invented, nothing that grows with the square of the set."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.audit import _search as search
from zoo.data.audit._search import near_pairs, threshold_for
from zoo.data.audit._spectrum import TERMS, best_turn, invariants, spectrum, terms_for, whiten

MOVES = {
    "": lambda p: p,
    "mirrored left to right": np.fliplr,
    "mirrored top to bottom": np.flipud,
    "turned upside down": lambda p: np.rot90(p, 2),
    "mirrored along a diagonal": np.transpose,
    "turned by 90°": np.rot90,
}


def random_spectra(n: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    """As of unrelated photographs: power falls with frequency."""
    fall = 1 / (1 + np.add.outer(np.arange(TERMS), np.arange(TERMS)))
    found = np.random.default_rng(seed).standard_normal((n, TERMS, TERMS)) * fall
    found[:, 0, 0] = 0
    return (found / np.linalg.norm(found, axis=(1, 2), keepdims=True)).astype(np.float16)


@pytest.mark.parametrize("name", MOVES)
def test_an_image_matches_itself_in_every_orientation_and_the_orientation_is_named(name: str) -> None:
    image = np.random.default_rng(1).random((50, 70), np.float32)
    pair = np.stack([spectrum(image), spectrum(MOVES[name](image))])
    patterns = whiten(np.concatenate([pair, random_spectra(50)]), TERMS)
    correlation, turn = best_turn(patterns[:1], patterns[1:2])
    assert correlation[0] > 0.99
    assert search_turn(int(turn[0])) == name


def search_turn(number: int) -> str:
    from zoo.data.audit._spectrum import TURNS

    return TURNS[number]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 2))
def test_the_first_stage_never_ranks_a_pair_lower_than_the_second(seed: int, noise: float) -> None:
    """Else the search would lose pairs without a word."""
    first = random_spectra(20, seed)
    second = first[:, ::-1].transpose(0, 2, 1) + noise * random_spectra(20, seed + 1)
    patterns = whiten(np.concatenate([first, second.astype(np.float16)]), TERMS)
    keys = invariants(patterns)
    bound = (keys[:20] * keys[20:]).sum(axis=1)
    assert (bound >= best_turn(patterns[:20], patterns[20:])[0] - 1e-5).all()


def test_brightness_and_contrast_drop_out() -> None:
    image = np.random.default_rng(2).integers(50, 150, (40, 40)).astype(np.uint8)
    assert np.abs(spectrum(image).astype(float) - spectrum(image * 1.4 + 20).astype(float)).max() < 2e-3


def test_a_constant_image_matches_nothing() -> None:
    spectra = np.concatenate(
        [np.stack([spectrum(np.full((30, 30), v, np.uint8)) for v in (7, 200)]), random_spectra(9)]
    )
    assert not spectra[:2].any()
    assert len(near_pairs(whiten(spectra, TERMS), 0.9).first) == 0


def test_copies_are_found_across_the_tiles_of_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "TILE", 64)
    spectra = np.concatenate([random_spectra(300), random_spectra(300)[::-1]])
    pairs = near_pairs(whiten(spectra, TERMS), 0.95)
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(i, 599 - i) for i in range(300)]
    assert pairs.exhaustive


def test_buckets_find_nearly_all_that_the_table_of_all_pairs_finds() -> None:
    rng = np.random.default_rng(3)
    spectra = random_spectra(4000)
    noisy = (spectra + rng.normal(0, 0.012, spectra.shape)).astype(np.float16)
    patterns = whiten(np.concatenate([spectra, noisy]), TERMS)
    every, some = near_pairs(patterns, 0.9), near_pairs(patterns, 0.9, exhaustive=0)
    assert len(every.first) > 3000
    assert len(some.first) >= 0.98 * len(every.first)
    assert not some.exhaustive


def test_memory_grows_with_the_set_and_not_with_its_square() -> None:
    """All pairs of 20 000 images would be 1.6 GB of numbers."""
    patterns = whiten(random_spectra(20_000), TERMS)
    tracemalloc.start()
    near_pairs(patterns, 0.9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * patterns.nbytes + 60e6


def test_a_set_of_one_picture_ends_the_search_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_PAIRS", 100)
    same = np.repeat(random_spectra(1), 60, axis=0)
    pairs = near_pairs(whiten(np.concatenate([same, random_spectra(20, 5)]), TERMS), 0.9)
    assert not pairs.complete


def test_the_threshold_rises_where_all_images_are_alike_and_never_falls_below() -> None:
    assert threshold_for(whiten(random_spectra(500), TERMS)) == search.THRESHOLD
    few = whiten(random_spectra(500), 2)  # three numbers an image: everything looks like something
    assert search.THRESHOLD < threshold_for(few) <= search.CEILING


def test_small_images_are_compared_by_fewer_frequencies() -> None:
    assert [terms_for(side) for side in (16, 20, 28, 64, 1024)] == [7, 9, 12, 12, 12]
