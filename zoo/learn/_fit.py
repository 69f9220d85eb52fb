"""The training loop, from decoded images to the best weights; reads from top to bottom.

Every image is decoded and resized once into memory; a batch is a gather, some arithmetic on the device and a
step of AdamW. What is validated and kept are the averaged weights (EMA). The run can be killed at any moment.
It resumes after the last epoch and ends with the same bytes: order, augmentation and dropout depend on the seed, the
epoch and the step alone. The bytes are promised for the same machine, versions and thread count, not across.

What this module does not know: how the network was made or named, files of images, ONNX, test images.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass

import msgspec
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from zoo._support.interrupts import sigterm_as_interrupt
from zoo._support.memory import lacks_memory
from zoo._support.text import quote_path
from zoo.data import Decoded, Splits, balance
from zoo.errors import OutputError, TrainingError, WeightsError, ZooError
from zoo.learn._augment import augment
from zoo.learn._batches import epoch_batches, generator, seed_of, standardize, to_unit
from zoo.learn._checkpoint import (
    STATE_FILE,
    WEIGHTS_FILE,
    State,
    check_same_run,
    load_state,
    load_weights,
    read_checksum,
    read_state,
    save_state,
    save_weights,
    weights_checksum,
)
from zoo.learn._distributed import Peers, join
from zoo.learn._history import (
    Epoch,
    best_epoch,
    best_of,
    draw_history,
    epochs_without_gain,
    throughput,
    write_history,
)
from zoo.learn._images import Feed, decode_splits, hold
from zoo.learn._objective import Objective, Scores, count_known, score
from zoo.learn._optim import adamw, learning_rate, moving_average, set_rate
from zoo.learn._precision import Numerics, autocast, choose, layout, pick_device
from zoo.learn._progress import report_progress
from zoo.learn._refusals import check_batches, check_classes, check_loss, nothing_to_resume, too_large
from zoo.runs import Best, RunFolder, TrainContext, remove_leftovers
from zoo.spec import PreprocessSpec, TrainConfig

__all__ = ["Fitted", "fit"]

CHECK_EVERY = 20
"""Steps between looks at the loss; each look makes a GPU wait."""

log = logging.getLogger("zoo")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training gave, beside the weights in the model and in the run."""

    best: Best
    epochs_done: int
    images_per_second: float
    """Training images over the time of the training steps, decoding and validation excluded."""
    seconds: float
    """All epochs with their validation; decoding excluded."""
    precision: str
    """Device, number format and layout, in words."""


def fit(  # noqa: PLR0917 - what a plugin is given, in its order
    model: nn.Module, data: Splits, spec: PreprocessSpec, config: TrainConfig, run: RunFolder, context: TrainContext
) -> Fitted:
    """Train `model`; at the end it holds the best weights, on the CPU, in fp32 and evaluation mode.

    Into the run go weights.safetensors (at each better epoch), history.csv, history.png and state.safetensors, which
    the caller removes when the run's status says that it is trained. With `context.resuming` training resumes from that
    state, also after the last epoch. Ctrl-C and SIGTERM end it with a KeyboardInterrupt; the best weights and the last
    epoch's state are whole then.

    Args:
        model: (N, C, H, W) float32 to (N, K) logits; its first weights, and their seed, are the caller's.
        data: train and val are read, test is not.
        spec: from raw image to input.
        config: the recipe.
        run: where to write.
        context: whether to resume, and what else was asked for.

    Raises:
        TrainingError: too few images, a loss that is not finite, too little memory, nothing to resume, or
            a state that began under other conditions.
        DataError: an image cannot be read and `context.skip_bad` is off.
        ProviderError: the device or format that was asked for is not there.
        OutputError: the run folder cannot be written.
    """
    with join(pick_device(config.device)) as peers, sigterm_as_interrupt():
        try:
            return _fit(model, data, spec, config, run, context, peers)
        except (KeyboardInterrupt, ZooError, MemoryError, RuntimeError) as stop:
            if peers.first and run.record.status == "training":
                with contextlib.suppress(OutputError):  # a full disk may be what stopped it
                    run.update(status="interrupted")
            if lacks_memory(stop):
                raise too_large(peers.device, spec, config) from None
            raise


def _fit(  # noqa: PLR0912, PLR0915, PLR0917 - one loop that reads from top to bottom
    model: nn.Module,
    data: Splits,
    spec: PreprocessSpec,
    config: TrainConfig,
    run: RunFolder,
    context: TrainContext,
    peers: Peers,
) -> Fitted:
    device, seed = peers.device, config.seed

    # --- data: decoded once, then in memory
    train, val = decode_splits(data, spec, run, context, peers)
    feed = Feed(hold(train.pixels, device), device)
    counts = count_known(torch.from_numpy(train.targets))  # (n,) on the CPU
    weights = None
    if config.class_weight == "balanced":
        weights = torch.from_numpy(balance(train.targets, len(data.labels))).float().to(device)  # (K,) or (K, 2)
    objective = Objective(hold(train.targets, device), config.label_smoothing, weights)
    steps = len(epoch_batches(len(feed), config.batch_size, seed, 1))
    check_batches(len(feed), config, peers.size)

    # --- the state to resume from, if any
    before = read_state(run.file(STATE_FILE)) if context.resuming and run.record.status != "done" else None
    if context.resuming and before is None:
        raise TrainingError(nothing_to_resume(run), code="checkpoint-missing", run=str(run.path))

    # --- network, average, optimiser
    model.to(device)
    if before is not None and before.numerics.device == device.type:
        numerics = before.numerics
    else:
        numerics = choose(model, device, config, spec)
    numerics = peers.agree(numerics)
    model.to(memory_format=layout(numerics))
    average = moving_average(model, config.ema)
    optimizer = adamw(model, config)
    history: list[Epoch] = []
    state = State(
        config=config,
        preprocess=spec,
        labels=data.labels,
        data=data.fingerprint,
        images=len(feed),
        numerics=numerics,
        history=(),
    )
    if before is not None:
        check_same_run(before, state)
        load_state(run.file(STATE_FILE), model, average, optimizer)
        state = msgspec.structs.replace(state, history=before.history, weights=before.weights)
        history = list(before.history)
        if peers.first and history:
            _catch_up(run, state, average)
            _compare_threads(run)
        log.info("resuming after epoch %d of %d", len(history), config.epochs)
    if peers.first:
        remove_leftovers(run.path)
        run.update(status="training", precision=numerics.text, threads=torch.get_num_threads())
        if before is None:  # holds the random or pretrained start: a kill in epoch 1 loses nothing
            save_state(run.file(STATE_FILE), state, model, average, optimizer)
        log.info("training %d images, validating %d, on %s", len(feed), len(val.pixels), numerics.text)
    network = peers.wrap(model)

    # --- the loop
    progress = report_progress(config.epochs, len(feed), done=len(history), quiet=not peers.first)
    with progress as report:
        for epoch in range(len(history) + 1, config.epochs + 1):
            if config.patience and epochs_without_gain(history) >= config.patience:
                if peers.first:
                    log.info("stopped early: no gain for %d epochs (--set patience)", config.patience)
                break
            network.train()
            epoch_loss, rate = torch.zeros((), device=device), 0.0
            start = time.perf_counter()
            batches = epoch_batches(len(feed), config.batch_size, seed, epoch)  # of all ranks
            for step, raw in enumerate(feed.batches(map(peers.share, batches))):
                torch.manual_seed(seed_of(seed, epoch, step, peers.rank))  # dropout and its kin
                rate = learning_rate((epoch - 1) * steps + step, config.epochs * steps, config)
                set_rate(optimizer, rate)
                x = to_unit(raw, spec)  # (B, C, H, W) in [0, 1]
                x = augment(x, config.augment, generator(seed, epoch, step, peers.rank))
                x = standardize(x, spec).contiguous(memory_format=layout(numerics))
                with autocast(numerics):
                    logits = network(x)  # (B, K)
                    check_classes(logits, data.labels)
                batch = batches[step]
                error = objective(logits.float(), peers.share(batch))
                (error * peers.weight(batch, counts)).backward()  # type: ignore[no-untyped-call]
                if config.clip:
                    nn.utils.clip_grad_norm_(model.parameters(), config.clip)
                optimizer.step()
                optimizer.zero_grad()
                average.update_parameters(model)
                epoch_loss += error.detach() * (float(counts[batch].sum()) / float(counts.sum()))
                if step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1:
                    check_loss(float(epoch_loss), epoch, config, history)
                report.step(len(batch))
            spent = time.perf_counter() - start

            if peers.first:
                found = _validate(average.module, val, spec, config, numerics)
                check_loss(found.loss, epoch, config, history)
                row = Epoch(
                    epoch=epoch,
                    lr=rate,
                    train_loss=float(epoch_loss),
                    val_loss=found.loss,
                    val_accuracy=found.accuracy,
                    val_macro_auroc=found.macro_auroc,
                    images_per_second=len(feed) / spent,
                    seconds=time.perf_counter() - start,
                )
                history.append(row)
                state = msgspec.structs.replace(state, history=tuple(history))
                state = _keep(run, state, model, average, optimizer)
                report.epoch(row, row.seconds * (config.epochs - epoch))
            history = peers.agree(history)

    # --- the best weights back into the model
    if peers.first:
        load_weights(model, run.file(WEIGHTS_FILE))
        draw_history(run.file("history.png"), history)
    peers.copy_from_first(model)
    model.to("cpu", memory_format=torch.contiguous_format).float().eval()  # type: ignore[call-overload]
    model.zero_grad(set_to_none=True)
    fitted = Fitted(
        best=best_of(history),
        epochs_done=len(history),
        images_per_second=throughput(history),
        seconds=sum(row.seconds for row in history),
        precision=numerics.text,
    )
    if peers.first:
        run.update(images_per_second=fitted.images_per_second, seconds=fitted.seconds)
    return fitted


# --- validation and what is kept


def _validate(
    model: nn.Module,
    val: Decoded,
    spec: PreprocessSpec,
    config: TrainConfig,
    numerics: Numerics,
) -> Scores:
    """What the validation images say of `model`."""
    model.eval()
    device = next(model.parameters()).device
    parts = []
    with torch.inference_mode():
        for pixels in torch.split(torch.from_numpy(val.pixels), config.batch_size):
            x = standardize(to_unit(pixels.to(device), spec), spec).contiguous(memory_format=layout(numerics))
            with autocast(numerics):
                logits = model(x)
            parts.append(logits.float().cpu())
    return score(torch.cat(parts), torch.from_numpy(val.targets))


def _keep(
    run: RunFolder,
    state: State,
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
) -> State:
    """Write what this epoch gave: the state that counts it as done, then its weights where they are the best, the rest.

    Killed before the first, a resumed run repeats the epoch; killed after it, `_catch_up` writes the rest.
    """
    history = state.history
    better = best_epoch(history) is history[-1]
    if better:
        state = msgspec.structs.replace(state, weights=weights_checksum(average.module))
    save_state(run.file(STATE_FILE), state, model, average, optimizer)
    if better:
        save_weights(average.module, run.file(WEIGHTS_FILE))
    write_history(run.file("history.csv"), history)
    run.update(best=best_of(history), epochs_done=len(history))
    return state


def _catch_up(run: RunFolder, state: State, average: AveragedModel) -> None:
    """Bring the other files of a run to where its state is; the weights of the last epoch are in the state, too.

    Raises:
        WeightsError: weights.safetensors does not hold those of the best epoch, which came before the last.
    """
    place, history = run.file(WEIGHTS_FILE), state.history
    best = best_epoch(history)
    if read_checksum(place) != state.weights:
        if best is not history[-1]:
            raise WeightsError(
                f"{quote_path(place)} does not hold the weights of epoch {best.epoch}, the best so far: it was "
                "changed, damaged or removed; bring a good copy back, or train a new run",
                code="weights-hash",
                path=str(place),
                expected=state.weights,
            )
        save_weights(average.module, place)
    write_history(run.file("history.csv"), history)
    run.update(best=best_of(history), epochs_done=len(history))


def _compare_threads(run: RunFolder) -> None:
    """Say and record that another number of threads continues the run: sums come out in another order."""
    was, now = run.record.threads, torch.get_num_threads()
    if was in {None, now}:
        return
    note = f"resumed after epoch {run.record.epochs_done} with {now} threads, {was} before"
    log.warning("%s; the weights may differ from those of an uninterrupted run", note)
    run.add_notes([note])
