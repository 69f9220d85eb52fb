"""TIFF files by hand, of the kinds that Pillow does not write."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import numpy as np

Order = Literal["<", ">"]


def tiff(
    pixels: np.ndarray,
    *,
    order: Order = "<",
    big: bool = False,
    coding: int = 1,
    predictor: int = 1,
    tile: int = 0,
    planar: bool = False,
    tags: dict[int, Any] | None = None,
) -> bytes:
    """One picture in strips of 16 rows, or in square tiles.

    Args:
        pixels: (H, W), or (H, W, C) of any dtype.
        order: of bytes.
        big: BigTIFF.
        coding: 1 none, 8 deflate.
        predictor: 1 none, 2 differences, 3 of floats.
        tile: edge of a tile, a multiple of 16; 0: strips.
        planar: one channel after the other.
        tags: further fields, and others than the usual ones; None: none is to be written.
    """
    array = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    height, width, channels = array.shape
    planes = [array[..., place : place + 1] for place in range(channels)] if planar else [array]
    pieces = []
    for plane in planes:
        for top in range(0, height, tile or 16):
            for left in range(0, width, tile or width):
                block = plane[top : top + (tile or 16), left : left + (tile or width)]
                if tile:
                    block = np.pad(block, ((0, tile - block.shape[0]), (0, tile - block.shape[1]), (0, 0)), "edge")
                data = predict(block, predictor, order)
                pieces.append(zlib.compress(data) if coding == 8 else data)
    form = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    fields: dict[int, Any] = {
        256: width,
        257: height,
        258: [8 * array.dtype.itemsize] * channels,
        259: coding,
        262: 2 if channels == 3 else 1,
        277: channels,
        284: 2 if planar else 1,
        317: predictor,
        339: [form] * channels,
    }
    fields |= {322: tile, 323: tile} if tile else {278: 16}
    return assemble({**fields, **(tags or {})}, pieces, order=order, big=big, tiled=bool(tile))


def predict(block: np.ndarray, predictor: int, order: Order) -> bytes:
    """The bytes of a strip or tile."""
    if predictor == 3:
        channels = block.shape[2]
        rows = block.reshape(len(block), -1).astype(block.dtype.newbyteorder(">")).view(np.uint8)
        planes = rows.reshape(len(rows), -1, block.dtype.itemsize).transpose(0, 2, 1).reshape(len(rows), -1)
        before = np.pad(planes, ((0, 0), (channels, 0)))[:, : planes.shape[1]]  # libtiff's stride is the channels
        return (planes - before).astype(np.uint8).tobytes()
    if predictor == 2:
        whole = block.view(f"u{block.dtype.itemsize}")
        block = np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1])).astype(whole.dtype)
    return block.astype(block.dtype.newbyteorder(order)).tobytes()


def assemble(fields: dict[int, Any], pieces: list[bytes], *, order: Order, big: bool, tiled: bool) -> bytes:
    """The file of these fields and pieces."""
    fields = {tag: value if isinstance(value, (list, bytes)) else [value] for tag, value in fields.items()}
    offsets, counts = (324, 325) if tiled else (273, 279)
    fields |= {offsets: [0] * len(pieces), counts: [len(piece) for piece in pieces]}
    fields = {tag: value for tag, value in fields.items() if value != [None]}
    inline, word, head = (8, "Q", 16) if big else (4, "I", 8)
    start = head + (8 if big else 2) + len(fields) * (20 if big else 12) + inline
    at, bodies = start, {}
    for tag in sorted(fields):
        value = fields[tag]
        body = value if isinstance(value, bytes) else struct.pack(f"{order}{len(value)}I", *value)
        bodies[tag] = (at if len(body) > inline else None, body, 2 if isinstance(value, bytes) else 4, len(value))
        at += len(body) if len(body) > inline else 0
    places = []
    for piece in pieces:
        places.append(at)
        at += len(piece)
    bodies[offsets] = (bodies[offsets][0], struct.pack(f"{order}{len(places)}I", *places), 4, len(places))
    entries = behind = b""
    for tag in sorted(fields):
        where, body, kind, many = bodies[tag]
        entries += struct.pack(f"{order}HH{word}", tag, kind, many)
        entries += body.ljust(inline, b"\0") if where is None else struct.pack(f"{order}{word}", where)
        behind += b"" if where is None else body
    sign = b"II" if order == "<" else b"MM"
    if big:
        first = sign + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(fields))
    else:
        first = sign + struct.pack(f"{order}HIH", 42, 8, len(fields))
    return first + entries + bytes(inline) + behind + b"".join(pieces)
