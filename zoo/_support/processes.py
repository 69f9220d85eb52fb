"""Processes that work for this one: bare interpreters that answer messages over two pipes.

Not multiprocessing, which imports the caller's `__main__` again: a script without a main guard would start itself, and
a GPU that the caller holds would get in the way. A companion lives no longer than its owner, however that one ends:
it leaves when its input does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Companions", "Ended", "command", "serve"]

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


class Ended(Exception):  # noqa: N818 - what happened, said to the caller's own way out
    """Processes ended instead of answering; the text says how the last one did: 'exit 1', 'SIGKILL'."""


class Companions:
    """Processes of one task. A process is started when the first message waits for it.

    Args:
        task: "package.module:function"; the function calls `serve`.
        count: most processes, at least 1. As many threads may ask at a time; more of them wait.
        greeting: first message to each process, whose answer is not looked at; None: there is none.
        tries: processes that may end over one message.
    """

    def __init__(self, task: str, count: int, *, greeting: bytes | None = None, tries: int = 1) -> None:
        self._task = task
        self._greeting = greeting
        self._tries = tries
        self._places: queue.SimpleQueue[_Companion | None] = queue.SimpleQueue()
        self._started: list[_Companion] = []
        self._stopped = False
        for _ in range(count):
            self._places.put(None)

    def ask(self, message: bytes) -> bytes | None:
        """The answer to a message of 1 byte to 4 GB; None where no process can be started.

        Raises:
            Ended: all tries were in vain, or this pool was stopped.
        """
        if not possible():
            return None
        companion = self._places.get()
        how = ""
        try:
            for _ in range(self._tries):
                companion = companion or self._start()
                if companion is None:
                    return None
                answer = companion.ask(message)
                if answer is not None:
                    return answer
                how = companion.ending()
                self._started.remove(companion)
                companion = None
                if self._stopped:
                    break
        finally:
            self._places.put(companion)
        raise Ended(how)

    def stop(self) -> None:
        """End all processes now, whatever they are at; nobody waits for their answers any more."""
        self._stopped = True
        for companion in self._started:
            companion.kill()

    def close(self) -> None:
        """Let the processes leave and give back what they held; no thread may be asking any more."""
        self._stopped = True
        for companion in self._started:
            companion.close()

    def _start(self) -> _Companion | None:
        try:
            companion = _Companion(self._task)
        except OSError:
            return None
        self._started.append(companion)
        if self._stopped:
            companion.kill()
        if self._greeting is not None:
            companion.ask(self._greeting)  # a process that ends over it shows that at its first message
        return companion


class _Companion:
    """One process; asked by one thread at a time.

    Args:
        task: "package.module:function"; the function calls `serve`.

    Raises:
        OSError: the process cannot be started.
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
            return receive(self._process.stdout)
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
    """In the companion: answer messages from stdin on stdout until stdin ends.

    Args:
        answer: a message → the parts of its answer, together 1 byte to 4 GB.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    try:
        while (message := receive(sys.stdin.buffer)) is not None:
            _send(answers, *answer(message))
    except BrokenPipeError:  # the owner is gone; what is left of the answer goes nowhere, without a complaint
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())


def _send(stream: IO[bytes], *parts: bytes | memoryview) -> None:
    views = [memoryview(part).cast("B") for part in parts]
    stream.write(sum(view.nbytes for view in views).to_bytes(4, "little"))
    for view in views:
        stream.write(view)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the other side is gone."""
    size = stream.read(4)
    message = stream.read(int.from_bytes(size, "little")) if len(size) == 4 else b""
    return message if message and len(message) == int.from_bytes(size, "little") else None
