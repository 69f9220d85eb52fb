"""Corrupted copies of raw images: ten kinds, of colour images eleven, in five severities, the same ones for one seed.

Severity 1 is just visible, 5 is hard and still recognisable. Lengths grow with the root of the image's shorter side, as
small pictures are looked at larger. A kind does to 16-bit and float images what it does to 8-bit ones, between the
0.1 and the 99.9 percentile of the image. A value far outside, such as a rare padding, stays unless things move.

The idea and most names are those of Hendrycks and Dietterich 2019 (arXiv 1903.12261) and, for medical images, of Di
Salvo et al. 2024 (MedMNIST-C, arXiv 2406.17536). Code and strengths are not, so numbers do not compare with theirs.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo._support.text import brief
from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Plane = NDArray[np.float32]

__all__ = ["CORRUPTIONS", "SEVERITIES", "check_corruptions", "corrupt", "corruptions_for"]

SEVERITIES = (1, 2, 3, 4, 5)

_SIDE = 224.0
"""Of the image that lengths are given for, in pixels."""


def check_corruptions(kinds: Sequence[str], severities: Sequence[int]) -> None:
    """Refuse unknown kinds and severities.

    Raises:
        UsageError: names what there is.
    """
    for option, given, known in (
        ("--corruptions", kinds, tuple(CORRUPTIONS)),
        ("--severities", severities, SEVERITIES),
    ):
        wrong = [one for one in given if one not in known]
        if wrong or not given:
            raise UsageError(
                f"{option} {brief(map(str, wrong)) if wrong else 'names nothing'}; expected some of "
                f"{brief(map(str, known), 12)}",
                code="option-value",
                option=option,
                value=[*wrong],
            )


def corruptions_for(pixels: NDArray[Any]) -> tuple[str, ...]:
    """The kinds that suit an image: colour is shifted of colour images alone."""
    return tuple(kind for kind in CORRUPTIONS if kind != "colour" or _is_colour(pixels))


def corrupt(pixels: NDArray[Any], kind: str, severity: int, seed: int | Sequence[int] = 0) -> NDArray[Any]:
    """A corrupted copy of one raw image.

    Args:
        pixels: (H, W, C) as `zoo.readers.read` gives them.
        kind: one of CORRUPTIONS.
        severity: 1 to 5.
        seed: seed of what is drawn; with one seed the severities differ in strength alone.

    Returns:
        (H, W, C) of the same dtype, within the range of the image's own values.

    Raises:
        UsageError: no such kind or severity, or colour of images without colours.
    """
    check_corruptions([kind], [severity])
    rng = np.random.default_rng(seed)
    pictures = pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if kind == "colour" and not pictures:
        raise UsageError(
            f"--corruptions colour: the images are {pixels.dtype} with {pixels.shape[2]} channels, expected colours; "
            "leave it out",
            code="option-value",
            option="--corruptions",
            value=[kind],
        )
    gray = pictures and kind != "colour" and not _is_colour(pixels)
    given = pixels[:, :, :1] if gray else pixels
    if pixels.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = (float(one) for one in np.quantile(given, (0.001, 0.999)))
    span = max(high - low, 1e-12)
    plain = ((given.astype(np.float32) - low) / span).clip(0, 1)
    made = CORRUPTIONS[kind](plain, severity - 1, rng).clip(0, 1) * span + low
    if pixels.dtype != np.uint8 and kind != "rotation":
        made = np.where((given < low - span / 2) | (given > high + span / 2), given, made)
    if np.issubdtype(pixels.dtype, np.integer):
        made = np.rint(made)
    made = made.clip(float(given.min()), float(given.max())) if pixels.dtype != np.uint8 else made
    return np.ascontiguousarray(np.broadcast_to(made.astype(pixels.dtype), pixels.shape))


def _is_colour(pixels: NDArray[Any]) -> bool:
    return pixels.shape[2] == 3 and bool((pixels != pixels[:, :, :1]).any())


def _scale(image: Plane) -> float:
    return float((min(image.shape[:2]) / _SIDE) ** 0.5)


def _noise(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Gaussian noise, as of too short an exposure."""
    return image + np.float32((0.04, 0.07, 0.11, 0.16, 0.22)[at]) * rng.standard_normal(image.shape, np.float32)


def _blur(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Gaussian blur, as out of focus."""
    del rng
    sigma = (1.2, 2.0, 3.0, 4.5, 6.5)[at] * _scale(image)
    reach = max(1, round(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    for axis in (0, 1):
        offsets = [(step, 0) if axis == 0 else (0, step) for step in range(-reach, reach + 1)]
        image = _average(image, offsets, weights)
    return image


def _motion(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """The mean along a short line in a direction drawn at random, as of a moving hand or organ."""
    length, angle = (5, 9, 14, 20, 28)[at] * _scale(image), rng.uniform(0, np.pi)
    steps = np.linspace(-length / 2, length / 2, max(3, round(length) + 1))
    offsets = [(round(step * np.sin(angle)), round(step * np.cos(angle))) for step in steps.tolist()]
    return _average(image, offsets, np.ones(len(offsets)))


def _contrast(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Values drawn towards their mean."""
    del rng
    mean = image.mean()
    return np.asarray(mean + (image - mean) * np.float32((0.7, 0.55, 0.4, 0.28, 0.18)[at]))


def _gamma(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Darker or brighter by a power, one of them drawn at random."""
    power = (1.4, 1.8, 2.3, 3.0, 4.0)[at]
    return np.asarray(image ** np.float32(power if rng.random() < 0.5 else 1 / power))


def _jpeg(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Strong JPEG compression."""
    del rng
    return _through_pillow(image, lambda plane: _recompress(plane, (30, 18, 12, 8, 6)[at]))


def _downsampling(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Fewer pixels, then as many as before."""
    from PIL import Image

    del rng
    factor = max(1.3 + 0.3 * at, (2.0, 3.0, 4.5, 6.0, 8.5)[at] * _scale(image))
    height, width = image.shape[:2]
    small = max(1, round(width / factor)), max(1, round(height / factor))
    planes = (Image.fromarray(np.ascontiguousarray(image[:, :, c])) for c in range(image.shape[2]))
    made = [
        np.asarray(plane.resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BILINEAR))
        for plane in planes
    ]
    return np.stack(made, axis=2)


def _vignette(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Darker with the distance from a centre drawn at random: a bias field, or the edge of a lens."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in image.shape[:2]), indexing="ij")
    away = (y - rng.uniform(-0.4, 0.4)) ** 2 + (x - rng.uniform(-0.4, 0.4)) ** 2
    return np.asarray(image * (1 - (0.35, 0.5, 0.65, 0.8, 0.92)[at] * np.minimum(away, 1))[:, :, None], np.float32)


def _mark(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """A letter and a ruler burned into one corner, on a black field from severity 3 on."""
    side = min(image.shape[:2])
    size = max(4, round(side * (0.1, 0.15, 0.22, 0.3, 0.4)[at]))
    stroke = max(1, size // 7)
    field = np.zeros((size, size), np.float32)
    field[stroke:-stroke, stroke : 2 * stroke] = 1  # the letter L, as on a film of the left side
    field[-2 * stroke : -stroke, stroke : size // 2] = 1
    for tick in range(stroke, size - stroke, 2 * stroke):
        field[tick : tick + stroke, -2 * stroke :] = 1
    made = image.copy()
    top, left = rng.random() < 0.5, rng.random() < 0.5
    corner = made[slice(0, size) if top else slice(-size, None), slice(0, size) if left else slice(-size, None)]
    burned = field[: corner.shape[0], : corner.shape[1], None]  # a picture may be smaller than the smallest mark
    corner[...] = burned if at >= 2 else np.maximum(corner, burned)
    return made


def _rotation(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Turned and shifted; what comes into view is black."""
    from PIL import Image

    height, width = image.shape[:2]
    angle = np.deg2rad((6, 12, 18, 25, 35)[at]) * (1 if rng.random() < 0.5 else -1)
    shift = (0.02, 0.04, 0.06, 0.08, 0.1)[at] * np.array([width, height]) * rng.choice([-1, 1], 2)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    x, y = width / 2 + shift[0], height / 2 + shift[1]
    matrix = (c, s, width / 2 - c * x - s * y, -s, c, height / 2 + s * x - c * y)
    return np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(image[:, :, k])).transform(
                    (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
                )
            )
            for k in range(image.shape[2])
        ],
        axis=2,
    )


def _colour(image: Plane, at: int, rng: np.random.Generator) -> Plane:
    """Red, green and blue each raised to a power of its own: another stain, lamp or white balance."""
    turn = rng.permutation(np.array([-1.0, 0.0, 1.0], np.float32))
    return np.asarray(image ** np.exp(turn * np.float32((0.2, 0.35, 0.5, 0.7, 0.95)[at])))


CORRUPTIONS: dict[str, Callable[[Plane, int, np.random.Generator], Plane]] = {
    "noise": _noise,
    "blur": _blur,
    "motion": _motion,
    "contrast": _contrast,
    "gamma": _gamma,
    "jpeg": _jpeg,
    "downsampling": _downsampling,
    "vignette": _vignette,
    "mark": _mark,
    "rotation": _rotation,
    "colour": _colour,
}
"""Name to what it does to (H, W, C) float32 in [0, 1], by the place of the severity, 0 to 4."""


def _average(image: Plane, offsets: Sequence[tuple[int, int]], weights: NDArray[Any]) -> Plane:
    """The weighted mean of shifted copies, the edge repeated."""
    reach = max(1, *(abs(step) for pair in offsets for step in pair))
    height, width = image.shape[:2]
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(image)
    for (down, right), weight in zip(offsets, (weights / weights.sum()).tolist(), strict=True):
        total += np.float32(weight) * padded[reach + down :, reach + right :][:height, :width]
    return total


def _through_pillow(image: Plane, change: Callable[[Any], Any]) -> Plane:
    """What a change of 8-bit pictures makes: of colours at once, of other channels one after the other."""
    from PIL import Image

    levels = np.rint(image * 255).clip(0, 255).astype(np.uint8)
    if image.shape[2] == 3:
        return np.asarray(change(Image.fromarray(levels)), np.float32) / np.float32(255)
    planes = [np.asarray(change(Image.fromarray(levels[:, :, k])), np.float32) for k in range(image.shape[2])]
    return np.stack(planes, axis=2) / np.float32(255)


def _recompress(picture: Any, quality: int) -> Any:
    from PIL import Image

    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)
