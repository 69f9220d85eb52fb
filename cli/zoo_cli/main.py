"""The application: its verbs in their groups, and what becomes of an error.

Exit 0 done, 1 a `ZooError` in one line, 2 usage, 3 a gate refused, 130 Ctrl-C. Nothing that fails prints a
traceback, except under ZOO_DEBUG=1.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zoo import errors
from zoo._support.text import join_lines
from zoo._urls import hide_secrets
from zoo.edge._print import BY_LINE, explain_error, run
from zoo.errors import ZooError
from zoo_cli.output import put

__all__ = ["application", "main"]

UsageError: Any = typer.BadParameter.__base__
"""What Typer raises for wrong arguments; it offers no public name for it."""


class _Grouped(TyperGroup):
    """Verbs under the headings they were added with, in the order of the work."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        there = self.list_commands(ctx)
        verbs = [(name, self.commands[name]) for name in VERBS if name in there]
        space = formatter.width - 6 - max(len(name) for name, _ in verbs)
        for heading in dict.fromkeys(verb.rich_help_panel for _, verb in verbs):  # type: ignore[attr-defined]
            rows = [
                (name, verb.get_short_help_str(space))
                for name, verb in verbs
                if verb.rich_help_panel == heading  # type: ignore[attr-defined]
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)


CHOOSE, MAKE, SHIP, HERE = "Choose a model", "Train and judge", "Ship and run", "This machine"

COMPLETE = "_ZOO_COMPLETE"
"""The variable by which a shell asks for completions."""

LISTS = (
    "--budget",
    "--by",
    "--columns",
    "--corruptions",
    "--inputs",
    "--licence",
    "--models",
    "--order",
    "--severities",
)
"""Options whose value is a list between commas."""

VERBS = {
    "list": (CHOOSE, "zoo list --family resnet"),
    "info": (CHOOSE, "zoo info resnet18"),
    "weights": (CHOOSE, None),
    "plugin": (CHOOSE, None),
    "data": (MAKE, None),
    "train": (MAKE, "zoo train resnet18 --data images/ --pretrained --epochs 10"),
    "evaluate": (MAKE, "zoo evaluate resnet18.zoo --data other-site/"),
    "report": (MAKE, "zoo report runs/resnet18-20260102-030405"),
    "runs": (MAKE, None),
    "compare": (MAKE, "zoo compare resnet18 svm --data images/ --epochs 10"),
    "pick": (MAKE, "zoo pick --data images/ --budget latency_ms=10,size_mb=20,minutes=30"),
    "tune": (MAKE, "zoo tune resnet18 --data images/ --minutes 60"),
    "export": (SHIP, "zoo export --onnx --bundle --out lungs.zoo"),
    "predict": (SHIP, "zoo predict lungs.zoo images/ --csv answers.csv"),
    "explain": (SHIP, "zoo explain lungs.zoo scan.png --out heatmaps"),
    "verify": (SHIP, "zoo verify lungs.zoo"),
    "sign": (SHIP, "zoo sign lungs.zoo --key site.key"),
    "bench": (SHIP, "zoo bench resnet18.onnx simple_cnn.onnx --threads 1"),
    "monitor": (SHIP, "zoo monitor answers.csv --against lungs.zoo"),
    "serve": (SHIP, "zoo serve lungs.zoo --port 8000"),
    "watch": (SHIP, "zoo watch incoming/ answers/ --model lungs.zoo"),
    "receive": (SHIP, "zoo receive incoming/ --port 11112 --aet ZOO"),
    "doctor": (HERE, "zoo doctor"),
    "demo": (HERE, "zoo demo --out zoo-demo"),
}
"""Each verb and module of that name: its heading in the help, and an example; None: it has verbs itself."""


def application(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """The application with these verbs; building all of them would be felt in every `zoo list`."""
    app = typer.Typer(
        cls=_Grouped,
        add_completion=False,
        rich_markup_mode=None,  # plain help: rich would cost a third of `zoo list`
        pretty_exceptions_enable=False,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(zoo)
    for name in verbs:
        module = importlib.import_module(f"zoo_cli.{name}")
        heading, example = VERBS[name]
        if example is None:
            app.add_typer(module.app, name=name, rich_help_panel=heading)
        else:
            verb = module.list_models if name == "list" else getattr(module, name)
            cls = getattr(module, "COMMAND", None)
            app.command(name, cls=cls, rich_help_panel=heading, epilog=f"Example: {example}")(verb)
    return app


def zoo(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Show the version.", is_eager=True)] = False,
    install_completion: Annotated[  # noqa: ARG001 - for the help; `main` acts on it
        bool, typer.Option("--install-completion", help="Let TAB complete verbs, options and names: [bash|zsh|fish].")
    ] = False,
    show_completion: Annotated[  # noqa: ARG001 - as above
        bool, typer.Option("--show-completion", help="Show the script that does so.")
    ] = False,
) -> None:
    """Train, judge and ship image classifiers.

    The first minutes: 'zoo demo', or 'zoo train simple_cnn' and then 'zoo export --onnx'. 'zoo help VERB' tells more.
    """
    if version:
        from zoo import __version__

        put(f"zoo {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        put(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; `arguments` default to the process's own."""
    given = _settle(list(sys.argv[1:] if arguments is None else arguments))
    if COMPLETE in os.environ or given[:1] in (["--install-completion"], ["--show-completion"]):
        from zoo_cli import completion

        return run(lambda: completion.answer(given, COMPLETE), as_json=False, explain=explain_error)
    as_json = "--json" in given[: given.index("--") if "--" in given else None]
    by_line = not BY_LINE.isdisjoint(given[:1])
    return run(lambda: _run(given), as_json=as_json, by_line=by_line, explain=lambda problem: _explain(problem, given))


def _settle(given: list[str]) -> list[str]:
    """`help VERB`, `VERB help`, `version` and `-v` as the options that they mean."""
    first, behind = given[:1], given[1:]
    if first in (["version"], ["-v"]):
        return ["--version", *behind]
    if first in (["help"], ["-h"], ["--help"]):
        return [*behind, "--help"]
    words = given[:-1]
    if (
        given[-1:] == ["help"]
        and words
        and words[0] in VERBS
        and len(words) <= (2 if VERBS[words[0]][1] is None else 1)
    ):
        return [*words, "--help"]
    return given


def _refuse_repeated(given: Sequence[str]) -> None:
    """Refuse a list of names that is given twice, of which Typer takes the last and drops the first, unsaid.

    Raises:
        ZooError: names the option.
    """
    words = [word.partition("=")[0] for word in given[: given.index("--") if "--" in given else None]]
    for option in LISTS:
        if words.count(option) > 1:
            raise errors.UsageError(
                f"{option} is given {words.count(option)} times, and takes one list; join them by commas, such as "
                f"{option} A,B",
                code="option-conflict",
                options=[option],
            )


def _run(given: list[str]) -> int:
    _refuse_repeated(given)
    named = given[:1] if given[:1] and given[0] in VERBS else VERBS
    command = typer.main.get_command(application(named))
    try:
        with command.make_context("zoo", list(given)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _explain(problem: Exception, given: Sequence[str]) -> tuple[dict[str, Any], str, int]:
    """The document, the line and the exit status of what was raised; Typer says wrong arguments in its own way."""
    from zoo_cli._slips import advise

    said: dict[str, Any]
    meant = None
    if isinstance(problem, (UsageError, ZooError)):
        with contextlib.suppress(ZooError):  # a catalogue that is broken, too, must not hide what was refused
            meant = advise(problem, given, typer.main.get_command(application()))
    if isinstance(problem, UsageError):
        message = join_lines(problem.format_message()).rstrip(".")
        path = problem.ctx.command_path if problem.ctx else " ".join(("zoo", *given[: given[0] in VERBS]))
        line = f"{message[:1].lower()}{message[1:]}; see '{path} --help'"
        said, status = {"type": "UsageError", "code": "usage", "message": line}, 2
    else:
        said, line, status = explain_error(problem)
    if meant is not None:
        line = meant.line()
        said |= {"message": line, "commands": list(meant.commands)}
    return {name: hide_secrets(value) for name, value in said.items()}, hide_secrets(line), status
