"""Counts of calls belong to the block that is counted."""

from __future__ import annotations

import weakref

from work import counted


class Ring:
    """Garbage that only the collector finds, with a finalizer in Python."""

    def __init__(self, finalized: list[int]) -> None:
        self.itself = self
        weakref.finalize(self, finalized.append, 1)


def test_finalizers_of_earlier_garbage_are_not_counted() -> None:
    finalized: list[int] = []
    for _ in range(500):
        Ring(finalized)
    with counted() as work:
        made = [[one] for one in range(200_000)]  # so many containers start the collector
    assert len(made) == 200_000
    assert len(finalized) == 500
    assert work.calls < 100
