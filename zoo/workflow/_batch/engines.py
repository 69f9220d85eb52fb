"""Who answers the parts of a batch: this process, or actors of Ray Data that each open the model once.

An engine takes parts and gives outcomes as they come. Ray starts an actor that died again, and hands out again what it
was at.

What this module does not know: which parts are done, what is said to the user.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.text import join_lines
from zoo.edge.bundle import Contents
from zoo.errors import DataError, OutputError, UsageError, ZooError
from zoo.store.place import Place
from zoo.workflow._batch.failures import TRIES, lose
from zoo.workflow._batch.ledger import BEGINNINGS, keep, refuse_late
from zoo.workflow._batch.listing import Part
from zoo.workflow._batch.part import Job, Record, answer_part, open_runtime
from zoo.workflow._ray import connect, find_nodes, refuse_size
from zoo.workflow._tasks import check_version

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from zoo.edge import Runtime

    Run = Callable[[Sequence[Part]], Generator["Outcome"]]

__all__ = ["Answerer", "Outcome", "open_here", "open_on_ray"]

_QUEUED = 2
"""Parts that an actor has at a time: it works at one, and the next one waits there."""
_ON_GPU = frozenset({"cuda", "tensorrt"})

log = logging.getLogger("zoo")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a part."""

    part: int
    record: Record | None = None
    error: dict[str, Any] | None = None
    """Why it has none, as `ZooError.document` says it."""
    final: bool = False
    """Every other part would fail for the same reason."""


@contextlib.contextmanager
def open_here(job: Job, contents: Contents) -> Iterator[Run]:
    """This process, with the threads and decoding processes of `Runtime.predict`."""
    runtime, place = open_runtime(job, contents), Place(job.place)
    yield lambda parts: (_attempt(job, runtime, place, part) for part in parts)


@contextlib.contextmanager
def open_on_ray(job: Job, contents: Contents, address: str | None, workers: int) -> Iterator[Run]:
    """Actors of Ray Data.

    Args:
        job: what each of them must know.
        contents: the model; it travels once, so nodes need no path to it.
        address: address of a cluster; None: this machine.
        workers: most actors at a time; 0: as many as the cluster has CPUs for, or GPUs.

    Raises:
        UsageError: Ray is not installed or cannot be reached, or no node has what one actor takes.
    """
    with connect(address) as ray:
        threads, gpus = job.threads or 1, int(job.provider in _ON_GPU)
        nodes = find_nodes(ray)
        room = sum(int(min(one["CPU"] // threads, one.get("GPU", 0) if gpus else one["CPU"])) for one in nodes)
        if not room:
            remedy = "give fewer --threads, or --provider cpu" if gpus else "give fewer --threads"
            raise refuse_size(nodes, "an actor", threads, gpus, remedy)
        count = workers or room
        shared = ray.put(contents)
        yield partial(_run_on_ray, msgspec.structs.replace(job, threads=threads, workers=0), shared, count)


class Answerer:
    """An actor. It opens the model once, and every part that it answers ends in an outcome, never in an exception."""

    def __init__(self, job: Job, contents: Any, version: str) -> None:
        self._job = job
        self._opened: tuple[Runtime, Place] | None = None
        self._refused: ZooError | None = None
        try:
            check_version(version)
            if not isinstance(contents, Contents):
                import ray

                contents = ray.get(contents)
            self._opened = open_runtime(job, contents), Place(job.place)
        except ZooError as problem:
            self._refused = problem
        except Exception as problem:
            self._refused = _report("the model cannot be opened", problem)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Answer the parts of a batch: {"part": JSON of each} → {"outcome": JSON of each}."""
        parts = [msgspec.json.decode(bytes(one), type=Part) for one in batch["part"]]
        return {"outcome": [msgspec.json.encode(self._answer(part), enc_hook=str) for part in parts]}

    def _answer(self, part: Part) -> Outcome:
        if self._opened is None:
            return _fail(part, self._refused or ZooError("no model"), final=True)
        return _attempt(self._job, *self._opened, part, counted=True)


def _attempt(job: Job, runtime: Runtime, place: Place, part: Part, *, counted: bool = False) -> Outcome:
    """Answer a part, whatever happens; `counted`: unless processes died over it too often."""
    try:
        refuse_late(place, job.start)
        if counted and _count_try(job, place, part) > TRIES:  # Ray hands it out again as long as processes die over it
            raise lose(part.number)
        record, data = answer_part(job, runtime, place, part)
        keep(place, job.start, record, data)
        return Outcome(part=part.number, record=record)
    except ZooError as problem:
        return _fail(part, problem, final=isinstance(problem, OutputError | UsageError))
    except Exception as problem:  # a defect: it costs this part alone
        log.exception("%s", part.name)
        return _fail(part, _report(part.name, problem))


def _count_try(job: Job, place: Place, part: Part) -> int:
    """How many times the part was begun in this call, with this time; kept at the place, for processes die."""
    name = f"{BEGINNINGS}/{part.name}-{job.start}"
    try:
        tried = len(place.read(name))
    except FileNotFoundError:
        tried = 0
    place.write(name, b"." * (tried + 1))
    return tried + 1


def _report(what: str, problem: Exception) -> DataError:
    said = f"{what}: {type(problem).__name__}: {join_lines(problem, 300)}"
    return DataError(f"{said}; expected none; report it, then continue with --resume", code="part-failed")


def _fail(part: Part, problem: ZooError, *, final: bool = False) -> Outcome:
    return Outcome(part=part.number, error=problem.document(), final=final)


def _run_on_ray(job: Job, shared: Any, count: int, parts: Sequence[Part]) -> Generator[Outcome]:
    """Outcomes in the order in which they come; none of what Ray lost."""
    import ray
    from ray.data import ActorPoolStrategy
    from ray.exceptions import RayError

    import zoo

    most = min(count, len(parts))
    pool = ActorPoolStrategy(min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=_QUEUED)
    with _settings_of_ray():
        try:
            waiting = ray.data.from_items(
                [{"part": msgspec.json.encode(part)} for part in parts], override_num_blocks=len(parts)
            )
            answered = waiting.map_batches(
                Answerer,
                batch_size=1,
                compute=pool,
                fn_constructor_args=(job, shared, zoo.__version__),
                num_cpus=job.threads,
                num_gpus=1 if job.provider in _ON_GPU else None,
            )
            for row in answered.iter_rows():
                yield msgspec.json.decode(bytes(row["outcome"]), type=Outcome)
        except RayError as problem:
            log.warning("Ray: %s; parts without an answer are tried again", join_lines(problem, 200))


@contextlib.contextmanager
def _settings_of_ray() -> Iterator[None]:
    """What Ray lost does not stop the others, and only this tool speaks; settings are then as the caller had them."""
    from ray.data import DataContext

    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    asked = {"max_errored_blocks": -1, "enable_progress_bars": False, "print_on_execution_start": False}
    before, level = {name: getattr(context, name) for name in asked}, logger.level
    try:
        for name, value in asked.items():
            setattr(context, name, value)
        logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)
