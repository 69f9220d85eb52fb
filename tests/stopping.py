"""Stopping a program at one of its writes: as a kill, as Ctrl-C, or as a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zoo._support.files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


class Killed(BaseException):
    """Ends a program as SIGKILL does, as far as nothing catches it."""


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass
class Writes:
    """The files that were written whole, by name, in their order."""

    names: list[str] = field(default_factory=list)


@contextlib.contextmanager
def stopping_at(
    patch: pytest.MonkeyPatch, number: int, problem: BaseException | None, *, ever_after: bool = False
) -> Iterator[Writes]:
    """Raise `problem` in place of the write of this number, counted from 1; `ever_after`: and of every later one."""
    written, real = Writes(), zoo._support.files.put_in_place

    def put(whole: Path, target: Path) -> None:
        written.names.append(target.name)
        at = len(written.names)
        if problem is not None and (at == number or (ever_after and at > number)):
            raise problem
        real(whole, target)

    with patch.context() as inside:
        inside.setattr(zoo._support.files, "put_in_place", put)
        yield written
