"""What a training is refused for: before it begins, and while it runs."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo._support.text import quote_path
from zoo.errors import TrainingError
from zoo.learn._checkpoint import STATE_FILE, State, read_state
from zoo.learn._distributed import Peers, world_size
from zoo.learn._order import count_steps
from zoo.learn._precision import pick_device
from zoo.runs import RunFolder, TrainContext
from zoo.spec import PreprocessSpec, TrainConfig

__all__ = [
    "check_batches",
    "check_classes",
    "check_parallel",
    "check_request",
    "check_same_state",
    "find_state",
    "too_large",
]


def check_request(images: int, config: TrainConfig) -> None:
    """Refuse before any image is decoded what `fit` would refuse after.

    Args:
        images: number of training images.
        config: the recipe.

    Raises:
        TrainingError: too few images for a batch, or what a network that is shared out cannot do.
        ProviderError: the device is not there.
    """
    pick_device(config.device)
    check_batches(images, config, world_size())
    check_parallel(config, world_size())


def find_state(run: RunFolder, context: TrainContext) -> State | None:
    """The record of the state that training resumes from; None: it begins.

    Raises:
        TrainingError: that state is missing, damaged or of another version.
    """
    if not context.resuming:
        return None
    found = None if run.record.status == "done" else read_state(run.file(STATE_FILE))
    if found is None:
        raise TrainingError(_nothing_to_resume(run), code="checkpoint-missing", run=str(run.path))
    return found


def check_same_state(found: State | None, peers: Peers, run: RunFolder) -> None:
    """Refuse to continue where processes see different states.

    Raises:
        TrainingError: one sees none, or another one than the first does.
    """
    seen = peers.collect(found)
    if any(one != seen[0] for one in seen):
        raise TrainingError(
            f"{quote_path(run.path)}: {sum(one != seen[0] for one in seen)} of {peers.size} processes see another "
            f"{STATE_FILE} than the first one; put --out on storage that all nodes share, and start again",
            code="checkpoint-unshared",
            run=str(run.path),
            processes=peers.size,
        )


def _nothing_to_resume(run: RunFolder) -> str:
    """Why a run without a state cannot be resumed, and what can be done with it."""
    place = quote_path(run.path)
    if run.record.status == "done":
        return f"{place} is done: nothing to resume; evaluate it, or train a new run"
    if run.record.best is not None:
        return (
            f"{place} lacks {STATE_FILE}, which training continues from; bring it back, or take the best epoch as it "
            f"is with 'zoo export {place} --onnx'"
        )
    return f"{place} stopped before its first step: nothing to resume; train it again with --overwrite"


def check_batches(n: int, config: TrainConfig, processes: int) -> None:
    """Refuse batches of fewer than two images a process."""
    needed = 2 * processes  # BatchNorm has nothing to normalise in a batch of one
    smallest = min(config.batch_size, n // count_steps(n, config.batch_size))
    if smallest < needed:
        raise TrainingError(
            f"{n} training images and --batch-size {config.batch_size} make batches of {smallest}, expected at least "
            f"{needed} for {processes} process(es); raise --batch-size or bring more images",
            code="training-too-few",
            images=n,
            batch_size=config.batch_size,
            expected=needed,
        )


def check_parallel(config: TrainConfig, processes: int) -> None:
    """Refuse a budget, which is measured on copies, where processes share one network."""
    if processes > 1 and config.parallel == "fsdp" and config.budget is not None:
        raise TrainingError(
            f"--budget {config.budget} measures on copies of the network, and with parallel fsdp the processes share "
            "one; give --epochs N, or --set parallel=ddp",
            code="budget-sharded",
            budget=config.budget,
            processes=processes,
        )


def check_classes(logits: Tensor, labels: tuple[str, ...]) -> None:
    """Refuse a network whose (N, K) logits are not one for each of the K labels."""
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise TrainingError(
            f"the network gives {tuple(logits.shape)} for a batch, expected (N, {len(labels)}): one logit "
            "for each class; mend the plugin's build",
            code="plugin-logits",
            found=list(logits.shape),
            classes=len(labels),
        )


def too_large(device: torch.device, spec: PreprocessSpec, config: TrainConfig) -> TrainingError:
    """The error of a batch that did not fit into memory."""
    where, way = ("the GPU", "") if device.type != "cpu" else ("this machine", ", or free some")
    return TrainingError(
        f"{where} has too little memory for batches of {config.batch_size} at {spec.size[0]}x{spec.size[1]}; "
        f"lower --batch-size or --size{way}",
        code="training-memory",
        size=list(spec.size),
        batch_size=config.batch_size,
        device=device.type,
    )
