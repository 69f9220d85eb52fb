"""One process at a time trains a run: a lock beside its folder, which the system frees when the process ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from zoo._support.files import hold_lock, is_held
from zoo._support.text import quote_path
from zoo.errors import TrainingError
from zoo.runs._folder import RECORD, Trainer, open_run

__all__ = ["describe_trainer", "hold_run", "is_live"]


@contextlib.contextmanager
def hold_run(path: Path, *, first: bool = True) -> Iterator[None]:
    """Keep other processes from training the run in `path` until the block ends.

    The lock is the file .NAME.lock beside the folder, so that it stays in place when the folder is replaced. A folder
    beside which nothing can be written is trained without one, and that is said.

    Args:
        path: the run folder, which need not be there yet.
        first: False: this process trains along under torchrun, and the first one holds the lock.

    Raises:
        TrainingError: another process is training it now.
    """
    if not first:
        yield
        return
    guard = _guard(path)
    made = [folder for folder in guard.parents if not folder.exists()]
    with hold_lock(guard, refuse=lambda: _refuse(path), lenient=True):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # while it is held: nobody gets a lock on a file that is gone
                guard.unlink()
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is empty


def is_live(path: Path) -> bool:
    """Whether a process is training the run in `path` now."""
    return is_held(_guard(path))


def describe_trainer(trainer: Trainer | None) -> str:
    """Which process trains a run that is live, in words."""
    return "by another process" if trainer is None else f"by process {trainer.pid} on {trainer.host}"


def _guard(path: Path) -> Path:
    path = path.resolve()  # one lock, whatever link leads to the folder
    return path.parent / f".{path.name}.lock"  # with_name refuses "/"


def _refuse(path: Path) -> TrainingError:
    trainer = open_run(path).record.trainer if (path / RECORD).is_file() else None
    return TrainingError(
        f"{quote_path(path)} is being trained now {describe_trainer(trainer)}; wait for it or stop it, or take "
        "another folder",
        code="run-busy",
        run=str(path),
        pid=trainer.pid if trainer else None,
        host=trainer.host if trainer else None,
    )
