"""The documentation builds without a warning, and a reader behind a hospital's firewall gets all of it."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from page_blocks import ROOT

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "link": "href",
    "source": "src",
    "audio": "src",
    "video": "src",
}
"""Elements that make a browser ask for something, and the attribute that says for what."""
REFERENCE = (
    "artefact",
    "data",
    "edge",
    "errors",
    "evaluation",
    "learn",
    "plugin",
    "preprocess",
    "readers",
    "runs",
    "spec",
    "testing",
)
"""Modules with a page of reference: all that a plugin receives or calls."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "cli"), str(ROOT / "plugins")])
    nobody = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, **nobody, "PYTHONPATH": paths, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return out


class _Read(HTMLParser):
    """What a page loads, where it links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (name := given.get("id")) is not None:
            self.anchors.add(name)
        loads = tag in LOADS and given.get("rel") not in {"canonical", "prev", "next"}
        if loads and (wanted := given.get(LOADS[tag])):
            self.loads.append(wanted)
        elif tag == "a" and (wanted := given.get("href")):
            self.links.append(wanted)


def _pages(site: Path) -> dict[Path, _Read]:
    return {page: _Read(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    foreign = [
        f"{page.name}: {wanted}"
        for page, read in _pages(site).items()
        for wanted in read.loads
        if re.match(r"(https?:)?//", wanted)
    ]
    styles = [
        f"{style.name}: {found}"
        for style in site.rglob("*.css")
        for found in re.findall(
            r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", style.read_text(encoding="utf-8")
        )
    ]
    assert not foreign + styles


def test_links_and_what_is_loaded_are_there(site: Path) -> None:
    """mkdocs checks links between pages; these are those that the hook, the theme and docstrings made, too."""
    pages = _pages(site)
    missing = []
    for page, read in pages.items():
        for wanted in read.links + read.loads:
            if re.match(r"(https?:)?//|mailto:|data:", wanted) or page.name == "404.html":
                continue
            path, _, anchor = unquote(wanted).partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                missing.append(f"{page.relative_to(site)}: {wanted}")
    assert not missing


def test_the_reference_holds_what_is_public(site: Path) -> None:
    """A page of generated reference that lost its names would still build."""
    for page in REFERENCE:
        module = importlib.import_module(f"zoo.{page}")
        anchors = _Read((site / f"reference/{page}.html").read_text(encoding="utf-8")).anchors
        undescribed = [public for public in module.__all__ if f"{module.__name__}.{public}" not in anchors]
        assert not undescribed, f"no docstring of {module.__name__} for {undescribed}"
    import zoo

    anchors = _Read((site / "reference/zoo.html").read_text(encoding="utf-8")).anchors
    assert {f"zoo.{name}" for name in zoo.__all__ if name != "ZooError"} <= anchors


def test_every_verb_is_in_the_command_line_reference(site: Path) -> None:
    from zoo_cli.main import VERBS

    text = (site / "reference/cli.html").read_text(encoding="utf-8")
    headings = re.findall(r"<h2[^>]*>zoo ([a-z]+)<", text)
    assert headings == list(VERBS)
    assert "--keep-leaks" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_asks_only_the_site(site: Path) -> None:
    """Scripts can ask for more than the pages say: fonts, diagrams, a repository's stars."""
    sync_api = pytest.importorskip("playwright.sync_api")
    asked: set[str] = set()
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page()
        view.on("request", lambda request: asked.add(request.url))
        for name in ("index.html", "reference/zoo.html", "gallery.html"):
            view.goto((site / name).as_uri(), wait_until="networkidle")
        browser.close()
    assert asked
    assert not {url for url in asked if not url.startswith(("file:", "data:", "blob:"))}
