"""The contract in a process of its own: a plugin that raises, exits, hangs or prints is a line in a table.

That contains accidents. It is not a sandbox: code that means harm has the rights of whoever runs it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo._support.processes import command
from zoo._support.text import join_lines
from zoo.contract._checks import CHECKS, Outcome
from zoo.contract._subject import EPOCHS, SIZE, NotTried, Subject, Unmet, explain
from zoo.errors import ZooError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LIMIT_S", "examine", "work"]

LIMIT_S = 600.0
"""Seconds for all checks of one model; a ResNet-18 takes about one minute on two cores."""


_LAST_BYTES = 4096
"""Of what a plugin printed to stderr, looked at when it ended the process."""


def examine(
    model: str, folder: Path, *, size: int | None = None, epochs: int | None = None, limit_s: float = LIMIT_S
) -> Iterator[Outcome]:
    """Run `zoo.contract.CHECKS` on one model, each outcome as soon as it is there.

    Args:
        model: name in the catalogue.
        folder: an empty folder to work in; it holds the child's stderr as `stderr.txt` afterwards.
        size: side of the pictures in pixels; None: the default of `Subject`.
        epochs: number of epochs; None: the default of `Subject`.
        limit_s: seconds after which the child is ended with everything it has started.
    """
    # Answers go through a file, because a plugin may print anything, or close the streams.
    answers, said = folder / "answers.jsonl", folder / "stderr.txt"
    work_in = folder / "work"
    work_in.mkdir(parents=True)
    answers.touch()
    arguments = [model, str(work_in.resolve()), str(answers.resolve()), str(size or ""), str(epochs or "")]
    seen: set[str] = set()
    begun = ""
    with said.open("wb") as errors, answers.open("rb") as stream:
        child = subprocess.Popen(
            command(f"{__name__}:work", *arguments),
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
                status, message = "failed", join_lines(reason)
            except (Exception, SystemExit) as problem:  # a stranger's code
                status, message = "failed", explain(subject.plugin, problem)
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
