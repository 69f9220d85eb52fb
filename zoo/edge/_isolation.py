"""The proof of a bundle in a process of its own, which may take so much memory and so much time.

Rules on a file (`zoo.edge.vet`) cannot bound what a network asks for while it runs: shapes are computed, and a graph
of forty small nodes can double a tensor forty times. So `verify` reads and runs a bundle in a child process. It
costs the start of an interpreter, about 0.3 s; a model that eats memory, never ends or crashes the runtime takes only
the child with it.

Memory is limited twice. The child limits its own RLIMIT_DATA, private memory that can be written: an allocation
beyond it fails at once. RLIMIT_AS would also count what is only reserved, such as each thread's arena in glibc and the
whole address space of CUDA, and so refuse sound models on machines with many cores. And the parent looks at the
child's resident memory and ends it, which is all there is for other providers than cpu, whose drivers map the memory
of the device, and on macOS, which takes the limit and does not keep it. On Windows only the time is limited.

What this module does not know: what is proved (`zoo.edge._replay`).
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo import errors
from zoo._support.machine import cores
from zoo._support.processes import command, possible
from zoo.edge._replay import Verification, prove
from zoo.errors import GateError, LimitError, UsageError, ZooError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MEMORY_LIMIT", "TIME_LIMIT", "answer", "prove_apart"]

TIME_LIMIT = 600.0
"""Seconds, by the clock: ten and more for each golden image, also on a slow core."""
MEMORY_LIMIT = 4096
"""Megabytes (10^6 bytes); three quarters of the machine's memory where that is less."""

_TASK = f"{__name__}:answer"
_LOOK = 0.05  # seconds between two looks at the child's memory
_LOOK_UP = 1.0  # seconds between two looks whether the parent is still there
_MEGABYTE = 1_000_000
_LASTING = frozenset({errno.ENOEXEC, errno.ENOENT, errno.EACCES, errno.ENOSYS})
"""What starting this interpreter again ends with where it never can be: under an emulator, inside an application. Too
little memory and too many processes are not among them: they pass, and a hostile model may be waiting for them."""


class _Order(msgspec.Struct, frozen=True):
    path: str
    options: dict[str, Any]
    seconds: float
    megabytes: int
    parent: int = msgspec.field(default_factory=os.getpid)
    """Process that waits for the answer."""


class _Refusal(msgspec.Struct, frozen=True):
    error: str
    """Name of a class in `zoo.errors`."""
    message: str
    code: str
    fields: dict[str, Any]


def prove_apart(
    path: Path, *, time_limit: float = TIME_LIMIT, memory_limit: int | None = None, **options: Any
) -> Verification:
    """`zoo.edge._replay.prove` in a child process; what it raises there is raised here.

    Args:
        path: the bundle.
        time_limit: seconds after which the child is ended.
        memory_limit: megabytes (10^6 bytes) that it may take; None: `MEMORY_LIMIT`, or three quarters of this
            machine's memory where that is less.
        **options: options of `prove`.

    Raises:
        LimitError: the proof took more time or memory, or its process crashed.
        GateError: no process could be started; its field "lasting" says whether none ever can.
        UsageError: a limit that is not a positive number.
    """
    most = _default_megabytes() if memory_limit is None else memory_limit
    if not (0 < time_limit < math.inf and most > 0):
        raise UsageError(
            f"limits of {time_limit} s and {most} MB, expected positive numbers",
            code="option-value",
            time_limit=time_limit,
            memory_limit=most,
        )
    order = _Order(str(path), options, time_limit, most)
    said = _run(order)
    found: Verification | _Refusal | None = None
    with contextlib.suppress(msgspec.DecodeError):
        found = _decode(said)
    if found is None:
        raise LimitError(
            f"{path}: its proof ended without an answer; do not use this model on this device", code="proof-crashed"
        )
    if isinstance(found, _Refusal):
        kind = getattr(errors, found.error, GateError)
        known = kind if isinstance(kind, type) and issubclass(kind, ZooError) else GateError
        raise known(found.message, code=found.code, **found.fields)
    return msgspec.structs.replace(found, isolated=True)


def answer(text: str) -> None:
    """What the child process does: an order as JSON in, a proof or a refusal as JSON on stdout."""
    order = msgspec.json.decode(text, type=_Order)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    import onnxruntime  # noqa: F401 - before the limits: our own code is not what they are for

    threading.Thread(target=_end_with, args=(order.parent,), daemon=True).start()
    said: Verification | _Refusal
    try:
        _limit(order)
        said = prove(Path(order.path), **order.options)
    except ZooError as problem:
        said = _refusal(_memory(order) if problem.code == "model-memory" else problem)
    except MemoryError:
        said = _refusal(_memory(order))
    with answers:
        answers.write(msgspec.json.encode(said))


def _end_with(parent: int) -> None:
    """End this process soon after its parent, which may have been killed and then could not do it."""
    while os.getppid() == parent:
        time.sleep(_LOOK_UP)
    os._exit(1)


def _run(order: _Order) -> bytes:
    """What the child said on stdout.

    Raises:
        LimitError: it was ended, or ended itself.
    """
    said: bytes
    with _child(order) as process:
        deadline = time.monotonic() + order.seconds
        while True:
            try:
                said, complaint = process.communicate(timeout=_LOOK)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise LimitError(
                        f"{order.path}: no proof within {order.seconds:g} s, its limit; "
                        "do not use this model, or give a large one more by --time-limit",
                        code="proof-time",
                        seconds=order.seconds,
                    ) from None
                if (_resident(process.pid) or 0) > order.megabytes * _MEGABYTE:
                    raise _memory(order) from None
    if process.returncode:
        raise LimitError(
            f"{order.path}: its proof {_ending(process.returncode, complaint)}; do not use this model on this device",
            code="proof-crashed",
            status=process.returncode,
        )
    return said


@contextlib.contextmanager
def _child(order: _Order) -> Iterator[subprocess.Popen[bytes]]:
    """The child process, ended in any case."""
    try:
        if not possible():
            raise OSError(errno.ENOEXEC, "this program is not an interpreter")
        process = subprocess.Popen(
            command(_TASK, msgspec.json.encode(order).decode()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # numpy multiplies nothing here; stacks would count
        )
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise GateError(
            f"{order.path}: no process for its proof could be started ({reason}); free memory or processes, or "
            "leave out the limits",
            code="proof-unstarted",
            cause=reason,
            lasting=problem.errno in _LASTING,
        ) from None
    with process:
        try:
            yield process
        finally:
            process.kill()


def _decode(said: bytes) -> Verification | _Refusal:
    if said.startswith(b'{"error":'):
        return msgspec.json.decode(said, type=_Refusal)
    return msgspec.json.decode(said, type=Verification)


def _limit(order: _Order) -> None:
    """Limit this process; on systems without the limits the parent's look and clock are left."""
    try:
        import resource
    except ImportError:  # Windows
        return
    seconds = math.ceil(order.seconds) * cores() + 1  # it ends by itself, whatever becomes of its parent
    limits = [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, seconds)]
    if order.options.get("provider", "cpu") == "cpu":
        limits.append((resource.RLIMIT_DATA, order.megabytes * _MEGABYTE))
    for kind, most in limits:
        with contextlib.suppress(OSError, ValueError):  # a harder limit is there already
            resource.setrlimit(kind, (most, most))


def _refusal(problem: ZooError) -> _Refusal:
    return _Refusal(type(problem).__name__, str(problem), problem.code, problem.fields)


def _memory(order: _Order) -> LimitError:
    return LimitError(
        f"{order.path}: its proof needs more than {order.megabytes} MB of memory, its limit; "
        "do not use this model, or give a large one more by --memory-limit",
        code="proof-memory",
        megabytes=order.megabytes,
    )


def _ending(status: int, complaint: bytes) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    lines = complaint.decode(errors="replace").strip().splitlines()
    return f"ended with status {status} ({lines[-1][:200] if lines else 'it said nothing'})"


def _resident(pid: int) -> int | None:
    """Bytes of memory that a process holds; None: not known here."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    try:  # macOS
        done = subprocess.run(["/bin/ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=False, timeout=5)
        return int(done.stdout) * 1024
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _default_megabytes() -> int:
    try:
        here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4 // _MEGABYTE
    except (ValueError, OSError, AttributeError):  # Windows
        return MEMORY_LIMIT
    return max(1, min(MEMORY_LIMIT, here)) if here > 0 else MEMORY_LIMIT
