"""A process that works for this one: a bare interpreter that answers messages over two pipes.

Not multiprocessing, which imports the caller's `__main__` again: a script without a main guard would start itself, and
a GPU that the caller holds would get in the way. A companion lives no longer than its owner, however that one ends:
it leaves when its input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Companion", "command", "possible", "serve"]

PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import {task}; {task}(*sys.argv[2:])"
_PATIENCE = 1.0
"""Seconds that a companion gets for leaving; what it works on is wanted by nobody any more."""


def possible() -> bool:
    """Whether companions can be started: a frozen application's executable is the application, no interpreter."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def command(task: str, *arguments: str) -> list[str]:
    """The command of a bare interpreter that calls "package.module:function" with texts.

    It finds exactly the modules that this process finds: with -P none of the working directory, where a stranger's
    `numpy.py` may lie beside a stranger's model.
    """
    module, _, function = task.partition(":")
    return [sys.executable, "-P", "-c", PROGRAM.format(module=module, task=function), json.dumps(sys.path), *arguments]


class Companion:
    """One process; asked by one thread at a time.

    Args:
        task: "package.module:function"; the function calls `serve`.

    Raises:
        OSError: it can not be started.
    """

    def __init__(self, task: str) -> None:
        # A group of its own: Ctrl-C is the owner's to answer.
        options = {"process_group": 0} if os.name == "posix" else {}
        self._process = subprocess.Popen(
            command(task),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **options,  # type: ignore[call-overload]
        )

    def ask(self, message: bytes) -> bytes | None:
        """Its answer to a message of 1 byte to 4 GB; None when it is not there any more."""
        try:
            _send(self._process.stdin, message)
            return received(self._process.stdout)
        except (OSError, ValueError):  # ValueError: closed meanwhile by another thread
            return None

    def ending(self) -> str:
        """How a process that did not answer ended: 'exit 1', 'SIGKILL'."""
        self.close()
        code = self._process.returncode
        try:
            return signal.Signals(-code).name if code < 0 else f"exit {code}"
        except ValueError:
            return f"signal {-code}"

    def kill(self) -> None:
        """End it now; a thread that is asking it gets None."""
        self._process.kill()

    def close(self) -> None:
        """Let it leave; one that does not is killed. No thread may be asking it."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(answer: Callable[[bytes], Sequence[bytes | memoryview]]) -> None:
    """In the companion: answer messages from stdin on stdout until there are no more.

    Args:
        answer: a message → the parts of its answer, together 1 byte to 4 GB.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    try:
        while (message := received(sys.stdin.buffer)) is not None:
            _send(answers, *answer(message))
    except BrokenPipeError:  # the owner is gone; what is left of the answer goes nowhere, without a complaint
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())


def _send(stream: IO[bytes], *parts: bytes | memoryview) -> None:
    views = [memoryview(part).cast("B") for part in parts]
    stream.write(sum(view.nbytes for view in views).to_bytes(4, "little"))
    for view in views:
        stream.write(view)
    stream.flush()


def received(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the other side is gone."""
    size = stream.read(4)
    message = stream.read(int.from_bytes(size, "little")) if len(size) == 4 else b""
    return message if message and len(message) == int.from_bytes(size, "little") else None
