"""Pillow's antialiased resizing as ONNX nodes, with the crop or the padding that belongs to it, in two forms.

`by_operator` uses ONNX's Resize with antialias=1, exclude_outside=1 and half_pixel, which in ONNX Runtime is Pillow's
filter on floats. Other runtimes read the same node and answer otherwise: OpenVINO ignores antialias without a word
(49 levels of 255 off), TensorRT and rten refuse it.

`by_products` uses two matrix products, with weights that the graph computes from the picture's sides. It needs no
operator that runtimes understand differently. It is as exact as the operator. It takes two to five times as long,
because most of the weights are zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from zoo.artefact.nodes import Builder
    from zoo.spec import PreprocessSpec

__all__ = ["by_operator", "by_products", "find_nearest"]

_FLOAT = 1
"""onnx.TensorProto.FLOAT, without importing onnx for it."""


def by_operator(b: Builder, x: str, spec: PreprocessSpec, *, whole: bool) -> str:
    """(N, c, H, W) float32 raw values to (N, c, h, w), where (h, w) is spec.size.

    Args:
        b: takes the nodes.
        x: name of the picture.
        spec: how to resize.
        whole: the values came as uint8 and stay within [0, 255], though a bicubic filter overshoots at edges.
    """
    height, width = spec.size
    inner = b.ints(height, width) if spec.resize == "stretch" else _inner_size(b, x, spec)
    sizes = b.op("Concat", b.op("Shape", x, start=0, end=2), inner, axis=0)
    sizes = b.op("Reshape", sizes, b.ints(4))  # ONNX Runtime before 1.24 takes it for empty otherwise, and refuses
    cubic = {"mode": "cubic", "cubic_coeff_a": -0.5} if spec.interpolation == "bicubic" else {"mode": "linear"}
    x = b.op(
        "Resize", x, "", "", sizes, antialias=1, exclude_outside=1, coordinate_transformation_mode="half_pixel", **cubic
    )
    if whole:
        x = b.op("Clip", x, b.floats(0), b.floats(255))
    if spec.resize == "stretch":
        return x
    target, two = b.ints(height, width), b.ints(2)
    if spec.resize == "crop":
        start = b.op("Div", b.op("Sub", inner, target), two)
        return b.slice(x, start, b.op("Add", start, target), (2, 3))
    margin = b.op("Sub", target, inner)
    before = b.op("Div", margin, two)
    zeros = b.ints(0, 0)
    pads = b.op("Concat", zeros, before, zeros, b.op("Sub", margin, before), axis=0)
    lowest = _darkest(b, x, spec)
    # Pad takes one value for the whole batch; shifting by each image's own minimum makes that value 0.
    return b.op("Add", b.op("Pad", b.op("Sub", x, lowest), pads), lowest)


def by_products(b: Builder, x: str, spec: PreprocessSpec, *, whole: bool) -> str:
    """As `by_operator`: rows · picture · columns, one weight for each pair of an output and an input line.

    Only the lines that are kept are computed, so nothing is cut away or padded afterwards, and every shape after the
    products is fixed.
    """
    height, width = spec.size
    inner = None if spec.resize == "stretch" else _inner_size(b, x, spec)
    columns, across = _weights(b, x, spec, 1, inner)  # (W, w)
    rows, down = _weights(b, x, spec, 0, inner)  # (h, H)
    x = b.op("MatMul", rows, b.op("MatMul", x, columns))
    if whole:
        x = b.op("Clip", x, b.floats(0), b.floats(255))
    if spec.resize != "letterbox":
        return x
    # The border holds copies of the picture's outermost lines, so the smallest value is that of the picture.
    inside = b.op("And", b.op("Reshape", down, b.ints(height, 1)), b.op("Reshape", across, b.ints(1, width)))
    return b.op("Where", inside, x, _darkest(b, x, spec))


def _darkest(b: Builder, x: str, spec: PreprocessSpec) -> str:
    """The smallest value of each image, (N, 1, 1, 1), or of each channel of a stack, (N, c, 1, 1)."""
    return b.op("ReduceMin", x, b.ints(2, 3) if isinstance(spec.channels, int) else b.ints(1, 2, 3), keepdims=1)


def _weights(b: Builder, x: str, spec: PreprocessSpec, axis: int, inner: str | None) -> tuple[str, str]:
    """The weights of one pass, (h, H) for axis 0 and (W, w) for axis 1, and which output lines are not border.

    Output line i of n looks at input line j of m through the filter at the distance
    |j + 1/2 - (i + 1/2) m / n| / max(m / n, 1), which is |(2 j + 1) n - (2 i + 1) m| / (2 max(m, n)): whole numbers
    until the last division, so that no rounding of large coordinates reaches the weights (Pillow, Resample.c).
    """
    side, resized, wanted, lines, one, two = _lines(b, x, spec, axis, inner)
    given = b.op("Range", b.constant(0, np.int64), b.op("Squeeze", side), b.constant(1, np.int64))  # j
    centres = b.op("Mul", b.op("Add", b.op("Mul", lines, two), one), side)
    places = b.op("Mul", b.op("Add", b.op("Mul", given, two), one), resized)
    centres, places = (
        b.op("Unsqueeze", vector, b.ints(along)) for vector, along in ((centres, 1 - axis), (places, axis))
    )
    apart = b.op("Abs", b.op("Cast", b.op("Sub", places, centres), to=_FLOAT))
    distance = b.op("Div", apart, b.op("Cast", b.op("Mul", b.op("Max", side, resized), two), to=_FLOAT))
    values = _bicubic(b, distance) if spec.interpolation == "bicubic" else _triangle(b, distance)
    values = b.op("Div", values, b.op("ReduceSum", values, b.ints(1 - axis), keepdims=1))
    return values, b.op("Equal", wanted, lines) if spec.resize == "letterbox" else ""


def find_nearest(b: Builder, x: str, spec: PreprocessSpec) -> str:
    """(N, c, H, W) booleans to (N, c, h, w): that of the nearest raw pixel, false in the border of a letterbox.

    Whole-number arithmetic, as in `zoo.preprocess`.
    """
    inner = None if spec.resize == "stretch" else _inner_size(b, x, spec)
    inside: list[str] = []
    for axis in (0, 1):
        side, resized, wanted, lines, one, two = _lines(b, x, spec, axis, inner)
        centres = b.op("Mul", b.op("Add", b.op("Mul", lines, two), one), side)
        x = b.op("Gather", x, b.op("Div", centres, b.op("Mul", resized, two)), axis=axis + 2)
        if spec.resize == "letterbox":
            inside.append(b.op("Unsqueeze", b.op("Equal", wanted, lines), b.ints(1 - axis)))
    return b.op("And", x, b.op("And", *inside)) if inside else x


def _lines(
    b: Builder, x: str, spec: PreprocessSpec, axis: int, inner: str | None
) -> tuple[str, str, str, str, str, str]:
    """Along one axis: the picture's side, that after the resize, output lines, those inside the picture, and 1 and 2.

    Output lines count from the resized picture's edge; of a letterbox's border the nearest inside is taken.
    """
    target = spec.size[axis]
    side = b.op("Shape", x, start=axis + 2, end=axis + 3)  # m
    resized = b.ints(target) if inner is None else b.op("Gather", inner, b.ints(axis))  # n
    wanted = lines = b.constant(np.arange(target), np.int64)  # i
    one, two = b.ints(1), b.ints(2)
    if spec.resize == "crop":
        lines = b.op("Add", lines, b.op("Div", b.op("Sub", resized, b.ints(target)), two))
    elif spec.resize == "letterbox":
        wanted = b.op("Sub", lines, b.op("Div", b.op("Sub", b.ints(target), resized), two))
        lines = b.op("Min", b.op("Max", wanted, b.ints(0)), b.op("Sub", resized, one))
    return side, resized, wanted, lines, one, two


def _triangle(b: Builder, distance: str) -> str:
    return b.op("Max", b.op("Sub", b.floats(1), distance), b.floats(0))


def _bicubic(b: Builder, distance: str) -> str:
    """Keys' cubic convolution with a = -1/2, which is Pillow's (IEEE Trans. ASSP 29, 1981, equation 15)."""

    def times(x: str, factor: str, plus: float) -> str:
        return b.op("Add", b.op("Mul", x, factor), b.floats(plus))

    t = b.op("Min", distance, b.floats(2))
    near = times(b.op("Sub", b.op("Mul", t, b.floats(1.5)), b.floats(2.5)), b.op("Mul", t, t), 1)
    far = times(times(times(t, b.floats(-0.5), 2.5), t, -4), t, 2)
    return b.op("Where", b.op("Less", t, b.floats(1)), near, far)


def _inner_size(b: Builder, x: str, spec: PreprocessSpec) -> str:
    """`zoo.preprocess.crop_size` in nodes: a (2,) int64 tensor."""
    cover = spec.resize == "crop"
    h, w = b.op("Shape", x, start=2, end=3), b.op("Shape", x, start=3, end=4)
    th, tw, two = b.ints(spec.size[0]), b.ints(spec.size[1]), b.ints(2)

    def scaled(side: str, target: str, by: str, limit: str) -> str:
        other = b.op("Div", b.op("Add", b.op("Mul", side, target), b.op("Div", by, two)), by)
        return b.op("Max", limit, other) if cover else b.op("Min", limit, b.op("Max", b.ints(1), other))

    wider = b.op("LessOrEqual", b.op("Mul", h, tw), b.op("Mul", w, th))
    by_height = b.op("Concat", th, scaled(w, th, h, tw), axis=0)
    by_width = b.op("Concat", scaled(h, tw, w, th), tw, axis=0)
    return b.op("Where", wider, by_height, by_width) if cover else b.op("Where", wider, by_width, by_height)
