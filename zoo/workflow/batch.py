"""Batch prediction: very many images → files of rows, each image once, whatever is killed on the way.

The images are listed once and dealt into numbered parts (`_batch.listing`). An engine answers parts (`_batch.engines`),
each into one file (`_batch.part`). A ledger says which count (`_batch.ledger`); the manifest is written when all do.
"""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from zoo._support.imports import needing
from zoo._support.text import format_count
from zoo.errors import DataError, UsageError
from zoo.spec import Display, Table
from zoo.workflow._batch.failures import PartFailure
from zoo.workflow._find import model_file

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BatchResult", "PartFailure", "predict_batch"]

log = logging.getLogger("zoo")


class BatchResult(Display, msgspec.Struct, frozen=True, kw_only=True):
    """What a call of `predict_batch` left at its place."""

    place: str
    format: str
    images: int
    """Of the whole batch."""
    failed: int
    """Images whose row has an error in the place of an answer, in parts that are done."""
    again: int
    """Of these, images that may be sound: memory, a package, a decoder or a disk failed. A resumed call asks again."""
    parts: int
    done: int
    """Parts that are done; the batch is finished when all are."""
    answered: int
    """Images that this call answered."""
    seconds: float
    failures: tuple[PartFailure, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether every image has its row, and the manifest is written."""
        return self.done == self.parts

    def headline(self) -> str:
        """How many images have a row, and where."""
        state = "" if self.finished else f", unfinished: {self.parts - self.done} of {self.parts} parts are missing"
        return f"{self.place}: {format_count(self.images, 'image')} in {format_count(self.parts, 'part')}{state}"

    def tables(self) -> dict[str, Table]:
        """One row of its numbers."""
        names = ("place", "format", "images", "failed", "again", "parts", "done", "answered", "seconds")
        return {"batch": Table([{name: getattr(self, name) for name in names}])}


def predict_batch(
    model: str | Path,
    sources: Sequence[str | Path] | str | Path,
    out: str | Path,
    *,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int = 0,
    format: Literal["parquet", "csv"] = "parquet",  # noqa: A002 - as the option is called
    part_size: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    statistics: bool = False,
    frame: int | None = None,
    batch_size: int | None = None,
    provider: str = "cpu",
    threads: int | None = None,
    key: str | Path | None = None,
    allow_fallback: bool = False,
) -> BatchResult:
    """Label very many images, into a folder of tables with the columns of `zoo predict --csv`.

    Kill any process or machine: the next call with `resume` answers what has no row yet, and no image gets two.

    Args:
        model: an .onnx file, a bundle or a run.
        sources: images, folders, tar shards, and tables with a column of images, each a path or a URL of fsspec.
        out: a new or empty folder for tables and manifest.json, which names them; a path or a URL.
        engine: "local": this process. "ray": actors on a cluster, or on this machine.
        address: address of the cluster, HOST:PORT; None: RAY_ADDRESS, else this machine.
        workers: most actors of "ray", 0: one for each CPU; processes that decode of "local", 0: threads do.
        format: format of the tables.
        part_size: images in a part; None: 1000, or as the batch was begun.
        resume: continue the batch that is there; without one, begin it. Parts with images that may be sound, though
            they got no answer, are answered again; else nothing is done of a finished one.
        overwrite: replace a batch that is there.
        statistics: further columns, brightness, contrast and colour of the raw image.
        frame: which picture of files that hold several, counted from 1.
        batch_size: most images in one run of the network; None: as `Runtime.predict`.
        provider: execution provider.
        threads: threads inside one operator; None: all CPUs, and one for each actor of Ray.
        key: file of a public key: only a bundle signed by it is opened.
        allow_fallback: let the CPU run what the provider does not take.

    Returns:
        Counts, and the parts that failed three times.

    Raises:
        ModelError: not a model of this tool, or damaged.
        DataError: no source is there, one cannot be listed, or the only one holds no image.
        OutputError: the place holds other files or cannot be written, or another process is at it.
        ResumeError: the batch there was begun with another model, other sources or options, or is unfinished and
            `resume` was not asked for.
        UsageError: a package is missing, or the cluster cannot be reached, has no room or does not see the place.
    """
    import zoo
    from zoo._urls import is_url, show_place
    from zoo.edge._answers import name_columns
    from zoo.edge.bundle import open_model
    from zoo.store.place import Place
    from zoo.workflow._batch import ledger
    from zoo.workflow._batch.engines import open_here, open_on_ray
    from zoo.workflow._batch.listing import open_listing, write_listing
    from zoo.workflow._batch.part import Job
    from zoo.workflow._batch.sources import list_images, size_of_source
    from zoo.workflow._batch.work import Work

    _check(engine, format, part_size, address)
    started = time.monotonic()
    given = [str(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]
    if not resume and not any(is_url(one) or os.path.lexists(one) for one in given):
        raise DataError(
            f"{given[0]}: no such file or folder, and nothing was written; check the path",
            code="file-missing",
            path=given[0],
        )
    contents = open_model(model_file(Path(model)), key=None if key is None else Path(key))
    place = Place(str(out))
    job = Job(
        place=place.where,
        form=format,
        frame=frame,
        statistics=statistics,
        batch_size=batch_size,
        workers=workers,
        provider=provider,
        threads=threads,
        allow_fallback=allow_fallback,
        model=str(model),
        sources=tuple(given),
    )
    wanted = ledger.Begun(
        version=zoo.__version__,
        name=contents.manifest.name,
        model=contents.sha256,
        form=format,
        columns=tuple(name_columns(contents.manifest, statistics=statistics)),
        provider=provider,
        frame=frame,
        part_size=part_size or 0,
        sources=tuple(ledger.NamedSource(show_place(one), size_of_source(one)) for one in given),
        home=str(Path.cwd()),
    )
    with ledger.lock(place):
        begun = ledger.begin(place, wanted, resume=resume, overwrite=overwrite)
        result = partial(BatchResult, place=str(place), format=format)
        whole = ledger.read_finished(place, begun)
        if whole is not None and not any(record.again for record in whole.parts):
            count, seconds = len(whole.parts), time.monotonic() - started
            return result(
                images=whole.images, failed=whole.failed, again=0, parts=count, done=count, answered=0, seconds=seconds
            )
        listing = open_listing(place)
        start = ledger.name_start()
        if listing is not None:
            ledger.take_over(place, start)
        else:
            log.info("listing the images")
            with ledger.taking_over(place, start):
                begun = ledger.move_home(place, begun, wanted.home)
                refuse_late = partial(ledger.refuse_late, place, start, listed=False)
                found = list_images(given, contents.manifest.table)
                listing = write_listing(place, found, begun.part_size, refuse_late)
        done = ledger.read_done(place, listing, begun.batch)
        work = Work(place, listing, done)
        if work.pending:
            job = msgspec.structs.replace(job, home=begun.home, batch=begun.batch, start=start)
            opened = open_here(job, contents) if engine == "local" else open_on_ray(job, contents, address, workers)
            with work.keeping(), opened as run:
                work.carry_out(run)
            done = ledger.read_done(place, listing, begun.batch)
        if len(done) == len(listing.parts):
            ledger.finish(place, start, begun, listing, done)
    return result(
        images=listing.images,
        failed=sum(record.failed for record in done.values()),
        again=sum(record.again for record in done.values()),
        parts=len(listing.parts),
        done=len(done),
        answered=work.answered,
        seconds=time.monotonic() - started,
        failures=work.name_failures(done),
    )


def _check(engine: str, form: str, part_size: int | None, address: str | None) -> None:
    for option, value, known in (("--engine", engine, ("local", "ray")), ("--format", form, ("parquet", "csv"))):
        if value not in known:
            raise UsageError(
                f"{option} is {value}, expected {' or '.join(known)}", code="option-value", option=option, value=value
            )
    if part_size is not None and part_size < 1:
        raise UsageError(
            f"--part-size is {part_size}, expected 1 or more",
            code="option-value",
            option="--part-size",
            value=part_size,
        )
    if address is not None and engine != "ray":
        raise UsageError("--address: of --engine ray only; give both", code="option-missing", options=["--engine"])
    if form == "parquet":
        with needing("--format parquet", "parquet"):
            import pyarrow.parquet  # noqa: F401 - found out before anything is written
