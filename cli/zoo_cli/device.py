"""The device's verbs as commands of Typer: the same functions as `python -m zoo.edge`, which also take runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from zoo.edge._options import Argument, Parameter, parameters
from zoo_cli import offers
from zoo_cli.options import option

__all__ = ["command"]

_OFFERS = dict.fromkeys(("model", "models", "bundle"), offers.exported)
"""What TAB offers for arguments; of images, paths."""


def command(verb: Callable[..., int], more: Callable[..., int | None] | None = None) -> Callable[..., None]:
    """Turn a verb of the device into a command of Typer: its table as a signature, a run in place of a model.

    Args:
        verb: the verb.
        more: options that only `zoo` has, as its signature. It is called first, with what the verb would get as its
            first argument, and gives an exit status where it did the work; None: the verb does it.
    """
    added = [] if more is None else parameters(more)
    table = [*parameters(verb), *added]
    takes = inspect.signature(verb).parameters

    def run(**given: Any) -> None:
        if "find" in takes:
            from zoo.workflow._find import model_file

            given["find"] = model_file
        if "open_gradcam" in takes:
            from zoo.workflow._gradcam import open_gradcam

            given["open_gradcam"] = open_gradcam
        if "prove_format" in takes:
            from zoo.workflow.formats import verify_format

            given["prove_format"] = verify_format
        options = {parameter.name: given.pop(parameter.name) for parameter in added}
        status = None if more is None else more(given, **options)
        if status is None:
            status = verb(**given)
        if status:
            raise typer.Exit(status)

    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    shown = [_show(parameter) for parameter in table]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in shown}
    return run


def _show(parameter: Parameter) -> inspect.Parameter:
    said = parameter.said
    how: Any
    if isinstance(said, Argument):
        optional = parameter.default is not inspect.Parameter.empty
        metavar = f"[{said.metavar}]" if optional else said.metavar + ("…" if parameter.count is None else "")
        how = typer.Argument(
            metavar=metavar, autocompletion=_OFFERS.get(parameter.name), help=said.zoo_help or said.help
        )
    else:
        how = option(said, negated=parameter.kind is bool and bool(parameter.default))
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=parameter.default,
        annotation=Annotated[parameter.annotation, how],
    )
