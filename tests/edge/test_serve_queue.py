"""The line before the workers keeps its bound, its time, and nothing of those who left."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref

import pytest

from zoo.edge.serve._queue import Full, Late, WorkQueue


class Job:
    """Work that lasts until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        self.end.wait(10)
        return "done"


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0.01)


def test_one_more_than_workers_and_places_is_refused_at_once() -> None:
    async def story() -> None:
        queue, job = WorkQueue(1, 1), Job()
        first = asyncio.ensure_future(queue.run(job, 10))
        second = asyncio.ensure_future(queue.run(lambda: "second", 10))
        await settled()
        assert (queue.full, queue.depth) == (True, 1)
        with pytest.raises(Full):
            await queue.run(lambda: "third", 10)
        job.end.set()
        assert [await first, await second] == ["done", "second"]
        await settled()
        assert (queue.full, queue.depth) == (False, 0)
        queue.close()

    asyncio.run(story())


def test_who_leaves_the_line_takes_his_image_along() -> None:
    """Else a thousand clients that send an image and hang up would fill the memory while one answer takes its time."""

    async def story() -> None:
        queue, job = WorkQueue(1, 1), Job()
        first = asyncio.ensure_future(queue.run(job, 10))
        waiting = Job()
        left = weakref.ref(waiting)
        second = asyncio.ensure_future(queue.run(waiting, 10))
        del waiting
        await settled()
        second.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await second
        del second
        await settled()
        assert left() is None
        assert not queue.full
        job.end.set()
        assert await first == "done"
        queue.close()

    asyncio.run(story())


def test_time_that_is_over_tells_waiting_from_working_and_frees_only_the_place_in_the_line() -> None:
    async def story() -> None:
        queue, job = WorkQueue(1, 1), Job()
        late = await asyncio.gather(queue.run(job, 0.1), queue.run(Job(), 0.1), return_exceptions=True)
        assert [type(one) for one in late] == [Late, Late]
        assert [getattr(one, "begun", None) for one in late] == [True, False]
        await settled()
        assert (queue.full, queue.depth) == (False, 0)
        again = asyncio.ensure_future(queue.run(lambda: "again", 10))
        await settled()
        assert queue.full, "the worker is still at it"
        job.end.set()
        assert await again == "again"
        queue.close()

    asyncio.run(story())


def test_what_a_call_raises_reaches_its_caller() -> None:
    async def story() -> None:
        queue = WorkQueue(1, 0)
        with pytest.raises(ZeroDivisionError):
            await queue.run(lambda: 1 // 0, 10)
        queue.close()

    asyncio.run(story())
