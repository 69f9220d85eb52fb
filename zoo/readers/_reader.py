"""What a reader is: the one door of every image format, the built-in ones first."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from zoo.readers._image import Probe, RawImage

__all__ = ["HEAD_BYTES", "Reader"]

HEAD_BYTES = 512
"""First bytes of a file that `Reader.recognise` gets; NIfTI names itself at byte 344."""


class Reader(Protocol):
    """One image format, or a family of them.

    An object, or a module, with these four names. All of them may be called from several threads at once.
    """

    @property
    def suffixes(self) -> frozenset[str]:
        """Suffixes of the format in lower case, with their dots: {'.nii', '.nii.gz'}."""

    def recognise(self, head: bytes) -> bool:
        """Whether a file begins as the format does.

        Args:
            head: the first `HEAD_BYTES` bytes, or all of a shorter file; may be empty.
        """

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        """Read the header only; no pixel is decoded.

        Args:
            stream: the file, seekable, at its start.
            name: name of the image, for errors.

        Raises:
            ImageError: damaged, too large, or not fit to be read without loss.
        """

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        """Decode one image.

        Args:
            stream: the file, seekable, at its start.
            name: name of the image, for errors.
            frame: which picture of a file that holds several, counted from 1. None with several pictures: refused.
            voi: apply the file's own VOI LUT or window; refused where the file brings none.

        Returns:
            Kind, size and channels as `probe` says them; see `RawImage`.

        Raises:
            ImageError: as `probe`, or the frame is not there.
        """
