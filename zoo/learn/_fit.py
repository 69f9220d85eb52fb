"""The training loop, from decoded images to the best weights; reads from top to bottom.

Every image is decoded and resized once into memory; a batch is a gather, some arithmetic on the device and a
step of AdamW. What is validated and kept are the averaged weights (EMA). The run can be killed at any moment.
It resumes after the last step whose state was written, a minute ago at most, and ends with the same bytes: order,
augmentation and dropout depend on the seed, the epoch and the step alone. The bytes are promised for the same machine,
versions and thread count, not across.

What this module does not know: how the network was made or named, files of images, ONNX, test images.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import torch
from torch import nn

from zoo._support.interrupts import hold_interrupts, sigterm_as_interrupt
from zoo._support.memory import keep_memory, lacks_memory
from zoo._support.threads import describe_crowd
from zoo.data import Splits
from zoo.errors import OutputError, ZooError
from zoo.learn._averaging import Soup, follow
from zoo.learn._beside import encode_beside
from zoo.learn._budget import spend
from zoo.learn._checkpoint import STATE_FILE, WEIGHTS_FILE, State, check_same_run, load_state, load_weights
from zoo.learn._descent import Descent
from zoo.learn._distributed import Peers, join, refuse_lost
from zoo.learn._divergence import Losses
from zoo.learn._history import Epoch, HistoryFile, best_of, draw_history, epochs_without_gain, throughput
from zoo.learn._images import Feed, decode_splits
from zoo.learn._kept import at_step, catch_up, compare_threads, keep, keep_soup
from zoo.learn._lesson import read_lesson
from zoo.learn._objective import count_known, objective_of
from zoo.learn._optim import adamw, set_rate
from zoo.learn._precision import choose, layout, pick_device
from zoo.learn._probing import set_learning
from zoo.learn._progress import report_progress
from zoo.learn._refusals import check_batches, check_parallel, check_same_state, find_state, too_large
from zoo.learn._saving import Checkpoints
from zoo.learn._schedule import count_probe, rate_of
from zoo.learn._sharded import describe_blocks, refuse_unfit
from zoo.learn._sheet import Sheet
from zoo.learn._validation import Validation, renew_statistics
from zoo.runs import Best, RunFolder, Step, TrainContext, remove_leftovers
from zoo.spec import PreprocessSpec, TrainConfig, count_epochs, parse_duration

__all__ = ["Fitted", "fit", "watch"]

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
    state, also after the last epoch. Ctrl-C and SIGTERM end it with a KeyboardInterrupt after the step, whose state is
    written first. `context.callbacks` hear of steps and epochs.

    Args:
        model: (N, C, H, W) float32 (and what `NetworkWithColumns` takes) to (N, K) logits; its first weights, and
            their seed, are the caller's.
        data: train and val are read, test is not.
        spec: from raw image to input.
        config: the recipe.
        run: where to write.
        context: whether to resume, and what else was asked for.

    Raises:
        TrainingError: too few images, a loss that is not finite, too little memory, nothing to resume,
            a state that began under other conditions, or a network that cannot be shared out.
        DataError: an image cannot be read and `context.skip_bad` is off.
        ProviderError: the device or format that was asked for is not there.
        OutputError: the run folder cannot be written.
    """
    with watch(spec, config, run) as peers:
        return _fit(model, data, spec, config, run, context, peers)


@contextlib.contextmanager
def watch(spec: PreprocessSpec, config: TrainConfig, run: RunFolder) -> Iterator[Peers]:
    """The processes of a training; whatever stops it is in the record of the run, and a lack of memory is named."""
    with (
        join(pick_device(config.device), sharded=config.parallel == "fsdp") as peers,
        keep_memory(),
        sigterm_as_interrupt(),
    ):
        try:
            yield peers
        except (KeyboardInterrupt, ZooError, MemoryError, RuntimeError) as stop:
            if peers.first and run.record.status == "training":
                with contextlib.suppress(OutputError):  # a full disk may be what stopped it
                    run.update(status="interrupted")
            if lacks_memory(stop):
                raise too_large(peers.device, spec, config) from None
            if peers.sharded and "mixed torch.Tensor and DTensor" in str(stop):
                raise refuse_unfit("it reads weights of a block without calling the block") from None
            if isinstance(stop, RuntimeError) and (lost := refuse_lost(stop)) is not None:
                raise lost from None
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
    device, begun = peers.device, time.monotonic()

    # --- data: decoded once, or anew in each epoch
    train, val, order = decode_splits(data, spec, config, run, context, peers)
    feed, held_out = Feed.of(train, spec, device), Feed.of(val, spec, device)
    counts = count_known(torch.from_numpy(train.targets))  # (n,) on the CPU
    ordered = data.task == "ordinal"
    lesson = read_lesson(run, data, train, config, device, peers)
    objective = objective_of(train.targets, len(data.labels), config, device, ordered=ordered, lesson=lesson)
    steps = order.steps
    check_batches(len(feed), config, peers.size)

    # --- the state to resume from, if any
    before = find_state(run, context)
    if before is None:
        check_parallel(config, peers.size)
    check_same_state(before, peers, run)

    # --- network, average, optimiser
    if before is not None and before.numerics.device == device.type:
        numerics = before.numerics
    else:
        numerics = choose(model, device, config, spec)
    numerics = peers.agree(numerics)
    whole, model = model, peers.take(model, layout(numerics))  # the same, but where processes share it out
    average = follow(whole, config, peers.hold if peers.sharded else None)
    optimizer = adamw(model, config)
    train_columns, val_columns = (encode_beside(model, one, device) for one in (train, val))
    descent = Descent(model, optimizer, objective, spec, config, numerics, data.labels, train_columns)
    validation = Validation(held_out, val.targets, spec, config, numerics, data.labels, ordered, val_columns, peers)
    epochs, history = count_epochs(config, len(feed)), list[Epoch]()
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
        check_same_run(before, state, run.record.diverged)
        load_state(run.file(STATE_FILE), model, average, optimizer)
        state = msgspec.structs.replace(before, config=config, numerics=numerics)
        history = list(before.history)
        if config.epochs == "auto":
            epochs = count_epochs(before.config, len(feed))
        if history:
            catch_up(run, state, average, peers)
        if peers.first and history:
            compare_threads(run)
        within = f", step {before.step} of {steps} of the next" if before.step else ""
        log.info("resuming after epoch %d of %d%s", len(history), epochs, within)
    elif config.budget is not None:
        deadline = begun + (parse_duration(config.budget) or 0.0) if context.deadline is None else context.deadline
        epochs = spend(deadline, epochs, descent, feed, order, validation, run, state, peers)
        state = msgspec.structs.replace(state, config=msgspec.structs.replace(config, epochs=epochs))
    losses = Losses(feed, train.ids, spec, run, config.lr)
    sheet = Sheet(run, train.targets, data.labels, spec, wanted=peers.first)
    checkpoints = Checkpoints(run, model, average, optimizer, losses.refuse, peers)
    if peers.first:
        remove_leftovers(run.path)
        run.update(status="training", precision=numerics.text, threads=torch.get_num_threads())
    if before is None:  # holds the random or pretrained start: a kill in epoch 1 loses nothing
        checkpoints.write(state)
    if peers.first:
        log.info("training %d images, validating %d, on %s", len(feed), len(held_out), numerics.text)
        if peers.sharded:
            log.info("%d processes share out the network: %s", peers.size, describe_blocks(whole))
        if device.type == "cpu" and (crowd := describe_crowd(torch.get_num_threads())):
            log.warning("%s", crowd)

    # --- the loop
    alone, network, judged = count_probe(epochs, config), None, None
    behind = len(history) * len(feed) + len(feed) * state.step // steps
    progress = report_progress(epochs, len(feed), config.metric, done=behind, quiet=not peers.first)
    with progress as report, hold_interrupts(follows=not peers.first) as interrupt:
        own = (report, HistoryFile(run.file("history.csv"), history), sheet)
        callbacks = (*own, *context.callbacks) if peers.first else ()
        for epoch in range(len(history) + 1, epochs + 1):
            if config.patience and epochs_without_gain(history) >= config.patience:
                if peers.first:
                    log.info("stopped early: no gain for %d epochs (--set patience)", config.patience)
                break
            set_learning(model, optimizer, head_only=epoch <= alone, fresh=run.record.fresh)
            if network is None or epoch == alone + 1:  # what averages gradients asks once which there are
                network = peers.wrap(model)
            epoch_loss, rate = torch.tensor(state.loss, device=device), state.lr
            start, checkpoints.spent = time.perf_counter() - state.seconds, 0.0
            batches = order.batches(epoch)  # of all ranks
            shares = [peers.share(one) for one in batches[state.step :]]
            feed.expect(shares)
            for step, raw in enumerate(feed.batches(shares), state.step):
                batch = batches[step]
                rate = rate_of(epoch, step, steps=steps, epochs=epochs, config=config)
                set_rate(optimizer, rate)
                error, norm = descent.step(
                    network,
                    raw,
                    peers.share(batch),
                    place=(epoch, step, peers.rank),
                    factor=peers.weight(batch, counts),
                    show=sheet.take,
                )
                average.update_parameters(model)
                epoch_loss += error * (float(counts[batch].sum()) / float(counts.sum()))
                losses.add(epoch, step + 1, batch, error, norm)
                due = checkpoints.due(asked=interrupt.asked)
                look = due or step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1
                mean = losses.look() if look else None
                if due:
                    state = at_step(state, step + 1, epoch_loss, rate, time.perf_counter() - start - checkpoints.spent)
                    checkpoints.write(state)
                    if peers.first and interrupt.asked:
                        raise KeyboardInterrupt
                done = Step(epoch=epoch, step=step + 1, steps=steps, images=len(batch), lr=rate, loss=mean)
                for one in callbacks:
                    one.step(done)
            spent = time.perf_counter() - start - checkpoints.spent

            # The first validation takes at most the time that so many images were trained in.
            if checkpoints.due_before(spent * len(held_out) / len(feed) if judged is None else judged):
                state = at_step(state, steps, epoch_loss, rate, spent)
                checkpoints.write(state)
            before_judging = time.perf_counter()
            try:
                # It changes nothing. The first process decides whether it is broken off, where no other needs its part.
                with interrupt.at_once() if peers.first and not peers.sharded else contextlib.nullcontext():
                    found = validation.judge(average.module)
            except KeyboardInterrupt:
                if peers.first and not peers.sharded:
                    checkpoints.write(at_step(state, steps, epoch_loss, rate, spent))
                raise
            judged = time.perf_counter() - before_judging
            losses.check(found.loss)
            row = Epoch(
                epoch=epoch,
                lr=rate,
                train_loss=float(epoch_loss),
                images_per_second=len(feed) / spent,
                seconds=time.perf_counter() - start,
                metric=config.metric,
                **found.columns(),
            )
            history.append(peers.agree(row))
            state = keep(run, msgspec.structs.replace(state, history=tuple(history)), average, checkpoints)
            for one in callbacks:
                one.epoch(row.columns)

    # --- the best weights back into the model
    best = best_of(history)
    if isinstance(average, Soup):

        def settle(mean: nn.Module) -> None:
            renew_statistics(mean, descent, feed, order, peers)

        best = keep_soup(run, history, average, validation.judge, settle, peers=peers)
    if peers.first:
        load_weights(whole, run.file(WEIGHTS_FILE))
        draw_history(run.file("history.png"), history)
    peers.copy_from_first(whole)
    whole.to("cpu", memory_format=torch.contiguous_format).float().eval()  # type: ignore[call-overload]
    whole.zero_grad(set_to_none=True)
    fitted = Fitted(
        best=peers.agree(best),
        epochs_done=len(history),
        images_per_second=throughput(history),
        seconds=sum(row.seconds for row in history),
        precision=numerics.text,
    )
    if peers.first:
        run.update(images_per_second=fitted.images_per_second, seconds=fitted.seconds)
    return fitted
