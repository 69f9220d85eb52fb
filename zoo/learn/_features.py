"""What a torch network makes its logits of, found by running it: the input of its last layer.

The one place that says what features are: exported ones, those of classical models on `frozen:CARD`, and those that
training of the head alone (`--freeze`) computes once and keeps.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo._support.files import refuse_unwritable, suggest_remedy
from zoo.learn._batches import standardize, to_unit
from zoo.runs import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

    from zoo.evaluation import Predict
    from zoo.learn._images import Feed
    from zoo.runs import Callback
    from zoo.spec import PreprocessSpec

__all__ = ["FEATURES_FILE", "compute_features", "find_last_layer", "torch_features"]

FEATURES_FILE = "features.part"
"""Features of an unfinished run, batch by batch, so that a resumed one computes only those that are missing."""

_AT_ONCE = 32
"""Images of one batch of features; the batches of a resumed run are those of an unbroken one."""


def find_last_layer(network: nn.Module, *, channels: int, size: tuple[int, int]) -> nn.Module | None:
    """The layer whose output the logits are: linear, or a convolution of one pixel on one pixel.

    Args:
        network: in evaluation mode, on the CPU.
        channels: C of its input.
        size: (h, w) of its input in pixels.

    Returns:
        None where the logits are made otherwise, as of two heads or of a map.
    """
    made: list[tuple[nn.Module, Tensor]] = []  # outputs are held, so that no later one can take their place in memory
    layers = [part for part in network.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda part, _, output: made.append((part, output))) for layer in layers]
    try:
        with torch.inference_mode():
            logits = network(torch.zeros(1, channels, *size))
    finally:
        for hook in hooks:
            hook.remove()
    same = [part for part, output in made if _is_same(output, logits)]
    return same[-1] if same else None


def torch_features(
    network: nn.Module, layer: nn.Module, device: str | torch.device = "cpu", batch_size: int = 8
) -> Predict:
    """A function from preprocessed images to features, in fp32 and evaluation mode.

    Args:
        network: (N, C, h, w) float32 to (N, K) logits.
        layer: result of `find_last_layer`.
        device: where `network` is moved to; features come back to the CPU.
        batch_size: images at a time.

    Returns:
        (N, C, h, w) float32 to (N, D) float32.
    """
    network = network.to(device).float().eval()

    def predict(images: NDArray[Any]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.ascontiguousarray(images, np.float32))
        given: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].flatten(1)))
        try:
            with torch.inference_mode():
                for part in torch.split(batch, batch_size):
                    network(part.to(device))
        finally:
            hook.remove()
        return np.asarray(torch.cat(given).cpu().numpy(), np.float32)

    return predict


def _is_same(output: Any, logits: Tensor) -> bool:
    """Whether the logits are the memory of `output`, seen in another shape at most."""
    return (
        isinstance(output, Tensor)
        and output.numel() == logits.numel()
        and output.data_ptr() == logits.data_ptr()
        and (output.ndim == 2 or output.shape[2:].numel() == 1)
    )


def compute_features(  # noqa: PLR0917 - what features depend on, and where they are kept
    features: Predict,
    length: int,
    parts: list[tuple[Feed, int | None]],
    spec: PreprocessSpec,
    kept: Path,
    report: Callback,
) -> Tensor:
    """Features of all parts, one after the other.

    Args:
        features: (N, C, h, w) float32, preprocessed, to (N, D) float32.
        length: D.
        parts: images, and the axis of (N, C, h, w) along which they are mirrored; None: as they are.
        spec: from raw image to input.
        kept: file that holds what an earlier process has computed, and what this one computes.
        report: what is told of each batch.

    Returns:
        (n, D) float32 on the CPU.

    Raises:
        DataError: an image changed since it was decoded first, or what was decoded cannot be read any more.
        OutputError: `kept` cannot be written.
    """
    plan = [(feed, axis, torch.split(torch.arange(len(feed)), _AT_ONCE)) for feed, axis in parts]
    counts = [len(index) for _, _, batches in plan for index in batches]
    found: list[NDArray[np.float32]] = []

    def add(rows: NDArray[np.float32]) -> None:
        found.append(rows)
        report.step(Step(epoch=1, step=len(found), steps=len(counts), images=len(rows), lr=0.0))

    with _writable(kept):
        known = _read_kept(kept, counts, length)
        stream = kept.open("ab", buffering=0)  # nothing is left to be written when it is closed
    with stream:
        for rows in known:
            add(rows)
        behind = len(known)
        for feed, axis, batches in plan:
            for raw in feed.batches(batches[behind:]):
                x = standardize(to_unit(raw, spec), spec)
                rows = features((x if axis is None else x.flip(axis)).cpu().numpy())
                with _writable(kept):
                    _append(stream, rows)
                add(rows)
            behind = max(0, behind - len(batches))
    return torch.from_numpy(np.concatenate(found))


@contextlib.contextmanager
def _writable(kept: Path) -> Iterator[None]:
    """What the system says in the block is about the file of features; images and network have errors of their own."""
    try:
        yield
    except OSError as problem:
        raise refuse_unwritable(kept, problem, f"{suggest_remedy(problem)}, then resume") from None


def _append(stream: FileIO, rows: NDArray[np.float32]) -> None:
    """Features of one batch and their CRC-32, which tells a batch that a crash has cut or emptied."""
    content = rows.tobytes()
    rest = memoryview(content + struct.pack("<I", zlib.crc32(content)))
    while rest:
        rest = rest[stream.write(rest) :]


def _read_kept(path: Path, counts: list[int], length: int) -> list[NDArray[np.float32]]:
    """The batches that are whole, from the first; what follows them in the file is cut off."""
    found: list[NDArray[np.float32]] = []
    if not path.is_file():
        return found
    with path.open("r+b") as stream:
        end = 0
        for count in counts:
            content, check = stream.read(count * length * 4), stream.read(4)
            if check != struct.pack("<I", zlib.crc32(content)):
                break
            found.append(np.frombuffer(content, np.float32).reshape(count, length).copy())
            end = stream.tell()
        stream.truncate(end)
    return found
