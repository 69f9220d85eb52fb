"""Options that say who trains: this machine, or tasks of Ray."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

import zoo

__all__ = ["Address", "CpusPerTrial", "Engine", "GpusPerTrial", "Jobs", "make_engine"]

Engine = Annotated[
    Literal["local", "ray"] | None,
    typer.Option("--engine", help="Who trains: this machine (local), or tasks of Ray here or on a cluster (ray)."),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", metavar="N", min=1, help="Of --engine local: trainings at a time, each in a process."),
]
Address = Annotated[
    str | None, typer.Option("--address", metavar="HOST:PORT", help="Of --engine ray: the cluster; else Ray runs here.")
]
CpusPerTrial = Annotated[
    float | None,
    typer.Option("--cpus-per-trial", metavar="X", help="Of --engine ray: CPUs of a training; default: a node's."),
]
GpusPerTrial = Annotated[
    float | None,
    typer.Option("--gpus-per-trial", metavar="X", help="Of --engine ray: GPUs of a training; default: 1, if any."),
]


def make_engine(
    kind: Literal["local", "ray"] | None,
    jobs: int | None,
    address: str | None,
    cpus: float | None,
    gpus: float | None,
) -> zoo.Engine:
    """What the options say of who trains."""
    return zoo.Engine(kind=kind or "local", jobs=1 if jobs is None else jobs, address=address, cpus=cpus, gpus=gpus)
