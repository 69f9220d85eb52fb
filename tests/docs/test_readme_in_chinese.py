"""README.zh-CN.md follows README.md: the same commands in the same order, the same sections, the same links.

Where it is behind the test warns and does not fail, so that a change of the English page needs no Chinese. What the
Chinese page says itself must hold: its links lead somewhere, and test_commands.py tries its commands.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path

import pytest
from page_blocks import ROOT, blocks, inline, without_blocks

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


def commands(page: str) -> list[str]:
    """Every command of every shell block."""
    return [step.command for block in blocks(page) if block.is_shell for step in block.steps]


def code(page: str) -> list[str]:
    """The lines of the other blocks, without their remarks, which are translated."""
    lines = [line for block in blocks(page) if not block.is_shell for line in block.text.splitlines()]
    return [re.sub(r"\s+#.*", "", line) for line in lines]


def mentions(page: str) -> list[str]:
    """Commands, options and calls in the text."""
    return [said for said in inline(page) if re.match(r"zoo[ .]|--|pip |torchrun |=", said)]


def headings(page: str) -> list[str]:
    """The level of each heading."""
    return re.findall(r"^(#+) ", without_blocks(page), re.MULTILINE)


def links(page: str) -> list[str]:
    """Where the page links to, but for the other language."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_blocks(page))
    return [target for target in found if target not in {ENGLISH, CHINESE}]


@pytest.mark.filterwarnings("default::UserWarning")  # the project turns warnings into errors
@pytest.mark.parametrize("what", [commands, code, mentions, headings, links])
def test_a_difference_is_a_warning(what: Callable[[str], list[str]]) -> None:
    english, chinese = what(ENGLISH), what(CHINESE)
    difference = list(unified_diff(english, chinese, ENGLISH, CHINESE, lineterm="", n=1))
    if difference:
        warnings.warn(f"{CHINESE} differs in its {what.__name__}:\n" + "\n".join(difference), stacklevel=1)
    for page, found in ((ENGLISH, english), (CHINESE, chinese)):
        assert found, f"{page} holds no {what.__name__}: the test looks at nothing"


@pytest.mark.parametrize("page", [ENGLISH, CHINESE])
def test_what_is_linked_is_there(page: str) -> None:
    missing = [target for target in links(page) if ":" not in target and not Path(ROOT, target.split("#")[0]).exists()]
    assert not missing


def test_each_leads_to_the_other() -> None:
    for page, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        assert f"]({other})" in (ROOT / page).read_text(encoding="utf-8"), f"{page} has no link to {other}"


def test_the_translation_is_chinese() -> None:
    """Sections that someone copied over and did not translate."""
    text = without_blocks(CHINESE)
    untranslated = [
        section.splitlines()[0]
        for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]
        if len(re.findall(r"[\u4e00-\u9fff]", section)) < 10
    ]
    assert not untranslated
