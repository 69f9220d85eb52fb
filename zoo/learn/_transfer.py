"""Pretrained weights into a network that is not quite the one they were trained as.

Three differences are expected and said: another number of classes, other input channels than three, and a
small first kernel for small images. Anything else is refused: weights that half fit are worse than none,
since nothing shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.errors import WeightsError
from zoo.learn._beside import FUSION, NetworkWithColumns
from zoo.learn._checkpoint import first_names

__all__ = ["find_fresh_stems", "find_probed", "load_pretrained"]


def load_pretrained(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    head: tuple[str, ...] | None = None,
    rows: Sequence[int | None] = (),
    say_head: bool = True,
) -> tuple[str, ...]:
    """Fill `model` from pretrained tensors and say what was left fresh or adapted.

    Args:
        model: newly built, for its own classes and channels.
        tensors: name to tensor, in any float format.
        head: names of the modules that turn features into logits. None: what the model says itself (timm's
            `pretrained_cfg`), else its last linear layer.
        rows: for each of the model's K classes the row of the pretrained head that it begins with, None for a new one.
            Empty: a head of as many classes is taken as it is, another one stays new.
        say_head: whether a fresh head gets a line; a caller that takes the head off has nothing to say of it.

    Returns:
        One line for every difference, such as "head fc is new: 8 classes instead of 1000".

    Raises:
        WeightsError: a tensor is missing, not expected, of another shape for no known reason, or not finite.
    """
    own = model.state_dict()
    heads = _find_head(model) if head is None else head
    notes: list[str] = []
    if rows:
        tensors = {**tensors, **_carry_rows(heads, own, tensors, rows, notes)}
    loaded = {name: tensor for name, tensor in tensors.items() if name in own}
    fresh: set[str] = set()
    for module in heads:
        fresh |= _fresh_head(module, own, tensors, notes if say_head else [])
    new = {f"{name}.weight" for name in find_fresh_stems(model, tensors)}
    for stem in _stems(model):
        if stem in new:
            kernels = [f"{shape[2]}x{shape[3]}" for shape in (own[stem].shape, loaded[stem].shape)]
            notes.append(f"first convolution {stem} is new: {kernels[0]} kernel instead of {kernels[1]}")
        elif stem in loaded and loaded[stem].ndim == own[stem].ndim == 4:
            loaded[stem] = _adapt_channels(stem, own[stem], loaded[stem], notes)
    fresh |= new
    _refuse_others(own, tensors, loaded, fresh)
    # BatchNorm's counter is only read when momentum is None, and old weights lack it.
    kept = {name: tensor for name, tensor in own.items() if name not in loaded or name in fresh}
    model.load_state_dict(kept | {name: tensor for name, tensor in loaded.items() if name not in fresh})
    return tuple(notes)


def find_fresh_stems(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of the first convolutions that `load_pretrained` leaves new, because their kernels have another size."""
    own = model.state_dict()

    def is_fresh(name: str) -> bool:
        shape, given = own[name].shape, tensors[name].shape if name in tensors else ()
        fits = len(given) == len(shape) == 4 and given[0] == shape[0] and given[1] in {shape[1], 3}
        return fits and given[2:] != shape[2:]

    return tuple(name.removesuffix(".weight") for name in _stems(model) if is_fresh(name))


def find_probed(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules that learn while the rest is held: the head, or what `pretrained_cfg` calls "probed".

    The latter is for networks of which pretrained weights fill a part only, such as the encoder of a U-Net. What joins
    columns to a network is new, too.
    """
    if isinstance(model, NetworkWithColumns):
        return (*(f"network.{name}" for name in find_probed(model.network)), *FUSION)
    return _read_module_names(model, "probed") or _find_head(model)


def _find_head(model: nn.Module) -> tuple[str, ...]:
    named = _read_module_names(model, "classifier")
    if named:
        return named
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return tuple(linear[-1:])


def _stems(model: nn.Module) -> tuple[str, ...]:
    """Names of the first convolution's weight, of several where branches see the image."""
    convolutions = _read_module_names(model, "first_conv") or tuple(
        [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)][:1]
    )
    return tuple(f"{name}.weight" for name in convolutions)


def _read_module_names(model: nn.Module, key: str) -> tuple[str, ...]:
    """A module name or several from timm's `pretrained_cfg`."""
    configuration = getattr(model, "pretrained_cfg", None)
    value = configuration.get(key) if isinstance(configuration, Mapping) else None
    return (value,) if isinstance(value, str) else tuple(value or ())


def _carry_rows(
    heads: tuple[str, ...],
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    rows: Sequence[int | None],
    notes: list[str],
) -> dict[str, Tensor]:
    """The tensors of a head that give one number or row for each class, (K, …): of classes with a row, that row."""
    carried = {}
    places = [place for place, row in enumerate(rows) if row is not None]
    taken = [row for row in rows if row is not None]
    for module in heads:
        names = [name for name in own if name.startswith(f"{module}.") and name in tensors]
        of_classes = [
            name
            for name in names
            if own[name].shape[:1] == (len(rows),) and own[name].shape[1:] == tensors[name].shape[1:]
        ]
        for name in of_classes:
            carried[name] = own[name].clone()
            carried[name][places] = tensors[name][taken].to(own[name])
        if of_classes:
            new = f"; {len(rows) - len(taken)} new" if len(taken) < len(rows) else ""
            notes.append(f"head {module}: {len(taken)} of {len(rows)} classes keep their rows{new}")
    return carried


def _fresh_head(module: str, own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], notes: list[str]) -> set[str]:
    """Names of one head module's tensors if it must stay new: all of them or none."""
    names = {name for name in own if name.startswith(f"{module}.")}
    same = all(name in tensors and tensors[name].shape == own[name].shape for name in names)
    other = {name for name in tensors if name.startswith(f"{module}.")} - names
    if (same and not other) or not names:
        return set()
    for name in names & tensors.keys():
        if tensors[name].shape[1:] != own[name].shape[1:]:
            raise WeightsError(
                f"weights for {name} have the shape {tuple(tensors[name].shape)}, this network expects "
                f"{tuple(own[name].shape)}: more than the classes differ; bring weights of the same network",
                code="weights-shape",
                tensor=name,
                found=list(tensors[name].shape),
                expected=list(own[name].shape),
            )
    had = [len(tensors[name]) for name in sorted(names & tensors.keys()) if tensors[name].ndim > 0]
    classes = next(len(own[name]) for name in sorted(names) if own[name].ndim > 0)
    notes.append(f"head {module} is new: {classes} classes" + (f" instead of {had[0]}" if had else ""))
    return names | other


def _adapt_channels(name: str, own: Tensor, given: Tensor, notes: list[str]) -> Tensor:
    """(O, 3, kh, kw) to (O, 1, kh, kw) by the sum: grey images answer as their RGB copies would.

    To (O, C, kh, kw) by the three in turn, times 3 / C, as timm's `adapt_input_conv` does: C channels together speak as
    loud as three did. No channel of a stack is red, so which kernel it begins with means nothing.
    """
    if own.shape[1] == 1 and given.shape[1] == 3 and own.shape[0] == given.shape[0]:
        notes.append(f"first convolution {name} takes 1 channel: its 3 colour kernels were added up")
        return given.sum(dim=1, keepdim=True)
    channels = own.shape[1]
    if channels != 3 and given.shape[1] == 3 and own.shape[0] == given.shape[0]:
        notes.append(
            f"first convolution {name} takes {channels} channels: its 3 colour kernels were repeated in turn, times "
            f"3/{channels}"
        )
        return given.repeat(1, -(-channels // 3), 1, 1)[:, :channels] * (3 / channels)
    return given


def _refuse_others(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], loaded: Mapping[str, Tensor], fresh: set[str]
) -> None:
    missing = [
        name for name in own if name not in loaded and name not in fresh and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in tensors if name not in own and name not in fresh]
    misshapen = [name for name in loaded if name not in fresh and loaded[name].shape != own[name].shape]
    if missing or unexpected or misshapen:
        shapes = [f"{name} {tuple(loaded[name].shape)} instead of {tuple(own[name].shape)}" for name in misshapen]
        raise WeightsError(
            f"weights do not fit this network of {len(own)} tensors: {len(missing)} missing "
            f"({first_names(missing)}), {len(unexpected)} not expected ({first_names(unexpected)}), "
            f"{len(misshapen)} of another shape ({first_names(shapes)}); bring weights of the same network and "
            "--size",
            code="weights-names",
            missing=len(missing),
            unexpected=len(unexpected),
            misshapen=len(misshapen),
        )
    broken = [
        name for name, tensor in loaded.items() if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        raise WeightsError(
            f"weights hold nan or infinite values in {len(broken)} tensors ({first_names(broken)}); "
            "expected finite numbers; fetch them anew",
            code="weights-not-finite",
            tensors=list(broken),
        )
