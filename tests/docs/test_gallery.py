"""The gallery says what the catalogue and the kept measurements say, and its pictures can be read."""

from __future__ import annotations

import importlib
import itertools
import math
import random
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from page_blocks import ROOT

from zoo.registry._catalogue import Distribution, read


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gallery")


@pytest.fixture
def scatter(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("scatter")


def test_the_page_is_what_the_script_writes(gallery: Any) -> None:
    for path, text in gallery.documents().items():
        kept = path.read_text(encoding="utf-8") if path.is_file() else ""
        place = path.relative_to(ROOT)
        assert kept.splitlines() == text.splitlines(), f"{place} is behind: run 'python benchmarks/gallery.py'"


def test_every_card_has_its_row() -> None:
    page = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    missing = [
        name for name in read(ROOT / "registry.yaml", Distribution("edgezoo", "")) if f"| `{name}` |" not in page
    ]
    assert not missing


def test_every_number_of_a_measured_set_has_its_interval_and_budget() -> None:
    """A set is measured in one run of 'zoo compare'; a row without an interval or a budget would be a bare claim."""
    measured = sorted((ROOT / "docs/gallery").glob("*.json"))
    assert measured
    page = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    for path in measured:
        section = page.split(f"## Measured on {path.stem}\n")[1].split("\n## ")[0]
        rows = [row for row in section.splitlines() if row.startswith("| ") and " ms |" in row]
        assert rows
        for row in rows:
            assert row.count("–") >= 2, row
            assert " px" in row, row
            assert "scratch" in row or "pretrained" in row, row


def test_names_in_a_crowded_picture_do_not_cover_each_other(scatter: Any) -> None:
    luck = random.Random(0)  # noqa: S311 - nothing secret
    points = [
        scatter.Point(
            f"model_number_{i}",
            10 ** luck.uniform(-0.6, 1.2),
            v := luck.uniform(0.8, 0.95),
            v - 0.01,
            v + 0.01,
            i % 4 == 0,
        )
        for i in range(20)
    ]
    x = scatter._Axis.logarithmic([p.latency for p in points], scatter.LEFT, scatter.WIDTH - scatter.RIGHT)
    y = scatter._Axis.linear([e for p in points for e in (p.low, p.high)], scatter.HEIGHT - scatter.BOTTOM, scatter.TOP)
    boxes = scatter._labels(points, x, y)
    assert max(a.overlap(b) for a, b in itertools.combinations(boxes, 2)) < 30
    assert all(box.x > 0 and box.x + box.width <= scatter.WIDTH for box in boxes)


def test_a_picture_is_sound_svg_and_places_points_by_their_numbers(scatter: Any) -> None:
    points = [
        scatter.Point("a<b", 1.0, 0.8, 0.7, 0.9, best=True),
        scatter.Point("slow & good", 10.0, 0.9, 0.85, 0.95, best=False),
        scatter.Point("slowest", 100.0, 0.7, 0.6, 0.75, best=False),
    ]
    drawn = scatter.scatter(points, title="t", across="ms", up="accuracy")
    assert drawn == scatter.scatter(points, title="t", across="ms", up="accuracy")
    circles = [e.attrib for e in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}circle")]  # noqa: S314 - our own
    across, down = ([float(c[k]) for c in circles] for k in ("cx", "cy"))
    assert math.isclose(across[1] - across[0], across[2] - across[1], abs_tol=0.2), "a decade is a decade"
    assert down[1] < down[0] < down[2]
    assert [c["class"] for c in circles] == ["best", "other", "other"]
    assert not any(word in drawn for word in ("<script", "@import", "url("))
