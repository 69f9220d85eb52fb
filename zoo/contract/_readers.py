"""What every reader of an image format must hold to, the built-in ones first, as a list of checks.

`zoo.testing.ReaderContract` runs it under pytest, `zoo plugin check` in a process of its own (`examine_reader`). A
reader cannot be judged without files: the author gives some, small ones and of every kind that the reader takes.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from zoo._support.processes import command
from zoo._support.text import join_lines
from zoo.contract._checks import Outcome
from zoo.contract._subject import NotTried, Unmet
from zoo.errors import DataError, ImageError, ZooError
from zoo.readers import HEAD_BYTES, Probe, stack_of
from zoo.readers._others import image_defect, load_reader
from zoo.readers._walk import Walk
from zoo.registry import check_readers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.readers import RawImage, Reader

__all__ = ["READER_CHECKS", "READER_LIMIT_S", "ReaderCheck", "ReaderSubject", "answer", "examine_reader", "find_files"]

READER_LIMIT_S = 120.0
"""Seconds for all checks of one reader."""

_NAME = "picture under test"
_FOREIGN = {
    "an empty file": b"",
    "zeros": bytes(HEAD_BYTES),
    "text": b"label,image\n" * 50,
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1",
    "GIF": b"GIF89a\1\0\1\0\0\0\0",
    "BMP": b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    "TIFF": b"II*\0\x08\0\0\0",
    "WebP": b"RIFF\x1a\0\0\0WEBPVP8 ",
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
    "DICOM": bytes(128) + b"DICM\2\0\0\0UL",
    "HEIC": b"\0\0\0\x1cftypheic\0\0\0\0mif1heic",
    "a zip": b"PK\3\4\x14\0\0\0",
    "a gzip of text": b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9W(\xcf/\xcaI\xe1\x02\0-;\x08\xaf\x0c\0\0\0",
}
"""What the files begin with that are everybody's: others read them, or nobody does."""
_CUTS = (0.25, 0.5, 0.75)
"""Shares of a file that are left of it."""


@dataclass(eq=False)
class ReaderSubject:
    """One reader and files of its format.

    Attributes:
        reader: the object that its entry point names.
        files: small ones, of every kind that it takes.
        built_in: it is the reader of what `_FOREIGN` holds of its own format.
    """

    reader: Reader
    files: tuple[Path, ...]
    built_in: bool = False
    images: dict[Path, RawImage] = field(default_factory=dict)

    def data(self) -> Iterator[tuple[Path, bytes]]:
        """Every file with its bytes; raises `NotTried` where there is none."""
        if not self.files:
            raise NotTried("no file of the format was given; name a folder of them with --files")
        for path in self.files:
            yield path, path.read_bytes()

    def probe(self, data: bytes) -> Probe:
        """The header of a file."""
        return self.reader.probe(io.BytesIO(data), _NAME)

    def read(self, data: bytes, *, frame: int | None = None, voi: bool = False) -> RawImage:
        """One picture of a file."""
        return self.reader.read(io.BytesIO(data), _NAME, frame=frame, voi=voi)

    def read_first(self, data: bytes) -> RawImage:
        """The only picture of a file, or its first."""
        return self.read(data, frame=1 if self.probe(data).frames > 1 else None)


def recognises_its_own_files_only(subject: ReaderSubject) -> None:
    """A reader that takes what is not its own would break every folder."""
    taken = [what for what, head in _FOREIGN.items() if subject.reader.recognise(head) and not subject.built_in]
    if taken:
        raise Unmet(f"recognise() says yes to {', '.join(taken)}; look for the first bytes of your format only")
    for path, data in subject.data() if subject.files else ():
        if not subject.reader.recognise(data[:HEAD_BYTES]):
            raise Unmet(f"recognise() says no to the first {HEAD_BYTES} bytes of {path.name}, a file of its format")


def gives_the_right_kind_and_shape(subject: ReaderSubject) -> None:
    """What models take: uint8 with 3 channels, uint16 or float32 with one, or a stack of up to 16."""
    for path, data in subject.data():
        if defect := image_defect(subject.read_first(data)):
            raise Unmet(f"read() of {path.name} gave {defect}")


def header_agrees_with_pixels(subject: ReaderSubject) -> None:
    """Data sets are indexed by headers, models are fed with pixels."""
    for path, data in subject.data():
        header: Any = subject.probe(data)
        if not isinstance(header, Probe):
            raise Unmet(f"probe() of {path.name} gave {type(header).__name__}, expected a zoo.readers.Probe")
        image = subject.read_first(data)
        pixels = image.pixels
        said = (header.height, header.width, header.kind)
        found = (*pixels.shape[:2], image.kind)
        if said != found:
            raise Unmet(f"probe() of {path.name} says height, width and kind {said}, read() gives {found}")
        channels = stack_of(image.kind, pixels.shape[2])
        if header.channels != channels:
            raise Unmet(f"probe() of {path.name} says a stack of {header.channels} channels, read() gives {channels}")
        if header.padding != image.padding:
            raise Unmet(f"probe() of {path.name} says padding {header.padding}, read() gives {image.padding}")
        if header.gray and pixels.shape[2] == 3 and not (pixels == pixels[:, :, :1]).all():
            raise Unmet(f"probe() of {path.name} says gray, and the channels that read() gives differ")


def gives_the_same_pixels_twice(subject: ReaderSubject) -> None:
    """From one thread and from four at once."""
    for path, data in subject.data():
        first = subject.read_first(data).pixels
        with ThreadPoolExecutor(4) as pool:
            again = list(pool.map(lambda _, data=data: subject.read_first(data).pixels, range(8)))
        if not all(np.array_equal(first, other) for other in again):
            raise Unmet(f"read() of {path.name} gives other pixels at another call; keep no state between calls")


def refuses_a_frame_that_is_not_there(subject: ReaderSubject) -> None:
    """One picture of several is chosen by the caller, and never guessed."""
    for path, data in subject.data():
        frames = subject.probe(data).frames
        if frames > 1:
            _check_refusal(subject, f"{path.name}, which holds {frames} pictures, without a frame", data)
        if frames < 1:
            raise Unmet(f"probe() of {path.name} says {frames} frames, expected 1 or more")
        last, only = subject.read(data, frame=frames), subject.read_first(data)
        if frames == 1 and not np.array_equal(last.pixels, only.pixels):
            raise Unmet(f"read() of {path.name} gives other pixels with frame=1 than without")
        for frame in (0, frames + 1):
            _check_refusal(subject, f"{path.name} with frame={frame}, which holds 1 to {frames}", data, frame=frame)


def refuses_a_window_that_the_file_does_not_bring(subject: ReaderSubject) -> None:
    """A model that was trained through windows would get raw values."""
    for path, data in subject.data():
        header = subject.probe(data)
        if not header.voi:
            frame = 1 if header.frames > 1 else None
            _check_refusal(subject, f"{path.name} with voi=True, which brings no window", data, frame=frame, voi=True)


def refuses_a_truncated_file(subject: ReaderSubject) -> None:
    """Missing pixels must not be made up."""
    for path, data in subject.data():
        frames = subject.probe(data).frames
        for share in _CUTS:
            cut = data[: int(len(data) * share)]
            what = f"the first {share:.0%} of {path.name}"
            _check_refusal(subject, what, cut, frame=frames if frames > 1 else None)


def refuses_damage_with_an_image_error(subject: ReaderSubject) -> None:
    """Whatever the bytes: an answer or an `ImageError` with the name that was given, and nothing else."""
    rng = np.random.default_rng(0)
    own = [data for _, data in subject.data()] if subject.files else []
    noise = [b"", bytes(100), rng.bytes(2000)]
    for data in own:
        noise.append(data[:HEAD_BYTES] + rng.bytes(500))
        for _ in range(20):
            damaged = bytearray(data)
            for at in rng.integers(0, min(len(data), 2 * HEAD_BYTES), 8):
                damaged[at] = int(rng.integers(256))
            noise.append(bytes(damaged))
    for data in noise:
        for what, call in (("probe", subject.probe), ("read", subject.read)):
            try:
                call(data)
            except ImageError as problem:
                if problem.name != _NAME:
                    raise Unmet(f"{what}() raises an ImageError of {problem.name!r}, expected the name given") from None
            except Exception as problem:
                raise Unmet(
                    f"{what}() of a damaged file raises {_describe(problem)}, expected an ImageError"
                ) from problem


def _check_refusal(
    subject: ReaderSubject, what: str, data: bytes, *, frame: int | None = None, voi: bool = False
) -> None:
    try:
        subject.read(data, frame=frame, voi=voi)
    except ImageError:
        return
    except Exception as problem:
        raise Unmet(f"read() of {what} raises {_describe(problem)}, expected an ImageError") from problem
    raise Unmet(f"read() gives pixels for {what}; raise an ImageError")


def _describe(problem: Exception) -> str:
    return f"{type(problem).__name__}: {join_lines(problem, 200)}"


@dataclass(frozen=True, slots=True)
class ReaderCheck:
    """One promise of a reader.

    Attributes:
        name: what is promised, in words.
        hold: the check; it raises `Unmet` when the promise is broken, and `NotTried` when no file can test it.
    """

    name: str
    hold: Callable[[ReaderSubject], None]

    def __str__(self) -> str:
        return self.name


LOADS = "loads, and has the four names of a reader"
READER_CHECKS = (
    ReaderCheck("recognises its own files only", recognises_its_own_files_only),
    ReaderCheck("gives the right kind and shape", gives_the_right_kind_and_shape),
    ReaderCheck("header agrees with pixels", header_agrees_with_pixels),
    ReaderCheck("gives the same pixels twice", gives_the_same_pixels_twice),
    ReaderCheck("refuses a frame that is not there", refuses_a_frame_that_is_not_there),
    ReaderCheck("refuses a window that the file does not bring", refuses_a_window_that_the_file_does_not_bring),
    ReaderCheck("refuses a truncated file", refuses_a_truncated_file),
    ReaderCheck("refuses damage with an image error", refuses_damage_with_an_image_error),
)
"""In the order of the work: what fails early explains what fails later."""


def examine_reader(
    reader: str, files: Iterator[Path] | tuple[Path, ...], folder: Path, *, limit_s: float = READER_LIMIT_S
) -> list[Outcome]:
    """Run `READER_CHECKS` on an installed reader, in a process of its own.

    Args:
        reader: name of its entry point.
        files: image files of the reader's format.
        folder: an empty folder to work in.
        limit_s: seconds after which the process is ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answers = folder / "answers.jsonl"
    answers.touch()
    names = json.dumps([str(path.resolve()) for path in files])
    why = f"was still at it after {limit_s:g} s and was ended; mend what hangs, or give --limit SECONDS"
    try:
        ended = subprocess.run(
            command("zoo.contract._readers:answer", reader, names, str(answers.resolve())),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=limit_s,
            check=False,
        )
        why = f"the process ended (exit {ended.returncode}); a reader must return or raise"
    except subprocess.TimeoutExpired:
        pass
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in answers.read_bytes().splitlines()]
    missing = [LOADS, *map(str, READER_CHECKS)][len(outcomes) :]
    return [
        *outcomes,
        *(
            Outcome(check=name, status="not tried", message="the process had ended")
            if at
            else Outcome(check=name, status="failed", message=why)
            for at, name in enumerate(missing)
        ),
    ]


def find_files(reader: str, folder: Path, *, asked: bool) -> tuple[Path, ...]:
    """Files below `folder` with a suffix of the reader; none where it does not load, which its first check tells.

    Args:
        reader: name of its entry point.
        folder: where they are looked for.
        asked: the user named this folder, so an empty one is a slip.

    Raises:
        DataError: `asked`, and it is not a folder or holds none.
    """
    if not folder.is_dir():
        if not asked:
            return ()
        raise DataError(
            f"--files {folder}: no such folder; name one with small files of the reader's format",
            code="file-missing",
            path=str(folder),
        )
    suffixes = next((row.suffixes for row in check_readers(READER_LIMIT_S) if row.name == reader), ())
    found = tuple(folder / path for path in Walk(str(folder)).files(suffixes)) if suffixes else ()
    if asked and suffixes and not found:
        raise DataError(
            f"--files {folder}: no file that ends in {' or '.join(suffixes)}, expected some for reader {reader!r}",
            code="file-missing",
            path=str(folder),
            expected=list(suffixes),
        )
    return found


def answer(reader: str, files: str, answers: str) -> None:
    """In the process of `examine_reader`: write each outcome as soon as it is there."""
    paths = tuple(Path(one) for one in json.loads(files))
    subject: ReaderSubject | None = None
    with Path(answers).open("ab", buffering=0) as stream:
        for check in (None, *READER_CHECKS):
            start = time.perf_counter()
            status, message = "passed", ""
            try:
                if check is None:
                    subject = ReaderSubject(load_reader(reader).reader, paths)
                elif subject is None:
                    raise NotTried("the reader does not load")
                else:
                    check.hold(subject)
            except NotTried as reason:
                status, message = "not tried", str(reason)
            except (Unmet, ZooError) as reason:
                status, message = "failed", join_lines(reason)
            except (Exception, SystemExit) as problem:  # a stranger's code
                status, message = "failed", f"raises {type(problem).__name__}: {join_lines(problem, 200)}"
            seconds = time.perf_counter() - start
            told = {"check": str(check or LOADS), "status": status, "message": message, "seconds": seconds}
            stream.write(msgspec.json.encode(told) + b"\n")
    os._exit(0)  # threads that a reader left behind would be waited for
