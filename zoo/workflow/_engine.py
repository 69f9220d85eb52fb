"""Engines: who does tasks that depend on none of each other: this process, children of it, or a cluster of Ray.

`zoo train --folds`, `compare`, `pick` and `tune` hand out their trainings here. A task is plain data and the name of a
function. Answers come in the order in which they are ready. A worker that dies is replaced and its task begun again,
so a function must continue what an earlier call of it left.

What this module does not know: trainings, images, and what an answer means.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import msgspec

from zoo._support.files import atomic_write
from zoo._support.machine import cores
from zoo._support.processes import Companions, Ended
from zoo.errors import TrainingError, UsageError, ZooError
from zoo.runs import Callback, Step
from zoo.workflow._tasks import Done, Task, ask, find, read

__all__ = ["Engine", "Hands", "Pool", "as_engine", "open_engine"]

_LOOK = 1.0
"""Seconds between two looks at tasks that are under way."""
_BEAT = 5.0
"""The same in this process, where each look stops the training."""

log = logging.getLogger("zoo")


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """Who trains, where several trainings are wanted.

    Raises:
        UsageError: a number below its least, or an option of the other kind.
    """

    kind: Literal["local", "ray"] = "local"
    jobs: int = 1
    """Of "local": child processes that train at a time; 1: this process trains, one after the other."""
    address: str | None = None
    """Of "ray": HOST:PORT of a cluster; None: RAY_ADDRESS where it is set, else Ray on this machine."""
    cpus: float | None = None
    """Of "ray": what one training has; None: the CPUs of a node, divided by its GPUs where it has any."""
    gpus: float | None = None
    """Of "ray": what one training has; None: 1 where the cluster has any."""

    @property
    def options(self) -> dict[str, object]:
        """What is not as it is by default, by the names of options without their hyphens."""
        said = {
            "engine": None if self.kind == "local" else self.kind,
            "jobs": None if self.jobs == 1 else self.jobs,
            "address": self.address,
            "cpus-per-trial": self.cpus,
            "gpus-per-trial": self.gpus,
        }
        return {option: value for option, value in said.items() if value is not None}

    @property
    def words(self) -> str:
        """The options that say the same, each after a blank."""
        return "".join(f" --{option} {shlex.quote(str(value))}" for option, value in self.options.items())

    def __post_init__(self) -> None:
        if self.kind not in {"local", "ray"}:
            raise UsageError(f"no engine {self.kind!r}; expected local or ray", code="engine-unknown", engine=self.kind)
        other = {"--address": self.address, "--cpus-per-trial": self.cpus, "--gpus-per-trial": self.gpus}
        if self.kind == "ray":
            other = {"--jobs": self.jobs if self.jobs != 1 else None}
        if idle := [name for name, value in other.items() if value is not None]:
            wanted = "local" if self.kind == "ray" else "ray"
            raise UsageError(
                f"{' and '.join(idle)} of --engine {wanted}, and the engine is {self.kind}; leave it out, or give "
                f"--engine {wanted}",
                code="option-ignored",
                options=idle,
            )
        for name, value, least in (("--jobs", self.jobs, 1), ("--cpus-per-trial", self.cpus, 0.01)):
            if value is not None and not value >= least:
                raise UsageError(
                    f"{name} {value}: expected {least} or more", code="option-value", option=name, value=value
                )
        if self.gpus is not None and not self.gpus >= 0:
            raise UsageError(
                f"--gpus-per-trial {self.gpus}: expected 0 or more",
                code="option-value",
                option="--gpus-per-trial",
                value=self.gpus,
            )


class Hands(Protocol):
    """An engine that is ready for tasks."""

    @property
    def here(self) -> bool:
        """This process does the work itself: objects can listen to it."""

    def lanes(self) -> int:
        """Tasks that are done at a time."""

    def run(
        self,
        tasks: Iterable[Task],
        place: Path,
        *,
        look: Callable[[], None] | None = None,
        listening: tuple[Callback, ...] = (),
    ) -> Iterator[Done]:
        """What became of each task, in the order in which they end.

        Args:
            tasks: each is taken when somebody is free for it, so it may hang on what became of others.
            place: a folder that is there, in which tasks write.
            look: called every few seconds and, in this process, after each epoch.
            listening: who hears of the work, in this process only.
        """


def as_engine(engine: Engine | str) -> Engine:
    """An engine, or that of a word.

    Raises:
        UsageError: no engine is called so.
    """
    return engine if isinstance(engine, Engine) else Engine(kind=cast("Any", engine))


@contextlib.contextmanager
def open_engine(engine: Engine | str) -> Iterator[Hands]:
    """An engine, ready for tasks until the block ends; what is under way then is cancelled.

    Raises:
        UsageError: it is unknown; Ray is not installed, does not answer or has not what a task wants; or torchrun
            started several processes.
    """
    engine = as_engine(engine)
    if engine.kind == "local" and engine.jobs == 1:
        yield _Here()
        return
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "several processes were started (torchrun), which train together; --jobs and --engine ray train one model "
            "in each process; give one of both",
            code="engine-processes",
        )
    with contextlib.ExitStack() as stack:
        pool: Pool
        if engine.kind == "local":
            pool = _Processes(engine.jobs)
        else:
            from zoo.workflow._engine_ray import connect_pool

            pool = stack.enter_context(connect_pool(engine))
        stack.callback(pool.stop)
        yield _Elsewhere(pool)


class _Here:
    """This process: one task after the other."""

    here = True

    def lanes(self) -> int:
        return 1

    def run(
        self,
        tasks: Iterable[Task],
        place: Path,  # noqa: ARG002 - where one process writes, it finds it again
        *,
        look: Callable[[], None] | None = None,
        listening: tuple[Callback, ...] = (),
    ) -> Iterator[Done]:
        heard = listening if look is None else (*listening, _Beat(look))
        for task in tasks:
            try:
                done = Done(task, find(task.call)(task.given, heard))
            except ZooError as problem:
                done = Done(task, problem=problem)
            yield done


class _Beat(Callback):
    """Looks after each epoch, and every few seconds between two of them."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look, self.looked = look, time.monotonic()

    def step(self, step: Step) -> None:  # noqa: ARG002 - whichever
        if time.monotonic() - self.looked > _BEAT:
            self.epoch({})

    def epoch(self, row: Any) -> None:  # noqa: ARG002 - whatever it holds
        self.look()
        self.looked = time.monotonic()


class Pool(Protocol):
    """Workers that are other processes: what differs between engines."""

    tries: int
    """Workers that may die over one task."""
    proves: bool
    """Workers may be on other machines, and prove that they see the folder."""

    def lanes(self) -> int:
        """Tasks that are done at a time."""

    def submit(self, message: bytes) -> Future[bytes]:
        """Hand out what `_tasks.answer` answers."""

    def read(self, future: Future[bytes]) -> bytes:
        """What came back.

        Raises:
            Ended: the worker died.
        """

    def stop(self) -> None:
        """Cancel what is under way, and wait for its end."""


class _Elsewhere:
    """Workers of a pool."""

    here = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def lanes(self) -> int:
        return self._pool.lanes()

    def run(
        self,
        tasks: Iterable[Task],
        place: Path,
        *,
        look: Callable[[], None] | None = None,
        listening: tuple[Callback, ...] = (),  # noqa: ARG002 - nothing that they could hear
    ) -> Iterator[Done]:
        token = place.resolve() / f".engine-{secrets.token_hex(8)}" if self._pool.proves else None
        if token is not None:
            atomic_write(token, "")
        try:
            yield from self._run(iter(tasks), token, look)
        finally:
            if token is not None:
                token.unlink(missing_ok=True)

    def _run(self, tasks: Iterator[Task], token: Path | None, look: Callable[[], None] | None) -> Iterator[Done]:
        running: dict[Future[bytes], tuple[Task, int]] = {}
        more = True
        while more or running:
            while more and len(running) < max(1, self._pool.lanes()):
                task = next(tasks, None)
                if task is None:
                    more = False
                else:
                    running[self._pool.submit(ask(task, token))] = (task, 1)
            ready, _ = wait(running, timeout=_LOOK, return_when=FIRST_COMPLETED)
            if look is not None:
                look()
            for future in ready:
                task, tries = running.pop(future)
                try:
                    done = read(task, self._pool.read(future))
                except Ended as how:
                    if tries < self._pool.tries:
                        log.warning("%s: its worker died (%s); it is begun again", task.name, how)
                        running[self._pool.submit(ask(task, token, again=True))] = (task, tries + 1)
                        continue
                    done = Done(task, problem=_describe_death(task, tries, str(how)))
                yield done


def _describe_death(task: Task, tries: int, how: str) -> TrainingError:
    return TrainingError(
        f"{task.name}: its worker died {tries} times, the last time by {how}; expected an answer; give each training "
        "more memory, or train fewer of them at a time",
        code="task-died",
        task=task.name,
        tries=tries,
        how=how,
    )


class _Processes:
    """Children of this process, each with its share of the cores."""

    tries = 2
    proves = False

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // jobs))
        self._children = Companions("zoo.workflow._tasks:serve_tasks", jobs, greeting=threads.encode())
        self._waiting = ThreadPoolExecutor(jobs, thread_name_prefix="zoo-tasks")

    def lanes(self) -> int:
        return self._jobs

    def submit(self, message: bytes) -> Future[bytes]:
        return self._waiting.submit(self._ask, message)

    def _ask(self, message: bytes) -> bytes:
        reply = self._children.ask(message)
        if reply is None:
            raise UsageError(
                "no process of this interpreter can be started, which --jobs needs; leave it out",
                code="engine-processes",
            )
        return reply

    def read(self, future: Future[bytes]) -> bytes:
        return future.result()

    def stop(self) -> None:
        self._children.stop()  # at once: a training has written its state within the last minute
        self._waiting.shutdown(cancel_futures=True)
        self._children.close()
