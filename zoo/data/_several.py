"""Sources made of others: images of several places, and images whose channels lie in files of their own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.readers import Probe, RawImage, join_channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from zoo.data._index import Files, Source

__all__ = ["Several", "Stacked"]


@dataclass(frozen=True, slots=True, eq=False)
class Several:
    """Images from more than one source.

    Attributes:
        parts: the sources.
        part: (n,) int64, which of them holds image i.
        rows: (n,) int64, its position there.
    """

    parts: tuple[Source, ...]
    part: NDArray[np.int64]
    rows: NDArray[np.int64]

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        """One image of one of the sources."""
        return self.parts[int(self.part[row])].read(int(self.rows[row]), voi=voi)

    def probe(self, row: int) -> Probe | None:
        """The header of one image of one of the sources."""
        return self.parts[int(self.part[row])].probe(int(self.rows[row]))


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """Images whose channels lie in files of their own.

    Attributes:
        ids: what the images are called.
        parts: for each channel its source, all of as many rows.
    """

    ids: Sequence[str]
    parts: tuple[Files, ...]

    def read(self, row: int, *, voi: bool = False) -> RawImage:
        """The files of one image, as its channels."""
        return join_channels([part.read(row, voi=voi) for part in self.parts], self.ids[row])

    def probe(self, row: int) -> Probe:
        """The header of the first file, with the number of channels."""
        found = [part.probe(row) for part in self.parts]
        personal = tuple(dict.fromkeys(name for one in found for name in one.personal))
        return dataclasses.replace(found[0], gray=False, channels=len(found), personal=personal)
