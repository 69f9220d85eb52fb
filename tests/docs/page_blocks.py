"""What a page of the documentation shows: its fenced blocks, and the commands in them.

A block titled like a file (```` ```python title="tests/test_a.py" ````) is that file. A block that begins with `$ `
holds commands after `$ ` and, between them, what they print; `…` stands for anything, alone on a line for any number
of lines. In any other shell block every line is a command. A block that the tests do not run has the line
`<!-- not run: WHY -->` before it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHELL = frozenset({"", "sh", "bash", "console"})

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_NOT_RUN = re.compile(r"<!-- not run: (?P<why>.+) -->")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Step:
    """One command of a block, and the lines it is said to print."""

    command: str
    shown: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is that of its fence, counted from 1."""

    page: str
    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands."""
        return self.language in SHELL and self.title is None

    @property
    def steps(self) -> list[Step]:
        """Its commands in order."""
        steps: list[Step] = []
        lines = self.text.splitlines()
        at = 0
        prompts = self.text.lstrip().startswith("$ ")
        while at < len(lines):
            start, text = at, lines[at]
            at += 1
            if prompts:
                if not text.startswith("$ "):
                    if steps:
                        steps[-1] = Step(steps[-1].command, (*steps[-1].shown, text), steps[-1].line)
                    continue
                text = text[2:]
            while text.endswith("\\") and at < len(lines):
                text = text[:-1].rstrip() + " " + lines[at].strip()
                at += 1
            text = _without_comment(text)
            if text:
                steps.append(Step(text, (), self.line + 1 + start))
        return steps


def blocks(page: str | Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    path = ROOT / page
    found: list[Block] = []
    not_run: str | None = None
    lines = path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        number, text = at + 1, lines[at]
        at += 1
        if tag := _NOT_RUN.search(text):
            not_run = tag["why"]
        elif fence := _FENCE.match(text):
            body = []
            while not lines[at].strip().startswith(fence["ticks"]):
                body.append(lines[at].removeprefix(fence["indent"]))
                at += 1
            at += 1
            title = _TITLE.search(fence["rest"])
            inside = "".join(f"{line}\n" for line in body)
            found.append(Block(str(page), number, fence["language"], title and title[1], inside, not_run))
            not_run = None
        elif text.strip():
            not_run = None
    return found


def without_blocks(page: str | Path) -> str:
    """The page's text with every fenced block taken out."""
    kept, until = [], ""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        fence = _FENCE.match(line)
        if until:
            until = "" if line.strip().startswith(until) else until
        elif fence:
            until = fence["ticks"]
        else:
            kept.append(line)
    return "\n".join(kept)


def inline(page: str | Path) -> list[str]:
    """What stands between single backticks in running text, in order."""
    return _INLINE.findall(without_blocks(page))


def calls(command: str) -> list[list[str]]:
    """The words of each program that a shell line starts: split at `&&`, `|`, `;`, without redirections."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if skip:
            skip = False
        elif set(word) <= set("<>"):
            skip = True
        elif set(word) <= set("&|;"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def matches(shown: tuple[str, ...], printed: str) -> bool:
    """Whether `printed` is what the page shows, where `…` is anything."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line.rstrip()).replace("…", ".*") + r"[ \t]*\n"
        for line in shown
    )
    return re.fullmatch(pattern + r"\n*", printed.rstrip("\n") + "\n" if printed.strip() else "") is not None


def _without_comment(line: str) -> str:
    if line.lstrip().startswith("#"):
        return ""
    return re.sub(r"\s{2,}# .*$|\s# [^'\"]*$", "", line).strip()
