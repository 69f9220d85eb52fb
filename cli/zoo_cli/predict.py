"""`zoo predict`: label images with an exported file. Needs no training framework.

With `--out` it is a batch: a folder of tables, on this machine or on Ray.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import zoo
from zoo.edge import _verbs
from zoo.edge._options import Option, parameters
from zoo.errors import UsageError
from zoo_cli.device import command
from zoo_cli.output import document, fields, format_count, put, say

__all__ = ["predict"]

_TAKEN = frozenset({
    "model", "images", "resume", "overwrite", "statistics", "frame", "batch_size", "workers", "provider",
    "allow_fallback", "threads", "key", "as_json", "find",
})  # fmt: skip
"""Options of the device's verb that a batch takes too."""


def _predict_batch(
    given: dict[str, Any],
    *,
    out: Annotated[
        str | None,
        Option("--out", "A batch: tables in this folder or URL. IMAGE may be a URL, a tar or a table.", "PLACE"),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        Option("--engine", "Who answers a batch: this process, or --workers on Ray.", "local|ray"),
    ] = "local",
    address: Annotated[str | None, Option("--address", "Ray's cluster; default: this machine.", "HOST:PORT")] = None,
    form: Annotated[
        Literal["parquet", "csv"] | None, Option("--format", "Of the tables of a batch [default: parquet].", "F")
    ] = None,
    part_size: Annotated[
        int | None, Option("--part-size", "Images in each table of a batch [default: 1000].", "N", least=1)
    ] = None,
) -> int | None:
    """Predict into a folder of tables; None: no batch was asked for."""
    if out is None:
        asked = {"--engine": engine != "local", "--address": address, "--format": form, "--part-size": part_size}
        if idle := [option for option, value in asked.items() if value]:
            raise UsageError(
                f"{', '.join(idle)}: of a batch only, expected --out PLACE with it",
                code="option-missing",
                options=["--out"],
            )
        return None
    if idle := [f"--{name.replace('_', '-')}" for name in _given(given) if name not in _TAKEN]:
        raise UsageError(
            f"{', '.join(idle)}: not of a batch (--out); leave it out", code="option-conflict", options=["--out", *idle]
        )
    taken = {name: given[name] for name in _TAKEN - {"model", "images", "as_json", "find"}}
    done = zoo.predict_batch(
        given["model"],
        given["images"],
        out,
        engine=engine,
        address=address,
        format=form or "parquet",
        part_size=part_size,
        **taken,
    )
    if given["as_json"]:
        document(done)
    else:
        shown = {"place": done.place, "images": done.images, "parts": f"{done.done} of {done.parts}"}
        put(fields(shown | {"without an answer": done.failed, "answered now": done.answered, "seconds": done.seconds}))
    for failure in done.failures[:10]:
        say(f"part {failure.part}: {failure.message}")
    if done.failed:
        say(f"{done.failed} of {format_count(done.images, 'image')} got no answer")
    if done.again:
        say(
            f"{done.again} of them may be sound: memory, a package, a decoder or a disk failed; try again with --resume"
        )
    if not done.finished:
        say(f"{done.parts - done.done} of {format_count(done.parts, 'part')} failed; try them again with --resume")
    return 1 if done.failed or not done.finished else 0


def _given(values: dict[str, Any]) -> list[str]:
    """Names of the options that are not at their defaults."""
    defaults = {parameter.name: parameter.default for parameter in parameters(_verbs.predict)}
    return [name for name, value in values.items() if name in defaults and value != defaults[name]]


predict = command(_verbs.predict, _predict_batch)
