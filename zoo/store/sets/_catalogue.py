"""The catalogue of sets that go by a name: what each is, whose it is, and what its file must be.

The facts are in catalogue.json beside this file, which is data only; `checked_against` names the source of a
checksum. A set whose checksum nobody publishes is not listed.
"""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from zoo.errors import DataError
from zoo.spec import Task, decode, is_non_commercial

__all__ = ["NamedSet", "SetFile", "Variant", "catalogue", "find", "find_in", "lookup"]

CATALOGUE = Path(__file__).with_name("catalogue.json")


class SetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is fetched for one size of a set."""

    url: str
    checksum: str
    """md5:… or sha256:…, hexadecimal, as its publisher states it."""
    size: int | None = None
    """Bytes, where somebody stated them."""

    @property
    def algorithm(self) -> str:
        """The hash that `checksum` is of."""
        return self.checksum.partition(":")[0]


class NamedSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One set of the catalogue."""

    title: str
    format: Literal["embedded", "npz", "zip"]
    """embedded: comes with a package; npz: MedMNIST's keys; zip: class folders below `root`."""
    task: Task
    labels: tuple[str, ...]
    n: int
    """Images."""
    channels: int
    licence: str
    """As its publisher writes it."""
    citation: tuple[str, ...]
    """What to cite when the set was used, all of it."""
    page: str
    """Where it is described."""
    patients: Literal["unknown", "kept apart", "none"]
    """unknown: one patient may be in two splits; kept apart: by its publisher; none: not of people."""
    files: dict[str, SetFile | None]
    """By the side in pixels; the first is meant where no size is named. None: embedded."""
    splits: dict[str, int] = {}
    """Images in each split that the set brings."""
    root: str = ""
    train: dict[str, Any] = {}
    """Fields of TrainConfig that the set asks for; the user's own come first."""
    because: str = ""
    """Why it asks for them."""
    remark: str = ""
    checked_against: str = ""
    """Where the checksums were taken from."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides in pixels, the default first."""
        return tuple(map(int, self.files))

    @property
    def non_commercial(self) -> bool:
        """The licence allows no commercial use."""
        return is_non_commercial(self.licence)


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal[1]
    sets: dict[str, NamedSet]


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One size of a set; the name that a user types means one."""

    set_name: str
    about: NamedSet
    px: int

    @property
    def name(self) -> str:
        """'breastmnist', 'breastmnist@64': as a user types it, the default size left out."""
        return self.set_name if self.px == self.about.sizes[0] else f"{self.set_name}@{self.px}"

    @property
    def file(self) -> SetFile:
        """What is fetched.

        Raises:
            DataError: nothing is, the set comes with a package.
        """
        found = self.about.files[str(self.px)]
        if found is None:
            raise DataError(
                f"{self.name} comes with scikit-learn and needs no file; use it with --data {self.name}",
                code="set-embedded",
                name=self.name,
            )
        return found

    @property
    def file_name(self) -> str:
        """Of the file that is fetched, as its publisher calls it."""
        return urlsplit(self.file.url).path.rpartition("/")[2]

    @property
    def at_most(self) -> int:
        """Bytes of the file as stated, else of its pixels before compression."""
        return self.file.size or self.about.n * self.px**2 * self.about.channels


@functools.cache
def catalogue() -> dict[str, NamedSet]:
    """Every set by name."""
    return decode(CATALOGUE.read_bytes(), _Document, CATALOGUE.name, DataError).sets


def lookup(name: str) -> Variant | None:
    """The variant that NAME, NAME@SIZE or NAME_SIZE means; None: no set has that name.

    Raises:
        DataError: the set is known and the size is not.
    """
    sets = catalogue()
    if name in sets:
        return Variant(set_name=name, about=sets[name], px=sets[name].sizes[0])
    set_name, sign, size = name.rpartition("@") if "@" in name else name.rpartition("_")
    if set_name not in sets:
        return None
    about = sets[set_name]
    if size in about.files:
        return Variant(set_name=set_name, about=about, px=int(size))
    if sign == "_" and not size.isdecimal():
        return None
    sizes = ", ".join(about.files)
    raise DataError(
        f"{name}: {set_name} is published at {sizes} pixels; choose one, as in {set_name}@{about.sizes[-1]}",
        code="set-size",
        name=set_name,
        sizes=list(about.sizes),
    )


def find(name: str) -> Variant:
    """As `lookup`, for those who need one.

    Raises:
        DataError: no such set or size; the line names those it could have been.
    """
    if found := lookup(name):
        return found
    near = difflib.get_close_matches(name.lower(), catalogue(), n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else "'zoo data list' shows them"
    raise DataError(f"no set is called {name!r}; {hint}", code="set-unknown", name=name)


def find_in(name: str) -> str | None:
    """The set of MedMNIST whose name is part of that of a file or folder: 'chestmnist_224', 'chestmnist-cut'."""
    known = (one for one, about in catalogue().items() if about.format == "npz")
    return next((one for one in known if re.search(rf"(?<![a-z]){one}(?![a-z])", name.lower())), None)
