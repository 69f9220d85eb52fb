"""`zoo plugin check TARGET`: whether a plugin holds to the contract, one line for each check."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.errors import GateError
from zoo_cli.options import Json
from zoo_cli.output import counted, document, put

if TYPE_CHECKING:
    from zoo.contract import Chosen, Outcome

__all__ = ["check"]

_WORDS = {"passed": "ok  ", "failed": "FAIL", "not tried": "-   "}


def check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A model, a distribution, a plugin, MODULE[:CLASS], or the folder of a project.",
        ),
    ],
    *,
    size: Annotated[int | None, typer.Option("--size", metavar="PX", min=8, help="Side of the pictures.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", min=1, help="Of the training run.")] = None,
    limit: Annotated[
        float | None, typer.Option("--limit", metavar="SECONDS", min=1, help="For each model; default 600.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold every model of a plugin to the contract, in a process of its own that has a time limit.

    A line that fails says what the author must change. Exit status 3 when a check failed.
    """
    from zoo.contract import LIMIT_S, choose, examine

    models = []
    with (
        tempfile.TemporaryDirectory(prefix="zoo-check-", ignore_cleanup_errors=True) as folder,
        choose(target, Path(folder) / "metadata") as chosen,
    ):
        for number, one in enumerate(chosen):
            if not as_json:
                put(f"{one.model} (plugin {one.plugin}, card of {one.distribution})")
            outcomes: list[Outcome] = []
            for outcome in examine(
                one.model, Path(folder) / str(number), size=size, epochs=epochs, limit_s=limit or LIMIT_S
            ):
                outcomes.append(outcome)
                if not as_json and outcome.status != "not tried":
                    put(_line(outcome))
            if not as_json:
                for line in _not_tried(outcomes):
                    put(line)
            models.append(_row(one, outcomes))
    passed = all(model["passed"] for model in models)
    if as_json:
        document({"target": target, "passed": passed, "models": models})
    else:
        failed = sum(outcome.status == "failed" for model in models for outcome in model["checks"])
        put("every check that applies passed" if passed else f"{counted(failed, 'check')} failed")
    if not passed:
        raise typer.Exit(GateError.exit_code)


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


def _row(one: Chosen, outcomes: list[Outcome]) -> dict[str, Any]:
    return {
        "model": one.model,
        "plugin": one.plugin,
        "distribution": one.distribution,
        "passed": all(outcome.status != "failed" for outcome in outcomes),
        "checks": outcomes,
    }
