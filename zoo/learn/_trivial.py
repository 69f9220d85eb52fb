"""TrivialAugment: each image takes one operation at one strength, both drawn evenly.

Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation": the operations and ranges
of its wide space, on whole batches. Ours differs in two things. Borders are reflected instead of black, so that no
artificial edge appears. What the pictures are of has a say in which operations there are.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["apply_one", "list_operations"]

Operation = Callable[[Tensor, Tensor], Tensor]
"""(n, C, H, W) in [0, 1] and strengths (n,) in [-1, 1] to changed images."""

_TURN = 135.0  # degrees
_SHEAR = 0.99
_MOVE = 32 / 224  # of the side; 32 pixels of the 224 that the paper's networks see
_FACTOR = 0.99  # of brightness, contrast, saturation and sharpness around 1
_BITS = (8, 2)  # of a posterised picture, at no and at full strength
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's gray


def apply_one(x: Tensor, generator: torch.Generator, *, colour: bool) -> Tensor:
    """A copy of the batch (N, C, H, W) float32 in [0, 1] in which every image went through one operation.

    Args:
        x: the batch.
        generator: on the CPU.
        colour: whether colour and brightness may change.
    """
    operations = list_operations(x.shape[1], colour=colour)
    which = torch.randint(len(operations), (len(x),), generator=generator)
    strength = torch.rand(len(x), generator=generator) * 2 - 1
    changed = x.clone()
    for number, operation in enumerate(operations):
        rows = (which == number).nonzero().flatten()
        if operation is not None and len(rows):
            place = rows.to(x.device)
            changed[place] = operation(x[place], strength[rows].to(x.device))
    return changed


def list_operations(channels: int, *, colour: bool) -> list[Operation | None]:
    """What an image with so many channels may go through; None leaves it as it is."""
    shapes: list[Operation | None] = [None, _shear_x, _shear_y, _move_x, _move_y, _turn, _sharpen]
    if not colour:
        return shapes
    lights: list[Operation | None] = [_brighten, _contrast, _posterize, _solarize, _stretch_contrast, _equalize]
    return shapes + lights + ([_saturate] if channels == len(_LUMA) else [])


def _affine(x: Tensor, rows: tuple[tuple[Tensor | float, ...], tuple[Tensor | float, ...]]) -> Tensor:
    """Output to input coordinates, both in [-1, 1], sampled once; the two rows of each image's matrix."""
    n = len(x)
    numbers = [torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(n) for row in rows for value in row]
    grid = functional.affine_grid(torch.stack(numbers, dim=1).view(n, 2, 3), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _shear_x(x: Tensor, m: Tensor) -> Tensor:
    return _affine(x, ((1.0, _SHEAR * m * x.shape[2] / x.shape[3], 0.0), (0.0, 1.0, 0.0)))


def _shear_y(x: Tensor, m: Tensor) -> Tensor:
    return _affine(x, ((1.0, 0.0, 0.0), (_SHEAR * m * x.shape[3] / x.shape[2], 1.0, 0.0)))


def _move_x(x: Tensor, m: Tensor) -> Tensor:
    return _affine(x, ((1.0, 0.0, 2 * _MOVE * m), (0.0, 1.0, 0.0)))


def _move_y(x: Tensor, m: Tensor) -> Tensor:
    return _affine(x, ((1.0, 0.0, 0.0), (0.0, 1.0, 2 * _MOVE * m)))


def _turn(x: Tensor, m: Tensor) -> Tensor:
    angle, aspect = torch.deg2rad(_TURN * m), x.shape[2] / x.shape[3]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return _affine(x, ((cosine, -sine * aspect, 0.0), (sine / aspect, cosine, 0.0)))


def _blend(other: Tensor, x: Tensor, m: Tensor) -> Tensor:
    """As Pillow's ImageEnhance: `other` at factor 0, the image at 1, beyond it above."""
    factor = (1 + _FACTOR * m).view(-1, 1, 1, 1)
    return (other + (x - other) * factor).clamp(0, 1)


def _brighten(x: Tensor, m: Tensor) -> Tensor:
    return _blend(torch.zeros_like(x), x, m)


def _contrast(x: Tensor, m: Tensor) -> Tensor:
    return _blend(_gray(x).mean(dim=(2, 3), keepdim=True), x, m)


def _saturate(x: Tensor, m: Tensor) -> Tensor:
    return _blend(_gray(x), x, m)


def _sharpen(x: Tensor, m: Tensor) -> Tensor:
    channels = x.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=x.device, dtype=x.dtype)
    kernel[:, :, 1, 1] = 5  # Pillow's ImageFilter.SMOOTH
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return _blend(functional.conv2d(padded, kernel / 13, groups=channels), x, m)


def _posterize(x: Tensor, m: Tensor) -> Tensor:
    bits = torch.round(_BITS[0] - (_BITS[0] - _BITS[1]) * m.abs()).view(-1, 1, 1, 1)
    step = 2 ** (_BITS[0] - bits) / 255
    return torch.where(bits < _BITS[0], (x / step + 1e-4).floor() * step, x)  # a value on a step stays there


def _solarize(x: Tensor, m: Tensor) -> Tensor:
    return torch.where(x >= (1 - m.abs()).view(-1, 1, 1, 1), 1 - x, x)


def _stretch_contrast(x: Tensor, m: Tensor) -> Tensor:
    """Pillow's autocontrast: each channel from its least to its greatest value; it has no strength."""
    del m
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


def _equalize(x: Tensor, m: Tensor) -> Tensor:
    """Each value of a channel becomes the share of values that are not greater; it has no strength."""
    del m
    flat = x.flatten(2).contiguous()  # (n, C, H·W)
    ascending = flat.sort(dim=2).values
    share = torch.searchsorted(ascending, flat, right=True).to(x.dtype) / flat.shape[2]
    least = share.amin(dim=2, keepdim=True)
    return torch.where(least < 1, (share - least) / (1 - least).clamp(min=1e-6), flat).view_as(x)


def _gray(x: Tensor) -> Tensor:
    """(n, 1, H, W)."""
    if x.shape[1] != len(_LUMA):
        return x.mean(dim=1, keepdim=True)
    return (x * torch.tensor(_LUMA, device=x.device, dtype=x.dtype).view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
