"""The plans of docs/scale.md: its tables are what the program prints, and the arithmetic behind them holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "scale.md"
IMAGES = 1e6


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("scale", "planning"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import scale  # type: ignore[import-not-found]

    return scale


def test_the_tables_of_the_page_are_those_of_the_program(scale: Any) -> None:
    """After new measurements: python benchmarks/scale.py --page docs/scale.md."""
    page = PAGE.read_text(encoding="utf-8")
    kept = json.loads(scale.KEPT.read_text(encoding="utf-8"))
    assert scale.renew(page, "\n".join(scale.tables(kept)) + "\n") == page
    assert page.count(scale.BEGIN) == page.count(scale.END) == 1


def test_nodes_divide_what_they_do_and_nothing_else(scale: Any) -> None:
    rates = scale.Rates(decode=2.0, answer=8.0, step=40.0, task=10.0, line=0.01, image=5e4, row=300.0, parameters=1e7)
    one, four = (scale.plan_prediction(IMAGES, n, scale.CPU, rates, scale.Prices(), layout="folder") for n in (1, 4))
    assert one.stages["CPU"] == pytest.approx(IMAGES * 0.010 / 16)
    for stage, divided in (("CPU", 4), ("network", 4), ("storage requests", 1), ("Ray's driver", 1)):
        assert one.stages[stage] == pytest.approx(divided * four.stages[stage])
    assert one.listing == four.listing == pytest.approx(IMAGES / 1000 * 0.1)
    assert one.seconds == pytest.approx(one.listing + max(one.stages.values()))
    assert four.cost == pytest.approx(four.seconds / 3600 * 4 * 0.68 + four.requests)
    assert one.bottleneck == "CPU"


def test_a_node_alone_exchanges_no_gradients_and_more_nodes_do_not_send_more_each(scale: Any) -> None:
    rates = scale.Rates(decode=2.0, answer=8.0, step=40.0, task=10.0, line=0.01, image=5e4, row=300.0, parameters=1e7)
    alone, two, many = (scale.plan_training(IMAGES, n, scale.GPU, rates, scale.Prices(), epochs=1) for n in (1, 2, 64))
    assert alone.stages["gradients"] == 0
    assert two.stages["gradients"] > many.stages["gradients"] > 0
    assert alone.stages["GPU"] == pytest.approx(IMAGES / 8 / 2470)


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_a_fit_finds_the_exponent(scale: Any, exponent: float) -> None:
    sizes = [10_000, 100_000, 1_000_000]
    values = [3e-4 * size**exponent for size in sizes]
    assert scale.fit_power(sizes, values)[1] == pytest.approx(exponent)
    assert scale.extrapolate(sizes, values, 1e8) == pytest.approx(3e-4 * 1e8**exponent)
    assert not scale.is_flat(sizes, values)


def test_a_large_part_that_does_not_grow_hides_nothing(scale: Any) -> None:
    sizes = [10_000, 100_000, 1_000_000]
    values = [60e6 + 200 * size for size in sizes]
    assert not scale.is_flat(sizes, values)
    assert scale.extrapolate(sizes, values, 1e8) == pytest.approx(60e6 + 200 * 1e8)
    assert scale.is_flat(sizes, [10e6, 16e6, 17e6])
