"""What mkdocs.yml cannot say to `mkdocs build`: pages outside docs/, and the command line's reference.

There is one source of each text. README.md is the home page; links that are right in the repository are turned into
links of the site, and those to files that are not pages become plain text.
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh-cn.md",
    "BENCHMARKS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
}
"""File of the repository to page of the site."""
PAGES = {page: file for file, page in ELSEWHERE.items()}
COMMANDS = "reference/cli.md"

_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_FENCED = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that no file of docs/ holds."""
    for file, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / file).read_text(encoding="utf-8")))
    files.append(File.generated(config, COMMANDS, content=command_line()))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    folder = posixpath.dirname(PAGES.get(here, f"docs/{here}"))

    def link(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in target or target.startswith("mailto:"):
            return found[0]
        wanted = posixpath.normpath(posixpath.join(folder, path))
        if not (ROOT / wanted).exists():
            return found[0]  # mkdocs will warn, and --strict refuse
        name = ELSEWHERE.get(wanted, wanted.removeprefix("docs/"))
        if files.get_file_from_path(name) is None:
            return text  # a file of the source tree, not of the site
        place = os.path.relpath(name, posixpath.dirname(here) or ".").replace(os.sep, "/")
        return f"[{text}]({place}{'#' + anchor if anchor else ''})"

    parts, at = [], 0
    for fence in _FENCED.finditer(markdown):
        parts += [_LINK.sub(link, markdown[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, _LINK.sub(link, markdown[at:])])


def command_line() -> str:
    """Each verb's `--help`, as it is printed, in the order of `zoo --help`."""
    sys.path[:0] = [str(ROOT), str(ROOT / "cli")]
    import typer

    from zoo_cli.main import VERBS, application

    top: Any = typer.main.get_command(application())
    lines = [
        "# Command line",
        "",
        "What `--help` says, taken from the program when this page was built.",
        "",
        *_help(top, "zoo", None, VERBS, level=1),
    ]
    return "\n".join(lines)


def _help(command: Any, name: str, above: Any, verbs: Iterable[str], *, level: int) -> list[str]:
    """Fenced help of one command, then of those below it, each under its heading."""
    context = command.context_class(command, info_name=name, parent=above, max_content_width=100, terminal_width=100)
    lines = [f"{'#' * level} {context.command_path}", ""] if above else []
    lines += ["```text", command.get_help(context).strip(), "```", ""]
    for verb in verbs:
        below = command.commands[verb]
        lines += _help(below, verb, context, getattr(below, "commands", ()), level=level + 1)
    return lines
