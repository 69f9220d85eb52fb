"""A task: plain data and the name of a function, as it goes to a worker and comes back.

What this module does not know: who the workers are, and how many. `_engine` has them.
"""

from __future__ import annotations

import importlib
import logging
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from zoo import errors
from zoo._support.processes import Ended, serve
from zoo._support.text import join_lines
from zoo.errors import ImageError, TrainingError, UsageError, ZooError
from zoo.runs import Callback

__all__ = ["Done", "Task", "answer", "ask", "check_version", "find", "read", "rebuild", "serve_tasks"]

_PLAIN = frozenset({"type", "code", "message"})
_LEASE, _PAUSE = 120.0, 5.0
"""Seconds that a task which is begun again waits for its run, and between two looks.

A network file system frees the lock of a lost node when its lease is over, such as after 90 s.
"""

log = logging.getLogger("zoo")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work that depends on no other."""

    name: str
    """For whoever reads of it."""
    call: str
    """"package.module:function", which takes what is given and who listens in the same process, and returns plain data.
    It continues what an earlier call with the same data left."""
    given: dict[str, Any]
    """Plain data, as JSON holds it; paths as text."""


@dataclass(frozen=True, slots=True)
class Done:
    """A task that came to its end.

    Attributes:
        task: which.
        answer: what its function returned; None: nothing, or it failed.
        problem: what it raised; code task-died: its worker died again and again. None: it did not fail.
    """

    task: Task
    answer: Any = None
    problem: ZooError | None = None


class _Question(msgspec.Struct, frozen=True):
    task: Task
    version: str
    folder: str
    """Where this process works: run folders and data may be named from there."""
    token: str | None
    """A file that this process has just written."""
    variables: dict[str, str]
    """Those of ours, such as ZOO_PLUGINS."""
    again: bool = False
    """A worker died over it before, and its lock may outlive it."""


class _Reply(msgspec.Struct, frozen=True):
    answer: Any = None
    error: dict[str, Any] | None = None
    unfit: bool = False
    """The worker cannot do any task."""
    died: str = ""


def _version() -> str:
    from zoo import __version__

    return __version__


def ask(task: Task, token: Path | None, *, again: bool = False) -> bytes:
    variables = {name: value for name, value in os.environ.items() if name.startswith("ZOO_")}
    question = _Question(task, _version(), str(Path.cwd()), None if token is None else str(token), variables, again)
    return msgspec.json.encode(question, enc_hook=str)


def serve_tasks() -> None:
    """In a child of this process: answer until it is not wanted any more; the first message says how many threads."""

    def reply(message: bytes) -> list[bytes | memoryview]:
        if message.isdigit():
            os.environ["OMP_NUM_THREADS"] = message.decode()  # torch is imported later and reads it
            return [b"ready"]
        return [answer(message)]

    serve(reply)


def answer(message: bytes) -> bytes:
    """In a worker: do the task of a message, and say what became of it."""
    question = msgspec.json.decode(message, type=_Question)
    try:
        _settle_in(question)
    except UsageError as problem:
        reply = _Reply(error=problem.document(), unfit=True)
    else:
        until = time.monotonic() + (_LEASE if question.again else 0)
        reply = _do(question.task)
        while reply.error is not None and reply.error["code"] == "run-busy" and time.monotonic() < until:
            time.sleep(_PAUSE)
            reply = _do(question.task)
    return msgspec.json.encode(reply, enc_hook=str)


def _do(task: Task) -> _Reply:
    try:
        return _Reply(answer=find(task.call)(task.given, ()))
    except ZooError as problem:
        return _Reply(error=problem.document())
    except MemoryError:
        return _Reply(died="MemoryError")
    except Exception as problem:  # a defect, here or in a plugin: it costs this task alone
        log.exception("%s", task.name)
        said = f"{task.name}: {type(problem).__name__}: {join_lines(problem, 300)}"
        text = f"{said}; expected none; report it to whoever wrote the model's plugin"
        return _Reply(error=TrainingError(text, code="task-failed", task=task.name).document())


def check_version(expected: str) -> None:
    """Refuse this worker where it has another version of this tool than `expected`, that of the driver.

    Raises:
        UsageError: it has.
    """
    node = platform.node()
    if expected != _version():
        raise UsageError(
            f"edgezoo {_version()} is installed on {node}, and {expected} where the command was given; expected one "
            "version; install it there",
            code="engine-version",
            node=node,
            found=_version(),
            expected=expected,
        )


def _settle_in(question: _Question) -> None:
    """Make this worker as the process that asks.

    Raises:
        UsageError: it has another version of this tool, or other disks.
    """
    check_version(question.version)
    node = platform.node()
    folder = Path(question.folder)
    seen = Path(question.token) if question.token is not None else folder
    if not folder.is_dir() or not seen.exists():
        hidden = seen.parent if folder.is_dir() else folder
        raise UsageError(
            f"{node} does not see {hidden}, in which the command writes; expected a folder that all nodes share; work "
            "in one, or give --out on such storage",
            code="engine-storage",
            node=node,
            path=str(hidden),
        )
    os.environ.update(question.variables)
    os.chdir(folder)


def find(call: str) -> Callable[[dict[str, Any], tuple[Callback, ...]], Any]:
    module, _, name = call.partition(":")
    return cast("Callable[[dict[str, Any], tuple[Callback, ...]], Any]", getattr(importlib.import_module(module), name))


def read(task: Task, message: bytes) -> Done:
    """What a worker said of a task.

    Raises:
        Ended: it had too little memory.
        UsageError: it cannot do any task.
    """
    reply = msgspec.json.decode(message, type=_Reply)
    if reply.died:
        raise Ended(reply.died)
    if reply.error is None:
        return Done(task, reply.answer)
    problem = rebuild(reply.error)
    if reply.unfit:
        raise problem
    return Done(task, problem=problem)


def rebuild(document: dict[str, Any]) -> ZooError:
    """The error of another process, by what `ZooError.document` said of it."""
    kind = getattr(errors, str(document["type"]), ZooError)
    fields = {name: value for name, value in document.items() if name not in _PLAIN}
    if kind is ImageError:
        name, reason = fields.pop("image", None), fields.pop("reason", document["message"])
        return ImageError(name, reason, code=document["code"], **fields)
    return cast("ZooError", kind(document["message"], code=document["code"], **fields))
