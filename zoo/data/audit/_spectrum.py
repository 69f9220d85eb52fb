"""What an image looks like, in 143 numbers: its lowest frequencies, and how alike two images are by them.

This is the perceptual hash "pHash" (Zauner 2010) before it is cut to signs. A re-saved, resized, brightened or
contrast-stretched copy keeps these numbers up to a factor, which is divided out; mirroring and quarter turns only
flip signs and swap axes, so all eight orientations can be compared without decoding again.

Medical images all look alike: chest films correlate by 0.8 and more. So each frequency is divided by its root mean
square over the set ("whitened") before correlating. What every image of the set has then counts little, what is
peculiar to one counts fully: unrelated images correlate by 0.1 to 0.3, copies by more than 0.9, in every set tried.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SMALLEST", "TERMS", "TURNS", "best_turn", "invariants", "spectrum", "terms_for", "whiten"]

Floats = NDArray[np.float32]

TERMS = 12
"""Frequencies kept in each direction. Images of 28 pixels, halved and blown up again, still have this many; with 16
their copies fell to a correlation of 0.7."""

SMALLEST = 16
"""Pixels of the shorter side; smaller images hold too little to tell a copy from a lookalike (digits of 8 × 8)."""

TURNS = (
    "",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned upside down",
    "mirrored along a diagonal",
    "turned by 90°",
    "turned by 90°",
    "mirrored along a diagonal",
)
"""How one image of a pair has to be moved to match the other, by number."""

_FLOOR = 1e-3  # of the mean square: a frequency that no image has must not be blown up to noise


def spectrum(gray: NDArray[Any]) -> NDArray[np.float16]:
    """(TERMS, TERMS) float16 coefficients of the DCT-II of an (H, W) image, DC set to 0, of Euclidean norm 1.

    The first index counts frequencies from top to bottom. A constant image has only zeros.
    """
    values = gray.astype(np.float32)
    values -= values.mean(dtype=np.float32)
    found = _cosines(values.shape[0]) @ values @ _cosines(values.shape[1]).T
    found[0, 0] = 0
    length = float(np.linalg.norm(found))
    # rounding leaves about 1e-7 of the largest value where there is nothing
    if length <= 1e-5 * float(np.abs(values).max(initial=0)):
        return np.zeros((TERMS, TERMS), np.float16)
    unit: NDArray[np.float16] = (found / length).astype(np.float16)
    return unit


@functools.lru_cache(maxsize=64)
def _cosines(n: int) -> Floats:
    """(TERMS, n): the cosines of the DCT-II, divided by n so that the size of an image drops out."""
    basis = np.cos(np.pi / n * (np.arange(n) + 0.5) * np.arange(TERMS)[:, np.newaxis]) / n
    basis[n:] = 0  # an image of n pixels has n frequencies
    cosines: Floats = basis.astype(np.float32)
    return cosines


def terms_for(side: int) -> int:
    """Frequencies to compare where images have `side` pixels: what survives halving them."""
    return max(4, min(TERMS, round(side * TERMS / 28)))


def whiten(spectra: NDArray[np.float16], terms: int) -> Floats:
    """Spectra made comparable: each frequency divided by its root mean square over the set, then norm 1 each.

    Both directions share one divisor, so that a transposed image is treated as the image.

    Args:
        spectra: (n, TERMS, TERMS).
        terms: how many frequencies in each direction are kept.

    Returns:
        (n, terms, terms) float32; rows of zeros for images without structure.
    """
    kept = spectra[:, :terms, :terms].astype(np.float32)
    square = np.zeros((terms, terms), np.float64)
    for start in range(0, len(kept), 4096):
        square += np.square(kept[start : start + 4096], dtype=np.float64).sum(axis=0)
    square = (square + square.T) / (2 * max(1, len(kept)))
    kept /= np.sqrt(square + _FLOOR * square.mean() + np.finfo(np.float32).tiny).astype(np.float32)
    kept[:, 0, 0] = 0
    length = np.sqrt(np.einsum("nuv,nuv->n", kept, kept))
    kept /= np.maximum(length, 1e-6)[:, np.newaxis, np.newaxis]
    return kept


def invariants(patterns: Floats) -> Floats:
    """(n, terms²) float32 of norm 1 that are the same for all eight orientations of an image.

    Magnitudes forget mirroring; sorting each (u, v), (v, u) pair of them forgets transposition. Neither step can
    move two vectors apart, so their product is never below the correlation in the best orientation: a search by
    these numbers with the same threshold misses no pair.

    Args:
        patterns: (n, terms, terms), as `whiten` gives them.
    """
    upper = np.triu(np.ones(patterns.shape[1:], np.bool_))
    keys = np.empty(patterns.shape, np.float32)
    for start in range(0, len(keys), 4096):
        size = np.abs(patterns[start : start + 4096])
        turned = size.transpose(0, 2, 1)
        keys[start : start + 4096] = np.where(upper, np.maximum(size, turned), np.minimum(size, turned))
    return keys.reshape(len(keys), -1)


def best_turn(first: Floats, second: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Correlation of pairs in the orientation in which they agree best.

    Args:
        first: (m, terms, terms), as `whiten` gives them.
        second: the other images of the pairs.

    Returns:
        (m,) correlations, and (m,) positions in `TURNS`.
    """
    found = np.empty((8, len(first)), np.float32)
    for transposed in (0, 1):
        product = first * (second.transpose(0, 2, 1) if transposed else second)
        even, odd = product[:, ::2], product[:, 1::2]
        # a mirrored image has the sign of every odd frequency in that direction turned round
        plain, across = even[:, :, ::2].sum((1, 2)), even[:, :, 1::2].sum((1, 2))
        down, both = odd[:, :, ::2].sum((1, 2)), odd[:, :, 1::2].sum((1, 2))
        for number, (a, b) in enumerate(((1, 1), (-1, 1), (1, -1), (-1, -1))):
            found[4 * transposed + number] = plain + a * across + b * down + a * b * both
    turn = found.argmax(axis=0).astype(np.uint8)
    return found[turn, np.arange(len(first))], turn
