"""A refused command line, as far as it can be understood: its verb, its words, and what each of them is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import ZooError

__all__ = [
    "EXPORT",
    "MODELS",
    "Command",
    "Line",
    "capital",
    "find_option_by_value",
    "inner_verbs",
    "is_behind",
    "is_model_name",
    "is_set_name",
    "kind_of",
    "model_of",
    "options_of",
    "quote",
    "read",
    "value_behind",
    "without",
]

Command = Any
"""A command of Typer, which offers no public name for it."""

MODELS = ("a run", "a bundle", "a model file")
"""Kinds of path that hold a model."""
EXPORT = "an export for another runtime"
_TABLES = (".csv", ".tsv", ".parquet", ".npz", ".h5", ".tar")


@dataclass(frozen=True, slots=True)
class Line:
    """A command line, as far as it can be understood.

    Attributes:
        root: the whole application.
        verbs: the verbs at its beginning, 'data' and 'split'.
        command: what they name.
        rest: the words behind them.
        values: options and arguments, by their names.
        extra: words that are too many.
    """

    root: Command
    verbs: tuple[str, ...]
    command: Command
    rest: tuple[str, ...]
    values: dict[str, Any]
    extra: tuple[str, ...]

    @property
    def is_group(self) -> bool:
        return hasattr(self.command, "commands")

    @property
    def name(self) -> str:
        return " ".join(("zoo", *self.verbs))

    def arguments(self) -> list[Any]:
        """What is said by its place."""
        return [one for one in self.command.params if one.param_type_name == "argument"]

    def words(self) -> list[str]:
        """The values of arguments, in the order of the command."""
        found = [self.values.get(one.name) for one in self.arguments()]
        return [
            str(word) for value in found for word in (value if isinstance(value, list | tuple) else [value]) if word
        ]

    def usage(self) -> str:
        """The verb with its arguments, in capitals."""
        return " ".join((self.name, *(one.make_metavar(self.context()) for one in self.arguments())))

    def context(self) -> Any:
        return self.command.make_context(self.name, [], resilient_parsing=True)

    def retype(self, old: Sequence[str], new: Sequence[str], *, last: bool = False) -> str:
        """The command with the words `new` in the place of `old`; `last`: at its end."""
        rest = list(self.rest)
        at = find(rest, old)
        rest[at : at + len(old)] = [] if last else new
        return self.typed([*rest, *(new if last else ())])

    def typed(self, rest: Sequence[str]) -> str:
        """The verb with these words behind it."""
        return " ".join((self.name, *map(quote, rest)))


def read(given: Sequence[str], root: Command) -> Line:
    rest, verbs, command = list(given), [], root
    while rest and rest[0] in getattr(command, "commands", ()):
        command = command.commands[rest[0]]
        verbs.append(rest.pop(0))
    values: dict[str, Any] = {}
    extra: tuple[str, ...] = ()
    if not hasattr(command, "commands"):
        context = command.make_context(
            "zoo", list(rest), resilient_parsing=True, allow_extra_args=True, ignore_unknown_options=True
        )
        values, extra = context.params, tuple(context.args)
    return Line(root, tuple(verbs), command, tuple(rest), values, extra)


def options_of(command: Command) -> dict[str, Any]:
    """Flags of a command, and what each is."""
    return {flag: one for one in command.params if one.param_type_name == "option" for flag in one.opts}


def capital(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def inner_verbs(root: Command) -> Iterator[tuple[str, str]]:
    """Verbs of verbs: ('data', 'split')."""
    for group, command in root.commands.items():
        for name in getattr(command, "commands", ()):
            yield group, name


def kind_of(word: str) -> str:
    """What a path is, with its article, by its suffix; "": nothing is there, and no suffix says what it would be."""
    path = Path(word)
    try:
        if path.is_dir():
            return _kind_of_folder(path) if word else ""
        there = path.is_file()
    except (OSError, ValueError):
        return ""
    from zoo.readers._door import IMAGE_SUFFIXES

    suffix = path.suffix.lower()
    if suffix == ".onnx" or path.name.lower().endswith(".zoo.zip"):
        return "a model file"
    if suffix in {*IMAGE_SUFFIXES, ".dcm"}:
        return "an image"
    if suffix in _TABLES:
        return "a table"
    return "a file" if there else ""


def _kind_of_folder(path: Path) -> str:
    from zoo.spec import MODEL_JSON
    from zoo.workflow._find import is_exported, is_run

    if is_run(path) or is_exported(path):
        return "a run" if is_run(path) else "a bundle"
    return EXPORT if (path / MODEL_JSON).is_file() else "a folder"


def model_of(run: str) -> str:
    """The model that a run trained; MODEL: its record cannot be read."""
    from zoo.runs import open_run

    try:
        return open_run(Path(run)).record.card.name
    except ZooError:
        return "MODEL"


def is_model_name(word: str) -> bool:
    from zoo.registry import catalogue

    return word in catalogue().entries or word.startswith(("timm/", "hf-hub:"))


def is_set_name(word: str) -> bool:
    from zoo.data._named import find_named

    try:
        return find_named(word) is not None
    except ZooError:
        return False


def quote(word: str) -> str:
    """A word as it is typed; placeholders stay bare."""
    return word if re.fullmatch(r"[A-Z]+…?", word) else shlex.quote(word)


def find(rest: Sequence[str], old: Sequence[str]) -> int:
    return next((at for at in range(len(rest)) if list(rest[at : at + len(old)]) == list(old)), len(rest))


def without(rest: Sequence[str], old: Sequence[str]) -> list[str]:
    at = find(rest, old)
    return [*rest[:at], *rest[at + len(old) :]]


def value_behind(rest: Sequence[str], option: str) -> str | None:
    for at, word in enumerate(rest):
        if word == option:
            behind = rest[at + 1] if at + 1 < len(rest) else None
            return behind if behind is not None and not behind.startswith("-") else None
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def is_behind(rest: Sequence[str], flag: str, word: str) -> bool:
    """Whether the word follows the flag at once."""
    return word in rest[rest.index(flag) + 1 : rest.index(flag) + 2]


def find_option_by_value(line: Line, parameter: Any) -> tuple[str, str, str] | None:
    """Of `--format onnx`, where the verb has `--onnx`: the option, its value and the command to type."""
    for option in () if line.is_group else getattr(parameter, "opts", ()):
        value = value_behind(line.rest, option)
        if value is not None and f"--{value}" in options_of(line.command):
            old = [option, value] if option in line.rest else [f"{option}={value}"]
            return option, value, line.retype(old, [f"--{value}"])
    return None
