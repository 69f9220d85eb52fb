"""A short training after which a network is less disturbed by activations in 8-bit integers.

In every step activations are rounded as the file will round them, and the gradient passes over the rounding as if it
were not there (Jacob et al. 2018, arXiv 1712.05877, section 3; straight-through estimator, Bengio et al. 2013, arXiv
1308.3432). Weights stay as they are: `zoo.artefact.quantize._rounding` rounds them afterwards, layer by layer. Rounded
here, too, they gave larger errors. The goal is the network's own float32 logits, not labels, so that nothing is learnt
that the float32 network does not know. Normalisation keeps its statistics.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Pictures", "fit_integers"]

_MIDDLE = 0.9999
"""Share of a layer's inputs that its range holds."""
_BATCH = 16
_STEPS = 200
_RATE = 1e-5
INPUT = -1
_ROUNDED = frozenset(
    {
        *("conv2d", "linear", "batch_norm", "layer_norm", "scaled_dot_product_attention"),
        *("relu", "relu6", "hardtanh", "clamp", "leaky_relu", "silu", "gelu", "hardswish", "sigmoid", "hardsigmoid"),
        *("add", "iadd", "mul", "imul", "cat", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean"),
    }
)
"""Functions whose results the file holds as integers, or gives to layers that take integers."""
_FOLDED = frozenset({"batch_norm", "relu", "relu6", "hardtanh", "clamp"})
"""What becomes one operator with the one before it."""
_OBSERVED = 64
"""Images that ranges are taken from."""
_VALUES = 4096
"""Values of one image's tensor that enter its range."""


def fit_integers(
    network: nn.Module,
    images: Pictures,
    *,
    signed: bool,
    seed: int,
    rounds: int = _STEPS,
    rate: float = _RATE,
) -> nn.Module:
    """Train a copy of the network; the one that is given stays as it is.

    Args:
        network: (N, C, h, w) float32 to (N, K) logits.
        images: training images.
        signed: inputs of layers are symmetric around 0, as int8 activations are.
        seed: seed that draws the order of images.
        rounds: batches.
        rate: peak of the learning rate.

    Returns:
        On the CPU, in evaluation mode, with float32 weights.
    """
    teacher = network.cpu().float().eval()
    student = copy.deepcopy(teacher)
    limits = _observe(student, images, signed=signed)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(images)) for _ in range(math.ceil(rounds * _BATCH / len(images)))])
    optimiser = torch.optim.AdamW([one for one in student.parameters() if one.requires_grad], lr=rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=rounds, pct_start=0.1)
    for index in range(rounds):
        rows = order[index * _BATCH : (index + 1) * _BATCH]
        batch = torch.from_numpy(np.concatenate([images[int(row)] for row in rows]))
        with torch.inference_mode():
            wanted = teacher(batch).clone()
        taken = limits[INPUT].round(batch)
        with _Rounding(limits):
            given = student(taken)
        loss = ((given - wanted) ** 2).mean() / (wanted**2).mean().clamp_min(1e-6)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return student.eval()


def _observe(network: nn.Module, images: Pictures, *, signed: bool) -> dict[int, _Grid]:
    """Call of a function to the grid of what it gives; the network's own input is the call INPUT."""
    seen: dict[int, list[Tensor]] = {INPUT: []}
    with torch.inference_mode():
        for row in range(min(len(images), _OBSERVED)):
            batch = torch.from_numpy(images[row])
            watching = _Watching()
            with watching:
                logits = network(batch)
            seen[INPUT].append(_some(batch))
            for place, values in watching.values.items():
                if watching.tensors[place] is not logits:
                    seen.setdefault(place, []).append(values)
    return {place: _Grid.of(values, signed=signed) for place, values in seen.items()}


def _some(value: Tensor) -> Tensor:
    flat = value.detach().flatten()
    return flat[:: (len(flat) // _VALUES) | 1].clone()


class _Watching(TorchFunctionMode):
    """Notes what functions give, since the file holds it as integers.

    Where normalisation or a bound follows at once, the two are one operator, so only the second is noted.

    Attributes:
        values: number of the call to some of what it gave, before anything changed it in place.
        tensors: number of the call to its result.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[int, Tensor] = {}
        self.tensors: dict[int, Tensor] = {}
        self._calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.strip("_")
        places = [place for place in self.values if args and self.tensors[place] is args[0]]
        made = func(*args, **(kwargs or {}))
        if name not in _ROUNDED or not isinstance(made, Tensor):
            return made
        if places and name in _FOLDED:  # the last: what works in place gives the same tensor again
            del self.values[places[-1]]
        self.values[self._calls], self.tensors[self._calls] = _some(made), made
        self._calls += 1
        return made


class _Rounding(TorchFunctionMode):
    """Rounds what functions give, call by call in the same order."""

    def __init__(self, limits: Mapping[int, _Grid]) -> None:
        super().__init__()
        self._limits, self._calls = limits, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.__name__.strip("_") not in _ROUNDED or not isinstance(made, Tensor):
            return made
        grid = self._limits.get(self._calls)
        self._calls += 1
        return made if grid is None else grid.round(made)


@dataclass(frozen=True, slots=True)
class _Grid:
    """255 steps of one tensor, zero among them."""

    step: float
    zero: int

    @classmethod
    def of(cls, values: Sequence[Tensor], *, signed: bool) -> _Grid:
        low, high = np.quantile(torch.cat(list(values)).numpy(), [(1 - _MIDDLE) / 2, (1 + _MIDDLE) / 2])
        low, high = min(float(low), 0.0), max(float(high), 0.0)
        if signed:
            high = max(-low, high)
            low = -high
        step = max((high - low) / 255, 1e-12)
        return cls(step, round(-low / step))

    def round(self, value: Tensor) -> Tensor:
        """The nearest step; the gradient of what lies between the ends passes."""
        inside = value.clamp(-self.zero * self.step, (255 - self.zero) * self.step)
        return inside + (torch.round(inside / self.step) * self.step - inside).detach()


class Pictures(Protocol):
    """Preprocessed images, made anew whenever they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> NDArray[np.float32]:
        """(1, C, h, w)."""
