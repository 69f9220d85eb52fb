"""registry.yaml: read, validated, merged. The catalogue is data, and stays data.

A catalogue names plugins by entry-point name only, so reading one can run no code. This module does not
know which catalogues are installed (see `zoo.registry`), nor whether a plugin exists. It is on the path
of `zoo list` and imports nothing heavy.

What the models of a family share may be written once, in a table `families` beside `models`. A model whose `family`
names an entry of that table takes its fields from there, and its own fields come on top:

- tables are merged field by field, at every depth; any other value, a list too, takes the place of the family's;
- a table with another `type` than the family's takes its place whole, because its fields are others;
- null takes the place of the family's value too;
- `weights` and `latency` are of one model: what the family says of them only completes a table that the model has.

A family may state the fields of FAMILY_FIELDS. Where there is a table `families`, every `family` must be in it. Without
that table `family` is a label and nothing more.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.entries import Distribution
from zoo.errors import CatalogueError
from zoo.spec import SCHEMA, Latency, ModelCard, PackagedWeights, PreprocessSpec, TrainConfig, Weights

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Broken", "Catalogue", "Entry", "merge", "own_file", "parse", "read"]

MAX_BYTES = 1_000_000
"""Ours holds 130 models in 40 kB."""

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
PLUGIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
HUB_SOURCE = re.compile(r"hf-hub:[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")

REQUIRED = ("plugin", "summary", "preprocess")
FAMILY_FIELDS = ("plugin", "preprocess", "train", "latency", "weights", "needs", "licence")
"""What a family may state for its models; the other fields tell one model from another."""
COMPLETED = ("latency", "weights")
"""Of these a family has only a part, which alone would say nothing."""
FIELDS = {
    "": tuple(name for name in ModelCard.__struct_fields__ if name != "name"),
    "preprocess": PreprocessSpec.__struct_fields__,
    "train": TrainConfig.__struct_fields__,
    "latency": Latency.__struct_fields__,
    "weights": Weights.__struct_fields__,
    "weights.package": PackagedWeights.__struct_fields__,
}
"""Path inside a card to the fields known there; the name is the key of the card and no field."""


class Entry(msgspec.Struct, frozen=True):
    """One card and who brought it."""

    card: ModelCard
    distribution: Distribution


class Broken(msgspec.Struct, frozen=True):
    """A catalogue that could not be read, and the line that says why."""

    distribution: Distribution
    error: str


class Catalogue(msgspec.Struct, frozen=True):
    """All cards of all installed catalogues."""

    entries: dict[str, tuple[Entry, ...]]
    """Name to everyone who defines it; more than one is a clash and none of them is taken."""
    broken: tuple[Broken, ...]


def own_file(package: Path) -> Path:
    """The project's own catalogue: in the package in a wheel, at the repository root if editable."""
    inside = package / "registry.yaml"
    return inside if inside.is_file() else package.parent / "registry.yaml"


def merge(sources: Iterable[tuple[Distribution, Path]]) -> Catalogue:
    """Read every catalogue, given as its owner and its file; a broken one costs its own models and nobody else's."""
    entries: dict[str, tuple[Entry, ...]] = {}
    broken = []
    for distribution, path in sources:
        try:
            cards = read(path, distribution)
        except CatalogueError as problem:
            broken.append(Broken(distribution, str(problem)))
            continue
        for name, card in cards.items():
            entries[name] = (*entries.get(name, ()), Entry(card, distribution))
    return Catalogue(entries, tuple(broken))


def read(path: Path, distribution: Distribution) -> dict[str, ModelCard]:
    """The cards of one registry.yaml by name, in the order of the file.

    Raises:
        CatalogueError: the file is missing or not valid; file, model and field are named.
    """
    what = f"registry.yaml of {distribution}"
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise CatalogueError(
            f"{what}: {reason}: {path}; reinstall {distribution.name}",
            code="catalogue-unreadable",
            path=str(path),
            distribution=distribution.name,
        ) from None
    return parse(data, what)


def parse(data: bytes, what: str) -> dict[str, ModelCard]:
    """The cards in `data`, the bytes of a registry.yaml that is called `what` in errors.

    Raises:
        CatalogueError: not valid YAML, an alias, a repeated key, an unknown field or a wrong value.
    """
    if len(data) > MAX_BYTES:
        raise CatalogueError(
            f"{what}: more than {MAX_BYTES:,} bytes; a catalogue is a short text file",
            code="catalogue-form",
            catalogue=what,
            limit=MAX_BYTES,
        )
    from zoo.registry._strict_yaml import load

    document = load(data, what)
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise CatalogueError(
            f"{what}: expected 'schema: {SCHEMA}' and a table 'models'", code="catalogue-form", catalogue=what
        )
    for key in document:
        if key not in {"schema", "families", "models"}:
            raise CatalogueError(
                f"{what}: unknown field {key!r}; expected 'schema', 'families' and 'models'",
                code="catalogue-field-unknown",
                field=str(key),
            )
    schema = document.get("schema")
    if schema != SCHEMA or schema is True:  # true is equal to 1
        raise CatalogueError(
            f"{what}: schema is {schema!r}, expected {SCHEMA}; update edgezoo or the catalogue",
            code="catalogue-schema",
            catalogue=what,
            expected=SCHEMA,
        )
    families = _families(document["families"], what) if "families" in document else None
    return {name: _card(name, fields, families, what) for name, fields in document["models"].items()}


# --- families ---------------------------------------------------------------------------------------


def _families(table: Any, what: str) -> dict[str, dict[str, Any]]:
    """The table `families`, checked as far as a part of a card can be."""
    if not isinstance(table, dict):
        raise CatalogueError(
            f"{what}: families: expected a table of families, each a table of fields",
            code="catalogue-form",
            catalogue=what,
        )
    known = FIELDS | {"": FAMILY_FIELDS}
    for name, fields in table.items():
        if not isinstance(fields, dict):
            raise CatalogueError(
                f"{what}: family {name!r}: expected a table of fields", code="catalogue-family", family=str(name)
            )
        _check_fields(fields, f"{what}: family {name!r}", known)
    return table


def _inherit(fields: dict[str, Any], families: dict[str, dict[str, Any]] | None, what: str) -> dict[str, Any]:
    """The fields of a model on top of those of its family."""
    if families is None or "family" not in fields:
        return fields
    family = fields["family"]
    if not isinstance(family, str) or family not in families:
        near = difflib.get_close_matches(str(family), families, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"families are {', '.join(families) or 'none'}"
        raise CatalogueError(f"{what}: unknown family {family!r}; {hint}", code="catalogue-family", family=str(family))
    shared = {field: value for field, value in families[family].items() if field in fields or field not in COMPLETED}
    return _merge(shared, fields)


def _merge(shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` on top of `shared`; neither is changed."""
    merged = shared | own
    for field in shared.keys() & own.keys():
        below, above = shared[field], own[field]
        if (
            isinstance(below, dict)
            and isinstance(above, dict)
            and above.get("type", below.get("type")) == below.get("type")
        ):
            merged[field] = _merge(below, above)
    return merged


# --- cards ------------------------------------------------------------------------------------------


def _card(name: str, fields: Any, families: dict[str, dict[str, Any]] | None, what: str) -> ModelCard:
    what = f"{what}: model {name!r}"
    if not MODEL_NAME.fullmatch(name):
        raise CatalogueError(
            f"{what}: a name is made of a-z, 0-9, '_', '.', '-' and starts with a letter or digit",
            code="catalogue-model",
            model=name,
        )
    if not isinstance(fields, dict):
        raise CatalogueError(
            f"{what}: expected a table of fields, with at least {', '.join(REQUIRED)}",
            code="catalogue-model",
            model=name,
        )
    complete = _inherit(fields, families, what)
    absent = next((field for field in REQUIRED if complete.get(field) is None), None)
    if absent is not None or "name" in fields:
        _check_fields(fields, what, FIELDS)
        raise CatalogueError(
            f"{what}: field {absent!r} is missing", code="catalogue-field-missing", model=name, field=absent
        )
    complete = {"arch": name, "family": complete["plugin"], **complete, "name": name}
    try:
        card = msgspec.convert(complete, type=ModelCard)
    except msgspec.ValidationError as problem:
        _check_fields(fields, what, FIELDS)  # its words for an unknown field are better
        reason, _, path = str(problem).partition(" - at `$.")
        field = f"{path.removesuffix('`')}: " if path else ""
        raise CatalogueError(
            f"{what}: {field}{reason[:1].lower()}{reason[1:]}",
            code="catalogue-field",
            model=name,
            field=path.removesuffix("`"),
        ) from None
    for field, good, expected in _rules(card):
        if not good:
            raise CatalogueError(
                f"{what}: {field}: expected {expected}", code="catalogue-field", model=name, field=field
            )
    return card


def _check_fields(fields: dict[str, Any], what: str, every: dict[str, tuple[str, ...]]) -> None:
    """Name an unknown field and its likeliest meaning, here and in the tables inside; `every` is like FIELDS."""
    for path, known in every.items():
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
                raise CatalogueError(
                    f"{what}: {place}unknown field {field!r}; {hint}",
                    code="catalogue-field-unknown",
                    field=str(field),
                    table=path,
                    near=near,
                )


def _rules(card: ModelCard) -> Iterable[tuple[str, bool, str]]:
    """What the types cannot say: (field, holds, what was expected)."""
    yield "plugin", bool(PLUGIN_NAME.fullmatch(card.plugin)), "the name of an entry point, not an import path"
    yield "summary", bool(card.summary.strip()) and "\n" not in card.summary.strip(), "one line of text"
    for field in ("parameters", "macs"):
        value = getattr(card, field)
        yield field, value is None or value >= 0, "a number, 0 or more"
    if card.latency is not None:
        times = (card.latency.fp32_ms, card.latency.int8_ms)
        yield "latency", all(time is None or time > 0 for time in times), "milliseconds above 0"
    # find_spec of a dotted name imports the packages above it, and listing imports nothing.
    good = all(package.isascii() and package.isidentifier() for package in card.needs)
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
