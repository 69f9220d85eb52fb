"""What an int8 file says of how it was made, without making one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.spec import Bars, Quantization

if TYPE_CHECKING:
    from zoo.spec import Verdict

__all__ = ["made_smaller"]


def made_smaller(verdict: Verdict | None, notes: tuple[str, ...] = ()) -> Quantization:
    """The record of an int8 file, with this verdict of the guard."""
    return Quantization(
        kind="int8", target="avx2", scheme="U8S8, weights of 7 bits", measured="kernels", calibration="minmax",
        calibration_images=256, compared_images=64, calibration_errors={}, layers=20, excluded=(), rungs=(),
        bars=Bars(), verdict=verdict, alike=None, val=None, test=None, speed=None, size_ratio=None, tolerance=0.01,
        notes=notes,
    )  # fmt: skip
