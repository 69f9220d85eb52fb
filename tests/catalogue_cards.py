"""The cards of the built-in catalogue as parameters of tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from zoo.registry._catalogue import Distribution, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.spec import ModelCard

CARDS = read(Path(__file__).resolve().parents[1] / "registry.yaml", Distribution("edgezoo", "0"))


def of_networks() -> list[Any]:
    """Every card that torch builds; all but the smallest of a family are slow."""
    return each([card for card in CARDS.values() if "torch" in card.needs])


def each(cards: Iterable[ModelCard]) -> list[Any]:
    """These cards by name; all but the smallest of a family are slow."""
    every = list(cards)
    smallest = {card.family: card.name for card in sorted(every, key=lambda one: -(one.parameters or 0))}
    return [
        pytest.param(card, id=card.name, marks=[] if smallest[card.family] == card.name else [pytest.mark.slow])
        for card in every
    ]
