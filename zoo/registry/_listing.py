"""Rows of `zoo list` and cards by name. No plugin is imported, and no framework."""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING

import msgspec

from zoo._support.entries import PLUGINS, describe_clash, is_allowed, read_declared
from zoo._support.imports import needs_remedy
from zoo._support.text import brief
from zoo.errors import CatalogueError
from zoo.registry._ensembles import ENSEMBLE, ensemble_card
from zoo.registry._installed import State, catalogue, is_installed, no_plugin
from zoo.spec import Display, ModelCard, PreprocessSpec, Rows, Weights, is_licence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo._support.entries import Entry as PluginEntry
    from zoo.registry._catalogue import Catalogue, Entry

__all__ = ["Row", "find", "models"]

TIMM_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
UNKNOWN_LICENCE = "unknown (see the model page)"


class Row(Display, msgspec.Struct, frozen=True, kw_only=True):
    """One line of `zoo list`; its fields are the keys of `--json`."""

    name: str
    family: str
    plugin: str
    distribution: str
    parameters: float | None
    macs: float | None
    """Multiply-adds for one image of `size`."""
    latency_ms: float | None
    """Of one image, in float32, on the processor that the card names."""
    size: tuple[int, int] | None
    """(height, width) in pixels; null in the row of a catalogue that could not be read."""
    pretrained: bool
    licence: str
    """Of the code."""
    weights_licence: str | None
    """Of the pretrained weights; null where there are none."""
    state: State
    status: str
    """The state as a sentence: "ok", or what is missing and how to get it."""

    def headline(self) -> str:
        """Name, family and licences, and whether it can be used here."""
        other = f" (weights {self.weights_licence})" if self.weights_licence not in {None, self.licence} else ""
        return f"{self.name}: {self.family}, licence {self.licence}{other}, {self.status}"


def models(family: str | None = None, *, licence: Sequence[str] = ()) -> Rows[Row]:
    """The catalogue, in the order of the files; a catalogue that could not be read is one row at the end.

    Args:
        family: only models of this family.
        licence: only models whose code, and pretrained weights, are under one of these licences; empty: all.

    Raises:
        CatalogueError: no model is of this family, or none has such a licence.
    """
    declared = read_declared()
    everything, plugins = catalogue(declared), declared.entries[PLUGINS]
    here = functools.cache(is_installed)  # most cards need the same two packages
    rows = [
        _row(entry, *_status(entry, owners, plugins, here))
        for owners in everything.entries.values()
        for entry in owners
    ]
    if licence:
        _refuse_licence(licence, rows)
        rows = [row for row in rows if _is_under(row, licence)]
    if family is not None:
        families = list(dict.fromkeys(owner.card.family for owners in everything.entries.values() for owner in owners))
        if family not in families:
            raise CatalogueError(
                _unknown_family(family, families, everything), code="family-unknown", family=family, known=families
            )
        rows = [row for row in rows if row.family == family]
    if family is not None or licence:
        return Rows(rows)
    broken_rows = [
        Row(
            name=f"({broken.distribution.name})",  # no model can have this name
            family="",
            plugin="",
            distribution=broken.distribution.name,
            parameters=None,
            macs=None,
            latency_ms=None,
            size=None,
            pretrained=False,
            licence="unknown",
            weights_licence=None,
            state="broken",
            status=broken.error,
        )
        for broken in everything.broken
    ]
    return Rows([*rows, *broken_rows])


def find(name: str) -> ModelCard:
    """The card called `name`; one is made for timm/NAME, hf-hub:ORG/NAME, local-dir:PATH and ensemble:RUN,RUN….

    Raises:
        CatalogueError: no such model (the nearest names are given), or more than one distribution defines it.
        UsageError: runs that can make no ensemble.
        WeightsError: as `zoo.store.weights.describe`.
    """
    if name.startswith("timm/"):
        return _timm_card(name)
    if name.startswith(("hf-hub:", "local-dir:")):
        return _describe_card(name)
    if name.startswith(ENSEMBLE):
        return ensemble_card(name)
    everything = catalogue()
    owners = everything.entries.get(name)
    if owners is None:
        raise _unknown(name, everything)
    if len(owners) > 1:
        claims = [str(owner.distribution) for owner in owners]
        raise CatalogueError(
            describe_clash("model", name, claims), code="model-clash", model=name, distributions=claims
        )
    return owners[0].card


def _row(entry: Entry, state: State, status: str) -> Row:
    card = entry.card
    return Row(
        name=card.name,
        family=card.family,
        plugin=card.plugin,
        distribution=entry.distribution.name,
        parameters=card.parameters,
        macs=card.macs,
        latency_ms=None if card.latency is None else card.latency.fp32_ms,
        size=card.preprocess.size,
        pretrained=card.weights is not None,
        licence=card.licence,
        weights_licence=None if card.weights is None else card.weights.licence,
        state=state,
        status=status,
    )


def _status(
    entry: Entry,
    owners: tuple[Entry, ...],
    plugins: dict[str, tuple[PluginEntry, ...]],
    here: Callable[[str], bool],
) -> tuple[State, str]:
    plugin = entry.card.plugin
    if len(owners) > 1:
        return "broken", describe_clash("model", entry.card.name, (owner.distribution for owner in owners))
    if not is_allowed(plugin):
        return "forbidden", "not allowed by ZOO_PLUGINS"
    if plugin not in plugins:
        return "broken", no_plugin(plugin, plugins)
    if len(plugins[plugin]) > 1:
        return "broken", describe_clash("plugin", plugin, (owner.distribution for owner in plugins[plugin]))
    absent = tuple(package for package in entry.card.needs if not here(package))
    return ("missing", needs_remedy(absent, entry.distribution.name)) if absent else ("ok", "ok")


def _is_under(row: Row, licence: Sequence[str]) -> bool:
    weights = row.weights_licence
    return is_licence_of(row.licence, licence) and (weights is None or is_licence_of(weights, licence))


def _refuse_licence(licence: Sequence[str], rows: Sequence[Row]) -> None:
    known = sorted({one for row in rows for one in (row.licence, row.weights_licence) if one is not None})
    wrong = [one for one in licence if not any(is_licence_of(name, [one]) for name in known)]
    if wrong:
        raise CatalogueError(
            f"no model is under {brief(wrong)}; licences are {', '.join(known)}",
            code="licence-unknown",
            licence=wrong,
            known=known,
        )


def _unknown_family(name: str, families: list[str], everything: Catalogue) -> str:
    if owners := everything.entries.get(name):
        return f"no model of family {name!r}: that is a model, of family {owners[0].card.family!r}"
    near = difflib.get_close_matches(name.lower(), families, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no model of family {name!r}; families are {', '.join(families) or 'none'}{hint}{_warn_unread(everything)}"


def _unknown(name: str, everything: Catalogue) -> CatalogueError:
    near: list[str] = []
    families = {owner.card.family for owners in everything.entries.values() for owner in owners}
    if not everything.entries and not everything.broken:
        line = f"no model {name!r}: no catalogue is installed; run 'pip install edgezoo' ('-e .' in a checkout)"
    elif family := next((known for known in families if known.lower() == name.lower()), None):
        line = f"no model {name!r}: that is a family; 'zoo list --family {family}' shows its models"
    else:
        near = difflib.get_close_matches(name.lower(), everything.entries, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        ways = f"{hint}'zoo list' shows them all, 'timm/NAME' takes any of timm's{_warn_unread(everything)}"
        line = f"no model {name!r}; {ways}"
    unread = [str(broken.distribution) for broken in everything.broken]
    return CatalogueError(line, code="model-unknown", model=name, near=near, unread=unread)


def _warn_unread(everything: Catalogue) -> str:
    """Remark that the model may be in a catalogue that could not be read; "" when all were read."""
    unread = ", ".join(str(broken.distribution) for broken in everything.broken)
    return f" (the catalogue of {unread} could not be read; see 'zoo doctor')" if unread else ""


def _describe_card(name: str) -> ModelCard:
    from zoo.store.weights import describe  # on the path of `zoo list` nobody needs it

    found = describe(name)
    head = "" if found.classes is None else f" trained for {found.classes} classes"
    return ModelCard(
        name=found.name,
        plugin="timm",
        arch=found.arch,
        family="timm",
        summary=f"{found.arch}{head}, by its own config.json; size, mean and std are what that says",
        preprocess=found.preprocess,
        weights=Weights(source=found.source, licence=found.licence),
        needs=("torch", "timm"),
        licence=found.licence,
    )


def _timm_card(name: str) -> ModelCard:
    arch = name.removeprefix("timm/")
    if not re.fullmatch(TIMM_NAME, arch):
        raise CatalogueError(
            f"{name!r} is not a name of timm; expected 'timm/ARCH' or 'timm/ARCH.TAG'", code="model-unknown", model=name
        )
    return ModelCard(
        name=name,
        plugin="timm",
        arch=arch,
        family="timm",
        summary=f"Any model of timm by its name, here {arch}; size, mean and std are what timm says of it",
        preprocess=PreprocessSpec(size=(224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD),
        weights=Weights(source=f"hf-hub:timm/{arch}", licence=UNKNOWN_LICENCE),
        needs=("torch", "timm"),
        licence=UNKNOWN_LICENCE,
    )
