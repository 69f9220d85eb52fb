"""What a model takes: which kinds of image, and what is done to one before the graph sees it.

What this module does not know: ONNX Runtime, so that a process that only decodes need not load it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo import preprocess
from zoo.errors import ImageError
from zoo.readers import from_array, read
from zoo.readers._padding import adopt_padding
from zoo.spec import Manifest, Voi

if TYPE_CHECKING:
    from zoo.readers import RawImage

__all__ = ["Array", "Blame", "Intake", "Reason", "Source", "blame_of"]

Array = NDArray[Any]
Source = Path | str | Array
"""An image file, a folder of them, or one raw image (H, W[, C])."""


Blame = Literal["image", "machine", "either"]
"""What is to blame where an image cannot be used."""

_BLAMES: dict[str, Blame] = {
    "image-decoder-killed": "either",
    "image-io": "either",
    "image-memory": "machine",
    "image-unopened": "either",
    "package-missing": "machine",
}


class Reason(str):
    """Why an image cannot be used, on one line.

    Attributes:
        code: of the error.
    """

    __slots__ = ("code",)
    code: str

    def __new__(cls, text: str, code: str = ImageError.default_code) -> Reason:
        self = super().__new__(cls, text)
        self.code = code
        return self


def blame_of(code: str) -> Blame:
    """What an error blames; see `Failure.blame`."""
    return _BLAMES.get(code, "image")


class Intake:
    """The way of images into one model. It holds nothing that a call changes.

    Attributes:
        manifest: manifest of the model.
        kinds: types of raw images that the model takes: uint8, uint16, float32.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.kinds = frozenset(manifest.kinds)

    def pixels(self, name: str, source: bytes | Source | ImageError, frame: int | None = None) -> Array | Reason:
        """One image as the graph takes it, or why it cannot be used, on one line.

        Args:
            name: name of the image; the reason does not repeat it.
            source: a path, a file's bytes, a raw array (H, W[, C]), or an error in its place.
            frame: which picture of a file that holds several; arrays are taken as they are.

        Returns:
            Pixels, or the reason.
        """
        try:
            if isinstance(source, ImageError):
                raise source
            return self._ready(self.read(source, name=name, frame=frame))
        except ImageError as problem:
            return Reason(problem.reason, problem.code)
        except MemoryError:
            return Reason("not enough memory to decode it; give the image smaller or alone", "image-memory")

    def read(self, source: bytes | Source, *, name: str | None = None, frame: int | None = None) -> RawImage:
        """One raw image, read as the model was trained: through the file's own window, or its pictures as channels.

        Args:
            source: a path, a file's bytes, or a raw array (H, W[, C]).
            name: name of the image, for errors.
            frame: which picture of a file that holds several.

        Raises:
            ImageError: as `zoo.readers.read`.
        """
        if not isinstance(source, bytes | str | Path):
            return from_array(source)
        voi = isinstance(self.manifest.preprocess.intensity, Voi)
        stack = self.manifest.provenance.config.frames == "channels"
        return read(source, name=name, frame=frame, voi=voi, stack=stack)

    def batch(self, batch: Array) -> Array:
        """Raw images (N, H, W, C) as the graph takes them.

        Raises:
            ImageError: another shape or dtype than the model was made for, or values outside its range.
        """
        spec = self.manifest.preprocess
        channels = preprocess.raw_channels(spec, batch.dtype.name)
        if batch.ndim != 4 or 0 in batch.shape or batch.dtype.name not in self.kinds or batch.shape[3] != channels:
            kinds = (f"{kind} with C = {preprocess.raw_channels(spec, kind)}" for kind in sorted(self.kinds))
            raise ImageError(
                None,
                f"batch of shape {'x'.join(map(str, batch.shape))} and dtype {batch.dtype}, "
                f"expected (N, H, W, C) of {' or '.join(kinds)}",
                code="image-kind",
                found=str(batch.dtype),
                shape=list(batch.shape),
                expected=sorted(self.kinds),
            )
        for image in batch:  # of uint8 shapes alone: a few microseconds
            self._check_range(image)
        stage = self.manifest.input.stage
        if stage == "raw":
            return batch
        resized = np.stack([preprocess.resize_image(image, spec) for image in batch])
        return resized if stage == "resized" else preprocess.normalize_batch(resized, spec)

    def check(self, image: RawImage) -> None:
        """Raise `ImageError` unless the model was made for such an image."""
        if image.kind not in self.kinds:
            why = ""
            if image.kind == "float32" and self.kinds == {"uint8"}:
                why = " (those of a grey DICOM file always are: its values are measured, whatever their bits)"
            raise ImageError(
                None,
                f"pixels are {image.kind}{why}, expected {' or '.join(sorted(self.kinds))}; "
                "give this model images of the kind it was trained on",
                code="image-kind",
                found=image.kind,
                expected=sorted(self.kinds),
            )
        self._check_range(image.pixels)

    def _check_range(self, pixels: Array) -> None:
        for spec in self.manifest.views:
            preprocess.check_range(pixels, spec)

    def _ready(self, image: RawImage) -> Array:
        self.check(image)
        spec = self.manifest.preprocess
        image = adopt_padding(image, spec.intensity)
        stage = self.manifest.input.stage
        if stage == "raw":
            return image.pixels
        return (
            preprocess.resize_image(image.pixels, spec) if stage == "resized" else preprocess.apply(image.pixels, spec)
        )
