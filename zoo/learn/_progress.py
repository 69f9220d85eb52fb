"""How training tells what it does: a bar where somebody watches, one log line an epoch where nobody does."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Protocol

from zoo.learn._history import Epoch

__all__ = ["Report", "epoch_line", "report_progress"]

log = logging.getLogger("zoo")


class Report(Protocol):
    """What the loop says."""

    def step(self, images: int) -> None:
        """One step on so many images is done."""

    def epoch(self, row: Epoch, seconds_left: float) -> None:
        """One epoch is done and validated."""


def epoch_line(row: Epoch, epochs: int, seconds_left: float) -> str:
    """Such as "epoch 3/20  loss 0.41  val AUROC 0.923  1 234 images/s  12 s left"."""
    score = f"val loss {row.val_loss:.3f}" if row.val_macro_auroc is None else f"val AUROC {row.val_macro_auroc:.3f}"
    rate = _rate(row.images_per_second)
    done = f"epoch {row.epoch}/{epochs}  loss {row.train_loss:.3f}  {score}  {rate} images/s"
    return f"{done}  {_time(seconds_left)} left"


@contextlib.contextmanager
def report_progress(epochs: int, images: int, *, done: int, quiet: bool) -> Iterator[Report]:
    """A report for `epochs` over `images`, `done` of them behind; all ranks but the first are quiet."""
    if quiet:
        yield _Silent()
    elif sys.stderr.isatty():
        with _bar(epochs, images, done) as report:
            yield report
    else:
        yield _Lines(epochs)


class _Silent:
    def step(self, images: int) -> None: ...

    def epoch(self, row: Epoch, seconds_left: float) -> None: ...


class _Lines(_Silent):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def epoch(self, row: Epoch, seconds_left: float) -> None:
        log.info(epoch_line(row, self.epochs, seconds_left))


@contextlib.contextmanager
def _bar(epochs: int, images: int, done: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{_rate(task.speed)} images/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"epoch {done + 1}/{epochs}", total=epochs * images, completed=done * images)

        class Bar:
            def step(self, images: int) -> None:
                progress.update(task, advance=images)

            def epoch(self, row: Epoch, seconds_left: float) -> None:
                progress.console.print(epoch_line(row, epochs, seconds_left), highlight=False)
                progress.update(task, description=f"epoch {min(row.epoch + 1, epochs)}/{epochs}")

        yield Bar()


def _rate(images_per_second: float) -> str:
    if images_per_second < 10:
        return f"{images_per_second:.1f}"
    return f"{images_per_second:,.0f}".replace(",", " ")


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
