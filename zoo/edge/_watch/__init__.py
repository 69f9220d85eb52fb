"""A folder watched: each image that comes into it is answered once, by one model, whatever ends the program between.

The order of the steps is the promise. An answer is committed to the ledger, then written to its own file, then the
image may be moved. A kill between two steps leaves what the next start needs: an answer in the ledger whose file is
written then, or an image that is answered already and moved then. An image over which the program ended before is
asked alone, after all others, and given up after three times.

One file whose answer cannot be written, or that cannot be moved, is said at each look, tried again, and holds nothing
up. So does an image that this machine cannot answer, for want of a package or of memory: that never becomes its answer.
One whose decoder was killed, or over which a disk or share failed, is asked alone, and given up after three times too.
A folder that takes no file at all ends the watch. One that is away, watched or of answers, is said and waited for.

What this module does not know: command lines, signals, where images come from.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from zoo._support.files import atomic_write, refuse_unwritable, sha256_bytes, sha256_file
from zoo._support.text import format_count
from zoo.edge._beside import refuse_unasked
from zoo.edge._document import as_json
from zoo.edge._results import Failure
from zoo.edge._watch.arrivals import Arrival, Arrivals, stamp_of
from zoo.edge._watch.ledger import LEDGER, Ledger
from zoo.edge._watch.moving import move, restore, takes_nothing
from zoo.errors import DataError, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zoo.edge._results import Result
    from zoo.edge._runtime import Runtime

__all__ = ["INTERVAL", "SETTLE", "Pass", "name_answer", "watch"]

INTERVAL = 2.0
"""Seconds between the end of one look at the folder and the next."""
SETTLE = 2.0
"""Seconds for which a file must have kept its size and times; a copy over a network pauses for less."""
_TRIES = 3
"""Times that the program, a decoder or a disk may fail over an image before that is its answer."""
_LONGEST = 200
"""Bytes of an answer's file name, which a temporary name is longer than: file systems take 255."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one look at the folder, and the answers after it, came to.

    Attributes:
        files: number of files that were met, without hidden and temporary names.
        answered: number of images that were answered, those in `failed` among them.
        failed: number of images that could not be used; the reason is their answer.
        waiting: number of files that are not settled.
        moved: number of files that were moved.
        seconds: what the look itself took.
        troubles: what cannot be read (folders, files that may be images), answered on this machine, written (answers)
            or moved (files), a line each.
    """

    files: int
    answered: int
    failed: int
    waiting: int
    moved: int
    seconds: float
    troubles: tuple[str, ...]

    def headline(self) -> str:
        """'12 answered, 1 of them with an error; 2 files not settled; 14 files looked at in 0.01 s'."""
        failed = f", {self.failed} of them with an error" if self.failed else ""
        moved = f", {self.moved} moved" if self.moved else ""
        waiting = f"; {format_count(self.waiting, 'file')} not settled" if self.waiting else ""
        looked = f"{format_count(self.files, 'file')} looked at in {self.seconds:.2f} s"
        return f"{self.answered} answered{failed}{moved}{waiting}; {looked}"


def watch(
    runtime: Runtime,
    folder: str | Path,
    out: str | Path,
    *,
    move_to: str | Path | None = None,
    interval: float = INTERVAL,
    settle: float = SETTLE,
    once: bool = False,
    frame: int | None = None,
    workers: int = 0,
    tell: Callable[[Pass], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Answer every image that is in a folder or comes into it, once, until the caller stops asking.

    The answer to `folder/a/b.png` is the file `out/a/b.png.json`: the row that `zoo predict` prints. A file that comes
    under a name that was answered, with other content, is answered again, and its answer takes the place of the old
    one. The ledger, `out/answered.sqlite`, keeps both. Hidden and temporary names are passed over.

    Args:
        runtime: the opened model.
        folder: the folder; never changed unless `move_to` is given.
        out: the folder of the answers; made where it is not there.
        move_to: where files go once they are answered; None: they stay.
        interval: seconds between two looks.
        settle: seconds for which a file must have kept its size and times before it is read; 0: none.
        once: end when all that is there was answered or is not a whole image; what is not settled is waited for once.
        frame: number of the picture in files that hold several, counted from 1; None: none is guessed.
        workers: number of processes that decode; 0: threads decode.
        tell: called after each pass.
        pause: called to wait for so many seconds.
        stopped: asked before each image; true ends the watch.

    Yields:
        Each answer, after it was written.

    Raises:
        UsageError: the folders lie in each other, or a number is out of range.
        DataError: the folder is not there, or the model takes columns beside the image.
        OutputError: `out` or `move_to` takes no file, a full disk among the causes, another folder took the place of
            `out`, or another program watches into it. What was answered stays answered. A fault of one file is a
            trouble of the pass.
        ResumeError: `out` was begun with another folder, model, provider or frame, or the ledger is damaged.
        ModelError: ONNX Runtime failed; the image is not answered.
    """
    refuse_unasked(runtime.manifest, None)
    for what, value in (("interval", interval), ("settle", settle)):
        if not 0 <= value < float("inf"):
            raise UsageError(
                f"{what} is {value}, expected 0 or more seconds", code="option-value", option=what, value=value
            )
    source, target = Path(folder), Path(out)
    done = None if move_to is None else Path(move_to)
    _check_places(source, target, done)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None
    begun = {
        "folder": str(source.resolve()),
        "model": runtime.sha256,
        "provider": runtime.provider,
        "frame": str(frame),
    }
    with Ledger(target / LEDGER, begun) as ledger:
        ask = partial(runtime.answers, frame=frame, workers=workers)
        round_ = _Round(ask, target, done, Arrivals(str(folder), settle), ledger)
        round_.recover()
        looks = 0
        while not stopped():
            yield from round_.run(stopped)
            if tell is not None:
                tell(round_.came_to)
            looks += 1
            if once and (looks > 1 or not round_.came_to.waiting):
                return
            if not stopped():
                pause(settle if once else interval)


def name_answer(name: str) -> str:
    """Path of an answer below the folder of the answers, from that of its image below the watched folder.

    It is the image's with ".json" behind it. A name that is too long for that is cut, and 16 digits of its sha256 tell
    it from others.
    """
    folder, slash, last = name.rpartition("/")
    spelt = os.fsencode(last)
    if len(spelt) > _LONGEST:
        last = f"{os.fsdecode(spelt[: _LONGEST - 17])}-{sha256_bytes(spelt)[:16]}"
    return f"{folder}{slash}{last}.json"


class _Round:
    """Passes over one folder."""

    def __init__(
        self, ask: Callable[..., Iterator[Result]], out: Path, done: Path | None, arrivals: Arrivals, ledger: Ledger
    ) -> None:
        self._ask, self._out, self._done = ask, out, done
        self._arrivals, self._ledger = arrivals, ledger
        self._answered = self._failed = self._moved = 0
        self._troubles: list[str] = []
        self._left_aside: list[str] = []
        """Troubles that stay until the next start."""
        self._unwritten: dict[str, tuple[int, str]] = {}
        """Number and text of each answer whose file could not be written, by the name of its image."""

    @property
    def came_to(self) -> Pass:
        look = self._arrivals
        return Pass(
            look.files,
            self._answered,
            self._failed,
            look.waiting,
            self._moved,
            look.seconds,
            (*look.troubles, *self._troubles),
        )

    def recover(self) -> None:
        """Put back what a kill left hidden, and write the answer that it may have kept from its file."""
        self._left_aside = [*restore(Path(self._arrivals.folder))]
        for number, name, text in self._ledger.unwritten():
            place = self._out / name_answer(name)
            for left in place.parent.glob(f".{_escape(place.name)}.*.part"):
                left.unlink(missing_ok=True)
            self._write(number, name, text)

    def run(self, stopped: Callable[[], bool]) -> Iterator[Result]:
        """One pass: look, answer, write, move."""
        self._answered = self._failed = self._moved = 0
        self._troubles = [*self._left_aside]
        if not self._is_there():
            return
        for name, (number, text) in [*self._unwritten.items()]:
            self._write(number, name, text)
        asked: deque[tuple[Arrival, str]] = deque()
        alone: list[tuple[Arrival, str, int]] = []

        def items() -> Iterator[tuple[str, Path]]:
            for arrival, digest in self._new():
                if stopped():
                    return
                if tries := self._ledger.tries(arrival.name, arrival.stamp):
                    alone.append((arrival, digest, tries))
                    continue
                asked.append((arrival, digest))
                yield self._begin(arrival)

        for result in self._ask(items()):
            yield from self._take(*asked.popleft(), result)
            if stopped():
                return
        for arrival, digest, tries in alone:
            if tries < _TRIES:
                (result,) = self._ask([self._begin(arrival)])
            else:
                text = f"it could not be answered in {tries} tries; try it with 'zoo predict', or leave it out"
                result = Failure(arrival.path, text)
            yield from self._take(arrival, digest, result)
            if stopped():
                return

    def _is_there(self) -> bool:
        """Whether the folder of the answers is where it was; a folder in its place would have answers and no ledger.

        Raises:
            OutputError: another one is there.
        """
        is_own = self._ledger.is_at_its_place()
        if is_own is False:
            raise refuse_unwritable(self._out, "another folder took its place", "start this command again")
        if is_own is None and (gone := f"{self._out} is away with its ledger, and is waited for") not in self._troubles:
            self._troubles.append(gone)
        return bool(is_own)

    def _begin(self, arrival: Arrival) -> tuple[str, Path]:
        self._ledger.begin(arrival.name, arrival.stamp)
        return arrival.path, Path(arrival.path)

    def _take(self, arrival: Arrival, digest: str, result: Result) -> Iterator[Result]:
        """Keep an answer, write it and move its image; nothing of it where the file has changed."""
        if not _is_same(arrival, digest, result):
            self._ledger.drop(arrival.name)
            self._arrivals.wait_again(arrival)
            return
        if self._asks_again(result, arrival, digest):
            self._arrivals.ask_again(arrival)
            self._troubles.append(f"{arrival.path} is not answered, and is asked again: {result.error}")
            return
        self._answered += 1
        self._failed += isinstance(result, Failure)
        text = as_json(result.row())
        number = self._ledger.add(arrival.name, arrival.stamp, digest, text)
        self._write(number, arrival.name, text)
        self._move(arrival, digest)
        yield result

    def _asks_again(self, result: Result, arrival: Arrival, digest: str) -> TypeGuard[Failure]:
        """Whether a failure is not an answer yet: it is the machine's, or may be and was not met `_TRIES` times.

        A file that this user may not read has no digest, and that is its answer.
        """
        if not isinstance(result, Failure) or result.blame == "image" or not digest:
            return False
        if result.blame == "machine":
            self._ledger.drop(arrival.name)
            return True
        return self._ledger.tries(arrival.name, arrival.stamp) < _TRIES

    def _new(self) -> Iterator[tuple[Arrival, str]]:
        """Whole images that were not answered, and the sha256 of each; those that were are moved."""

        def known(name: str) -> str | None:
            entry = self._ledger.last(name)
            return None if entry is None else entry.stamp

        for arrival, answered in self._arrivals.look(known, all_of_them=self._done is not None):
            entry = self._ledger.last(arrival.name)
            if answered and entry is not None:
                self._move(arrival, entry.sha256)
                continue
            digest = _digest(arrival)
            if digest is None:
                self._arrivals.wait_again(arrival)
            elif entry is not None and entry.sha256 == digest:
                self._ledger.restamp(entry, arrival.stamp)
                self._move(arrival, digest)
            else:
                yield arrival, digest

    def _write(self, number: int, name: str, text: str) -> None:
        place = self._out / name_answer(name)
        if not self._is_there():
            self._unwritten[name] = (number, text)
            return
        try:
            atomic_write(place, text)
        except OutputError as problem:
            if takes_nothing(self._out, problem):
                raise
            self._unwritten[name] = (number, text)
            self._troubles.append(f"{place} cannot be written, its answer is in the ledger: {problem.fields['cause']}")
            return
        self._unwritten.pop(name, None)
        self._ledger.note_written(number)

    def _move(self, arrival: Arrival, digest: str) -> None:
        if self._done is None or arrival.name in self._unwritten:
            return
        try:
            self._moved += move(Path(arrival.path), self._done, arrival, digest)
        except OutputError as problem:
            if takes_nothing(self._done, problem):
                raise
            self._troubles.append(f"{arrival.path} is answered and cannot be moved: {problem.fields['cause']}")


def _is_same(arrival: Arrival, digest: str, result: Result) -> bool:
    """Whether the file that was answered is the one that was hashed.

    Of an image that could not be used the content is compared too: a network share may have failed in between.
    """
    return stamp_of(arrival.path) == arrival.stamp and not (isinstance(result, Failure) and _digest(arrival) != digest)


def _digest(arrival: Arrival) -> str | None:
    """sha256 of the content; "": this user may not read it; None: it cannot be read just now, or is gone."""
    try:
        return sha256_file(Path(arrival.path))
    except PermissionError:
        return ""
    except OSError:
        return None


def _escape(name: str) -> str:
    """A name as a pattern that matches it alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _check_places(folder: Path, out: Path, done: Path | None) -> None:
    if not folder.is_dir():
        found = "a file" if folder.exists() else None
        raise DataError(
            f"{folder}: {found or 'no such folder'}; expected the folder that images come into",
            code="file-missing",
            path=str(folder),
            found=found,
        )
    for option, place in (("OUT", out), ("--move-to", done)):
        if place is not None and (_lies_in(place, folder) or _lies_in(folder, place)):
            raise UsageError(
                f"{option} is {place}, which lies in the watched folder {folder} or holds it; expected a folder beside "
                "it",
                code="watch-nested",
                option=option,
                path=str(place),
                folder=str(folder),
            )


def _lies_in(place: Path, folder: Path) -> bool:
    """Whether a place is a folder or lies in it, whatever links lead there; the place need not exist."""
    inner, outer = place.resolve(), folder.resolve()
    return outer.exists() and any(
        one == outer or (one.exists() and one.samefile(outer)) for one in (inner, *inner.parents)
    )
