"""How training tells what it does: a bar where somebody watches, lines of a log where nobody does."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping

import msgspec

from zoo.evaluation import title_of
from zoo.learn._history import Epoch
from zoo.runs import Callback, Step

__all__ = ["epoch_line", "report_progress"]

log = logging.getLogger("zoo")


EVERY = 60.0
"""Seconds between two lines of one epoch in a log."""


def epoch_line(row: Epoch, epochs: int, seconds_left: float) -> str:
    """Such as "epoch 3/20  loss 0.41  val AUROC 0.923  1 234 images/s  12 s left"."""
    title = "AUROC" if row.metric == "macro_auroc" else title_of(row.metric)
    score = f"val loss {row.val_loss:.3f}" if row.value is None else f"val {title} {row.value:.3f}"
    rate = _rate(row.images_per_second)
    done = f"epoch {row.epoch}/{epochs}  loss {row.train_loss:.3f}  {score}  {rate} images/s"
    return f"{done}  {_time(seconds_left)} left"


@contextlib.contextmanager
def report_progress(epochs: int, images: int, metric: str, *, done: int, quiet: bool) -> Iterator[Callback]:
    """A report for `epochs` over `images`, `done` images of them behind; all ranks but the first are quiet.

    `metric` is what chooses the epoch, and what a line shows.
    """
    if quiet:
        yield Callback()
    elif sys.stderr.isatty():
        with _bar(epochs, images, metric, done) as report:
            yield report
    else:
        yield _Lines(epochs, metric)


class _Lines(Callback):
    """One line an epoch, and in a long one another every minute: no control characters, and no need of a terminal."""

    def __init__(self, epochs: int, metric: str) -> None:
        self.epochs, self.metric = epochs, metric
        self.said = self.began = time.perf_counter()
        self.images, self.steps, self.loss = 0, 0, math.nan

    def step(self, step: Step) -> None:
        self.images += step.images
        self.steps += 1
        self.loss = self.loss if step.loss is None else step.loss
        now = time.perf_counter()
        if now - self.said < EVERY or step.step == step.steps:  # the line of the epoch comes
            return
        self.said = now
        left = (self.epochs - step.epoch + 1) * step.steps - step.step
        loss = "" if math.isnan(self.loss) else f"  loss {self.loss:.3f}"
        rate, rest = self.images / (now - self.began), left * (now - self.began) / self.steps
        log.info(
            "epoch %d/%d  %d %%%s  %s images/s  %s left",
            step.epoch, self.epochs, 100 * step.step // step.steps, loss, _rate(rate), _time(rest),
        )  # fmt: skip

    def epoch(self, row: Mapping[str, float | None]) -> None:
        log.info(_line_of(row, self.epochs, self.metric))
        self.said = time.perf_counter()


def _line_of(row: Mapping[str, float | None], epochs: int, metric: str) -> str:
    known = {name: value for name, value in row.items() if name in Epoch.__struct_fields__}
    done = msgspec.convert(known | {"metric": metric, "val_chosen": row[f"val_{metric}"]}, Epoch)
    return epoch_line(done, epochs, done.seconds * (epochs - done.epoch))


@contextlib.contextmanager
def _bar(epochs: int, images: int, metric: str, done: int) -> Iterator[Callback]:
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
        task = progress.add_task(f"epoch {done // images + 1}/{epochs}", total=epochs * images, completed=done)

        class Bar(Callback):
            def step(self, step: Step) -> None:
                progress.update(task, advance=step.images, description=f"epoch {step.epoch}/{epochs}")

            def epoch(self, row: Mapping[str, float | None]) -> None:
                progress.console.print(_line_of(row, epochs, metric), highlight=False)

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
