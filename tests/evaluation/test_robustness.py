"""What a model answers to corrupted copies: paired with the images as they are, abstentions counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pictures import tiles

from zoo.evaluation.robustness import CorruptedImages, answer_set, find_drop, mean_accuracy, row_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.evaluation import Cases


class Tiles:
    """Tiles of two photographs, which brightness tells apart."""

    def __init__(self) -> None:
        self.tiles = [*tiles("china")[:30], *(tile // 3 for tile in tiles("flower")[:30])]
        self.ids = [f"{at}.png" for at in range(60)]
        self.columns: dict[str, list[Any]] = {}
        self.targets = np.repeat([0, 1], 30)

    def __len__(self) -> int:
        return 60

    def read(self, i: int) -> Any:
        return SimpleNamespace(pixels=self.tiles[i])


def by_brightness(batch: NDArray[Any]) -> NDArray[Any]:
    mean = batch.mean(axis=(1, 2, 3))
    return np.stack([mean, 100 - mean], axis=1) / 20


HOW: dict[str, Any] = {"temperature": 1.0, "groups": None}


def test_what_is_lost_is_paired_by_images() -> None:
    images = Tiles()
    before = answer_set(by_brightness, images, images.targets, **HOW)
    darker = answer_set(by_brightness, CorruptedImages(images, "vignette", 5, 0), images.targets, **HOW)
    row = row_of("vignette", 5, before, darker)
    assert before.accuracy.value > row.accuracy.value
    assert row.drop.value == pytest.approx(before.accuracy.value - row.accuracy.value)
    paired = before.cases.right - darker.cases.right
    assert row.drop.high - row.drop.value == pytest.approx(2.0010 * paired.std(ddof=1) / 60**0.5, rel=1e-3)
    assert mean_accuracy([before, darker]).value == pytest.approx((before.accuracy.value + darker.accuracy.value) / 2)
    assert find_drop(before, [before, darker]).value == pytest.approx(row.drop.value / 2)


def test_a_model_that_is_not_moved_has_an_interval_all_the_same() -> None:
    images = Tiles()
    before = answer_set(by_brightness, images, images.targets, **HOW)
    drop = find_drop(before, [before])
    assert drop.value == 0
    assert drop.low < -0.01
    assert drop.high > 0.01


def test_images_that_the_file_does_not_answer_are_counted() -> None:
    images = Tiles()

    def dark(cases: Cases) -> NDArray[np.bool_]:
        return np.array([tile.mean() < 60 for tile in images.tiles[: cases.n]])

    found = answer_set(by_brightness, images, images.targets, withhold=dark, **HOW)
    assert found.withheld == pytest.approx(np.mean([tile.mean() < 60 for tile in images.tiles]))
    assert answer_set(by_brightness, images, images.targets, **HOW).withheld is None
