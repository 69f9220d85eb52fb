"""Which class is meant by a name, in whatever spelling."""

from __future__ import annotations

import unicodedata

import pytest
from refusals import refused

from zoo._support.labels import find_label, match_labels
from zoo.errors import UsageError

KNOWN = ("AK", "ak", unicodedata.normalize("NFC", "mélanome"), "7", "b")


@pytest.mark.parametrize("spelled", [unicodedata.normalize("NFD", "mélanome"), " Mélanome", "MÉLANOME"])
def test_a_label_is_found_in_another_spelling_beside_two_that_differ_by_case(spelled: str) -> None:
    assert find_label(spelled, KNOWN) == 2
    assert (find_label("ak", KNOWN), find_label("AK", KNOWN), find_label("7.0", KNOWN)) == (1, 0, 3)


@pytest.mark.parametrize("named", ["Ak", "B", "melanome", ""])
def test_what_could_be_two_labels_or_is_another_is_refused(named: str) -> None:
    """'B' is another letter than 'b' to sets of handwriting."""
    with refused("label-unknown", UsageError, labels=[named], known=list(KNOWN)):
        find_label(named, KNOWN, f"--label {named}")


def test_two_labels_never_have_one_place() -> None:
    assert match_labels(("melanoma", "Melanoma", "Nevus"), ("melanoma", "nevus")) == (0, None, 1)
