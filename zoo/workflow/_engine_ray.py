"""Workers of an engine that are tasks of Ray, on this machine or on a cluster.

What this module does not know: what a message says. `_engine` has the loop, `_ray` the connection.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from zoo._support.processes import Ended
from zoo.errors import UsageError
from zoo.workflow._ray import connect, find_nodes, refuse_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.workflow._engine import Engine

__all__ = ["connect_pool"]

_PATIENCE = 30.0
"""Seconds that trainings get to end after their step and write their state; then they are killed."""


@contextlib.contextmanager
def connect_pool(engine: Engine) -> Iterator[_Tasks]:
    """Tasks of Ray, as long as the block lasts.

    Raises:
        UsageError: Ray is not installed or does not answer, or no node has what one task wants.
    """
    with connect(engine.address) as ray:
        yield _Tasks(ray, engine)


class _Tasks:
    """One task of Ray for each message, with its resources stated.

    Ray itself repeats nothing: the loop does, which counts and tells it.
    """

    tries = 4  # as Ray itself would try a task: three times more
    proves = True

    def __init__(self, ray: Any, engine: Engine) -> None:
        self._ray = ray
        self._running: dict[Future[bytes], Any] = {}
        nodes = find_nodes(ray)
        with_gpus = [one for one in nodes if one.get("GPU")]
        self._gpus = engine.gpus if engine.gpus is not None else 1 if with_gpus else 0
        self._cpus = engine.cpus or _share_cpus(with_gpus if self._gpus else nodes, self._gpus)
        if not self.lanes():
            remedy = "give fewer with --cpus-per-trial and --gpus-per-trial"
            raise refuse_size(nodes, "a training", self._cpus, self._gpus, remedy)

        def work(message: bytes) -> bytes:  # local, so that Ray sends its code: a worker without this tool says so
            from zoo.workflow._tasks import answer

            return answer(message)

        self._work = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)(work)

    def lanes(self) -> int:
        return sum(self._hold(one) for one in find_nodes(self._ray))

    def _hold(self, node: dict[str, float]) -> int:
        """Tasks that a node does at a time."""
        held = node["CPU"] / self._cpus
        return int(min(held, node.get("GPU", 0) / self._gpus) if self._gpus else held)

    def submit(self, message: bytes) -> Future[bytes]:
        reference = self._work.remote(message)
        future: Future[bytes] = reference.future()
        self._running[future] = reference
        return future

    def read(self, future: Future[bytes]) -> bytes:
        self._running.pop(future, None)
        try:
            return future.result()
        except ImportError as problem:
            raise UsageError(
                f"a node of the cluster cannot import {problem.name}; expected edgezoo in the version of this machine "
                "on all nodes; install it there",
                code="engine-version",
                package=problem.name,
            ) from None
        except self._ray.exceptions.RayError as problem:
            raise Ended(type(problem).__name__) from None

    def stop(self) -> None:
        for force in (False, True):
            for future, reference in self._running.items():
                if not future.done():
                    self._ray.cancel(reference, force=force)
            wait(self._running, timeout=_PATIENCE)
        self._running.clear()


def _share_cpus(nodes: list[dict[str, float]], gpus: float) -> float:
    """CPUs of one task: all of a node, divided by the tasks that its GPUs hold.

    Nodes with less than half of what the largest gives do not count, such as a small head.
    """
    shares = [one["CPU"] / max(1, int(one["GPU"] / gpus)) if gpus else one["CPU"] for one in nodes]
    return float(max(1, int(min((one for one in shares if 2 * one >= max(shares)), default=1))))
