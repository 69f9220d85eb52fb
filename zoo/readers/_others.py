"""Readers of other packages, found by the entry-point group `zoo.readers` and imported when a file asks for them.

Nothing is imported for a file that a built-in reader recognises. A reader that cannot be loaded is a line in the log
and a row of `zoo doctor`; the others work on. Whatever a reader raises becomes an `ImageError` that names it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from zoo._support.entries import (
    READERS,
    Entry,
    describe_cause,
    describe_clash,
    describe_forbidden,
    find_suffix_clashes,
    foreign_code,
    is_allowed,
    one_line,
    read_declared,
)
from zoo.errors import ImageError, PluginError
from zoo.readers._built_in import BUILT_IN
from zoo.readers._image import KINDS, SHOWN, Probe, RawImage
from zoo.readers._raster import MAX_PIXELS
from zoo.spec import MOST_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.readers._reader import Reader

__all__ = ["OtherReader", "Others", "image_defect", "load_reader", "others", "probe_defect"]

_LOADING = threading.RLock()
_MOST_VALUE = float(np.finfo(np.float32).max)
_SUFFIX = re.compile(r"(\.[a-z0-9_+-]+)+")

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class OtherReader:
    """A reader of another package, as a `Reader` that raises nothing but `ImageError`.

    Attributes:
        entry: where it comes from.
        reader: the package's own object.
        suffixes: as it states them.
    """

    entry: Entry
    reader: Reader
    suffixes: frozenset[str]

    def recognise(self, head: bytes) -> bool:
        """What the reader says; False where it fails."""
        try:
            return bool(self.reader.recognise(head))
        except (Exception, SystemExit):
            return False

    def probe(self, stream: IO[bytes], name: str) -> Probe:
        """What the reader says, once it is a `Probe`."""
        with self._named(name):
            found: Any = self.reader.probe(stream, name)
        if defect := probe_defect(found):
            raise self._defect(name, f"probe() gave {defect}")
        header: Probe = found
        return header

    def read(self, stream: IO[bytes], name: str, *, frame: int | None, voi: bool) -> RawImage:
        """What the reader decodes, once it is an image of a kind that models take."""
        with self._named(name):
            found: Any = self.reader.read(stream, name, frame=frame, voi=voi)
        if defect := image_defect(found):
            raise self._defect(name, f"read() gave {defect}")
        image: RawImage = found
        return image

    @contextlib.contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except ImageError as problem:  # the reader's own refusal, as one line about this image
            raise ImageError(name, one_line(problem.reason), code=problem.code) from None
        except (MemoryError, KeyboardInterrupt):
            raise
        except BaseException as problem:
            # its type only: a stranger's words may hold what a header says of a patient
            raise self._defect(name, f"failed with {type(problem).__name__}") from problem

    def _defect(self, name: str, what: str) -> ImageError:
        return ImageError(
            name,
            f"{self.entry} {what}; tell its author, or uninstall it",
            code="image-reader-failed",
            reader=self.entry.name,
            distribution=self.entry.distribution.name,
        )


@dataclass(frozen=True, slots=True)
class Others:
    """All readers of other packages, loaded.

    Attributes:
        readers: those that can be used, by name.
        suffixes: all that were stated, by broken readers too: such a file is an image that cannot be read.
        broken: name of a reader: why it cannot be used.
    """

    readers: tuple[OtherReader, ...]
    suffixes: frozenset[str]
    broken: dict[str, str]


def probe_defect(found: object) -> str | None:
    """What is wrong with a header as an index takes it; None: nothing."""
    if not isinstance(found, Probe):
        return f"{type(found).__name__}, expected a Probe"
    if found.kind not in KINDS or type(found.gray) is not bool:
        return f"kind {found.kind!r} and gray {found.gray!r}, expected a known kind, and True or False"
    counts = {"width": found.width, "height": found.height, "frames": found.frames, "bits": found.bits}
    for what, value in counts.items():
        if type(value) is not int or value < 1:
            return f"{what} {value!r}, expected a whole number above 0"
    if found.width * found.height > MAX_PIXELS:
        return f"{found.width}x{found.height} pixels, expected at most {MAX_PIXELS // 10**6} million"
    if found.channels is not None and not (type(found.channels) is int and 2 <= found.channels <= MOST_CHANNELS):
        return f"channels {found.channels!r}, expected None, or 2 to {MOST_CHANNELS} of a stack"
    if found.shows not in SHOWN:
        return f"shows {found.shows!r}, expected one of {', '.join(map(repr, SHOWN))}"
    return _padding_defect(found.padding)


def image_defect(found: object) -> str | None:
    """What is wrong with an image as a model takes it; None: nothing."""
    if not isinstance(found, RawImage) or not isinstance(found.pixels, np.ndarray):
        return f"{type(found).__name__}, expected a RawImage of an array"
    pixels = found.pixels
    said = f"kind {found.kind!r}, shape {'x'.join(map(str, pixels.shape))} and dtype {pixels.dtype}"
    if found.kind not in KINDS or pixels.dtype != np.dtype(found.kind):
        return f"{said}, expected uint8, uint16 or float32 for both"
    if pixels.ndim != 3 or 0 in pixels.shape or (found.kind == "uint8" and pixels.shape[2] == 1):
        return f"{said}, expected (height, width, {3 if found.kind == 'uint8' else 1}), or other channels of a stack"
    if pixels.shape[2] > MOST_CHANNELS:
        return f"{said}, expected at most {MOST_CHANNELS} channels"
    if pixels.size > MAX_PIXELS * (3 if found.kind == "uint8" else 1):
        return f"{said}, expected at most {MAX_PIXELS // 10**6} million pixels"
    if found.kind == "float32" and not np.isfinite(pixels).all():
        return f"{said} with values that are not finite"
    return _padding_defect(found.padding)


def _padding_defect(found: object) -> str | None:
    if found is None:
        return None
    if isinstance(found, tuple) and len(found) == 2:
        low, high = found
        if {type(low), type(high)} <= {int, float} and -_MOST_VALUE <= low <= high <= _MOST_VALUE:
            return None
    return f"padding {found!r}, expected None, or the smallest and the largest value as numbers"


def load_reader(name: str) -> OtherReader:
    """Import one reader and hold it to the form of a `Reader`.

    Args:
        name: name of its entry point.

    Raises:
        PluginError: not installed, not allowed by ZOO_PLUGINS, claimed by two distributions, failing when it is
            imported, without the four names of a `Reader`, or with a suffix that a built-in reader has.
    """
    owners = read_declared().entries[READERS].get(name, ())
    if not is_allowed(name):
        raise PluginError(describe_forbidden("reader", name), code="reader-forbidden", reader=name)
    if not owners:
        raise PluginError(
            f"no reader {name!r} is installed; 'zoo plugin list' shows what is", code="reader-unknown", reader=name
        )
    if len(owners) > 1:
        claims = [str(one.distribution) for one in owners]
        raise PluginError(describe_clash("reader", name, claims), code="reader-clash", reader=name, owners=claims)
    entry = owners[0]
    with foreign_code(lambda problem: _make_error(entry, f"cannot be imported: {describe_cause(problem)}")):
        found: Any = entry.point.load()
        suffixes = _suffixes_of(found)
    if suffixes is None:
        raise _make_error(entry, f"{entry.point.value} has no suffixes such as frozenset({{'.nii'}})")
    if taken := sorted(suffix for reader in BUILT_IN for suffix in reader.suffixes & suffixes):
        raise PluginError(
            f"{entry}: claims {', '.join(taken)}, which edgezoo reads",
            code="reader-clash",
            reader=name,
            owners=["edgezoo"],
        )
    if isinstance(found, type):
        raise _make_error(entry, f"{entry.point.value} is a class, expected an object; name one that is made")
    if absent := [method for method in ("recognise", "probe", "read") if not callable(getattr(found, method, None))]:
        raise _make_error(entry, f"{entry.point.value} does not define {' and '.join(absent)}; see zoo.readers.Reader")
    return OtherReader(entry, found, suffixes)


def others() -> Others:
    """All readers of other packages; imported at the first call, and again only where the environment has changed."""
    with _LOADING:
        return _others(tuple(sys.path), os.environ.get("ZOO_PLUGINS"))


@functools.lru_cache(maxsize=4)
def _others(path: tuple[str, ...], restricted: str | None) -> Others:  # noqa: ARG001 - what entry points depend on
    loaded: list[OtherReader] = []
    declared = read_declared()
    broken = {one.row: one.error for one in declared.unread_of(READERS)}
    for name in declared.entries[READERS]:
        if not is_allowed(name):
            continue
        try:
            loaded.append(load_reader(name))
        except PluginError as problem:
            broken[name] = str(problem)
    broken |= find_suffix_clashes((one.entry.name, str(one.entry), one.suffixes) for one in loaded)
    for line in dict.fromkeys(broken.values()):
        log.warning("%s", line)
    usable = tuple(reader for reader in loaded if reader.entry.name not in broken)
    return Others(usable, frozenset().union(*(reader.suffixes for reader in loaded)), broken)


def _suffixes_of(found: Any) -> frozenset[str] | None:
    """The suffixes that an object states; None: none, or not as they are to be."""
    stated = getattr(found, "suffixes", None)
    if not isinstance(stated, frozenset | set | tuple | list) or not stated:
        return None
    sound = all(isinstance(one, str) and _SUFFIX.fullmatch(one) for one in stated)
    return frozenset(stated) if sound else None


def _make_error(entry: Entry, what: str) -> PluginError:
    return PluginError(
        f"{entry}: {what}", code="reader-broken", reader=entry.name, distribution=entry.distribution.name
    )
