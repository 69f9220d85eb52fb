"""Members of an ensemble see one image: what fills it up is the same for all, whatever their order."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from made_runs import make_run
from refusals import refused

from zoo.errors import UsageError
from zoo.registry import find
from zoo.registry._ensembles import ensemble_card
from zoo.spec import Intensity, Percentile, Window

if TYPE_CHECKING:
    from pathlib import Path

OURS, THEIRS = ((-2000.0, -2000.0),), ((-1024.0, -1024.0),)


def member(path: Path, intensity: Intensity, side: int) -> Path:
    card: Any = find("svm")
    changes = {"size": (side, side), "channels": "gray", "intensity": intensity, "mean": (0.5,), "std": (0.5,)}
    spec = msgspec.structs.replace(card.preprocess, **changes)
    return make_run(path, kind="float32", card=msgspec.structs.replace(card, preprocess=spec))


@pytest.mark.parametrize("other", [THEIRS, ()])
def test_members_that_leave_out_other_padding_are_refused(
    tmp_path: Path, other: tuple[tuple[float, float], ...]
) -> None:
    runs = [
        member(tmp_path / "a", Percentile(padding=OURS), 64),
        member(tmp_path / "b", Percentile(padding=other), 32),
    ]
    for order in permutations(runs):
        with refused("ensemble-mixed", UsageError, differs="padding", member=str(order[1])):
            ensemble_card("ensemble:" + ",".join(map(str, order)))


def test_images_are_read_for_the_member_that_leaves_padding_out(tmp_path: Path) -> None:
    """Else files of another site would reach its percentiles with padding that it does not know."""
    runs = [
        member(tmp_path / "a", Window(center=40, width=400), 64),
        member(tmp_path / "b", Percentile(padding=OURS), 16),
        member(tmp_path / "c", Percentile(padding=OURS), 32),
    ]
    cards = [ensemble_card("ensemble:" + ",".join(map(str, order))) for order in permutations(runs)]
    assert {(card.preprocess.intensity, card.preprocess.size) for card in cards} == {
        (Percentile(padding=OURS), (32, 32))
    }
