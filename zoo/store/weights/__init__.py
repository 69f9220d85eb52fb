"""Where pretrained weights come from, offline first: a file given, the store, an installed package, the hub.

A sha256 is checked before a byte is parsed, the first download is pinned in weights.lock, and only
safetensors is ever handed on. This module does not know what the tensors are for: whether they fit a network
is said by whoever builds it.
"""

from __future__ import annotations

import dataclasses
import logging
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo._support.files import sha256_file
from zoo._support.text import quote_path
from zoo.errors import WeightsError
from zoo.spec import Weights
from zoo.store.weights import _hub, _package
from zoo.store.weights._described import CONFIG, LOCAL, TENSORS, Described, describe, is_source, place_of
from zoo.store.weights._safetensors import check_file
from zoo.store.weights._store import ResolvedWeights, folder, keep, mismatch, path_of, pins, take

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zoo.spec import Licence, ModelCard

__all__ = [
    "Described",
    "ResolvedWeights",
    "StoredWeights",
    "describe",
    "fetch",
    "folder",
    "import_file",
    "import_folder",
    "is_here",
    "is_source",
    "list_stored",
    "lock",
    "resolve",
]

log = logging.getLogger("zoo")


class StoredWeights(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `zoo weights list`; its fields are the keys of `--json`."""

    models: tuple[str, ...]
    """Those of the given cards that use it."""
    source: str
    path: str
    size: int
    """Bytes."""
    sha256: str
    licence: Licence
    added: str


def resolve(card: ModelCard, file: str | Path | None = None) -> ResolvedWeights:
    """Pretrained weights for `card` as a safetensors file on this machine.

    Args:
        card: the model.
        file: hf-hub:ORG/NAME or local-dir:PATH, or the user's own file, taken as it is: what the card pins is about the
            card's source.

    Raises:
        WeightsError: not to be found (with the ways out), not what lock or card says, of another architecture, or not
            safetensors.
        OutputError: the store cannot be written.
    """
    if file is None:
        return fetch(card)
    if is_source(str(file)):
        return _from_elsewhere(card, describe(str(file)))
    check_file(Path(file), _what(card))
    return ResolvedWeights(Path(file), f"file:{Path(file).name}", sha256_file(Path(file)), "unknown")


def fetch(card: ModelCard, force: bool = False) -> ResolvedWeights:
    """Bring the weights of `card` into the store unless they are there: from a package, else from the hub.

    Args:
        card: the model.
        force: get them again, and accept that they differ from the lock. What the card pins still holds.

    Raises:
        WeightsError: as for `resolve`.
        OutputError: the store cannot be written.
    """
    weights, what = _weights(card), _what(card)
    if weights.source.startswith(LOCAL):
        return _from_folder(card, weights, force)
    remedy = f"zoo weights fetch {card.name} --force"
    if not force and (found := take(weights.source, what=what, remedy=remedy, expected=weights.sha256)):
        return found
    if found := _from_package(card, weights, remedy, force):
        return found
    return keep(
        weights.source,
        weights.licence,
        lambda path: _hub.download(weights.source, path, model=card.name),
        what=what,
        remedy=remedy,
        expected=weights.sha256,
        force=force,
    )


def is_here(card: ModelCard) -> bool:
    """Whether weights for `card` are on this machine, in the store or in an installed package; nothing is hashed."""
    if card.weights is None:
        return False
    package = card.weights.package
    if package is not None and _package.find_installed(package) is not None:
        return True
    return any(source in pins() and path_of(source).is_file() for source in _sources(card))


def import_file(card: ModelCard, file: Path, force: bool = False) -> ResolvedWeights:
    """Put a file that was carried here into the store, as what the hub would have given for `card`.

    Args:
        card: the model.
        file: a safetensors file.
        force: accept that it differs from the lock.

    Raises:
        WeightsError: a pickle, damaged, or not what the lock or the card says.
        OutputError: the store cannot be written.
    """
    weights, what = _weights(card), _what(card)
    check_file(file, what)
    return keep(
        weights.source,
        weights.licence,
        lambda path: shutil.copyfile(file, path),
        what=what,
        remedy=f"zoo weights import {card.name} {quote_path(file)} --force",
        expected=weights.sha256,
        force=force,
    )


def import_folder(name: str, place: Path, force: bool = False) -> ResolvedWeights:
    """Put a carried folder of config.json and model.safetensors into the store as what the hub would have given.

    Args:
        name: hf-hub:ORG/NAME.
        place: the folder.
        force: accept that it differs from the lock.

    Raises:
        WeightsError: a file is missing, not what it should be, or not what the lock says.
        OutputError: the store cannot be written.
    """
    found = describe(name, place=place, force=force)
    return keep(
        name,
        found.licence,
        lambda path: shutil.copyfile(_tensors(place, name), path),
        what=f"weights for {name}",
        remedy=f"zoo weights import {name} {quote_path(place)} --force",
        force=force,
    )


def list_stored(cards: Iterable[ModelCard] = ()) -> list[StoredWeights]:
    """What the store holds according to its lock, by source; nothing is hashed.

    Raises:
        WeightsError: weights.lock cannot be read.
    """
    users: dict[str, list[str]] = {}
    for card in cards:
        for source in _sources(card):
            users.setdefault(source, []).append(card.name)
    return [
        StoredWeights(
            models=tuple(users.get(source, ())),
            source=source,
            path=str(path_of(source)),
            size=pin.size,
            sha256=pin.sha256,
            licence=pin.licence,
            added=pin.added,
        )
        for source, pin in pins().items()
        if path_of(source).is_file()
    ]


def lock(cards: Iterable[ModelCard] = ()) -> list[StoredWeights]:
    """Hash every stored file and compare it with the lock and with what the cards pin.

    Raises:
        WeightsError: naming every file that differs or that the lock does not know.
    """
    cards = tuple(cards)
    rows = list_stored(cards)
    pinned = {card.weights.source: card.weights.sha256 for card in cards if card.weights and card.weights.sha256}
    problems = []
    for row in rows:
        place = place_of(row.source)
        name = row.models[0] if row.models else row.source if place is None else shlex.quote(f"{LOCAL}{place}")
        actual, remedy = (
            sha256_file(Path(row.path)),
            f"run 'zoo weights fetch {name} --force' if the change is wanted",
        )
        for expected, who in ((row.sha256, "the lock"), (pinned.get(row.source), "the card")):
            if expected not in {None, actual}:
                problems.append(str(mismatch(f"weights for {name}", actual, str(expected), who, remedy)))
    known = {Path(row.path) for row in rows}
    problems.extend(
        f"{path} is not in the lock; delete it or run 'zoo weights import MODEL FILE'"
        for path in sorted(folder().glob("*.safetensors"))
        if path not in known
    )
    if problems:
        raise WeightsError("; ".join(problems), code="weights-lock", problems=problems)
    return rows


def _from_elsewhere(card: ModelCard, found: Described) -> ResolvedWeights:
    """The weights of `found` for the network of `card`."""
    if found.arch.partition(".")[0] != card.arch.partition(".")[0]:
        raise WeightsError(
            f"{found.name} holds weights of {found.arch}, {card.name} is {card.arch}; name weights of {card.arch}, "
            f"or train {found.name} itself",
            code="weights-other-network",
            found=found.arch,
            expected=card.arch,
        )
    theirs, ours = found.preprocess, card.preprocess
    if ours.channels == "rgb" and (theirs.mean, theirs.std) != (ours.mean, ours.std):
        log.warning(
            "%s was trained with mean %s and std %s, %s uses mean %s and std %s; train '%s' itself to keep its own",
            found.name, theirs.mean, theirs.std, card.name, ours.mean, ours.std, found.name,
        )  # fmt: skip
    source = Weights(source=found.source, licence=found.licence)
    return fetch(msgspec.structs.replace(card, name=found.name, weights=source))


def _from_folder(card: ModelCard, weights: Weights, force: bool) -> ResolvedWeights:
    """Copy the folder's tensors into the store; they must be what the lock says."""
    place, what = place_of(weights.source), _what(card)
    if place is None:
        raise WeightsError(
            f"{what}: the lock does not know where {card.name} is; name it local-dir:PATH",
            code="weights-unlocked",
            model=card.name,
        )
    remedy = f"zoo weights fetch {shlex.quote(f'{LOCAL}{place}')} --force"
    file = _tensors(place, card.name)
    found = None if force else take(weights.source, what=what, remedy=remedy)
    if found is None or found.sha256 != sha256_file(file):
        found = keep(
            weights.source,
            weights.licence,
            lambda path: shutil.copyfile(file, path),
            what=what,
            remedy=remedy,
            force=force,
        )
    return dataclasses.replace(found, source=weights.source.partition("#")[0])


def _tensors(place: Path, name: str) -> Path:
    file = place / TENSORS
    if not file.is_file():
        raise WeightsError(
            f"{name}: {TENSORS} is not there; expected it and {CONFIG} side by side, as timm saves them",
            code="weights-file-missing",
            model=name,
            file=TENSORS,
        )
    return file


def _from_package(card: ModelCard, weights: Weights, remedy: str, force: bool) -> ResolvedWeights | None:
    package, what = weights.package, _what(card)
    if package is None:
        return None
    source = _package.source_of(package)
    if not force and (found := take(source, what=what, remedy=remedy)):
        return found
    pickle = _package.find_installed(package)
    if pickle is None:
        return None
    return keep(
        source,
        weights.licence,
        lambda path: _package.convert(pickle, package, card.arch, path, what),
        what=what,
        remedy=remedy,
        force=force,
    )


def _sources(card: ModelCard) -> tuple[str, ...]:
    if card.weights is None:
        return ()
    package = card.weights.package
    return (card.weights.source, *(() if package is None else (_package.source_of(package),)))


def _weights(card: ModelCard) -> Weights:
    if card.weights is None:
        raise WeightsError(
            f"{card.name} has no pretrained weights; train without --pretrained or give --weights FILE",
            code="weights-none",
            model=card.name,
        )
    return card.weights


def _what(card: ModelCard) -> str:
    return f"weights for {card.name}"
