"""Which number types suit which machine, and which machine this is.

What an int8 kernel computes depends on the CPU. With VNNI a product of an unsigned and a signed byte is summed in 32
bits; AVX2 and plain AVX-512 first add two such products in 16 bits (vpmaddubsw), which saturates: 2 · 255 · 127 is
twice what 16 bits hold. Weights of seven bits (reduce_range) keep 2 · 255 · 64 = 32 640 below 32 767.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal

from zoo._support.machine import processor
from zoo.spec import Target

__all__ = ["DEFAULT_TARGET", "SCHEMES", "WHOLE_BITS", "Scheme", "this_machine"]

DEFAULT_TARGET: Target = "avx2"
"""Where the CPU cannot be read: seven-bit weights saturate nowhere, so its answers are right on every CPU."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """Number types of one target.

    Attributes:
        activations: number type of activations, with one scale a tensor.
        symmetric: zero is the middle of the activations' range, as TensorRT demands.
        seven_bits: weights use 7 of their 8 bits.
        integer_bias: biases are int32; TensorRT takes them as floats only.
        weights: number type of weights.
    """

    activations: Literal["uint8", "int8"]
    symmetric: bool = False
    seven_bits: bool = False
    integer_bias: bool = True
    weights: Literal["int8", "uint8"] = "int8"

    @property
    def steps(self) -> int:
        """Signed weights are from -steps to steps times the scale of their channel."""
        return 64 if self.seven_bits else 127

    @property
    def text(self) -> str:
        """The scheme in words."""
        zero = ", symmetric" if self.symmetric else ""
        bits = " in 7 bits" if self.seven_bits else ""
        return f"{self.activations} activations{zero}; {self.weights} weights per channel{bits}; head in float32"


SCHEMES: dict[Target, Scheme] = {
    "avx512": Scheme("uint8"),
    "avx2": Scheme("uint8", seven_bits=True),
    "arm64": Scheme("int8"),
    "gpu": Scheme("int8", symmetric=True, integer_bias=False),
}

WHOLE_BITS = Scheme("uint8", weights="uint8")
"""For AVX2: unsigned bytes are widened before they are multiplied, so nothing saturates. ResNet-18 at 224 px: 1.3 times
as fast as float32 and under half the error of seven bits; depthwise convolutions are slower than float32."""


def this_machine() -> Target | None:
    """The target that this process runs on, from the CPU's flags; None: none of them, or not known."""
    if platform.machine().lower() in {"arm64", "aarch64"}:
        return "arm64"
    flags = processor().flags
    if flags & {"avx512_vnni", "avx_vnni"}:
        return "avx512"
    return "avx2" if "avx2" in flags else None
