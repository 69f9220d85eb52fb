"""One file over HTTP: out of reach is found out within five seconds, a broken transfer resumes where it stopped.

What this module does not know: what the file is for and what it must be. Whoever asks for it checks its hash
and says what to do without a network.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, BinaryIO

from zoo._support.files import refuse_unwritable
from zoo._support.text import join_lines, megabytes

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TransferError", "first_answer", "offline", "transfer"]

log = logging.getLogger("zoo")

REACH_LIMIT = 4.0
"""Seconds for the first answer, name lookup included, which no socket timeout covers."""
READ_LIMIT = 30.0
"""Seconds without a byte after which a connection is given up."""
CHUNK = 1 << 16
"""Bytes read at a time; less than that is lost where a connection breaks."""
ON = frozenset(("1", "on", "true", "yes"))
SILENCE_LIMIT = 30.0
"""Seconds after which progress is said though there is little of it."""
PARTIAL = 206
"""Partial Content (RFC 9110, 15.3.7): what comes begins where it was asked to."""
NO_SUCH_RANGE = 416
"""Range Not Satisfiable (RFC 9110, 15.5.17): all there is was held already, or more."""


class TransferError(Exception):
    """A transfer broke; the text is the reason alone, which the caller puts in the words of its own error."""


class TooLongError(TransferError):
    """More bytes came than may come."""


def offline() -> str | None:
    """Why no network may be used ('ZOO_OFFLINE is set'), None when it may."""
    for switch in ("ZOO_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(switch, "").lower() in ON:
            return f"{switch} is set"
    return None


def first_answer(url: str) -> int | None:
    """The HTTP status of a HEAD request, None when no answer comes in time."""
    import requests

    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            with requests.head(url, timeout=REACH_LIMIT, allow_redirects=False) as response:
                answers.put(response.status_code)
        except (requests.RequestException, ValueError):  # ValueError: not a URL at all
            answers.put(None)

    # A thread, because nothing else puts a limit on the name lookup.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=REACH_LIMIT)
    except queue.Empty:
        return None


def transfer(url: str, target: Path, what: str, *, most: int) -> None:
    """Write what `url` gives to `target`; bytes that it holds already are taken for the beginning.

    A connection that breaks is taken up again as long as each one brings something new. What came stays in
    `target` when it fails, so that the next call resumes there.

    Args:
        url: http or https; redirects are followed, from https to https only.
        target: the file, there or not; its folder must be there.
        what: how progress is said to the log, such as "weights for resnet18".
        most: bytes the file may have; when more come, `target` is emptied.

    Raises:
        TooLongError: the server sent more than `most`.
        TransferError: it refused, or the connection broke and brought nothing new.
        OutputError: `target` cannot be written.
    """
    try:
        with target.open("ab") as stream:
            _until_complete(url, stream, what, most)
    except OSError as problem:
        raise refuse_unwritable(target, problem) from None


def _until_complete(url: str, stream: BinaryIO, what: str, most: int) -> None:
    import requests

    furthest = stream.tell()
    while True:
        try:
            complete = _get(url, stream, what, most)
        except (requests.RequestException, ValueError) as problem:
            if stream.tell() <= furthest:
                raise TransferError(join_lines(problem)) from None
            furthest = stream.tell()
            log.info("%s: the connection broke at %s; resuming there", what, megabytes(furthest))
            continue
        if complete:
            return
        _empty(stream)  # longer than the file is: no beginning of it
        furthest = -1


def _get(url: str, stream: BinaryIO, what: str, most: int) -> bool:
    """One request for what `stream` does not hold yet, appended to it; False: it holds more than there is."""
    import requests

    held = stream.tell()
    # identity: a length in compressed bytes would say nothing about where to resume
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
    with requests.get(url, headers=headers, stream=True, timeout=(REACH_LIMIT, READ_LIMIT)) as response:
        way = [answer.url for answer in (*response.history, response)]
        if url.startswith("https:") and not all(place.startswith("https:") for place in way):
            raise TransferError("it leads from https to a place without")
        if held and response.status_code == NO_SUCH_RANGE:  # 'Content-Range: bytes */LENGTH'
            return response.headers.get("Content-Range", "").rpartition("/")[2] == str(held)
        response.raise_for_status()
        if held and response.status_code != PARTIAL:  # the server knows no ranges and begins anew
            _empty(stream)
            held = 0
        length = response.headers.get("Content-Length", "")
        whole = held + int(length) if length.isdecimal() else 0
        progress = _Progress(what, whole)
        for piece in response.iter_content(CHUNK):
            if max(whole, stream.tell() + len(piece)) > most:  # a server without an end must not fill the disk
                _empty(stream)
                raise TooLongError(f"more than {megabytes(most)}, so it is another file")
            stream.write(piece)
            progress.say(stream.tell())
    return True


def _empty(stream: BinaryIO) -> None:
    stream.seek(0)
    stream.truncate()


class _Progress:
    """Says every tenth part, and every half minute, to the log."""

    def __init__(self, what: str, whole: int) -> None:
        self.what = what
        self.whole = whole
        self.tenths = 0
        self.at = time.monotonic()

    def say(self, held: int) -> None:
        tenths = 10 * held // self.whole if self.whole else 0
        if tenths > self.tenths or time.monotonic() - self.at > SILENCE_LIMIT:
            self.tenths, self.at = tenths, time.monotonic()
            log.info("%s: %s of %s", self.what, megabytes(held), megabytes(self.whole) if self.whole else "unknown")
