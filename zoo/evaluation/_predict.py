"""Running a model over a set of raw images.

This module does not know what the model is: `Predict` is the hinge between torch, ONNX Runtime and
scikit-learn. It never resizes and never replaces an image; what cannot be read raises.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError, ModelError

__all__ = ["Images", "Predict", "Progress", "predict_set"]

Predict = Callable[..., NDArray[Any]]
"""A raw or preprocessed batch, (N, …), to logits, (N, K) float32. A model that takes columns beside the image has them
as a second argument: raw, their cells by name; preprocessed, (N, D) float32."""

Progress = Callable[[int, int], None]
"""Told (images done, images in all) after every batch."""


class _Raw(Protocol):
    @property
    def pixels(self) -> NDArray[Any]: ...


class Images(Protocol):
    """What evaluation needs of an image set; `zoo.data.ImageSet` is one.

    It may have `columns`, a mapping from the name of a column to a cell for each image: what the model is given beside.
    """

    @property
    def ids(self) -> Sequence[str]:
        """One name for each image."""

    def __len__(self) -> int: ...

    def read(self, i: int, /) -> _Raw:
        """Image `i`, pixels (H, W, C)."""


MOST_BYTES = 32 * 2**20
"""Raw pixels in one batch: a graph needs many times as much for its own tensors."""


def predict_set(
    predict: Predict, images: Images, *, batch_size: int = 8, progress: Progress | None = None
) -> NDArray[np.float32]:
    """The logits of every image, in order.

    Neighbours of equal shape and dtype share a batch, so images of mixed size need no padding and no more
    than `batch_size` of them are in memory at once.

    Args:
        predict: a raw batch, (N, H, W, C), to logits, (N, K).
        images: the set.
        batch_size: most images in one batch; more take longer on a CPU, where memory is fetched anew for every tensor
            (ResNet-18 at 224 px, 2 cores: 39 ms of the processor an image at 8, 43 at 32).
        progress: told (images done, images in all) after every batch.

    Returns:
        (n, K) float32.

    Raises:
        DataError: the set is empty, or an image cannot be read.
        ModelError: the model answers with another shape than (N, K), or with a number that is not finite.
    """
    if len(images) == 0:
        raise DataError(
            "no image to evaluate; expected at least one, choose another --split or --data", code="split-empty"
        )
    parts: list[NDArray[np.float32]] = []
    columns: Mapping[str, Sequence[Any]] = getattr(images, "columns", {})
    done = 0
    for batch in _batches(images, batch_size):
        rows = slice(done, done + len(batch))
        beside = [{name: cells[rows] for name, cells in columns.items()}] if columns else []
        logits = np.asarray(predict(batch, *beside), dtype=np.float32)
        classes = parts[0].shape[1] if parts else None
        if logits.ndim != 2 or len(logits) != len(batch) or classes not in {None, logits.shape[1]}:
            raise ModelError(
                f"the model answered {len(batch)} images with an array of shape {logits.shape}; "
                f"expected ({len(batch)}, {classes or 'classes'}), export the model again",
                code="model-answer-shape",
                found=list(logits.shape),
                expected=[len(batch), classes],
            )
        finite = np.isfinite(logits).all(axis=1)
        if not finite.all():
            name = images.ids[done + int(np.argmin(finite))]
            raise ModelError(
                f"the model gave a logit that is not a finite number for image {name}; "
                "check the image's intensity range and the model's weights",
                code="model-answer-not-finite",
                image=str(name),
            )
        parts.append(logits)
        done += len(batch)
        if progress is not None:
            progress(done, len(images))
    return np.concatenate(parts)


def _batches(images: Images, batch_size: int) -> Iterator[NDArray[Any]]:
    """Stacks of equal-shaped neighbours, (b, H, W, C) with 1 <= b <= batch_size; decoded ahead of who answers them."""
    from zoo.edge._stream import decode_ahead

    def read(_: str, at: Any) -> NDArray[Any]:
        return images.read(at).pixels

    run: list[NDArray[Any]] = []
    places: Any = (("", at) for at in range(len(images)))
    with contextlib.closing(decode_ahead(places, read)) as decoded:
        for _, pixels in decoded:
            assert not isinstance(pixels, str)  # noqa: S101 - `read` raises where it cannot read
            full = len(run) >= min(batch_size, max(1, MOST_BYTES // max(pixels.nbytes, 1)))
            if run and (full or pixels.shape != run[0].shape or pixels.dtype != run[0].dtype):
                yield np.stack(run)
                run = []
            run.append(pixels)
    yield np.stack(run)
