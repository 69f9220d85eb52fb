"""Which images calibrate, and on which ones two files are compared without their labels.

Training images alone calibrate, one at a time, as the network sees them: validation images choose between rungs, and
may not set a range that the file then carries. Test images choose nothing, so this module is never given them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from zoo.preprocess import normalize_batch, resize_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx
    from numpy.typing import NDArray

    from zoo.data import ImageSet
    from zoo.readers import RawImage
    from zoo.spec import PreprocessSpec

__all__ = ["CALIBRATE", "COMPARE", "ENOUGH", "Finetune", "Several", "Tensors", "draw", "draw_several", "group_copies"]

CALIBRATE = 256
"""Images that set the ranges."""
COMPARE = 64
"""Other training images that calibrations are compared on."""
ENOUGH = 200
"""Fewer calibration images than this are said in the file's notes."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """Some images of a set as the network takes them, decoded anew on every pass: memory holds one at a time."""

    images: ImageSet
    rows: tuple[int, ...]
    spec: PreprocessSpec

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """(1, C, h, w) each."""
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> NDArray[np.float32]:
        """(1, C, h, w)."""
        picture = resize_image(self.images.read(self.rows[place]).pixels, self.spec)
        return normalize_batch(picture[None], self.spec)


class Finetune(Protocol):
    """Trains a network for int8 on some images."""

    def __call__(self, images: Tensors, *, signed: bool) -> onnx.ModelProto:
        """Its file with other float32 weights.

        Args:
            images: training images.
            signed: activations are symmetric around 0.
        """


def draw(train: ImageSet, spec: PreprocessSpec, seed: int) -> tuple[Tensors, Tensors]:
    """Images to calibrate on, and others to compare calibrations on, both with every class as evenly as it goes.

    Of fewer than 320 training images four in five calibrate.
    """
    wanted = min(CALIBRATE + COMPARE, len(train))
    order = _class_by_class(train.targets, wanted, np.random.default_rng(seed))
    cut = max(1, wanted - max(1, round(wanted * COMPARE / (CALIBRATE + COMPARE))))
    return Tensors(train, order[:cut], spec), Tensors(train, order[cut:] or order[:cut], spec)


@dataclass(frozen=True, slots=True, eq=False)
class Several:
    """Images of a set, and mirrored copies of them; `zoo.evaluation.Images` of raw pixels.

    Attributes:
        images: what they are of.
        rows: (n,) place of each.
        turns: (n,) 0: as it is; 1, 2, 3: mirrored left to right, upside down, both.
    """

    images: ImageSet
    rows: NDArray[np.intp]
    turns: NDArray[np.intp]

    @property
    def ids(self) -> list[str]:
        """The name of each image."""
        return [self.images.ids[row] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int, /) -> RawImage:
        """Image `i`, (H, W, C)."""
        found, turn = self.images.read(int(self.rows[i])), int(self.turns[i])
        pixels = found.pixels[:: -1 if turn & 2 else 1, :: -1 if turn & 1 else 1]
        return replace(found, pixels=np.ascontiguousarray(pixels))


def draw_several(
    val: ImageSet, train: ImageSet, most: int, seed: int, *, few: int | None = None
) -> tuple[Several, ...]:
    """Validation images, then training images drawn at random, `most` of them all.

    Of training images those come first that make `few` with the validation images, then the others. Fewer than `few`
    have mirrored copies behind them, up to that number; None: up to `most`. All are mirrored or none: where some have
    more copies than others, the interval of what stays would be wider than without any.
    """
    few = most if few is None else few
    first = np.arange(min(len(val), most))
    rows = np.random.default_rng(seed).permutation(len(train))[: most - len(first)]
    near = max(0, few - len(first))
    drawn = ((val, first), (train, np.sort(rows[:near])), (train, np.sort(rows[near:])))
    turns = range(max(1, min(4, few // max(1, len(first) + len(rows)))))
    found = [Several(images, rows, np.full(len(rows), turn)) for turn in turns for images, rows in drawn]
    return tuple(one for one in found if len(one))


def group_copies(val: ImageSet, others: Sequence[Several]) -> NDArray[np.int64]:
    """(n,) of which patient the validation images and then `others` are; of an unknown one each image is of its own.

    A copy is of the patient of its original: it may show that a label changes, and cannot show again that none does.
    """

    def of(images: ImageSet) -> NDArray[np.int64]:
        return np.arange(len(images), dtype=np.int64) if images.groups is None else images.groups

    next_free = int(of(val).max()) + 1
    return np.concatenate(
        [of(val), *(of(one.images)[one.rows] + (0 if one.images is val else next_free) for one in others)]
    )


def _class_by_class(targets: NDArray[np.int64], count: int, rng: Any) -> tuple[int, ...]:
    """`count` different positions, one of each class in turn; of several labels, none is a class, too."""
    if targets.ndim == 2:
        columns = [targets[:, k] == 1 for k in range(targets.shape[1])] + [~(targets == 1).any(axis=1)]
    else:
        columns = [targets == k for k in np.unique(targets)]
    queues = [list(rng.permutation(np.flatnonzero(column))) for column in columns]
    taken: dict[int, None] = {}
    while len(taken) < count:
        for queue in queues:
            while queue and int(queue[-1]) in taken:
                queue.pop()
            if queue and len(taken) < count:
                taken[int(queue.pop())] = None
    return tuple(taken)
