"""Which images are the same byte for byte, and the one number that says which data a model was made of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from zoo.data._index import SPLITS
from zoo.spec import LABEL_SEPARATOR, UNKNOWN, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from zoo.data._index import SplitName

__all__ = ["contents", "fingerprint"]

_LINES = 65_536  # of the fingerprint's text made at a time
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)


def contents(digests: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number the different contents, in the order of their digests.

    Args:
        digests: (n, 32), sha256 of each image.

    Returns:
        (n,), from 0; two images have one number when they are the same byte for byte.
    """
    if not len(digests):
        return np.empty(0, np.int64)
    words = np.ascontiguousarray(digests).view(">u8").astype(np.uint64)  # (n, 4): they sort as the bytes do
    order = np.argsort(words[:, 0], kind="stable")
    ordered = words[order]
    changes = (ordered[1:] != ordered[:-1]).any(axis=1)
    if (changes & (ordered[1:, 0] == ordered[:-1, 0])).any():  # 64 bits tell a million images apart, not all there are
        order = np.lexsort(words.T[::-1])
        ordered = words[order]
        changes = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.empty(len(digests), np.int64)
    numbers[order] = np.concatenate(([0], np.cumsum(changes)))
    return numbers


def fingerprint(
    name: str,
    labels: Sequence[str],
    targets: NDArray[np.int64],
    digests: NDArray[np.uint8],
    rows: Mapping[SplitName, NDArray[np.int64]],
    *,
    same: NDArray[np.int64],
) -> Fingerprint:
    """Sha256 over one line "split, tab, label, tab, digest" for each image, sorted.

    The same images under other file names, in another order or another place have the same fingerprint. The label of
    an image with several is their names in alphabetical order, joined. Where labels are unknown, a tab, a question mark
    and their names follow.

    Args:
        name: name of the data set.
        labels: class names.
        targets: (n,) or (n, K), as in `ImageSet`.
        digests: (n, 32).
        rows: positions of the images of each split.
        same: `contents` of the digests.
    """
    blocks: dict[str, NDArray[np.int64]] = {}
    for split, chosen in rows.items():
        for label, members in _by_label(labels, targets[chosen]):
            blocks[f"{split}\t{label}\t"] = chosen[members]
    digest = hashlib.sha256()
    for head in sorted(blocks):
        block = blocks[head]
        block = block[np.argsort(same[block], kind="stable")]
        for start in range(0, len(block), _LINES):
            digest.update(_text(head, digests[block[start : start + _LINES]]))
    counts: dict[str, int] = {split: len(rows[split]) if split in rows else 0 for split in SPLITS}
    return Fingerprint(name=name, sha256=digest.hexdigest(), n=sum(counts.values()), splits=counts)


def _by_label(labels: Sequence[str], targets: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each label that occurs, or each combination of labels, and the positions of its images."""
    if targets.ndim == 1:
        kinds, which = np.unique(targets, return_inverse=True)
        texts = [labels[kind] for kind in kinds.tolist()]
    else:
        planes = np.concatenate((targets == 1, targets == UNKNOWN), axis=1)
        bits, which = np.unique(np.packbits(planes, axis=1), axis=0, return_inverse=True)
        found = np.unpackbits(bits, axis=1, count=2 * len(labels))
        texts = [_join_names(labels, held) for held in found]
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(texts)))
    for text, start, end in zip(texts, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        yield text, order[start:end]


def _join_names(labels: Sequence[str], planes: NDArray[np.uint8]) -> str:
    """The labels an image has, and those nobody knows of it; planes: (2 K,) bits."""
    held, unknown = (
        LABEL_SEPARATOR.join(sorted(labels[k] for k in np.flatnonzero(plane).tolist())) for plane in np.split(planes, 2)
    )
    return f"{held}\t?{unknown}" if unknown else held


def _text(head: str, digests: NDArray[np.uint8]) -> bytes:
    """The lines of some images that share split and label."""
    start = np.frombuffer(head.encode("utf-8"), np.uint8)
    lines = np.empty((len(digests), len(start) + 65), np.uint8)
    lines[:, : len(start)] = start
    lines[:, len(start) : -1] = _HEX[digests].reshape(len(digests), 64)
    lines[:, -1] = ord("\n")
    return lines.tobytes()
