"""One coded frame of a DICOM file, and the words for what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import ImageError

if TYPE_CHECKING:
    from zoo.readers._dicom_pixels import Picture

__all__ = ["FILL", "CodedFrame"]

FILL = frozenset(b"\0\x01\x0a\x0d\x20\xff")
"""Bytes that writers put behind a frame."""


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """One frame as the file holds it.

    Attributes:
        data: the coded bytes, and whatever follows them.
        picture: what the header says.
        name: how errors name the file.
        number: counted from 1.
    """

    data: bytes
    picture: Picture
    name: str
    number: int

    def damaged(self, what: str) -> ImageError:
        """The frame makes no sense."""
        reason = f"frame {self.number} {what}; restore the file or leave it out"
        return ImageError(self.name, reason, code="image-damaged", frame=self.number)

    def truncated(self, what: str) -> ImageError:
        """The frame ends too early."""
        reason = f"truncated, frame {self.number} {what}; restore the file"
        return ImageError(self.name, reason, code="image-truncated", frame=self.number)

    def differs(self, coded: str, header: str) -> ImageError:
        """The frame is well formed and is not what the header says."""
        reason = f"frame {self.number} is coded with {coded}, the header says {header}; write it anew with a DICOM tool"
        return ImageError(self.name, reason, code="image-header-differs", frame=self.number, coded=coded, header=header)

    def overflows(self) -> ImageError:
        """The frame unpacks to more pixels than the header has room for."""
        size = f"{self.picture.columns}x{self.picture.rows}"
        reason = (
            f"frame {self.number} holds more pixels than {size}, which the header says; write it anew with a DICOM tool"
        )
        return ImageError(self.name, reason, code="image-size-differs")

    def check_size(self, columns: int, rows: int) -> None:
        """Raise unless the frame has the size of the header, which makes room for the pixels."""
        if (columns, rows) != (self.picture.columns, self.picture.rows):
            raise ImageError(
                self.name,
                f"frame {self.number} is coded with {columns}x{rows} pixels, the header says "
                f"{self.picture.columns}x{self.picture.rows}; write it anew with a DICOM tool, or leave it out",
                code="image-size-differs",
                width=columns,
                height=rows,
            )
