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


def test_every_place_on_the_page_is_there_and_every_part_of_the_library_is_on_it() -> None:
    """A newcomer looks a place up on the page; a name that moved would send them to nothing."""
    table = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Where things are")[2]
    table = table.partition("\n## ")[0]
    named = []
    for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", row)
        named += [first, *(f"{Path(first).parent}/{other}" for other in others)]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
    top = {path.name for path in (ROOT / "zoo").iterdir() if path.suffix in {"", ".py"} and path.name != "__pycache__"}
    unnamed = {name for name in top if not any(Path(place).parts[:2] == ("zoo", name) for place in named)}
    assert not unnamed, f"docs/architecture.md does not say what is in {sorted(unnamed)}"


def test_each_decision_is_in_the_index_with_its_number_and_says_why() -> None:
    """A record without a reason cannot be argued with; one outside the index is not found."""
    folder = ROOT / "docs/decisions"
    records = sorted(path for path in folder.glob("*.md") if path.name != "index.md")
    index = (folder / "index.md").read_text(encoding="utf-8")
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for path in records:
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix(f"# {path.name[:4]}. ")
        assert f"| {path.name[:4]} | [{title}]({path.name}) |" in index, path.name
        assert "**Decision.** " in text, path.name
        assert "**Why.** " in text, path.name


def test_the_glossary_gives_each_thing_one_name() -> None:
    """Two rows for one word would be two meanings."""
    page = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    words = re.findall(r"^\| ([A-Za-z][^|]*?) \|", page, re.MULTILINE)
    words = [word for word in words if word != "word"]
    assert len(words) >= 40
    assert len(words) == len(set(words))
