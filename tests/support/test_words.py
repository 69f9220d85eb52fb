"""Words on a terminal: paths in commands that can be pasted, and how wide a text is."""

from __future__ import annotations

import shlex

import pytest

from zoo._support.text import count_columns, join_lines, quote_path
from zoo.edge._print import format_table

SHOWN = {
    "s3://bucket/images": "s3://bucket/images",
    "runs/a": "runs/a",
    "mein Lauf & Co": '"mein Lauf & Co"',
    "x$y z": "'x$y z'",
    'a "b"': "'a \"b\"'",
    "hurra! x": "'hurra! x'",
    "-a b": "'./-a b'",
}


@pytest.mark.parametrize("path", SHOWN)
def test_a_path_in_a_command_nests_in_single_quotes_where_a_shell_lets_it(path: str) -> None:
    assert quote_path(path) == SHOWN[path]
    assert shlex.split(quote_path(path)) == ["./-a b" if path.startswith("-") else path]


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("恶性肿瘤", 8), ("ä", 1), ("a\u0308", 1), ("ｱ", 1)])
def test_a_text_is_as_wide_as_a_terminal_shows_it(text: str, columns: int) -> None:
    assert count_columns(text) == columns


def test_columns_stay_below_each_other_behind_chinese_labels() -> None:
    lines = format_table(("class", "n"), [("恶性肿瘤", "5"), ("benign", "12")], right=(1,)).splitlines()
    assert [count_columns(line) for line in lines] == [12, 12, 12]


def test_words_of_others_fill_one_line() -> None:
    assert join_lines(ValueError("  first\n\tsecond  ")) == "first second"
    assert join_lines("three words here", 9) == "three wor"
    assert join_lines(MemoryError()) == ""
