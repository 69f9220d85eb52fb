"""augmented.png: a sheet of training images as the network sees them, each with its label.

It shows the user's own images. So it stays in the run folder: no bundle and no logger takes it along.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from zoo._support.files import atomic_path
from zoo._support.fonts import font_families
from zoo.runs import Callback, RunFolder
from zoo.spec import PreprocessSpec

__all__ = ["SHEET", "Sheet"]

SHEET = "augmented.png"

_COLUMNS, _ROWS = 8, 4
_LEAST, _MOST = 96, 160
"""Pixels of a tile's longer side: smaller images are enlarged by a whole factor, larger ones reduced."""
_TEXT = 18
"""Pixels of the line below a tile."""
_DPI = 100


class Sheet(Callback):
    """Collects images of the first steps, and draws them after the epoch, whose speed that must not change."""

    def __init__(
        self,
        run: RunFolder,
        targets: NDArray[np.int64],
        labels: tuple[str, ...],
        spec: PreprocessSpec,
        *,
        wanted: bool,
    ) -> None:
        """Begin a sheet of the run, unless it has one, or this process writes none.

        Args:
            run: where to.
            targets: (n,) or (n, K) of all training images.
            labels: K names.
            spec: whose mean and standard deviation are undone.
            wanted: False: take nothing.
        """
        self.run, self.targets, self.labels, self.spec = run, targets, labels, spec
        self.wanted = min(_COLUMNS * _ROWS, len(targets)) if wanted and not run.file(SHEET).exists() else 0
        self.tiles: list[NDArray[np.uint8]] = []
        self.names: list[str] = []

    def take(self, x: Tensor, index: Tensor) -> None:
        """Take images of a batch, (B, C, H, W) as the network gets them; `index`: (B,) which ones they are."""
        if not self.wanted:
            return
        room = self.wanted - len(self.tiles)
        self.tiles += [make_tile(image, self.spec) for image in x[:room].detach().float().cpu()]
        self.names += [describe_target(self.targets[i], self.labels) for i in index[:room].tolist()]
        if len(self.tiles) == self.wanted:
            self.wanted = 0

    def epoch(self, row: Mapping[str, float | None]) -> None:  # noqa: ARG002 - it is drawn once
        """Write the file.

        Raises:
            OutputError: it cannot be written.
        """
        if self.tiles:
            record = self.run.record
            title = f"{record.card.name} on {record.data.name}: training images as the network sees them"
            draw_sheet(self.tiles, self.names, title, self.run)
            self.tiles, self.names, self.wanted = [], [], 0


def make_tile(image: Tensor, spec: PreprocessSpec) -> NDArray[np.uint8]:
    """(C, H, W) after mean and standard deviation, to (h, w, 3) uint8; of more than three channels their mean."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (spec.mean, spec.std))
    unit = (image * std + mean).clamp(0, 1)
    if len(unit) != 3:
        unit = unit.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels = (unit * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    side = max(pixels.shape[:2])
    if side < _LEAST:
        factor = math.ceil(_LEAST / side)
        return np.asarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    if side <= _MOST:
        return np.asarray(pixels)
    height, width = (max(1, round(edge * _MOST / side)) for edge in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX))


def describe_target(target: Any, labels: tuple[str, ...]) -> str:
    """The label of an image, or all that it has."""
    if np.ndim(target) == 0:
        return labels[int(target)]
    return ", ".join(label for label, value in zip(labels, target, strict=True) if value == 1) or "none"


def draw_sheet(tiles: list[NDArray[np.uint8]], names: list[str], title: str, run: RunFolder) -> None:
    """Write the tiles, all (h, w, 3), in rows with their names below."""
    from matplotlib.figure import Figure

    height, width = tiles[0].shape[:2]
    across = min(_COLUMNS, len(tiles))
    down = math.ceil(len(tiles) / across)
    gap, head = 6, 30
    wide, high = across * (width + gap) + gap, down * (height + _TEXT + gap) + gap + head
    sheet = np.full((high, wide, 3), 255, np.uint8)
    figure = Figure(figsize=(wide / _DPI, high / _DPI), dpi=_DPI)
    for number, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        row, column = divmod(number, across)
        top, left = head + row * (height + _TEXT + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = tile
        _write(figure, _fit(name, width), (left + width / 2) / wide, 1 - (top + height + 3) / high, 8)
    figure.figimage(sheet)
    _write(figure, _fit(title, int(wide / 1.1)), 0.5, 1 - 8 / high, 9)
    with warnings.catch_warnings(), atomic_path(run.file(SHEET)) as temporary:
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # no font here has the script
        figure.savefig(temporary, format="png", dpi=_DPI)


def _write(figure: Any, text: str, x: float, y: float, size: int) -> None:
    figure.text(x, y, text, ha="center", va="top", fontsize=size, family=font_families(), parse_math=False)


def _fit(name: str, width: int) -> str:
    """As much of both ends of a name as `width` pixels hold at the size of labels; a wide letter counts twice."""
    cells = max(4, int(width / 6.2))
    if sum(1 + (ord(letter) > 0x2E80) for letter in name) <= cells:
        return name
    if any(ord(letter) > 0x2E80 for letter in name):
        cells //= 2
    return f"{name[: cells - cells // 3 - 1]}…{name[-(cells // 3) :]}"
