"""`zoo predict`: label images with an exported file. Needs no training framework."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo import api
from zoo_cli.options import Json, Key, Provider, Threads
from zoo_cli.output import counted, document, put, say

if TYPE_CHECKING:
    from zoo.edge import Result

__all__ = ["predict"]

ALIKE = 10
"""Images without an answer for one reason that are named on stderr; a whole folder of the wrong kind is one mistake."""


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx file, a bundle, or a run.")],
    images: Annotated[list[str], typer.Argument(metavar="PATH…", help="Images, and folders of them.")],
    *,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="F", help="Write every probability here.")] = None,
    top: Annotated[int | None, typer.Option("--top", metavar="K", min=1, help="Show the K likeliest.")] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="N", min=1, help="Picture of files that hold several, from 1.")
    ] = None,
    provider: Provider = "cpu",
    threads: Threads = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Label images with an exported model.

    One that can not be read is reported, never replaced; the exit status is then 1.
    """
    from zoo.edge import Failure, recorded
    from zoo.edge.table import answer, printable

    runtime = api.open(model, provider=provider, threads=threads, key=key)
    results: Iterator[Result] = runtime.predict(images[0] if len(images) == 1 else images, frame=frame)
    if csv is not None:
        results = recorded(csv, results, runtime.labels, runtime.manifest.task)
    rows = []
    reasons: Counter[str] = Counter()
    answered = failed = 0
    for result in results:
        if isinstance(result, Failure):
            failed += 1
            reasons[result.error] += 1
            if reasons[result.error] <= ALIKE:
                say(f"{printable(result.image)}: {result.error}")
        else:
            answered += 1
            if not as_json and csv is None:
                put("\t".join((printable(result.image), *answer(result, top))))
        if as_json:
            rows.append(result.row(top))
    for reason, count in reasons.items():
        if count > ALIKE:
            each = "" if as_json or csv is not None else "; --csv lists each"
            say(f"{counted(count - ALIKE, 'more image')}: {reason}{each}")
    if as_json:
        document(rows)
    if csv is not None:
        say(f"{counted(answered + failed, 'row')} in {csv}")
    if failed:
        say(f"{failed} of {counted(answered + failed, 'image')} got no answer")
        raise typer.Exit(1)
