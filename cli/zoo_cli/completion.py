"""Completion by TAB, by Typer's own scripts: `zoo --install-completion` and `zoo --show-completion`.

The shell asks `zoo` for each TAB, through a variable. Typer's part is imported only then, and only the verb that is
named is built, because a person waits for it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import typer

from zoo.errors import UsageError
from zoo_cli.output import put, say, show_path

__all__ = ["answer"]

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def answer(given: Sequence[str], variable: str) -> int:
    """Write completions, or the script that asks for them; return the exit status.

    Args:
        given: words behind `zoo`: --install-completion or --show-completion, and perhaps the shell.
        variable: environment variable by which a shell asks.

    Raises:
        UsageError: a shell that Typer has no script for, or none can be told.
    """
    theirs: Any = importlib.import_module("typer.completion")
    if variable in os.environ:
        return _complete(theirs, variable)
    shell = given[1] if len(given) > 1 else _detect()
    if shell not in SHELLS:
        said = "which shell this is cannot be told" if shell is None else f"{shell!r} is a shell without completion"
        raise UsageError(
            f"{said}; expected such as 'zoo {given[0]} bash'; there are {', '.join(SHELLS)}",
            code="option-value",
            option=given[0],
            value=shell,
        )
    if given[0] == "--show-completion":
        put(theirs.get_completion_script(prog_name="zoo", complete_var=variable, shell=shell))
        return 0
    shell, path = theirs.install(shell=shell, prog_name="zoo", complete_var=variable)
    say(f"{shell} completes zoo from the next terminal on, by {show_path(path)}")
    return 0


def _detect() -> str | None:
    """The shell that `zoo` was typed into; None: it cannot be told."""
    shellingham: Any = importlib.import_module("shellingham")
    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        return None


def _complete(theirs: Any, variable: str) -> int:
    from zoo_cli.main import VERBS, application

    theirs.get_completion_inspect_parameters()  # makes the shells known
    typed = (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    named = typed[1:2] if typed[1:2] and typed[1] in VERBS else VERBS
    command = typer.main.get_command(application(named))
    return int(theirs.shell_complete(command, {}, "zoo", variable, os.environ[variable]))
