"""What native libraries write to stderr while they decode: caught, named, and each thing said once.

Such a line names no file and comes in floods: a damaged fax writes one for each of its lines.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import tempfile
import threading
from collections import Counter
from typing import TYPE_CHECKING

from zoo._support.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["catch_stderr", "say"]

_STDERR = 2
_MOST_BYTES = 2**16
"""Bytes that are looked at for one file."""
_MOST_KINDS = 100
"""Different lines that are said in a process; from there on new ones are passed over."""
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")
"""What may differ between two lines that say the same of two places or two files."""

_CATCHING = threading.Lock()
_COUNTING = threading.Lock()

log = logging.getLogger("zoo")


@contextlib.contextmanager
def catch_stderr(lines: list[str]) -> Iterator[None]:
    """Add what this process writes to stderr inside to `lines`; one thread at a time.

    Nothing is caught where stderr is closed, or where a file cannot be made.
    """
    with _CATCHING, contextlib.ExitStack() as restore:
        with contextlib.suppress(OSError):
            scratch, kept = _scratch(), os.dup(_STDERR)
            restore.callback(os.close, kept)
            restore.callback(_take, scratch, lines)
            restore.callback(os.dup2, kept, _STDERR)
            os.dup2(scratch, _STDERR)
        yield


@functools.cache
def _scratch() -> int:
    """A file that this process keeps; in memory where the system knows that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stderr")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _take(scratch: int, lines: list[str]) -> None:
    """Move what the file holds to `lines`."""
    if not os.lseek(scratch, 0, os.SEEK_CUR):
        return
    os.lseek(scratch, 0, os.SEEK_SET)
    text = os.read(scratch, _MOST_BYTES).decode("utf-8", "replace")
    os.ftruncate(scratch, 0)
    os.lseek(scratch, 0, os.SEEK_SET)
    lines += [shown for line in text.splitlines() if (shown := printable(line.strip()))]


_SAID: Counter[str] = Counter()


def say(name: str, lines: Iterable[str]) -> None:
    """Log lines about a file, each kind once for this process, and then only how often: 10, 100, 1000 times."""
    for line in lines:
        kind = _NUMBERS.sub("#", line)
        with _COUNTING:
            if kind not in _SAID and len(_SAID) >= _MOST_KINDS:
                continue
            _SAID[kind] += 1
            times = _SAID[kind]
        if times == 1:
            log.warning("%s: %s", name, line)
        elif times >= 10 and times == 10 ** (len(str(times)) - 1):
            log.warning("%s: %s (%d times by now)", name, line, times)
