"""The digest of decoded pixels: the same picture saved again, in another format or with other tags, has the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data._sources.shards import Shards
from zoo.data._threads import over_chunks
from zoo.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.data._index import ImageSet
    from zoo.readers import RawImage

__all__ = ["digest_all", "digest_pixels", "is_gray", "recall_pixels"]


def digest_pixels(image: RawImage) -> bytes:
    """Sha256 of kind, size and pixels; a gray picture has one digest, stored with one channel or with three."""
    pixels = image.pixels
    gray = is_gray(pixels)
    digest = hashlib.sha256(f"{image.kind} {pixels.shape[0]}x{pixels.shape[1]} {gray}\n".encode())
    digest.update(np.ascontiguousarray(pixels[:, :, :1] if gray else pixels).data)
    return digest.digest()


def digest_all(images: ImageSet) -> NDArray[np.uint8]:
    """(n, 32) uint8, `digest_pixels` of each image, decoded for it; zeros where one cannot be read."""
    found = np.zeros((len(images), 32), np.uint8)

    def work(chunk: range) -> None:
        for i in chunk:
            try:
                found[i] = np.frombuffer(digest_pixels(images.read(i)), np.uint8)
            except ImageError:
                continue  # whoever needs the image says so

    over_chunks(work, len(images))
    return found


def recall_pixels(images: ImageSet) -> NDArray[np.uint8] | None:
    """(n, 32) digests of images that were decoded when their shards were written, as they are read now; else None."""
    source = images.source
    known = source.pixels if isinstance(source, Shards) and not images.voi else None
    return None if known is None else known[images.rows]


def is_gray(pixels: NDArray[Any]) -> bool:
    """Whether all channels are equal; a coarse grid finds most colour at once."""
    if pixels.shape[2] == 1:
        return True
    parts = (pixels[::8, ::8], pixels) if pixels.size > 10_000 else (pixels,)
    return all(bool((part[..., :1] == part[..., 1:]).all()) for part in parts)
