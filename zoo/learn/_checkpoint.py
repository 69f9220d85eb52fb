"""Weights and the state of an unfinished run, as safetensors: data that cannot run code.

weights.safetensors holds the weights that were best so far, for everybody. state.safetensors holds all that
the loop needs to resume after any step, as if it had never stopped. Its header holds the record as JSON. The
file is deleted when the run is finished. Both are written whole or not at all, and each holds a checksum over all that
is in it, so that a bit that flips on the disk is found before it becomes another model.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from zoo._support.files import atomic_path, refuse_unwritable
from zoo._support.text import join_lines
from zoo.errors import TrainingError, WeightsError
from zoo.learn._distributed import ALONE, Peers
from zoo.learn._history import Epoch
from zoo.learn._optim import select_parameters
from zoo.learn._precision import Numerics
from zoo.learn._sharded import share, whole
from zoo.runs import STATE, Diverged, refuse_changed
from zoo.spec import SCHEMA, Fingerprint, PreprocessSpec, TrainConfig, decode

__all__ = [
    "STATE_FILE",
    "WEIGHTS_FILE",
    "State",
    "check_same_run",
    "first_names",
    "load_state",
    "load_weights",
    "read_checksum",
    "read_state",
    "read_tensors",
    "save_state",
    "save_weights",
    "weights_checksum",
    "write_weights",
]

WEIGHTS_FILE = "weights.safetensors"
STATE_FILE = STATE
FREE = frozenset({"cache", "epochs", "patience", "device", "parallel"})
"""Fields of the configuration that a resumed run may change."""

_NAMED = 5
"""Tensors that an error names."""

_CHECKSUM, _RECORD = "zoo.sha256", "zoo"
"""Keys of the header: sha256 in hexadecimal over tensors and record; the record."""


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What state.safetensors says beside its tensors; the epochs done are the rows of the history."""

    schema: int = SCHEMA
    config: TrainConfig
    preprocess: PreprocessSpec
    labels: tuple[str, ...]
    data: Fingerprint
    images: int
    """Training images, without those left out."""
    numerics: Numerics
    history: tuple[Epoch, ...]
    step: int = 0
    """Steps done of the epoch after those."""
    loss: float = 0.0
    """What those steps add to the epoch's training loss."""
    lr: float = 0.0
    """Of the last of those steps."""
    seconds: float = 0.0
    """Time of those steps."""
    weights: str | None = None
    """Checksum in weights.safetensors, which holds the best epoch of the history; None: no epoch is done."""


def weights_checksum(tensors: dict[str, Tensor]) -> str:
    """The checksum that `write_weights` writes for them."""
    return _checksum(tensors, "")


def save_weights(model: nn.Module, path: Path) -> None:
    """Write every parameter and buffer of a whole network under its own name, atomically.

    Raises:
        OutputError: the file cannot be written; an earlier file there is unchanged.
    """
    write_weights(whole(model.state_dict(), ALONE), path)


def write_weights(tensors: dict[str, Tensor], path: Path) -> None:
    """As `save_weights`, of the result of `whole`.

    Raises:
        OutputError: as `save_weights`.
    """
    _save(tensors, path, "")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, by name, on the CPU.

    Raises:
        WeightsError: the file is missing, damaged, or not a safetensors file.
    """
    try:
        return _read(path)[0]
    except FileNotFoundError:
        raise WeightsError(
            f"{path} is not there; expected a safetensors file", code="weights-file-missing", path=str(path)
        ) from None
    except (SafetensorError, OSError) as problem:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({_one_line(problem)}); train again or bring a whole copy",
            code="weights-damaged",
            path=str(path),
        ) from None


def read_checksum(path: Path) -> str | None:
    """The checksum of a file by `save_weights`, which its tensors have; None: the file is missing or damaged."""
    try:
        return _read(path)[1].get(_CHECKSUM)
    except (SafetensorError, OSError):
        return None


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill `model` from a file by `save_weights`: the same names and shapes, every value finite.

    Raises:
        WeightsError: the file is missing, damaged, no safetensors file, or holds other tensors.
    """
    tensors = read_tensors(path)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unexpected:
        raise WeightsError(
            f"{path} does not fit this network: {len(missing)} tensors missing ({first_names(missing)}), "
            f"{len(unexpected)} not expected ({first_names(unexpected)}); name the model it was trained as",
            code="weights-names",
            path=str(path),
            missing=len(missing),
            unexpected=len(unexpected),
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}, this network expects "
                f"{tuple(own[name].shape)}; name the model it was trained as",
                code="weights-shape",
                tensor=name,
                found=list(tensor.shape),
                expected=list(own[name].shape),
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{path}: {name} holds nan or infinite values; expected finite weights; train again",
                code="weights-not-finite",
                path=str(path),
                tensor=name,
            )
    model.load_state_dict(tensors)


def save_state(  # noqa: PLR0917 - what the loop has, in its order
    path: Path,
    state: State,
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    peers: Peers = ALONE,
) -> None:
    """Write all that `load_state` needs, atomically, in the first process; the others send their parts.

    Raises:
        FloatingPointError: a tensor, which it names, is not finite; the state before it is untouched.
        OutputError: the file cannot be written; the state of the epoch before is whole.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in select_parameters(model):
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    plain = whole(tensors, peers)
    if not peers.first:
        return
    for name, tensor in plain.items():
        # A sum costs a twentieth of the exact look, which decides only where finite values add up to infinity.
        if tensor.is_floating_point() and not (torch.isfinite(tensor.sum()) or torch.isfinite(tensor).all()):
            raise FloatingPointError(name)
    _save(plain, path, msgspec.json.encode(state).decode())


def read_state(path: Path) -> State | None:
    """The record of a state file, whose tensors are whole; None: the file is missing.

    Raises:
        TrainingError: the file is damaged or of another version.
    """
    if not path.exists():
        return None
    return _read_state(path)[0]


def _read_state(path: Path) -> tuple[State, dict[str, Tensor]]:
    try:
        tensors, header = _read(path)
        if _CHECKSUM not in header:
            raise SafetensorError("it holds no checksum")
    except (SafetensorError, OSError) as problem:
        raise TrainingError(_describe_damage(path, problem), code="checkpoint-damaged", path=str(path)) from None
    return decode(header[_RECORD], State, str(path), TrainingError), tensors


def load_state(path: Path, model: nn.Module, average: AveragedModel, optimizer: torch.optim.Optimizer) -> None:
    """Bring model, average and optimiser to where `save_state` left them, on whatever device and in whatever parts.

    Raises:
        TrainingError: the file is damaged or of another network.
    """
    tensors = _read_state(path)[1]
    try:
        for module, prefix in ((model, "model."), (average, "average.")):
            own = module.state_dict()
            found = _under(prefix, tensors)
            module.load_state_dict({name: share(one, own.get(name, one)) for name, one in found.items()})
        for name, parameter in select_parameters(model):
            moments = {
                key: _like(tensors[f"optimizer.{key}.{name}"], parameter)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"optimizer.{key}.{name}" in tensors  # a parameter without gradients has none
            }
            if moments:
                optimizer.state[parameter] = moments
    except (RuntimeError, KeyError) as problem:
        raise TrainingError(_describe_damage(path, problem), code="checkpoint-damaged", path=str(path)) from None


def check_same_run(found: State, asked: State, diverged: Diverged | None = None) -> None:
    """Refuse to resume a run under other conditions than those it began with.

    Args:
        found: in the state file.
        asked: what is to be trained now.
        diverged: where a number became nan or infinite; below the rate of then, another rate is let through.

    Raises:
        TrainingError: names the first field that differs, with both values.
    """
    lower = diverged is not None and diverged.lr == found.config.lr > asked.config.lr
    differences = [
        (f"--set {name}", getattr(found.config, name), getattr(asked.config, name))
        for name in TrainConfig.__struct_fields__
        if name not in FREE and not (lower and name == "lr")
    ]
    differences += [
        ("preprocess", found.preprocess, asked.preprocess),
        ("the labels", found.labels, asked.labels),
        ("the data's sha256", found.data.sha256, asked.data.sha256),
        ("the number of training images", found.images, asked.images),
    ]
    for name, was, now in differences:
        if was != now:
            raise refuse_changed(name, was, now)


def first_names(names: list[str]) -> str:
    """The first few of many names, for one line of an error."""
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "") if names else "none"


def _save(tensors: dict[str, Tensor], path: Path, record: str) -> None:
    header = {_CHECKSUM: _checksum(tensors, record)} | ({_RECORD: record} if record else {})
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, header)
        except SafetensorError as problem:
            raise refuse_unwritable(path, _one_line(problem)) from None


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the header's own entries, held against the checksum where there is one.

    Raises:
        SafetensorError: the file is damaged.
        OSError: it cannot be read.
    """
    with safe_open(path, framework="pt") as stream:
        header: dict[str, str] = stream.metadata() or {}
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
    if _CHECKSUM in header and header[_CHECKSUM] != _checksum(tensors, header.get(_RECORD, "")):
        raise SafetensorError("its content does not have the checksum in its header")
    return tensors, header


def _checksum(tensors: dict[str, Tensor], record: str) -> str:
    found = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _like(saved: Tensor, parameter: Tensor) -> Tensor:
    """`saved` on the parameter's device and, where it has its shape, in its memory layout."""
    if saved.shape != parameter.shape:
        return saved.to(parameter.device)
    return torch.empty_like(parameter, dtype=saved.dtype).copy_(share(saved, parameter))


def _describe_damage(path: Path, problem: Exception) -> str:
    return f"cannot resume from {path}: {_one_line(problem)}; bring a good copy back, or train a new run"


def _one_line(problem: Exception) -> str:
    return join_lines(problem, 200).rstrip(".")
