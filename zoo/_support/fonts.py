"""Which fonts draw the names of classes: matplotlib's own, and after it those of the system for scripts it lacks."""

from __future__ import annotations

import functools

__all__ = ["font_families"]

_WIDE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "Arial Unicode MS",
    "Noto Sans CJK JP", "Yu Gothic", "Malgun Gothic", "Noto Sans CJK KR",
)  # fmt: skip
"""Fonts that systems bring for Chinese, Japanese and Korean: of Linux, Windows and macOS."""


@functools.cache
def font_families() -> list[str]:
    """Families for `family=` of a text: a glyph that the first one lacks is looked for in the next."""
    from matplotlib import font_manager, rcParams

    there = {font.name for font in font_manager.fontManager.ttflist}
    return [*rcParams["font.sans-serif"][:1], *(name for name in _WIDE if name in there)]
