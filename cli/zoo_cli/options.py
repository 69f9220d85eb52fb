"""Arguments that several verbs share, so that they read the same everywhere; those of a device come from its table."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from zoo.edge import _options as device

__all__ = [
    "BatchSize",
    "Data",
    "Device",
    "Epochs",
    "Group",
    "Json",
    "Key",
    "Lr",
    "Provider",
    "Seed",
    "Settings",
    "Size",
    "Split",
    "option",
]


def option(said: device.Option, *, negated: bool = False) -> Any:
    """An option of the device's table as Typer takes it; `negated`: with --no-NAME beside it."""
    flag = f"{said.flag}/--no-{said.flag.removeprefix('--')}" if negated else said.flag
    return typer.Option(flag, metavar=said.metavar, min=said.least, max=said.most, help=said.help, show_default=True)


def _share(table: Any) -> Any:
    return option(typing.get_args(table)[1])


Json = Annotated[bool, _share(device.Json)]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|PATH",
        help="A folder of class folders, a table, an .npz file, or a name from 'zoo data list'.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN|REGEX",
        help="What belongs to one patient: a column, 'patient' for DICOM, or a pattern with one group, 'p(\\d+)'.",
    ),
]
Split = Annotated[Literal["train", "val", "test"], typer.Option("--split", help="Which images.", show_default=True)]
Provider = Annotated[str, _share(device.Provider)]
Key = Annotated[Path | None, _share(device.Key)]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Passes over the training images.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Images in one step.")]
Lr = Annotated[float | None, typer.Option("--lr", metavar="X", help="Peak learning rate.")]
Size = Annotated[int | None, typer.Option("--size", metavar="PX", help="Side of the network's input.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of weights, order and augmentation.")]
Device = Annotated[str | None, typer.Option("--device", metavar="D", help="auto, cpu, cuda or cuda:N.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="K=V", help="Any other setting: weight_decay=0.01, preprocess.resize=letterbox."),
]
