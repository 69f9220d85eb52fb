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
import threading
import warnings
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Companions", "Ended", "command", "divide", "is_companion", "join", "possible", "receive", "serve"]

PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import {task}; {task}(*sys.argv[2:])"
_PATIENCE = 1.0
"""Seconds that a companion gets for leaving; what it works on is wanted by nobody any more."""
_LOOK = 1.0
"""Seconds between two looks at companions that have a time limit."""
_SIZE = 8
"""Bytes of a message's length, which come before it."""
_OUTSIDE = frozenset({"SIGKILL", "SIGTERM"})
"""Signals that no library raises over what it works on."""
_MOST = 2**36
"""Bytes of a message are fewer."""
_PIPE = 2**20
"""Bytes that a pipe holds where the system allows it: a picture passes with few changes of process."""


class _Role:
    """What this process is."""

    companion = False


def is_companion() -> bool:
    """Whether this process answers messages, so that its death costs its owner one answer."""
    return _Role.companion


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
    """Processes ended instead of answering; the text says how the last one did: 'exit 1', 'SIGKILL'.

    Attributes:
        outside: it was killed from outside, as by a system short of memory, or gave no answer in time.
    """

    def __init__(self, how: str, *, outside: bool = False) -> None:
        super().__init__(how)
        self.outside = outside


class Companions:
    """Processes of one task. A process is started when the first message waits for it.

    Args:
        task: "package.module:function"; the function calls `serve`.
        count: most processes, at least 1. As many threads may ask at a time; more of them wait.
        greeting: first message to each process, whose answer is not looked at; None: there is none. A process that
            does not answer it cannot be started: an application that holds Python is not an interpreter.
        tries: processes that may end over one message.
        limit_s: seconds after which a process without an answer is killed, and not replaced; None: no limit.
    """

    def __init__(
        self, task: str, count: int, *, greeting: bytes | None = None, tries: int = 1, limit_s: float | None = None
    ) -> None:
        self._task = task
        self._greeting = greeting
        self._tries = tries
        self._limit_s = limit_s
        # the last that became free is asked next: one thread alone starts one process
        self._places: queue.LifoQueue[_Companion | None] = queue.LifoQueue()
        self._started: list[_Companion] = []
        self._failed = self._proved = False
        self._stopped = threading.Event()
        self._watching = threading.Lock()
        for _ in range(count):
            self._places.put(None)

    def ask(self, *message: bytes | memoryview) -> bytes | None:
        """The answer to a message, given in parts, of 1 byte at least; None where no process can be started.

        Raises:
            Ended: all tries were in vain, or this pool was stopped.
        """
        if self._failed or not possible():
            return None
        companion = self._places.get()
        how, late = "", False
        try:
            for _ in range(self._tries):
                companion = companion or self._start()
                if companion is None:
                    break
                answer = companion.ask(*message)
                if answer is not None:
                    return answer
                how, late, companion = self._bury(companion), companion.late, None
                if late:
                    how = f"no answer in {self._limit_s:g} s"
                if late or self._stopped.is_set():
                    break
        except BaseException:  # Ctrl-C: what is left of its answer would be taken for the next one
            if companion is not None:
                companion.kill()
                self._bury(companion)
                companion = None
            raise
        finally:
            self._places.put(companion)
        if not how:
            return None
        raise Ended(how, outside=late or how in _OUTSIDE)

    def stop(self) -> None:
        """End all processes now, whatever they are at; nobody waits for their answers any more."""
        self._stopped.set()
        for companion in self._started:
            companion.kill()

    def close(self) -> None:
        """Let the processes leave and give back what they held; no thread may be asking any more."""
        self._stopped.set()
        for companion in self._started:
            companion.close()

    def forget(self) -> None:
        """In a process that was forked off: let go of the processes, which belong to the one that started them."""
        self._stopped.set()
        for companion in self._started:
            companion.forget()

    def _start(self) -> _Companion | None:
        try:
            companion = _Companion(self._task)
        except OSError:
            return None
        self._started.append(companion)
        if self._stopped.is_set():
            companion.kill()
        if self._limit_s is not None and self._watching.acquire(blocking=False):
            threading.Thread(target=self._watch, name="zoo-companions", daemon=True).start()
        if self._greeting is not None and not self._stopped.is_set():
            if companion.ask(self._greeting) is not None:
                self._proved = True
            elif not self._proved and not self._stopped.is_set():
                self._bury(companion)
                self._failed = True
                return None
        return companion  # one that ended over the greeting shows that at its first message

    def _bury(self, companion: _Companion) -> str:
        self._started.remove(companion)
        return companion.ending()

    def _watch(self) -> None:
        """Kill what does not answer. Looks are counted and not seconds: while a machine sleeps, nobody is late."""
        while not self._stopped.wait(_LOOK):
            for companion in list(self._started):
                companion.looks += 1
                if companion.asked and companion.looks * _LOOK > (self._limit_s or 0):
                    companion.late = True
                    companion.kill()


class _Companion:
    """One process; asked by one thread at a time.

    Args:
        task: "package.module:function"; the function calls `serve`.

    Attributes:
        asked: an answer is waited for.
        looks: how often somebody looked since it was asked.
        late: it was killed because it did not answer.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, task: str) -> None:
        self.asked, self.looks, self.late = False, 0, False
        # A group of its own: Ctrl-C is the owner's to answer.
        options = {"process_group": 0} if os.name == "posix" else {}
        self._process = subprocess.Popen(
            command(task),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **options,  # type: ignore[call-overload]
        )
        _widen(self._process.stdin)
        _widen(self._process.stdout)

    def ask(self, *message: bytes | memoryview) -> bytes | None:
        """Its answer to a message of 1 byte at least; None when it is not there any more."""
        self.looks, self.asked = 0, True
        try:
            _send(self._process.stdin, *message)
            return receive(self._process.stdout)
        except (OSError, ValueError):  # ValueError: closed meanwhile by another thread
            return None
        finally:
            self.asked = False

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

    def forget(self) -> None:
        """In a forked process: give up both pipes without a word, and the wish to wait for its end."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (self._process.stdin, self._process.stdout):
            os.dup2(nowhere, stream.fileno())  # closing could wait for a lock of a thread that is not here
        os.close(nowhere)
        self._process.returncode = 0

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
        answer: a message → the parts of its answer, together 1 byte at least.
    """
    _Role.companion = True
    warnings.simplefilter("ignore")  # nobody reads them here, and they quote files
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    try:
        while (message := receive(sys.stdin.buffer)) is not None:
            _send(answers, *answer(message))
    except BrokenPipeError:  # the owner is gone; what is left of the answer goes nowhere, without a complaint
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())


def join(head: bytes, *rest: bytes | memoryview) -> list[bytes | memoryview]:
    """The parts of a message made of a head and what follows it; `divide` takes them apart."""
    return [len(head).to_bytes(_SIZE, "little"), head, *rest]


def divide(message: bytes) -> tuple[memoryview, memoryview]:
    """The head of a message that `join` made, and the rest of it."""
    end = _SIZE + int.from_bytes(message[:_SIZE], "little")
    return memoryview(message)[_SIZE:end], memoryview(message)[end:]


def _send(stream: IO[bytes], *parts: bytes | memoryview) -> None:
    views = [memoryview(part).cast("B") for part in parts]
    stream.write(sum(view.nbytes for view in views).to_bytes(_SIZE, "little"))
    for view in views:
        stream.write(view)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None where the other side is gone."""
    head = stream.read(_SIZE)
    size = int.from_bytes(head, "little") if len(head) == _SIZE else 0
    message = stream.read(size) if size < _MOST else b""  # more was not written by `_send`
    return message if message and len(message) == size else None


def _widen(stream: IO[bytes]) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # an ordinary user has a limit for all pipes together
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE)
