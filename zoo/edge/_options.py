"""What a verb of the device can be told: one table for `python -m zoo.edge` and for `zoo`.

The table is the verb's own signature. A parameter holds name, type and default; its annotation adds an `Argument` or
an `Option` with flag and help. A parameter without either is not for the user.

What this module does not know: argparse and Typer, which build their parsers from it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

__all__ = ["Argument", "Option", "Parameter", "defaults_of", "parameters"]


@dataclass(frozen=True, slots=True)
class Argument:
    """What is said by its place."""

    metavar: str
    help: str
    zoo_help: str | None = None
    """The help of `zoo`, which takes a run in its place too; a device has none. None: it is the same."""


@dataclass(frozen=True, slots=True)
class Option:
    """What is said by a flag. A truth value that is true by default has a second flag, --no-NAME."""

    flag: str
    help: str
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    of_zoo: bool = False
    """Whether only `zoo` has it, because it needs more than a device has."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of the table."""

    name: str
    kind: Any
    """Type of one value: str, int, float, Path or bool."""
    count: int | None
    """Values that belong together; None: any number of them."""
    default: Any
    annotation: Any
    """The whole type, without what `Annotated` adds."""
    said: Argument | Option


def defaults_of(settings: Any) -> Any:
    """The defaults of a dataclass of settings by the names of its fields, for a verb whose help shows them."""
    return types.SimpleNamespace(**{field.name: field.default for field in fields(settings)})


def parameters(verb: Callable[..., Any]) -> list[Parameter]:
    """The table of a verb, in the order of its signature."""
    hints = typing.get_type_hints(verb, include_extras=True)
    found = []
    for name, given in inspect.signature(verb).parameters.items():
        (said,) = getattr(hints[name], "__metadata__", (None,))
        if not isinstance(said, Argument | Option):
            continue
        annotation = typing.get_args(hints[name])[0]
        kind: Any = annotation
        count: int | None = 1
        if isinstance(kind, types.UnionType):  # X | None
            kind = typing.get_args(kind)[0]
        inside = typing.get_args(kind)
        if inside:  # list[X], or tuple[X, X]
            count = len(inside) if typing.get_origin(kind) is tuple else None
            kind = inside[0]
        found.append(Parameter(name, kind, count, given.default, annotation, said))
    return found


DRAWS = 3
"""Networks with random weights that a map is compared with; each costs as much as the map of one more image."""

Find = Callable[[Path], Path]
"""From what the user named to the file or bundle."""
OpenGradCam = Callable[[Path, Any], Any]
"""From what the user named and its `Runtime` to a `Mapper` by gradients, which a device cannot make."""
ProveFormat = Callable[[Path], Any]
"""From the folder of a file for another runtime to the proof by that runtime, which a device may not have."""

Model = Annotated[Path, Argument("MODEL", "An .onnx file or a bundle.", "An .onnx file, a bundle or a run.")]
Images = Annotated[list[str], Argument("IMAGE", "Images, and folders of them.")]
Json = Annotated[bool, Option("--json", "Print one JSON document.")]
Provider = Annotated[str, Option("--provider", "cpu, cuda, …; never another instead.", "P")]
AllowFallback = Annotated[
    bool, Option("--allow-fallback", "Let the CPU run what the provider does not take, with a warning.")
]
Threads = Annotated[int | None, Option("--threads", "Threads of one answer; default: all CPUs.", "N", least=1)]
Frame = Annotated[int | None, Option("--frame", "Picture of files that hold several, from 1.", "N", least=1)]
Table = Annotated[
    Path | None,
    Option("--table", "Table with a column of images and those that the model takes beside the image.", "FILE"),
]
GradCam = Annotated[
    bool, Option("--gradcam", "Grad-CAM, from the gradients of a run's network (needs torch).", of_zoo=True)
]
Draws = Annotated[
    int, Option("--draws", "Networks with random weights to compare the first map with; 0: none.", "N", least=0)
]
Overwrite = Annotated[bool, Option("--overwrite", "Replace what is there already.")]
Key = Annotated[Path | None, Option("--key", "Public key (.pub); only a bundle signed by it is opened.", "FILE")]


def take_sources(images: list[str]) -> Any:
    """One source, whose folder must not be empty, or many."""
    return images[0] if len(images) == 1 else images
