"""Arguments that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "AllowFallback",
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
    "Threads",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
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
Provider = Annotated[
    str,
    typer.Option("--provider", metavar="P", help="cpu, cuda, …; never another instead.", show_default=True),
]
Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Public key (.pub); only a bundle signed by it is opened."),
]
AllowFallback = Annotated[
    bool, typer.Option("--allow-fallback", help="Let the CPU run what the provider does not take, with a warning.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="Threads of one answer; default: all CPUs."),
]
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
