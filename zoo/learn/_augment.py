"""Random changes to a whole batch at once, on the device, between intensity and mean/std.

What this module does not know: whether a mirrored image still means the same. A digit does not survive a flip and a
chest film has a left and a right, so the data set, the card or --set augment_flip=… decides.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zoo.learn._trivial import apply_one
from zoo.spec import TrainConfig

__all__ = ["augment"]

SMALL = 32
"""At or below this side, in pixels, resampling would blur away what there is to see; images shift instead."""
ROTATION = 10.0  # degrees either way
ZOOM = 0.1  # as a fraction either way
SHIFT = 0.08  # of the side, either way
LIGHT = 0.1  # brightness as an offset and contrast as a factor, either way


def augment(x: Tensor, config: TrainConfig, generator: torch.Generator) -> Tensor:
    """A randomly changed copy of the batch; every image draws its own numbers.

    Args:
        x: (N, C, H, W) float32, in [0, 1] where the intensity bounds it.
        config: its augment, augment_flip and colour say what may happen. "none": nothing; "flip": mirrored with
            probability 1/2; "standard": that, then a rotation, zoom and shift in one bilinear resampling (a shift by
            whole pixels for small images), then brightness and contrast of all channels alike; "strong": mirrored,
            then one operation of TrivialAugment. Borders are reflected, so that no artificial edge appears.
        generator: on the CPU, so that a seed means the same on every device.
    """
    if config.augment == "none":
        return x
    for axis in config.mirrored:
        mirrored = _uniform(len(x), generator, x.device) < 0
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(axis), x)
    if config.augment == "flip":
        return x
    lights = config.colour == "free"
    if config.augment == "strong":
        return apply_one(x, generator, colour=lights)
    x = _shift(x, generator) if min(x.shape[2:]) <= SMALL else _move(x, generator)
    if not lights:
        return x
    contrast = 1 + LIGHT * _uniform(len(x), generator, x.device).view(-1, 1, 1, 1)
    brightness = LIGHT * _uniform(len(x), generator, x.device).view(-1, 1, 1, 1)
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - middle) * contrast + middle + brightness


def _uniform(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(n,) float32 in [-1, 1)."""
    return (torch.rand(n, generator=generator) * 2 - 1).to(device)


def _move(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotation, zoom and shift as one affine map per image, sampled once."""
    n, device = len(x), x.device
    angle = torch.deg2rad(ROTATION * _uniform(n, generator, device))
    zoom = 1 + ZOOM * _uniform(n, generator, device)
    # Output to input coordinates, both in [-1, 1], where a side is 2 long; aspect keeps a turned disc a disc.
    aspect = x.shape[2] / x.shape[3]
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    across, down = (2 * SHIFT * _uniform(n, generator, device) for _ in range(2))
    theta = torch.stack([cosine, -sine * aspect, across, sine / aspect, cosine, down], dim=1).view(n, 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to an eighth of its side, in whole pixels: no resampling."""
    n, _, height, width = x.shape
    rows = _reflect(n, height, generator).to(x.device)
    columns = _reflect(n, width, generator).to(x.device)
    image = torch.arange(n, device=x.device).view(n, 1, 1)
    # Indices (n, 1, 1), (n, H, 1) and (n, 1, W) around the channel axis give (n, H, W, C).
    return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflect(n: int, side: int, generator: torch.Generator) -> Tensor:
    """(n, side) source indices for a random shift of each image, mirrored at the borders."""
    reach = side // 8
    shift = torch.randint(-reach, reach + 1, (n, 1), generator=generator)
    index = (torch.arange(side) + shift).abs()
    return torch.where(index >= side, 2 * (side - 1) - index, index)
