"""What a stranger reads of the project before its code: one version, true addresses, extras that hold each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import zoo

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_written_once() -> None:
    """A release that changes one of two places ships a file that lies about itself."""
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    tool = tomllib.loads(read("pyproject.toml"))["tool"]
    assert tool["hatch"]["version"] == {"path": "zoo/__init__.py"}
    quoted = re.compile(rf"[\"']{re.escape(zoo.__version__)}[\"']")
    holders = [
        f"{file.relative_to(ROOT)}:{number}"
        for folder in ("zoo", "cli", "plugins")
        for file in (ROOT / folder).rglob("*.py")
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if quoted.search(line) and not line.startswith("__version__ = ")
    ]
    assert holders == []


def test_the_citation_names_this_version_and_licence() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    assert str(citation["version"]) == zoo.__version__
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]


def test_the_newest_heading_of_the_changes_is_this_version() -> None:
    heading = next(line for line in read("CHANGELOG.md").splitlines() if line.startswith("## "))
    assert heading.split()[1] == zoo.__version__


def test_every_address_of_the_project_is_one_repository() -> None:
    """The release checklist asks for one address to be claimed, or changed; a second one would be forgotten."""
    home = PROJECT["urls"]["Homepage"]
    assert all(address.startswith(home) for address in PROJECT["urls"].values())
    for page in ("SECURITY.md", "CONTRIBUTING.md", "docs/release.md", "CITATION.cff"):
        for address in re.findall(r"https://github\.com/[\w.-]+/[\w.-]+", read(page)):
            assert address == home, page


def test_dev_holds_all_that_test_and_docs_hold() -> None:
    """Otherwise the README's command for development cannot run what CONTRIBUTING.md asks for."""
    assert "edgezoo[test,docs]" in EXTRAS["dev"]
    (inner,) = (line for line in EXTRAS["test"] if line.startswith("edgezoo["))
    assert set(inner.removeprefix("edgezoo[").removesuffix("]").split(",")) <= set(EXTRAS)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "docs/release.md"])
def test_links_between_files_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        path = target.partition("#")[0]
        if path and "://" not in path:
            assert ((ROOT / page).parent / path).exists(), target


def test_the_programs_of_pre_commit_come_with_the_extra_dev() -> None:
    config = yaml.safe_load(read(".pre-commit-config.yaml"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    installed = {re.split(r"[>=<\[]", line)[0] for line in EXTRAS["dev"]}
    programs = {
        "check-yaml": "pre-commit-hooks",
        "end-of-file-fixer": "pre-commit-hooks",
        "lint-imports": "import-linter",
    }
    for hook in hooks:
        assert hook["language"] == "system"
        program = hook["entry"].split()[0]
        assert programs.get(program, program) in installed, hook["id"]


def test_no_page_holds_a_place_that_waits_for_a_number() -> None:
    for page in (ROOT / "CONTRIBUTING.md", ROOT / "BENCHMARKS.md", *sorted((ROOT / "docs").rglob("*.md"))):
        assert "@@" not in page.read_text(encoding="utf-8"), page


def test_every_file_that_a_recipe_names_is_there() -> None:
    """A recipe that sends a newcomer to a file of last year is worse than none."""
    named = re.findall(r"`((?:zoo|cli|plugins|tests|docs|benchmarks|tools)/[\w./-]+\.\w+)`", read("CONTRIBUTING.md"))
    own = {path for path in named if "NAME" not in path and path != "tests/test_reader.py"}
    assert len(own) >= 8
    assert not [path for path in sorted(own) if not (ROOT / path).exists()]


def test_every_module_that_the_page_or_the_docs_name_is_there() -> None:
    """A comment that says "as that file" and names a file of last year is believed by nobody."""
    files = [*ROOT.glob("zoo/edge/page/*.js"), *ROOT.glob("docs/**/*.md")]
    named = {path for file in files for path in re.findall(r"\bzoo/[\w/]+\.py\b", file.read_text(encoding="utf-8"))}
    assert len(named) >= 20
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]
