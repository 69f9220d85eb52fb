"""Is this file safetensors, whole and finite? A torch pickle is refused by sight and never opened.

The library checks the header against the file (length, dtype and shape, offsets without gap or overlap);
it takes a repeated name, and it does not look at the numbers, so both are looked at here.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from zoo._support.text import join_lines, quote_path
from zoo.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_file"]

MAX_HEADER = 100_000_000
"""Bytes; the same limit as in safetensors/src/tensor.rs."""
PICKLE_SUFFIXES = frozenset((".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".tar", ".zip"))
PICKLE_START = re.compile(rb"PK\x03\x04|\x80[\x02-\x05]|\x1f\x8b")
"""A zip (torch.save since 1.6), a pickle of protocol 2 to 5, gzip."""

# The numpy type to read each kind of number as; where numpy has none, the bits that are all set in an
# infinity or NaN.
FLOATS: dict[str, tuple[str, int | None]] = {
    "F64": ("<f8", None),
    "F32": ("<f4", None),
    "F16": ("<f2", None),
    "BF16": ("<u2", 0x7F80),
}


def check_file(path: Path, what: str, called: str | None = None) -> None:
    """Refuse a file that is not sound safetensors.

    Args:
        path: the file.
        what: how the error begins, such as "weights for resnet18".
        called: how errors call the file; by default its path.

    Raises:
        WeightsError: not there, a pickle, not safetensors, damaged, or it holds NaN or an infinity.
    """
    called = called or str(path)
    _check_sight(path, what, called)
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:
        raise WeightsError(
            f"{what}: needs safetensors: pip install 'edgezoo[train]'", code="package-missing", package="safetensors"
        ) from None
    try:
        with safe_open(path, framework="numpy") as opened:
            names = list(opened.keys())
    except (SafetensorError, OSError) as problem:
        reason = join_lines(problem)
        raise WeightsError(
            f"{what}: {called} is damaged or not safetensors ({reason}); get the file again",
            code="weights-damaged",
            file=called,
        ) from None
    if not names:
        raise WeightsError(f"{what}: {called} holds no tensor; get the file again", code="weights-damaged", file=called)
    _check_numbers(path, what, called)


def _check_sight(path: Path, what: str, called: str) -> None:
    """The first bytes alone, so that nothing of a stranger's file is parsed that need not be."""
    pickle = f"{what}: {called} is not safetensors; torch pickles can run code; convert it to safetensors"
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise WeightsError(pickle, code="weights-pickle", file=called)
    if path.is_dir():
        inside = sorted(path.glob("*.safetensors"))
        way = f"give {quote_path(inside[0])}" if len(inside) == 1 else "give the .safetensors file"
        raise WeightsError(
            f"{what}: {called} is a folder, such as a run; {way}, or local-dir:PATH for the folder of a hub's model",
            code="file-unreadable",
            path=called,
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(9)
    except OSError as problem:
        raise WeightsError(
            f"{what}: {called}: {(problem.strerror or str(problem)).lower()}", code="file-unreadable", path=called
        ) from None
    if start[8:] != b"{":
        if PICKLE_START.match(start):
            raise WeightsError(pickle, code="weights-pickle", file=called)
        raise WeightsError(
            f"{what}: {called} is not a safetensors file; expected one, as timm's pages offer",
            code="weights-damaged",
            file=called,
        )
    length = int.from_bytes(start[:8], "little")
    if length > min(MAX_HEADER, size - 8):
        raise WeightsError(
            f"{what}: {called} is damaged: its header claims {length} bytes, the file has {size}",
            code="weights-damaged",
            file=called,
            found=size,
            expected=length,
        )


def _check_numbers(path: Path, what: str, called: str) -> None:
    import numpy as np

    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length), object_pairs_hook=lambda pairs: _once(pairs, what, called))
    body = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    for name, tensor in header.items():
        if name == "__metadata__" or tensor["dtype"] not in FLOATS:
            continue
        start, end = tensor["data_offsets"]
        kind, exponent = FLOATS[tensor["dtype"]]
        # A tensor may begin at an odd offset, so we copy the bytes, one tensor at a time.
        numbers = np.frombuffer(body[start:end].tobytes(), dtype=kind)
        finite = np.isfinite(numbers) if exponent is None else (numbers & exponent) != exponent
        if not finite.all():
            raise WeightsError(
                f"{what}: {called}: tensor {name!r} holds NaN or an infinity; its training failed",
                code="weights-not-finite",
                file=called,
                tensor=name,
            )


def _once(pairs: list[tuple[str, Any]], what: str, called: str) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise WeightsError(
            f"{what}: {called} is damaged: a name appears twice in its header; get the file again",
            code="weights-damaged",
            file=called,
        )
    return table
