"""`zoo plugin check TARGET`: whether a plugin holds to the contract, one line for each check."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.errors import GateError
from zoo_cli.options import Json, refuse_idle
from zoo_cli.output import document, format_count, put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zoo.contract import Chosen, ChosenReader, Outcome

__all__ = ["check"]

_WORDS = {"passed": "ok  ", "failed": "FAIL", "not tried": "-   "}


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A model, a distribution, a plugin, a reader, MODULE[:CLASS], or the folder of a project.",
        ),
    ],
    *,
    size: Annotated[int | None, typer.Option("--size", metavar="PX", min=8, help="Side of the pictures.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", min=1, help="Of the training run.")] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", metavar="SECONDS", min=1, help="For each model; default 600.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option("--files", metavar="DIR", help="Files of a reader's format; default: the project's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold every model and every reader of a plugin to the contract, each in a process with a time limit.

    A line that fails says what the author must change. Exit status 3 when a check failed.
    """
    from zoo.contract import LIMIT_S, READER_LIMIT_S, ChosenReader, choose, examine, examine_reader, find_files

    models, readers = [], []
    with (
        tempfile.TemporaryDirectory(prefix="zoo-check-", ignore_cleanup_errors=True) as folder,
        choose(target, Path(folder) / "metadata") as chosen,
    ):
        of_readers = [one.reader for one in chosen if isinstance(one, ChosenReader)]
        if not of_readers:
            refuse_idle("where no reader is checked", files=files)
        if len(of_readers) == len(chosen):
            refuse_idle("where no model is checked", size=size, epochs=epochs)
        place = files or Path(target)
        given = {reader: find_files(reader, place, asked=files is not None) for reader in of_readers}
        for number, one in enumerate(chosen):
            if isinstance(one, ChosenReader):
                found = examine_reader(
                    one.reader,
                    given[one.reader],
                    Path(folder) / str(number),
                    limit_s=limit or READER_LIMIT_S,
                )
                readers.append(_reader_row(one, found))
                if not as_json:
                    put(f"reader {one.reader} ({one.distribution})")
                    for outcome in found:
                        put(_line(outcome))
                continue
            if not as_json:
                put(f"{one.model} (plugin {one.plugin}, card of {one.distribution})")
            outcomes = examine(
                one.model, Path(folder) / str(number), size=size, epochs=epochs, limit_s=limit or LIMIT_S
            )
            models.append(_row(one, list(outcomes) if as_json else _show(outcomes)))
    passed = all(one["passed"] for one in (*models, *readers))
    if as_json:
        document({"target": target, "passed": passed, "models": models, "readers": readers})
    else:
        failed = sum(outcome.status == "failed" for one in (*models, *readers) for outcome in one["checks"])
        put("every check that applies passed" if passed else f"{format_count(failed, 'check')} failed")
    if not passed:
        raise typer.Exit(GateError.exit_code)


def _show(outcomes: Iterator[Outcome]) -> list[Outcome]:
    """Say each when it is known, and at the end what was not tried."""
    known = []
    for outcome in outcomes:
        known.append(outcome)
        if outcome.status != "not tried":
            put(_line(outcome))
    for line in _not_tried(known):
        put(line)
    return known


def _line(outcome: Outcome) -> str:
    reason = f": {outcome.message}" if outcome.message else ""
    return f"  {_WORDS[outcome.status]}  {outcome.check}{reason}"


def _not_tried(outcomes: list[Outcome]) -> list[str]:
    """A line for each reason; where one failure stops all others they would bury it."""
    from msgspec.structs import replace

    reasons: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.status == "not tried":
            reasons.setdefault(outcome.message, []).append(outcome)
    lines = []
    for first, *others in reasons.values():
        what = f"{len(others) + 1} checks, from '{first.check}' on" if others else first.check
        lines.append(_line(replace(first, check=what)))
    return lines


def _reader_row(one: ChosenReader, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "reader": one.reader,
        "distribution": one.distribution,
        "passed": all(outcome.status != "failed" for outcome in outcomes),
        "checks": outcomes,
    }


def _row(one: Chosen, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "model": one.model,
        "plugin": one.plugin,
        "distribution": one.distribution,
        "passed": all(outcome.status != "failed" for outcome in outcomes),
        "checks": outcomes,
    }
