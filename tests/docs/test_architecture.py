"""The page on the architecture says what the program holds to."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_layers_on_the_page_are_those_that_are_checked() -> None:
    """Who adds a module by the page would else be refused by a rule that the page does not know."""
    checked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    section = (
        (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Layers")[2].partition("\n## ")[0]
    )
    drawn = next(part for part in section.split("\n\n") if "→" in part)
    assert re.findall(r"`([^`]+)`", drawn) == checked[0]["layers"]
