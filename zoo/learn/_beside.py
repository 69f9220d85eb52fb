"""Columns beside the image in a network: a late fusion that any image network of the contract can take.

The image network is built with `EMBEDDING` outputs more than there are classes. The first K are its logits, as ever;
the others are what it says of the image beyond them. A small network turns the columns into as many numbers. These, and
their products with what is said of the image, are weighed and added to the logits. So the label may depend on image and
columns together, and no network has to be opened.

What this module does not know: tables, names of columns, and which network it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.learn._images import Part
from zoo.spec import TableSpec
from zoo.tabular import encode_columns, parse_cells

__all__ = ["EMBEDDING", "FUSION", "Beside", "NetworkWithColumns", "encode_beside", "image_network", "image_tensors"]

EMBEDDING = 32
"""Outputs of the image network that the fusion sees beside its logits."""

_SEEN = "network."
FUSION = ("beside", "joined")
"""Names of the parts of `NetworkWithColumns`, in files of weights too: what sees the image, and what joins columns."""

_HIDDEN = 64
"""Width of the layer that the columns go through: room for an age that matters at both ends."""


class NetworkWithColumns(nn.Module):
    """From (N, C, h, w) images and (N, D) encoded columns to (N, K) logits.

    Args:
        network: from images to (N, classes + EMBEDDING).
        classes: K.
        table: the columns; D is its width.
    """

    def __init__(self, network: nn.Module, classes: int, table: TableSpec) -> None:
        super().__init__()
        self.network = network
        self.classes, self.table = classes, table
        self.beside = nn.Sequential(nn.Linear(table.width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, EMBEDDING))
        self.joined = nn.Linear(2 * EMBEDDING, classes)

    def forward(self, images: Tensor, columns: Tensor) -> Tensor:
        """(N, K) logits."""
        seen = self.network(images)
        beside = self.beside(columns.to(seen.dtype))  # (N, EMBEDDING)
        joined = torch.cat([beside, beside * seen[:, self.classes :]], dim=1)
        return seen[:, : self.classes] + self.joined(joined)  # type: ignore[no-any-return]

    def seeing(self, network: nn.Module) -> NetworkWithColumns:
        """The same with another image network; all else is shared."""
        other = NetworkWithColumns.__new__(NetworkWithColumns)  # FSDP gives `self` a class that copy.copy cannot make
        other.__dict__ |= self.__dict__ | {"_modules": {**self._modules, "network": network}}
        return other


def image_network(model: nn.Module) -> nn.Module:
    """The part of a model that sees the image alone: all of it, where it takes images only."""
    return model.network if isinstance(model, NetworkWithColumns) else model


def image_tensors(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights of the part that sees the image: of a file of a `NetworkWithColumns` without the rest, else all."""
    if not {f"{FUSION[0]}.0.weight", f"{FUSION[1]}.weight"} <= tensors.keys():
        return tensors
    return {name.removeprefix(_SEEN): one for name, one in tensors.items() if name.startswith(_SEEN)}


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """What a model is given beside images, as further arguments of its call.

    Attributes:
        rows: (n, D) float32 of all images; None: the model takes images alone.
    """

    rows: Tensor | None

    def __call__(self, index: Tensor | slice) -> tuple[Tensor, ...]:
        """Of the images at `index`, on the device of the rows; empty where there is nothing beside images."""
        if self.rows is None:
            return ()
        return (self.rows[index.to(self.rows.device) if isinstance(index, Tensor) else index],)


def encode_beside(model: nn.Module, part: Part, device: torch.device) -> Beside:
    """What `model` is given beside the images of `part`.

    Raises:
        DataError: a cell cannot be read as a number, or holds nothing where training saw none that did.
    """
    if not isinstance(model, NetworkWithColumns):
        return Beside(None)
    raw = parse_cells(model.table, part.columns, len(part.targets))
    return Beside(torch.from_numpy(encode_columns(raw, model.table)).to(device))
