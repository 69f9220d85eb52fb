"""`zoo explain`: heat maps, as pictures and as numbers. Needs no training framework."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zoo import api
from zoo_cli.options import AllowFallback, Json, Key, Provider, Threads
from zoo_cli.output import counted, document, put, say, shown_path

__all__ = ["explain"]


def explain(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx file, a bundle, or a run.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="Images, and folders of them.")],
    *,
    label: Annotated[
        str | None, typer.Option("--label", metavar="L", help="Explain this label; default: the most probable.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the pictures go.", show_default=True)] = Path(
        "heatmaps"
    ),
    frame: Annotated[
        int | None, typer.Option("--frame", metavar="N", min=1, help="Picture of files that hold several, from 1.")
    ] = None,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show which parts of an image its answer depends on.

    A file that was exported with --evidence shows
    the map that it makes its answer of. Of others parts are hidden one after the other; where the probability drops
    most, the picture NAME.heat.png is bright. Neither proves that a disease was found there.
    """
    from zoo.edge.explain import CAPTIONS, Method
    from zoo.edge.heatmaps import Explained, in_words
    from zoo.text import printable

    results = api.explain(
        model,
        images[0] if len(images) == 1 else images,
        label=label,
        out=out,
        frame=frame,
        provider=provider,
        threads=threads,
        key=key,
        allow_fallback=allow_fallback,
    )
    rows, failed = [], 0
    method: Method = "occlusion"
    for result in results:
        rows.append(result.row())
        if isinstance(result, Explained):
            method = result.heat.method
            if not as_json:
                put(f"{printable(result.image)}\t{in_words(result.heat)}\t{shown_path(result.file or '')}")
        else:
            failed += 1
            say(f"{printable(result.image)}: {result.error}")
    if as_json:
        document(rows)
    elif len(rows) > failed:
        say(CAPTIONS[method])
    if failed:
        say(f"{failed} of {counted(len(rows), 'image')} got no map")
        raise typer.Exit(1)
