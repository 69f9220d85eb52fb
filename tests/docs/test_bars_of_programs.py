"""A bar that a program prints is the one that BENCHMARKS.md holds the number to."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_device_program_prints_the_bars_of_its_table() -> None:
    page = (ROOT / "BENCHMARKS.md").read_text(encoding="utf-8")
    section = page.split("## Start and prediction", 1)[1].split("\n## ", 1)[0]
    printed = set(re.findall(r"<= [\d.]+ (?:s|MB|×)", (ROOT / "benchmarks/edge.py").read_text(encoding="utf-8")))
    stated = {f"<= {bar}" for bar in re.findall(r"\| ≤ ([\d.]+ (?:s|MB|×)) \|", section)}
    assert stated - printed == {"<= 100 MB"}, "du measures the installation, this program the rest"
    assert printed < stated
