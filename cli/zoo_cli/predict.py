"""`zoo predict`: label images with an exported file. Needs no training framework."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo import api
from zoo.errors import UsageError
from zoo_cli.options import AllowFallback, BatchSize, Json, Key, Provider, Threads
from zoo_cli.output import counted, put, say, whole_list

if TYPE_CHECKING:
    from zoo.edge import Result

__all__ = ["predict"]

ALIKE = 10
"""Images without an answer for one reason that are named on stderr; a whole folder of the wrong kind is one mistake."""

DIFFERENT = 1000
"""Reasons that are counted; of a million bad images each may have its own."""


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx file, a bundle, or a run.")],
    images: Annotated[list[str], typer.Argument(metavar="PATH…", help="Images, and folders of them.")],
    *,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="F", help="Write every probability here.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished F.part, if it is there.")] = False,
    top: Annotated[int | None, typer.Option("--top", metavar="K", min=1, help="Show the K likeliest.")] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="N", min=1, help="Picture of files that hold several, from 1.")
    ] = None,
    batch_size: BatchSize = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=0, help="Processes that decode; default: threads.")
    ] = 0,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Label images with an exported model.

    One that can not be read is reported, never replaced; the exit status is then 1.
    """
    from zoo.edge import Failure, predict_csv
    from zoo.edge.document import Listed
    from zoo.edge.table import answer
    from zoo.text import printable

    if resume and csv is None:
        raise UsageError("--resume goes on with a table, expected --csv F with it")
    runtime = api.open(model, provider=provider, threads=threads, key=key, allow_fallback=allow_fallback)
    sources: Any = images[0] if len(images) == 1 else images
    ask: Any = runtime.predict if csv is None else partial(predict_csv, runtime, target=csv, resume=resume)
    results: Iterator[Result] = ask(sources, batch_size=batch_size, frame=frame, workers=workers)
    with Listed() if as_json else contextlib.nullcontext() as rows:
        reasons: Counter[str] = Counter()
        answered = failed = 0
        for result in results:
            if isinstance(result, Failure):
                failed += 1
                if result.error in reasons or len(reasons) < DIFFERENT:
                    reasons[result.error] += 1
                if reasons[result.error] <= ALIKE:
                    say(f"{printable(result.image)}: {result.error}")
            else:
                answered += 1
                if not as_json and csv is None:
                    put("\t".join((printable(result.image), *answer(result, top))))
            if rows is not None:
                rows.add(result.row(top))
        _say_alike(reasons, "" if as_json or csv is not None else "; --csv lists each")
        if rows is not None:
            whole_list(rows)
    if csv is not None:
        say(f"{counted(answered + failed, 'row')} in {csv}")
    if failed:
        say(f"{failed} of {counted(answered + failed, 'image')} got no answer")
        raise typer.Exit(1)


def _say_alike(reasons: Counter[str], each: str) -> None:
    for reason, count in reasons.items():
        if count > ALIKE:
            say(f"{counted(count - ALIKE, 'more image')}: {reason}{each}")
