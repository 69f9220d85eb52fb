"""The local store: one folder of safetensors files and weights.lock, which says what each of them must be.

Nothing is taken from here before its sha256 is what the lock says; the first time a source is stored pins it.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo._support.files import atomic_path, atomic_write, hold_lock, sha256_bytes, sha256_file
from zoo.errors import WeightsError
from zoo.spec import Licence, decode, encode
from zoo.store._places import data_folder
from zoo.store.weights._safetensors import check_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Pin",
    "ResolvedWeights",
    "config_of",
    "folder",
    "keep",
    "keep_config",
    "mismatch",
    "path_of",
    "pins",
    "take",
    "take_config",
]

LOCK = "weights.lock"


@dataclass(frozen=True, slots=True)
class ResolvedWeights:
    """Weights that are here and are what they should be."""

    path: Path
    """A safetensors file on this machine."""
    source: str
    """hf-hub:ORG/NAME, package:DISTRIBUTION/FILE@SHA256, local-dir:FOLDER or file:NAME; never a path."""
    sha256: str
    """Of the file at `path`."""
    licence: Licence


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What the lock says of one source."""

    sha256: str
    size: int
    """Bytes."""
    licence: Licence
    added: str
    """UTC, ISO 8601, to the second."""
    place: str | None = None
    """Of a config.json that was read in a folder: that folder. The lock never leaves this machine."""


def folder() -> Path:
    """Where weights are kept."""
    return data_folder("weights")


def path_of(source: str) -> Path:
    """The file a source has in the store, there or not."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "--", source.partition(":")[2])
    return folder() / f"{slug}.safetensors"


def pins() -> dict[str, Pin]:
    """The lock, by source.

    Raises:
        WeightsError: weights.lock cannot be read.
    """
    path = folder() / LOCK
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise WeightsError(
            f"cannot read {path}: {(problem.strerror or str(problem)).lower()}", code="file-unreadable", path=str(path)
        ) from None
    return decode(data, dict[str, Pin], str(path), WeightsError)


def take(source: str, *, what: str, remedy: str, expected: str | None = None) -> ResolvedWeights | None:
    """The stored file of `source`, None when there is none.

    Args:
        source: the key in the lock.
        what: how the error begins.
        remedy: the command that accepts a change.
        expected: the sha256 that the card pins, if it does.

    Raises:
        WeightsError: the file is not in the lock, or not what the lock or the card says.
    """
    path = path_of(source)
    if not path.is_file():
        return None
    pin = pins().get(source)
    if pin is None:
        raise WeightsError(
            f"{what}: {path} is not in the lock, so nothing says what it is; run '{remedy}'",
            code="weights-unlocked",
            path=str(path),
        )
    actual = sha256_file(path)
    if actual != pin.sha256:
        raise mismatch(what, actual, pin.sha256, "the lock", f"run '{remedy}' if the change is wanted")
    if expected not in {None, actual}:
        raise mismatch(what, actual, str(expected), "the card", f"run '{remedy}'")
    return ResolvedWeights(path, source, actual, pin.licence)


def keep(
    source: str,
    licence: Licence,
    write: Callable[[Path], object],
    *,
    what: str,
    remedy: str,
    expected: str | None = None,
    force: bool = False,
) -> ResolvedWeights:
    """Put what `write` writes into the store and pin it; all of it or nothing.

    Args:
        source: the key in the lock.
        licence: licence of the weights.
        write: writes a safetensors file to the path it is given.
        what: how the error begins.
        remedy: the command that accepts a change.
        expected: the sha256 that the card pins, if it does; `force` does not override it.
        force: accept a file that differs from the lock.

    Raises:
        WeightsError: the file is not what the lock or the card says, or not safetensors.
        OutputError: the store cannot be written.
    """
    target = path_of(source)
    with atomic_path(target) as temporary:
        write(temporary)
        actual = sha256_file(temporary)
        if expected not in {None, actual}:
            raise mismatch(what, actual, str(expected), "the card", "get the file the card means")
        with hold_lock(folder() / f".{LOCK}.guard"):
            known = pins()
            pin = known.get(source)
            if pin is not None and pin.sha256 != actual and not force:
                raise mismatch(what, actual, pin.sha256, "the lock", f"run '{remedy}' if the change is wanted")
            check_file(temporary, what, called=source)
            known[source] = Pin(sha256=actual, size=temporary.stat().st_size, licence=licence, added=_now())
            # Lock first: were we killed here, the next fetch finds a pin and no file, and just compares.
            atomic_write(target.parent / LOCK, encode(dict(sorted(known.items()))))
    return ResolvedWeights(target, source, actual, licence)


def config_of(source: str) -> str:
    """The key in the lock of the config.json of `source`."""
    return f"{source}/config.json"


def take_config(source: str, *, what: str, remedy: str) -> tuple[bytes, Licence] | None:
    """The stored config.json of `source` and the licence found with it, None when there is none.

    Raises:
        WeightsError: it is not what the lock says.
    """
    pin = pins().get(config_of(source))
    try:
        data = _config_path(source).read_bytes()
    except OSError:
        return None
    if pin is None:
        return None
    _compare_config(data, pin, what, remedy)
    return data, pin.licence


def keep_config(
    source: str, data: bytes, licence: Licence, place: str | None, *, what: str, remedy: str, force: bool
) -> None:
    """Put a config.json into the store and pin it; arguments as `keep` and `Pin`.

    Raises:
        WeightsError: it differs from the lock, and `force` is off.
        OutputError: the store cannot be written.
    """
    with hold_lock(folder() / f".{LOCK}.guard"):
        known = pins()
        pin = known.get(config_of(source))
        if pin is not None and not force:
            _compare_config(data, pin, what, remedy)
            if _config_path(source).is_file() and (pin.licence, pin.place) == (licence, place):
                return
        known[config_of(source)] = Pin(
            sha256=sha256_bytes(data), size=len(data), licence=licence, added=_now(), place=place
        )
        atomic_write(folder() / LOCK, encode(dict(sorted(known.items()))))
        atomic_write(_config_path(source), data)


def _config_path(source: str) -> Path:
    return path_of(source).with_suffix(".json")


def _compare_config(data: bytes, pin: Pin, what: str, remedy: str) -> None:
    actual = sha256_bytes(data)
    if actual != pin.sha256:
        raise mismatch(
            f"{what}: config.json", actual, pin.sha256, "the lock", f"run '{remedy}' if the change is wanted"
        )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def mismatch(what: str, actual: str, expected: str, who: str, remedy: str) -> WeightsError:
    """The error for a wrong sha256; `who` says what it should be."""
    return WeightsError(
        f"{what}: sha256 is {actual[:8]}…, {who} says {expected[:8]}…; {remedy}",
        code="weights-hash",
        found=actual,
        expected=expected,
        by=who,
    )
