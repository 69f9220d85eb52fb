"""One file over HTTP: out of reach is found out within five seconds, a broken transfer goes on where it stopped.

What this module does not know: what the file is for and what it must be. Whoever asks for it checks its hash
and says what to do without a network.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from zoo.errors import OutputError

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
NO_SUCH_RANGE = 416
"""Range Not Satisfiable (RFC 9110, 15.5.17): all there is was held already, or more."""


class TransferError(Exception):
    """A transfer broke; the text is the reason alone, which the caller puts in the words of its own error."""


def offline() -> str | None:
    """Why no network may be used ('ZOO_OFFLINE is set'), None when it may."""
    for switch in ("ZOO_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(switch, "").lower() in ON:
            return f"{switch} is set"
    return None


def first_answer(url: str) -> int | None:
    """The HTTP status of a HEAD request, None when there is no answer in time."""
    import requests  # type: ignore[import-untyped, unused-ignore]  # comes with pooch

    answers: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            with requests.head(url, timeout=REACH_LIMIT, allow_redirects=False) as response:
                answers.put(response.status_code)
        except (requests.RequestException, ValueError):  # ValueError: it is no URL at all
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
    `target` when it fails, so that the next call goes on from there.

    Args:
        url: http or https; redirects are followed, from https to https only.
        target: the file, there or not; its folder must be there.
        what: how progress is said to the log, such as "weights for resnet18".
        most: bytes the file may have; when more come, `target` is emptied.

    Raises:
        TransferError: the server refused, sent more than `most`, or the connection broke and brought nothing new.
        OutputError: `target` can not be written.
    """
    try:
        with target.open("ab") as stream:
            _until_complete(url, stream, what, most)
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise OutputError(f"cannot write {target}: {reason}; free space there or choose another place") from None


def _until_complete(url: str, stream: BinaryIO, what: str, most: int) -> None:
    import requests  # type: ignore[import-untyped, unused-ignore]

    furthest = stream.tell()
    while True:
        try:
            _get(url, stream, what, most)
        except (requests.RequestException, ValueError) as problem:
            if _refused_range(problem):
                if _whole_length(problem) == stream.tell():
                    return
                _empty(stream)  # longer than the file is: no beginning of it
                furthest = -1
            elif stream.tell() <= furthest:
                raise TransferError(" ".join(str(problem).split())) from None
            else:
                furthest = stream.tell()
                log.info("%s: the connection broke at %s; going on from there", what, _megabytes(furthest))
        else:
            return


def _get(url: str, stream: BinaryIO, what: str, most: int) -> None:
    """One request for what `stream` does not hold yet, appended to it."""
    from pooch import HTTPDownloader

    held = stream.tell()
    progress = _Logged(what, held)
    with contextlib.ExitStack() as responses:

        def arrived(response: Any, **_: Any) -> None:
            if url.startswith("https:") and not response.url.startswith("https:"):
                response.close()
                raise TransferError("it leads from https to a place without")
            # pooch leaves the connection of a failed transfer open.
            responses.callback(response.close)
            if held and response.status_code == 200:  # the server knows no ranges and begins anew
                _empty(stream)
                progress.begun = 0
            length = response.headers.get("Content-Length", "")
            if response.ok and length.isdecimal() and stream.tell() + int(length) > most:
                raise _too_long(stream, most)

        # identity: a length in compressed bytes would say nothing about where to go on
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
        get = HTTPDownloader(
            progressbar=progress,
            chunk_size=CHUNK,
            timeout=(REACH_LIMIT, READ_LIMIT),
            headers=headers,
            hooks={"response": arrived},
        )
        get(url, _Bounded(stream, most), None)


def _refused_range(problem: Any) -> bool:
    return getattr(getattr(problem, "response", None), "status_code", None) == NO_SUCH_RANGE


def _whole_length(problem: Any) -> int | None:
    """Bytes the file has, from 'Content-Range: bytes */LENGTH' of a refused range."""
    length = problem.response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isdecimal() else None


def _empty(stream: BinaryIO) -> None:
    stream.seek(0)
    stream.truncate()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def _too_long(stream: BinaryIO, most: int) -> TransferError:
    _empty(stream)
    return TransferError(f"more than {_megabytes(most)}, so it is another file")


class _Bounded:
    """What pooch writes to: a server without an end must not fill the disk."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self.stream = stream
        self.most = most

    def write(self, data: bytes) -> int:
        if self.stream.tell() + len(data) > self.most:
            raise _too_long(self.stream, self.most)
        return self.stream.write(data)

    def flush(self) -> None:
        self.stream.flush()


class _Logged:
    """What pooch needs of a progress bar; says every tenth part, and every half minute, to the log."""

    def __init__(self, what: str, begun: int) -> None:
        self.what = what
        self.begun = begun
        self.total = 0  # set by pooch: bytes of this response
        self.done = 0
        self.said = 0
        self.said_at = time.monotonic()

    def update(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        whole = self.begun + self.total
        tenths = 10 * (self.begun + self.done) // whole if whole else 0
        if tenths > self.said or time.monotonic() - self.said_at > SILENCE_LIMIT:
            self.said, self.said_at = tenths, time.monotonic()
            log.info("%s: %s of %s", self.what, _megabytes(self.begun + self.done), _megabytes(whole))

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        """Nothing to close."""
