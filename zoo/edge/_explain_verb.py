"""The verb `explain` of a device: it parses nothing, calls one function and prints what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from zoo._support.text import printable
from zoo.edge._options import (
    DRAWS,
    AllowFallback,
    Draws,
    Find,
    Frame,
    GradCam,
    Images,
    Json,
    Key,
    Model,
    OpenGradCam,
    Option,
    Overwrite,
    Provider,
    Table,
    Threads,
    take_sources,
)
from zoo.edge._print import document, format_count, put, say, show_path

__all__ = ["explain"]


def explain(
    model: Model,
    images: Images,
    *,
    label: Annotated[str | None, Option("--label", "Explain this label; default: the one answered.", "L")] = None,
    out: Annotated[Path, Option("--out", "Where the pictures go.", "DIR")] = Path("heatmaps"),
    overwrite: Overwrite = False,
    frame: Frame = None,
    table: Table = None,
    gradcam: GradCam = False,
    draws: Draws = DRAWS,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    threads: Threads = None,
    key: Key = None,
    as_json: Json = False,
    find: Find = Path,
    open_gradcam: OpenGradCam | None = None,
) -> int:
    """Show which parts of an image its answer depends on.

    A file that was exported with --evidence shows the map that it makes its answer of. Of others parts are hidden one
    after the other; where the probability drops most, the picture NAME.heat.png is bright. Neither proves that a
    disease was found there. The first map is made again by networks with random weights: a map that they give too
    says nothing of what was learnt.
    """
    from zoo.edge._beside import find_columns
    from zoo.edge._explain import CAPTIONS, Explained, describe, describe_score, explain_images
    from zoo.edge._runtime import Runtime

    runtime = Runtime.open(find(model), provider=provider, threads=threads, key=key, allow_fallback=allow_fallback)
    mapper = open_gradcam(model, runtime) if gradcam and open_gradcam is not None else None
    rows, failed = [], 0
    first: Explained | None = None
    images, columns = find_columns(runtime.manifest, images, table)
    for result in explain_images(
        runtime,
        take_sources(images),
        label=label,
        out=out,
        frame=frame,
        overwrite=overwrite,
        columns=columns,
        mapper=mapper,
        draws=draws,
    ):
        rows.append(result.row())
        if isinstance(result, Explained):
            first = first or result
            if not as_json:
                said = "; ".join(filter(None, (result.withheld, describe(result.heat))))
                put(f"{printable(result.image)}\t{said}\t{show_path(result.file or '')}")
        else:
            failed += 1
            say(f"{printable(result.image)}: {result.error}")
    if as_json:
        document(rows)
    elif first is not None:
        if draws:
            say(describe_score(first.randomised))
        say(CAPTIONS[first.heat.method])
    if failed:
        say(f"{failed} of {format_count(len(rows), 'image')} got no map")
    return 1 if failed else 0
