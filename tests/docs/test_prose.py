"""The prose of README and docs/ is plain, and the script that measures it sees what it says it sees."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from page_blocks import ROOT


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("prose", ROOT / "tools" / "prose.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["prose"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


prose = _load()


@pytest.mark.parametrize("page", prose.measure_pages(ROOT), ids=lambda page: page.name)
def test_each_page_keeps_the_bars(page: Any) -> None:
    """A reader with little English stops at a long sentence, and reads no further."""
    assert not page.faults()


def test_all_pages_together_keep_the_bar() -> None:
    pages = prose.measure_pages(ROOT)
    assert {"README.md", "docs/data.md", "docs/ship.md"} <= {page.name for page in pages}
    assert "docs/gallery.md" not in {page.name for page in pages}, "a script writes the gallery"
    sentences = sum(len(page.sentences) for page in pages)
    assert sentences > 300
    assert sum(page.words for page in pages) / sentences <= prose.MEAN_WORDS


def test_the_readme_is_one_screen_for_each_reader() -> None:
    """A first visitor who must scroll past what is for others leaves."""
    first, *others = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")
    assert len(first.splitlines()) <= 40
    assert all(len(section.splitlines()) <= 45 for section in others)


def test_code_tables_and_headings_are_no_sentences() -> None:
    text = """# A heading that nobody reads as a sentence

One short sentence here. Another one, with `zoo train --data images/`, follows.

```
zoo train resnet18 and a lot of words in a block of code. They can not count.
```

| a table | with a cell that can not count as a sentence |

- an item of three
- a second item, that goes
  over two lines

A paragraph ends the list.

    indented code of many words that should not count at all
"""
    assert prose.measure_page("a.md", text).sentences == [
        "One short sentence here.",
        "Another one, with Code, follows.",
        "an item of three",
        "a second item, that goes over two lines",
        "A paragraph ends the list.",
    ]


def test_phrases_are_found_across_line_ends_and_in_tables_and_not_in_code() -> None:
    text = "It can\nnot be. `can not` is code.\n\n| stands |\n\n```\nis no\n```\n\nWe understand this."
    found = [phrase.split('"')[1] for phrase in prose.measure_page("a.md", text).phrases]
    assert found == ["can not", "stands"]


def test_a_page_over_a_bar_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text(" ".join(["word"] * 36) + ".\n")
    assert prose.report_pages(tmp_path, ["README.md"]) == 1
    assert "36 words, at most 35" in capsys.readouterr().out
    (tmp_path / "README.md").write_text("A short sentence is enough here.\n")
    assert prose.report_pages(tmp_path, ["README.md"]) == 0


def test_what_a_script_wrote_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("<!-- Written by x.py; do not edit. -->\n\nThis can not count.\n")
    assert prose.measure_pages(tmp_path, ["README.md"]) == []


@pytest.mark.parametrize("name", ["decoded", "fitted_temperature", "_kept", "taken_rows", "shown"])
def test_participles_are_named(name: str) -> None:
    assert prose.is_participle(name)


@pytest.mark.parametrize(
    "name", ["decode", "read", "open_cells", "seed_all", "embed", "is_sharded", "put", "load_trained"]
)
def test_verbs_are_not(name: str) -> None:
    assert not prose.is_participle(name)


def test_code_findings_have_kind_and_place() -> None:
    source = '''"""A module."""

def decoded(a: int, b: int) -> None:
    """It can not fail.

    Args:
        a: of the same.
        b: seed of the order.
    """
    # this stands alone
    raise ValueError("there is no file here")
'''
    found = {(finding.kind, finding.place) for finding in prose.find_in_code("m.py", source)}
    assert found == {("participle", "m.py:3"), ("phrase", "m.py:4"), ("argument", "m.py:3"), ("phrase", "m.py:10")} | {
        ("phrase", "m.py:11")
    }


def test_code_counts_fail_only_over_a_given_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "a.py").write_text("def decoded() -> None: ...\n")
    bars: dict[str, int | None] = {"participle": None, "phrase": None, "argument": None}
    assert prose.report_code(tmp_path, bars, names_each=True) == 0
    assert "zoo/a.py:1: participle: decoded" in capsys.readouterr().out
    assert prose.report_code(tmp_path, bars | {"participle": 0}, names_each=False) == 1
