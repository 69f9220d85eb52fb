"""Copies of an image as they turn up in real sets: re-saved, resized, mirrored, brightened."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageEnhance

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COPIES"]

_BICUBIC = Image.Resampling.BICUBIC
_TURN = Image.Transpose


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), _BICUBIC)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg 75": lambda image: _jpeg(image, 75),
    "jpeg 50": lambda image: _jpeg(image, 50),
    "half size": lambda image: _scaled(image, 0.5),
    "1.5 times": lambda image: _scaled(image, 1.5),
    "mirrored left to right": lambda image: image.transpose(_TURN.FLIP_LEFT_RIGHT),
    "mirrored top to bottom": lambda image: image.transpose(_TURN.FLIP_TOP_BOTTOM),
    "turned by 90": lambda image: image.transpose(_TURN.ROTATE_90),
    "turned by 180": lambda image: image.transpose(_TURN.ROTATE_180),
    "brighter by 20 %": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "contrast up by 30 %": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "contrast down by 30 %": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "mirrored, half, jpeg 60": lambda image: _jpeg(_scaled(image.transpose(_TURN.FLIP_LEFT_RIGHT), 0.5), 60),
}
