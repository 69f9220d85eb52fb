"""A command or option that a page names and that is not there sends its reader to an error message."""

from __future__ import annotations

import itertools
import re
from functools import cache
from typing import Any

import pytest
import typer
from page_blocks import ROOT, blocks, calls, inline

from zoo_cli.main import UsageError, application

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts and path.name != "CHANGELOG.md"  # a changelog names what is gone
)
ELSEWHERE = {
    "--cpus": "docker",
    "--network": "docker",
    "--no-deps": "pip",
    "--find-links": "pip",
    "--no-index": "pip",
    "--smallest": "the programs of benchmarks/",
    "--gigabyte": "benchmarks/scale.py",
    "--nnodes": "torchrun",
    "--max-restarts": "torchrun",
    "--rdzv-backend": "torchrun",
    "--rdzv-conf": "torchrun",
    "--rdzv-endpoint": "torchrun",
    "--rdzv-id": "torchrun",
    "--strict": "mkdocs; of zoo train, too",
}
"""Options of other programs that pages name on their own."""


@cache
def _command() -> Any:
    return typer.main.get_command(application())


def _leaf(words: list[str]) -> tuple[Any, Any, list[str]]:
    """The command that `words` (without 'zoo') name, its context, and the words that are left for it."""
    command: Any = _command()
    context = command.context_class(command, info_name="zoo")
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name, *rest = rest
        assert name in command.commands, f"there is no '{context.command_path} {name}'"
        command = command.commands[name]
        context = command.context_class(command, info_name=name, parent=context)
    return command, context, rest


def _options(command: Any) -> set[str]:
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}


def _zoo(command: str) -> list[list[str]]:
    """The calls of zoo in a shell line, without the program's name, by torchrun too."""
    found = []
    for words in calls(command):
        program = list(itertools.dropwhile(lambda word: "=" in word, words))  # VARIABLE=value zoo …
        if program[:1] == ["zoo"]:
            found.append(program[1:])
        elif program[:1] == ["torchrun"] and "zoo_cli" in program:
            found.append(program[program.index("zoo_cli") + 1 :])
    return found


SHOWN = [
    pytest.param(words, id=f"{block.page}:{step.line}")
    for page in PAGES
    for block in blocks(page)
    if block.is_shell
    for step in block.steps
    for words in _zoo(step.command)
]


@pytest.mark.parametrize("words", SHOWN)
def test_commands_of_blocks_are_accepted(words: list[str]) -> None:
    check_words(words)


def check_words(words: list[str]) -> None:
    """Fail unless zoo takes these words, which follow its name."""
    command, context, rest = _leaf(words)
    if hasattr(command, "commands"):
        assert set(rest) <= _options(command), f"{words}: expected a verb"
        return
    try:
        command.make_context(context.info_name, rest, parent=context.parent)
    except UsageError as wrong:
        pytest.fail(f"zoo {' '.join(words)}: {wrong.format_message()}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_in_the_text_exist(page: str) -> None:
    """In the text a command may leave out its arguments; its verb and its options must be there."""
    everywhere = set().union(*(_options(leaf) for leaf in _leaves(_command())))
    wrong = []
    for said in inline(page):
        for words in _zoo(said) if said.startswith("zoo ") and not said.startswith("zoo:") else []:
            command, _, rest = _leaf([word for word in words if word != "…"])
            wrong += [f"{said}: {word}" for word in rest if _flag(word) and _flag(word) not in _options(command)]
        if said.startswith("--") and (flag := _flag(said.split()[0])) not in everywhere and flag not in ELSEWHERE:
            wrong.append(said)
    assert not wrong, f"{page} names options that are not there: {wrong}"


def test_the_pages_are_found() -> None:
    assert {"README.md", "docs/data.md", "docs/ship.md"} <= set(PAGES)
    assert len(SHOWN) > 30


def _flag(word: str) -> str:
    found = re.match(r"--[\w-]+", word)
    return found[0] if found else ""


def _leaves(command: Any) -> list[Any]:
    if hasattr(command, "commands"):
        return [leaf for name in command.commands for leaf in _leaves(command.commands[name])]
    return [command]
