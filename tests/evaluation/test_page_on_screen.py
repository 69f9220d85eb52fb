"""The page in Chromium: it fits a phone, loads nothing, complains of nothing, takes the keyboard, and prints."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from browsing import chromium
from page_subjects import decided, robustness, subject_of

from zoo.evaluation.page import make_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(params=["two", "hundred", "several"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    subject = subject_of(request.param)
    whole = dataclasses.replace(
        subject, report=msgspec.structs.replace(subject.report, **decided()), robustness=robustness()
    )
    path = tmp_path / "report.html"
    path.write_text(make_page(whole), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1200, "dark")])
def test_it_fits_the_width_loads_nothing_and_complains_of_nothing(
    browser: Any, page: str, width: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    shown = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: said.append(message.text))
    shown.goto(page)
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []
    context.close()


def test_the_first_key_leads_to_the_content_and_wide_tables_can_be_reached(browser: Any, page: str) -> None:
    shown = browser.new_page(viewport={"width": 390, "height": 800})
    shown.goto(page)
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.className") == "skip"
    assert shown.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    assert shown.evaluate("[...document.querySelectorAll('.box')].every(box => box.tabIndex === 0)")
    shown.close()


def test_it_prints_on_paper_of_its_width(browser: Any, page: str) -> None:
    shown = browser.new_page(viewport={"width": 700, "height": 900})  # A4 within margins, in pixels
    shown.emulate_media(media="print")
    shown.goto(page)
    assert shown.evaluate("document.documentElement.scrollWidth") == 700
    assert shown.pdf(format="A4").startswith(b"%PDF")
    assert shown.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    shown.close()
