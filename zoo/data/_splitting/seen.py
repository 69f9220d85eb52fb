"""What a model has seen: digests of the images it was made with, kept beside it to be looked up later.

A run keeps whole digests (`TRAINED_ON`). A bundle goes to strangers, so it carries 64 bits of a salted hash of each
(`SEEN`): they answer for an image that one holds, and tell nothing else. The salt comes from the run, so that the same
run gives the same bytes and two bundles cannot be laid side by side.

An image is the same where its file is (or the array that it is), and where its decoded pixels are: saved again without
loss, or with other tags. A picture that was resized, cut or compressed again is another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from zoo._support.files import atomic_write, sha256_bytes
from zoo.data._pixels import digest_all
from zoo.data._splitting.fingerprint import contents
from zoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.data._index import ImageSet, Splits

__all__ = [
    "SEEN",
    "TRAINED_ON",
    "Part",
    "Seen",
    "add_pixels",
    "add_seen",
    "format_seen",
    "join_start",
    "leave_out_unread",
    "parse_seen",
    "read_seen",
    "write_seen",
]

TRAINED_ON = "trained_on.npz"
"""In a run: for each part that is not empty (n, 32) uint8, sorted; digests of decoded pixels under PART_pixels. Under
test what judges the run, which it has not seen; not there: nothing does, or an older release wrote it."""

SEEN = "seen.bin"
"""In a bundle: the magic, 16 bytes of salt, four counts (uint64, little endian), and for each count that many rows of 8
bytes, sorted: files and pixels of train and val together, files and pixels of start."""

Part = Literal["train", "val", "start"]
PARTS: tuple[Part, ...] = ("train", "val", "start")

_MAGIC = b"zoo seen 1\n\0\0\0\0\0"
_SALT, _SHORT = 16, 8
_PIXELS, _TEST = "_pixels", "test"


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Digests of the images that a model has seen, by part; a part that is empty is missing.

    Parts: train and val are what the model itself learnt from and was chosen by, start is what the weights had seen
    that it began with. Of a bundle, train holds val too.

    Attributes:
        files: part to (n, 32) uint8 sha256 of each file or array; (n, 8) where there is a salt.
        pixels: part to digests of decoded pixels; empty where they are not known.
        salt: what digests are hashed with before they are looked up; empty: they are looked up as they are.
        test: (n, 32) uint8 sha256 of each test image, which was not seen; None: not known.
    """

    files: Mapping[Part, NDArray[np.uint8]]
    pixels: Mapping[Part, NDArray[np.uint8]]
    salt: bytes = b""
    test: NDArray[np.uint8] | None = None

    def holds(self, digests: NDArray[np.uint8], *parts: Part) -> NDArray[np.bool_]:
        """(m,) which files, by their (m, 32) digests, are in one of `parts`; none: in any."""
        return _among(digests, self._rows(self.files, parts), self.salt)

    def holds_pixels(self, digests: NDArray[np.uint8], *parts: Part) -> NDArray[np.bool_]:
        """(m,) which images, by the (m, 32) digests of their pixels, are in one of `parts`; none: in any."""
        return _among(digests, self._rows(self.pixels, parts), self.salt)

    def knows_pixels(self, *parts: Part) -> bool:
        """Whether decoded pixels of these parts can be looked up."""
        return len(self._rows(self.pixels, parts)) > 0

    def only(self, part: Part) -> Seen:
        """One part of it."""
        files, pixels = ({part: of[part]} if part in of else {} for of in (self.files, self.pixels))
        return dataclasses.replace(self, files=files, pixels=pixels)

    def _rows(self, of: Mapping[Part, NDArray[np.uint8]], parts: tuple[Part, ...]) -> NDArray[np.uint8]:
        found = [of[part] for part in parts or PARTS if part in of]
        return np.concatenate(found) if found else np.empty((0, _SHORT if self.salt else 32), np.uint8)


def write_seen(path: Path, splits: Splits, *, members: Iterable[Seen] = (), start: Iterable[Seen] = ()) -> None:
    """Write what a run will have seen and what will judge it, sorted, so that it tells nothing about names or order.

    Args:
        path: where.
        splits: whose train and val, and whose test.
        members: what models have seen that go into this one; it has seen the same.
        start: what models have seen whose weights this one begins with.
    """
    files: dict[Part, list[NDArray[np.uint8]]] = {"train": [splits.train.digests], "val": [splits.val.digests]}
    pixels: dict[Part, list[NDArray[np.uint8]]] = {}
    for one in members:
        for kept, found in ((files, one.files), (pixels, one.pixels)):
            for part, rows in found.items():
                kept.setdefault(part, []).append(rows)
    joined = join_start(start)
    for kept, found in ((files, joined.files), (pixels, joined.pixels)):
        for part, rows in found.items():
            kept.setdefault(part, []).append(rows)
    _write(path, Seen({part: _unite(rows) for part, rows in files.items()},
                      {part: _unite(rows) for part, rows in pixels.items()},
                      test=_unite([splits.test.digests])))  # fmt: skip


def join_start(start: Iterable[Seen]) -> Seen:
    """All that some models have seen, as what the start of another has seen."""
    known = list(start)
    files = [rows for one in known for rows in one.files.values()]
    pixels = [rows for one in known for rows in one.pixels.values()]
    return Seen({"start": _unite(files)} if files else {}, {"start": _unite(pixels)} if pixels else {})


def add_pixels(path: Path, train: NDArray[np.uint8], val: NDArray[np.uint8]) -> None:
    """Add the digests of decoded pixels, (n, 32) each, to the `TRAINED_ON` file of a run."""
    seen = read_seen(path)
    _write(path, dataclasses.replace(seen, pixels={**seen.pixels, "train": _unite([train]), "val": _unite([val])}))


def leave_out_unread(path: Path, splits: Splits) -> None:
    """Write the files of train and val of a `TRAINED_ON` file anew, when some turned out not to be readable."""
    seen = read_seen(path)
    files: dict[Part, NDArray[np.uint8]] = {
        "train": _unite([splits.train.digests]),
        "val": _unite([splits.val.digests]),
    }
    _write(path, dataclasses.replace(seen, files={**seen.files, **files}))


def read_seen(path: Path, sha256: str | None = None) -> Seen:
    """What a `TRAINED_ON` file says.

    Args:
        path: the file.
        sha256: hexadecimal hash of its bytes; None: it is not known.

    Raises:
        DataError: the file is damaged, or is another one.
    """
    try:
        content = path.read_bytes()
        if sha256 not in {None, sha256_bytes(content)}:
            raise ValueError("another file")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            _refuse_packed(archive.zip)
            found = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, AttributeError, zipfile.BadZipFile, zlib.error):
        found = {}
    if not {"train", "val"} <= found.keys() or any(a.dtype != np.uint8 or a.shape[1:] != (32,) for a in found.values()):
        raise _refusal(str(path))
    return Seen(
        {part: found[part] for part in PARTS if part in found},
        {part: found[part + _PIXELS] for part in PARTS if part + _PIXELS in found},
        test=found.get(_TEST),
    )


def format_seen(seen: Seen, name: str) -> bytes:
    """What a bundle carries of it, see `SEEN`.

    Args:
        seen: what a run keeps.
        name: what the salt is made of: the run, and its data.
    """
    salt = hashlib.sha256(b"zoo seen\0" + name.encode()).digest()[:_SALT]
    return _format(salt, [_hash(rows, salt) for rows in _four(seen)])


def add_seen(seen: Seen, images: ImageSet, name: str) -> bytes:
    """What a bundle carries of a model that was fitted further, see `SEEN`.

    Args:
        seen: what a run keeps, or another bundle carries.
        images: images that it was fitted on besides.
        name: text that the salt is made of: the run, and its data; where the list has a salt, that stays.
    """
    more = images.digests, digest_all(images) if seen.knows_pixels() else images.digests[:0]
    salt = seen.salt or hashlib.sha256(b"zoo seen\0" + name.encode()).digest()[:_SALT]
    own, own_pixels, start, start_pixels = (rows if seen.salt else _hash(rows, salt) for rows in _four(seen))
    files, pixels = (np.unique(np.concatenate((held, _hash(rows, salt))), axis=0)
                     for held, rows in zip((own, own_pixels), more, strict=True))  # fmt: skip
    return _format(salt, [files, pixels, start, start_pixels])


def _four(seen: Seen) -> list[NDArray[np.uint8]]:
    """Files and pixels of train and val together, files and pixels of start."""
    own: tuple[Part, ...] = ("train", "val")
    return [
        seen._rows(of, which)  # noqa: SLF001 - of this module
        for which in (own, ("start",))
        for of in (seen.files, seen.pixels)
    ]


def _format(salt: bytes, parts: list[NDArray[np.uint8]]) -> bytes:
    rows = [np.sort(np.ascontiguousarray(part).view("<u8").reshape(-1)) for part in parts]
    counts = np.array([len(part) for part in rows], "<u8")
    return b"".join((_MAGIC, salt, counts.tobytes(), *(part.tobytes() for part in rows)))


def parse_seen(data: bytes, name: str) -> Seen:
    """The reverse of `format_seen`; `name`: how to call the bundle.

    Raises:
        DataError: it is not such a document.
    """
    head = len(_MAGIC) + _SALT
    counts = [int(count) for count in np.frombuffer(data[head : head + 32].ljust(32, b"\0"), "<u8")]
    if not data.startswith(_MAGIC) or len(data) != head + 32 + _SHORT * sum(counts):
        raise _refusal(f"{name}/{SEEN}")
    rows = np.frombuffer(data, np.uint8, offset=head + 32).reshape(-1, _SHORT)
    own, own_pixels, start, start_pixels = np.split(rows, np.cumsum(counts)[:-1])
    files: dict[Part, NDArray[np.uint8]] = {"train": own, "start": start}
    pixels: dict[Part, NDArray[np.uint8]] = {"train": own_pixels, "start": start_pixels}
    return Seen(files, pixels, data[len(_MAGIC) : head])


def _refuse_packed(archive: zipfile.ZipFile) -> None:
    """Raise ValueError where something is compressed: we write nothing so, and a kilobyte could become a gigabyte."""
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise ValueError("compressed")


def _write(path: Path, seen: Seen) -> None:
    arrays = {str(part): rows for part, rows in seen.files.items() if part != "start" or len(rows)}
    arrays |= {f"{part}{_PIXELS}": rows for part, rows in seen.pixels.items()}
    if seen.test is not None and len(seen.test):
        arrays[_TEST] = seen.test
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    atomic_write(path, buffer.getvalue())


def _refusal(what: str) -> DataError:
    return DataError(
        f"{what} is damaged, or of another run; remove it to evaluate without knowing what the model has seen, or "
        "export it again",
        code="seen-damaged",
        path=what,
    )


def _unite(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Sorted; of several lists each digest once, because models have mostly seen the same images."""
    if len(rows) == 1:
        return rows[0][np.argsort(contents(rows[0]), kind="stable")]
    return np.unique(np.concatenate(rows), axis=0)


def _among(digests: NDArray[np.uint8], seen: NDArray[np.uint8], salt: bytes) -> NDArray[np.bool_]:
    if salt:
        return np.isin(_hash(digests, salt).view("<u8").reshape(-1), np.ascontiguousarray(seen).view("<u8").reshape(-1))
    same = contents(np.concatenate((seen, digests)))
    return np.isin(same[len(seen) :], same[: len(seen)])


def _hash(digests: NDArray[np.uint8], salt: bytes) -> NDArray[np.uint8]:
    """(n, 8): the first bytes of sha256(salt, digest)."""
    start = hashlib.sha256(salt)
    found = bytearray()
    for row in digests:
        one = start.copy()
        one.update(row.tobytes())
        found += one.digest()[:_SHORT]
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, _SHORT)
