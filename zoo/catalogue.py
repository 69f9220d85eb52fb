"""registry.yaml: read, validated, merged. The catalogue is data, and stays data.

A catalogue names plugins by entry-point name only, so reading one can run no code. This module does not
know which catalogues are installed (see `zoo.registry`), nor whether a plugin exists. It is on the path
of `zoo list` and imports nothing heavy.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from zoo.errors import CatalogueError
from zoo.spec import SCHEMA, Latency, ModelCard, PackagedWeights, PreprocessSpec, TrainConfig, Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Broken", "Catalogue", "Distribution", "Entry", "Parse", "merge", "own_file", "parse", "read"]

MAX_BYTES = 1_000_000
"""Ours holds 130 models in 77 kB."""

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
PLUGIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
PACKAGE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HUB_SOURCE = re.compile(r"hf-hub:[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")

REQUIRED = ("plugin", "summary", "preprocess")
FIELDS = {
    "": tuple(name for name in ModelCard.__struct_fields__ if name != "name"),
    "preprocess": PreprocessSpec.__struct_fields__,
    "train": TrainConfig.__struct_fields__,
    "latency": Latency.__struct_fields__,
    "weights": Weights.__struct_fields__,
    "weights.package": PackagedWeights.__struct_fields__,
}
"""Path inside a card to the fields known there; the name is the key of the card and no field."""


Parse: TypeAlias = "Callable[[bytes, str], dict[str, ModelCard]]"
"""The bytes of a registry.yaml, and what errors call it, to its cards by name."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution, as pip knows it."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One card and who brought it."""

    card: ModelCard
    distribution: Distribution


@dataclass(frozen=True, slots=True)
class Broken:
    """A catalogue that could not be read, and the line that says why."""

    distribution: Distribution
    error: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All cards of all installed catalogues."""

    entries: dict[str, tuple[Entry, ...]]
    """Name to everyone who defines it; more than one is a clash and none of them is taken."""
    broken: tuple[Broken, ...]


def own_file(package: Path) -> Path:
    """The project's own catalogue: in the package in a wheel, at the repository root if editable."""
    inside = package / "registry.yaml"
    return inside if inside.is_file() else package.parent / "registry.yaml"


def merge(sources: Iterable[tuple[Distribution, Path]], parsed: Parse | None = None) -> Catalogue:
    """Read every catalogue; a broken one costs its own models and nobody else's.

    Args:
        sources: whose catalogue stands where.
        parsed: takes the place of `parse`, such as one that remembers.
    """
    entries: dict[str, tuple[Entry, ...]] = {}
    broken = []
    for distribution, path in sources:
        try:
            cards = read(path, distribution, parsed)
        except CatalogueError as problem:
            broken.append(Broken(distribution, str(problem)))
            continue
        for name, card in cards.items():
            entries[name] = (*entries.get(name, ()), Entry(card, distribution))
    return Catalogue(entries, tuple(broken))


def read(path: Path, distribution: Distribution, parsed: Parse | None = None) -> dict[str, ModelCard]:
    """The cards of one registry.yaml by name, in the order of the file; arguments as `merge`.

    Raises:
        CatalogueError: the file is missing or not valid; file, model and field are named.
    """
    what = f"registry.yaml of {distribution}"
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise CatalogueError(f"{what}: {reason}: {path}; reinstall {distribution.name}") from None
    return (parsed or parse)(data, what)


def parse(data: bytes, what: str) -> dict[str, ModelCard]:
    """The cards in `data`, the bytes of a registry.yaml that is called `what` in errors.

    Raises:
        CatalogueError: not valid YAML, an alias, a repeated key, an unknown field or a wrong value.
    """
    if len(data) > MAX_BYTES:
        raise CatalogueError(f"{what}: more than {MAX_BYTES:,} bytes; a catalogue is a short text file")
    from zoo.strict_yaml import load

    document = load(data, what)
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise CatalogueError(f"{what}: expected 'schema: {SCHEMA}' and a table 'models'")
    for key in document:
        if key not in {"schema", "models"}:
            raise CatalogueError(f"{what}: unknown field {key!r}; expected 'schema' and 'models'")
    schema = document.get("schema")
    if schema != SCHEMA or schema is True:  # YAML's yes is equal to 1
        raise CatalogueError(f"{what}: schema is {schema!r}, expected {SCHEMA}; update edgezoo or the catalogue")
    return {name: _card(name, fields, what) for name, fields in document["models"].items()}


# --- cards ------------------------------------------------------------------------------------------


def _card(name: str, fields: Any, what: str) -> ModelCard:
    what = f"{what}: model {name!r}"
    if not MODEL_NAME.fullmatch(name):
        raise CatalogueError(f"{what}: a name is made of a-z, 0-9, '_', '.', '-' and starts with a letter or digit")
    if not isinstance(fields, dict):
        raise CatalogueError(f"{what}: expected a table of fields, with at least {', '.join(REQUIRED)}")
    _check_fields(fields, what)
    for field in REQUIRED:
        if fields.get(field) is None:
            raise CatalogueError(f"{what}: field {field!r} is missing")
    complete = {"arch": name, "family": fields["plugin"], **fields, "name": name}
    try:
        card = msgspec.convert(complete, type=ModelCard)
    except msgspec.ValidationError as problem:
        reason, _, path = str(problem).partition(" - at `$.")
        field = f"{path.removesuffix('`')}: " if path else ""
        raise CatalogueError(f"{what}: {field}{reason[:1].lower()}{reason[1:]}") from None
    for field, good, expected in _rules(card):
        if not good:
            raise CatalogueError(f"{what}: {field}: expected {expected}")
    return card


def _check_fields(fields: dict[str, Any], what: str) -> None:
    """Name an unknown field and its likeliest meaning, here and in the tables inside."""
    for path, known in FIELDS.items():
        table: Any = fields
        for step in filter(None, path.split(".")):
            table = table.get(step) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            continue
        for field in table:
            if field not in known:
                near = difflib.get_close_matches(field, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                place = f"{path}: " if path else ""
                raise CatalogueError(f"{what}: {place}unknown field {field!r}; {hint}")


def _rules(card: ModelCard) -> Iterable[tuple[str, bool, str]]:
    """What the types can not say: (field, holds, what was expected)."""
    yield "plugin", bool(PLUGIN_NAME.fullmatch(card.plugin)), "the name of an entry point, not an import path"
    yield "summary", bool(card.summary.strip()) and "\n" not in card.summary.strip(), "one line of text"
    for field in ("parameters", "macs"):
        value = getattr(card, field)
        yield field, value is None or value >= 0, "a number, 0 or more"
    if card.latency is not None:
        times = (card.latency.fp32_ms, card.latency.int8_ms)
        yield "latency", all(time is None or time > 0 for time in times), "milliseconds above 0"
    # find_spec of a dotted name imports the packages above it, and listing imports nothing.
    good = all(PACKAGE_NAME.fullmatch(package) for package in card.needs)
    yield "needs", good, "names of importable top-level packages, without dots"
    if card.weights is None:
        return
    weights = card.weights
    yield "weights.source", bool(HUB_SOURCE.fullmatch(weights.source)), "'hf-hub:ORGANISATION/NAME'"
    good = weights.sha256 is None or bool(SHA256.fullmatch(weights.sha256))
    yield "weights.sha256", good, "64 hexadecimal digits in lower case, or null"
    if weights.package is not None:
        good = bool(SHA256.fullmatch(weights.package.sha256))
        yield "weights.package.sha256", good, "64 hexadecimal digits in lower case"
        parts = weights.package.file.split("/")
        good = all(part not in {"", ".", ".."} and "\\" not in part and ":" not in part for part in parts)
        yield "weights.package.file", good, "a path inside site-packages, with forward slashes and no '..'"
