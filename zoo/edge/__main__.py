"""`python -m zoo.edge VERB`: the device's verbs of the `zoo` command, on the standard library's parser.

Data goes to stdout, everything else to stderr. Exit 0 done, 1 a `ZooError` or an image without an answer,
2 usage, 3 a gate refused, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from zoo.edge._options import Argument, Option, parameters
from zoo.edge._print import BY_LINE, explain_error, run
from zoo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from zoo.edge._options import Parameter

__all__ = ["main"]

VERBS = {
    "predict": "zoo.edge._verbs",
    "explain": "zoo.edge._explain_verb",
    "verify": "zoo.edge._verbs",
    "sign": "zoo.edge._verbs",
    "bench": "zoo.edge._verbs",
    "info": "zoo.edge._verbs",
    "monitor": "zoo.edge._monitor_verb",
    "serve": "zoo.edge.serve._verb",
    "watch": "zoo.edge._watch_verb",
    "receive": "zoo.edge._receive_verb",
}
"""Each verb and the module of its function."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status; `arguments` default to the process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given[: given.index("--") if "--" in given else None]
    by_line = not BY_LINE.isdisjoint(given[:1])
    return run(lambda: _run(given), as_json=as_json, by_line=by_line, explain=explain_error)


def _run(given: list[str]) -> int:
    asked = vars(_parser(given[:1] if given[:1] and given[0] in VERBS else VERBS).parse_args(given))
    verb: Callable[..., int] = asked.pop("verb")
    return verb(**asked)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every error is said."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


def _parser(names: Iterable[str]) -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m zoo.edge", description="Run an exported model on this device.", allow_abbrev=False)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name in names:
        verb = getattr(importlib.import_module(VERBS[name]), name)
        text = inspect.getdoc(verb) or ""
        entry = verbs.add_parser(name, help=text.partition("\n")[0], description=text, allow_abbrev=False)
        entry.set_defaults(verb=verb)
        for parameter in parameters(verb):
            if not (isinstance(parameter.said, Option) and parameter.said.of_zoo):
                _add(entry, parameter)
    return parser


def _add(entry: argparse.ArgumentParser, parameter: Parameter) -> None:
    said, kind, default = parameter.said, parameter.kind, parameter.default
    text = said.help.replace("%", "%%")
    if isinstance(said, Argument):
        count = "+" if parameter.count is None else None if default is inspect.Parameter.empty else "?"
        entry.add_argument(parameter.name, metavar=said.metavar, type=kind, nargs=count, help=text)
        return
    how: dict[str, Any] = {"dest": parameter.name, "default": default, "help": text}
    if kind is bool:
        how["action"] = argparse.BooleanOptionalAction if default else "store_true"
    else:
        metavar = said.metavar or ""
        how |= {"type": _reader(parameter), "metavar": tuple(metavar.split()) if parameter.count == 2 else metavar}
        how |= {"nargs": 2} if parameter.count == 2 else {"action": "append"} if parameter.count is None else {}
        how["help"] += "" if default is None else f" [default: {default}]"
    entry.add_argument(said.flag, **how)


def _reader(parameter: Parameter) -> Callable[[str], Any]:
    """From the text to a value within the option's bounds."""
    least, most = getattr(parameter.said, "least", None), getattr(parameter.said, "most", None)

    def read(text: str) -> Any:
        value = parameter.kind(text)
        if (least is not None and value < least) or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value}, expected {least} {'or more' if most is None else f'to {most}'}")
        return value

    read.__name__ = parameter.kind.__name__  # argparse prints it: 'invalid int value'
    return read


if __name__ == "__main__":
    sys.exit(main())
