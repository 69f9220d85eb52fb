"""The contract in a process of its own: a plugin that raises, exits, hangs or prints is a line in a table.

That contains accidents. It is no sandbox: code that means harm has the rights of whoever runs it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LIMIT_S", "Outcome", "examine", "work"]

LIMIT_S = 600.0
"""Seconds for all checks of one model; a ResNet-18 takes about one minute on two cores."""


_LAST_BYTES = 4096
"""Of what a plugin printed to stderr, looked at when it ended the process."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one check."""

    check: str
    status: Literal["passed", "failed", "not tried"]
    message: str = ""
    """failed: what was found and what the author must change. not tried: why."""
    seconds: float = 0.0


# The parent's sys.path is handed over whole, so that the child finds exactly what the parent chose. Answers go through
# a file, because a plugin may print anything, or close the streams.
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from zoo.contract import work
work(*sys.argv[2:])
"""


def examine(
    model: str, folder: Path, *, size: int | None = None, epochs: int | None = None, limit_s: float = LIMIT_S
) -> Iterator[Outcome]:
    """Run `zoo.contract.CHECKS` on one model, each outcome as soon as it is there.

    Args:
        model: name in the catalogue.
        folder: an empty folder to work in; it holds the child's stderr as `stderr.txt` afterwards.
        size: see `Subject`; None: its default.
        epochs: likewise.
        limit_s: seconds after which the child is ended with everything it has started.
    """
    from zoo.contract import CHECKS

    answers, said = folder / "answers.jsonl", folder / "stderr.txt"
    work_in = folder / "work"
    work_in.mkdir(parents=True)
    answers.touch()
    arguments = [model, str(work_in.resolve()), str(answers.resolve()), str(size or ""), str(epochs or "")]
    seen: set[str] = set()
    begun = ""
    with said.open("wb") as errors, answers.open("rb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path), *arguments],
            cwd=work_in,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        late, deadline, rest = False, time.monotonic() + limit_s, b""
        try:
            while True:
                ended = child.poll() is not None  # before reading: what it wrote last is read, too
                *lines, rest = (rest + stream.read()).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if "begun" in answer:
                        begun = answer["begun"]
                    else:
                        seen.add(begun)
                        yield msgspec.convert(answer, Outcome)
                late = time.monotonic() > deadline
                if ended or late:
                    break
                time.sleep(0.05)
        finally:
            _end(child)
    missing = [check.name for check in CHECKS if check.name not in seen]
    if not missing:
        return
    if late:
        why = f"was still at it after {limit_s:g} s and was ended; mend what hangs, or give --limit SECONDS"
    else:
        why = f"the process ended (exit {child.returncode}){_last_words(said)}; a plugin must return or raise"
    for name in missing:
        hit = name == (begun if begun and begun not in seen else missing[0])
        yield (
            Outcome(check=name, status="failed", message=why)
            if hit
            else Outcome(check=name, status="not tried", message="the process had ended")
        )


def work(model: str, folder: str, answers: str, size: str, epochs: str) -> None:
    """What the child does; arguments as `examine` passes them, "" for a default."""
    from zoo.contract import CHECKS, EPOCHS, SIZE, NotTried, Subject, Unmet
    from zoo.contract._subject import raised
    from zoo.errors import ZooError

    subject = Subject(model, Path(folder), size=int(size or SIZE), epochs=int(epochs or EPOCHS))
    with Path(answers).open("a", encoding="utf-8", buffering=1) as stream:
        for check in CHECKS:
            stream.write(json.dumps({"begun": check.name}) + "\n")
            start = time.perf_counter()
            status, message = "passed", ""
            try:
                check.hold(subject)
            except NotTried as reason:
                status, message = "not tried", str(reason)
            except (Unmet, ZooError) as reason:
                status, message = "failed", " ".join(str(reason).split())
            except (Exception, SystemExit) as problem:  # a stranger's code
                status, message = "failed", raised(subject.plugin, problem)
            answer = {"check": check.name, "status": status, "message": message}
            stream.write(json.dumps(answer | {"seconds": time.perf_counter() - start}) + "\n")
    os._exit(0)  # threads that a plugin left behind would be waited for


def _end(child: subprocess.Popen[bytes]) -> None:
    """The child and what it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _last_words(said: Path) -> str:
    with said.open("rb") as stream:  # a plugin may have printed gigabytes
        stream.seek(max(0, said.stat().st_size - _LAST_BYTES))
        lines = stream.read(_LAST_BYTES).decode("utf-8", "replace").strip().splitlines()
    return f", its last words were {lines[-1][:200]!r}" if lines else ""
