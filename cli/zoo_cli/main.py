"""The application: its verbs in their groups, and what becomes of an error.

Exit 0 done, 1 a `ZooError` in one line, 2 usage, 3 a gate refused, 130 Ctrl-C. Nothing that fails prints a
traceback, except under ZOO_DEBUG=1.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zoo.errors import OutputError, QuantizationError, ZooError
from zoo.text import printable
from zoo_cli.output import document, put, say

__all__ = ["application", "main"]

UsageError: Any = typer.BadParameter.__base__
"""What Typer raises for wrong arguments; it offers no public name for it."""

INTERRUPTED = 130


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

VERBS = {
    "list": (CHOOSE, "zoo list --family resnet"),
    "info": (CHOOSE, "zoo info resnet18"),
    "weights": (CHOOSE, None),
    "plugin": (CHOOSE, None),
    "data": (MAKE, None),
    "train": (MAKE, "zoo train resnet18 --data images/ --pretrained --epochs 10"),
    "evaluate": (MAKE, "zoo evaluate resnet18.zoo --data other-site/"),
    "compare": (MAKE, "zoo compare resnet18 svm --data images/ --epochs 10"),
    "export": (SHIP, "zoo export --onnx --bundle --out lungs.zoo"),
    "predict": (SHIP, "zoo predict lungs.zoo images/ --csv answers.csv"),
    "explain": (SHIP, "zoo explain lungs.zoo scan.png --out heatmaps"),
    "verify": (SHIP, "zoo verify lungs.zoo"),
    "sign": (SHIP, "zoo sign lungs.zoo --key site.key"),
    "bench": (SHIP, "zoo bench resnet18.onnx simple_cnn.onnx --threads 1"),
    "serve": (SHIP, "zoo serve lungs.zoo --port 8000"),
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
            app.command(name, rich_help_panel=heading, epilog=f"Example: {example}")(verb)
    return app


def zoo(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    """Train, judge and ship image classifiers.

    The first minutes: 'zoo demo', or 'zoo train simple_cnn' and then 'zoo export --onnx'.
    """
    if version:
        from zoo import __version__

        put(f"zoo {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        put(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; `arguments` default to the process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given[: given.index("--") if "--" in given else None]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a name of a file need not be text
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with _messages():
        try:
            return _run(given)
        except BrokenPipeError:  # `… | head`: the reader has seen enough
            _forget_stdout()
            return 1
        except KeyboardInterrupt as stop:
            say(str(stop) or "interrupted")
            return INTERRUPTED
        except Exception as problem:  # the one place where a defect becomes a line
            return _refused(problem, as_json=as_json)


def _run(given: list[str]) -> int:
    named = given[:1] if given[:1] and given[0] in VERBS else VERBS
    command = typer.main.get_command(application(named))
    try:
        with command.make_context("zoo", given) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _refused(problem: Exception, *, as_json: bool) -> int:
    """Say what went wrong in one line, and again as the document that `--json` promised."""
    kind, message, code = _explained(problem)
    details = problem.details if isinstance(problem, QuantizationError) else {}
    if os.environ.get("ZOO_DEBUG"):
        traceback.print_exception(problem)
    if as_json:
        try:
            document({"error": {"type": kind, "message": message, **details}})
        except (OutputError, BrokenPipeError):  # nobody takes it; the line below is still said
            _forget_stdout()
    say(message)
    return code


def _explained(problem: Exception) -> tuple[str, str, int]:
    """Name, line and exit status of what was raised."""
    text = " ".join(str(problem).split())
    kind = type(problem).__name__
    if isinstance(problem, ZooError):
        return kind, text, problem.exit_code
    if isinstance(problem, UsageError):
        message = " ".join(problem.format_message().split()).rstrip(".")
        path = problem.ctx.command_path if problem.ctx else "zoo"
        return "UsageError", f"{message[:1].lower()}{message[1:]}; see '{path} --help'", 2
    if isinstance(problem, ModuleNotFoundError) and not str(problem.name).startswith("zoo"):
        return kind, f"needs {problem.name}, which is not installed: pip install 'edgezoo[train]'", 1
    if isinstance(problem, OSError) and problem.strerror:
        where = f"{problem.filename}: " if problem.filename else ""
        return kind, f"{where}{problem.strerror.lower()}; check the path, its rights and the space left", 1
    line = f"{kind}: {text}" if text else kind
    return kind, f"{line}; this is a defect; run again with ZOO_DEBUG=1 for the traceback", 1


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """The library's log as plain lines on stderr; other packages' warnings only for those who ask."""
    log = logging.getLogger("zoo")
    before = log.level, log.propagate
    handler = _Lines()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions and not os.environ.get("ZOO_DEBUG"):
                warnings.simplefilter("ignore")
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


class _Lines(logging.Handler):
    """To the stderr of the moment: a progress bar takes its place while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        text = printable(record.getMessage(), keep="\n\t")
        sys.stderr.write(f"{prefix}{text}\n")


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of complaining."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
