"""Images that are decoded each time they are wanted, where neither memory nor disk holds them.

Every image was decoded once before: by a first pass, or when its shard was written. That found the bad ones and took
the digest of each. Here an image must be the same again, so what a run records of its images is true of every epoch,
and one that changed ends the training. After a pass its pixels are compared; in shards with an index its bytes are,
see `zoo.data._sources.shards`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from zoo._support.machine import cores
from zoo.data._sources.shards import Shards
from zoo.data._threads import over_chunks
from zoo.data._unusable import Unusable, refusal
from zoo.errors import DataError, ImageError

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

    from numpy.typing import NDArray

    from zoo.data._index import ImageSet

__all__ = ["StreamedRows"]

_CHUNKS = 4  # a worker, of a batch: so that none waits long for the last one


class _DecodeOne(Protocol):
    def __call__(self, i: int, contents: MutableMapping[int, NDArray[np.uint8]]) -> NDArray[Any]:
        """Row of image `i`, and the digest of its pixels into `contents`; raises ImageError."""
        ...


class StreamedRows:
    """Rows that are decoded when they are taken, by as many threads as there are cores."""

    def __init__(  # noqa: PLR0917 - made in one place
        self,
        images: ImageSet,
        good: NDArray[np.int64],
        contents: NDArray[np.uint8] | None,
        decode: _DecodeOne,
        shape: Sequence[int],
        dtype: np.dtype[Any],
    ) -> None:
        """Rows of some images.

        Args:
            images: what `good` counts.
            good: (m,) which of the images are rows.
            contents: (m, 32) digests of their pixels; None: whoever reads their bytes compares those.
            decode: how one becomes a row.
            shape: (h, w, c) of a row.
            dtype: float32 or int16.
        """
        height, width, channels = shape
        self.shape = (len(good), height, width, channels)
        self.dtype = dtype
        self._images, self._good, self._contents, self._decode = images, good, contents, decode

    def take(self, index: NDArray[np.int64]) -> NDArray[Any]:
        """As `zoo.data._rows.Rows.take`.

        Raises:
            DataError: an image cannot be read any more, or is another one.
        """
        found = np.empty((len(index), *self.shape[1:]), self.dtype)
        places = index.tolist()

        def work(chunk: range) -> None:
            for position in chunk:
                found[position] = self._one(places[position])

        workers = cores()
        over_chunks(work, len(places), workers=workers, chunk=max(1, len(places) // (workers * _CHUNKS)))
        return found

    def expect(self, order: NDArray[np.int64]) -> None:
        """Say in which order an epoch takes rows, so that shards of a store are fetched ahead."""
        source = self._images.source
        if isinstance(source, Shards):
            source.expect(self._images.rows[self._good[order]])

    def give_up(self) -> None:
        """Wait no longer for a store that does not answer: nobody takes rows any more."""
        source = self._images.source
        if isinstance(source, Shards):
            source.give_up()

    def _one(self, row: int) -> NDArray[Any]:
        i = int(self._good[row])
        seen: dict[int, NDArray[np.uint8]] = {}
        try:
            image = self._decode(i, seen)
            same = self._contents is None or np.array_equal(seen[i], self._contents[row])
            reason = None if same else "other pixels than at first"
        except ImageError as problem:
            reason = problem.reason
        if reason is not None:
            name = self._images.ids[i]
            if self._contents is None:  # nothing looked at it before this training, so it need not have changed
                raise refusal((Unusable(name, reason),), len(self._good))
            raise DataError(
                f"{name} changed while it was trained on ({reason}); restore it and continue with --resume",
                code="image-changed",
                image=name,
                reason=reason,
            )
        return image
