"""How many epochs fit into a time: a few real steps, one look at validation and one state, timed before training.

Only the number that comes of it is used, and it is recorded: a run that is resumed, or repeated with that number, gives
the same bytes. What was timed is thrown away, so that the first step is the first.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import math
import time
from dataclasses import dataclass

import msgspec
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo._support.text import format_count
from zoo._support.threads import find_crowd
from zoo.errors import TrainingError
from zoo.learn._averaging import INGREDIENTS, follow
from zoo.learn._checkpoint import State, save_state
from zoo.learn._descent import Descent
from zoo.learn._distributed import Peers
from zoo.learn._images import Feed
from zoo.learn._optim import adamw, set_rate
from zoo.learn._order import Order
from zoo.learn._saving import price_writes
from zoo.learn._validation import STATISTICS, Validation
from zoo.runs import RunFolder
from zoo.spec import TrainConfig

__all__ = ["Costs", "fit_epochs", "measure", "price_soup", "spend"]

log = logging.getLogger("zoo")

_WARM = 2
"""Steps that are not counted: threads start and kernels are chosen in them."""

_PROBE_S, _PROBE_SHARE = 2.0, 0.02
"""Seconds of counted steps, or share of the time that is left where that is more."""

_PROBE_MOST = 0.05
"""Share of the time that is left after which steps end, counted or not: on a busy machine the first may be slow."""

_JUDGED = 128
"""Validation images that are timed at most."""

_PLANNED = 0.95
"""Share of the time that is planned for; steps are not all as fast as those that were timed."""

_KEEPING = 1.5
"""Writes at the end of an epoch, in states: the state, and in a better epoch the weights, a quarter of it or less."""

_EXPORT_S, _EXPORT_S_A_LAYER = 10.0, 0.06
"""Seconds for what follows training: export, gate and report; and for each layer. torch's exporter alone took 5 to 11 s
for ResNet, VGG and CSPNet on two cores. The rest is an estimate on the side of too much, not a fit."""

_PASSES = 4
"""Times that validation and test images are answered after training, in validations of an epoch: calibration, the gate
and the report, whose answers come from raw pixels."""

_FORWARD = 0.5
"""Share of a step that a batch of BatchNorm statistics takes: the way forward is a third of a step's work, beside the
images' preparation, which is the same."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a training takes, in seconds.

    Attributes:
        step: one step.
        epoch: validation of an epoch, and all its states.
        finish: all that follows the last epoch.
    """

    step: float
    epoch: float
    finish: float


def spend(  # noqa: PLR0917 - what the loop has, in its order
    deadline: float,
    most: int,
    descent: Descent,
    feed: Feed,
    order: Order,
    validation: Validation,
    run: RunFolder,
    state: State,
    peers: Peers,
) -> int:
    """The number of epochs that the budget allows, `most` at most; it is recorded in the run, and said.

    Args:
        deadline: on the clock of `time.monotonic`.
        most: epochs that are wanted.
        descent: work of a step.
        feed: training images.
        order: their batches.
        validation: images that choose the epoch.
        run: its record gets the number.
        state: record of the run's state.
        peers: all take one number.

    Raises:
        TrainingError: not one epoch fits.
    """
    budget = descent.config.budget or ""
    crowd = _describe_crowd(descent)
    costs = measure(descent, feed, order, validation, run, state, peers, deadline - time.monotonic())
    left = peers.agree(_PLANNED * (deadline - time.monotonic()))
    epochs = fit_epochs(costs, order.steps, left, most, budget=budget, crowd=crowd)
    if peers.first:
        note = (
            f"budget {budget}: {epochs} of {most} epochs, with {1000 * costs.step:.0f} ms a step, {costs.epoch:.1f} s "
            f"to validate and keep an epoch, {costs.finish:.0f} s for export and report{crowd if epochs < most else ''}"
        )
        log.info("%s", note)
        card = run.record.card
        config = msgspec.structs.replace(card.train, epochs=epochs)
        run.add_notes([note], card=msgspec.structs.replace(card, train=config))
    return epochs


def _describe_crowd(descent: Descent) -> str:
    """What to say where other work slows the steps that are measured; empty: it does not."""
    threads = torch.get_num_threads()
    free = find_crowd(threads) if descent.numerics.device == "cpu" else None
    if free is None:
        return ""
    return (
        f"; other work left {free:.1f} cores for {format_count(threads, 'thread')} when steps were measured; on a "
        "quiet machine more epochs may fit"
    )


def fit_epochs(costs: Costs, steps: int, left: float, most: int, *, budget: str, crowd: str = "") -> int:
    """Epochs that fit.

    Args:
        costs: result of `measure`.
        steps: number of steps of one epoch.
        left: seconds that there are.
        most: epochs that are wanted.
        budget: the time as the user gave it.
        crowd: what to say of other work on this machine.

    Raises:
        TrainingError: not one fits.
    """
    one = steps * costs.step + costs.epoch
    fitting = int((left - costs.finish) / one)
    if fitting < 1:
        missing = one + costs.finish - left
        raise TrainingError(
            f"--budget {budget} does not hold one epoch: that takes {one:.0f} s, export and report "
            f"{costs.finish:.0f} s, and {max(0.0, left):.0f} s are left; give at least {math.ceil(missing)} s more, or "
            f"lower --size{crowd}",
            code="budget-too-small",
            budget=budget,
            epoch=one,
            finish=costs.finish,
            left=left,
        )
    return min(most, fitting)


def measure(  # noqa: PLR0917 - as above
    descent: Descent,
    feed: Feed,
    order: Order,
    validation: Validation,
    run: RunFolder,
    state: State,
    peers: Peers,
    left: float,
) -> Costs:
    """Time a few steps, a validation and a state, on copies; nothing that training will use changes.

    Several processes exchange gradients as in training, and all get what the slowest one took. Numbers that are not
    finite are left to training, which tells of them with step and images.

    Args:
        descent: work of a step.
        feed: training images.
        order: their batches.
        validation: images that choose the epoch.
        run: its folder is written to, for the time that it takes.
        state: record of the run's state.
        peers: processes that share the batches.
        left: seconds that there are.
    """
    model = copy.deepcopy(descent.model)
    optimizer, average = adamw(model, descent.config), follow(model, descent.config)
    trial = dataclasses.replace(descent, model=model, optimizer=optimizer)
    set_rate(optimizer, 0.0)  # at the peak rate without a warm-up weights may run away, which takes other times
    network = peers.wrap(model.train())
    batches = order.batches(1)
    timed: list[float] = []
    rows = feed.batches(map(peers.share, batches))
    last = time.perf_counter()
    for step, raw in enumerate(rows):
        error, _ = trial.step(network, raw, peers.share(batches[step]), place=(0, step, peers.rank), factor=1.0)
        average.update_parameters(model)
        float(error)  # waits for the device
        now = time.perf_counter()
        timed.append(now - last)
        enough = sum(timed[_WARM:]) > max(_PROBE_S, _PROBE_SHARE * left) or sum(timed) > _PROBE_MOST * left
        if peers.agree(enough):  # a process that stepped on alone would wait for the others
            break
        last = time.perf_counter()
    counted = sorted(timed[_WARM:] or timed)
    judging, judged = 0.0, min(_JUDGED, len(validation))
    for _ in range(2):  # the first pass chooses kernels
        start = time.perf_counter()
        validation.judge(average.module, judged)
        judging = (time.perf_counter() - start) * len(validation) / judged
        if peers.agree(judging > _PROBE_MOST * left):
            break
    keeping, usual = 0.0, counted[len(counted) // 2]
    if peers.first:
        start = time.perf_counter()
        trial_state = run.file(".probe.part")  # as if half-written: what a kill leaves of it is removed
        with contextlib.suppress(FloatingPointError):
            save_state(trial_state, state, model, average, optimizer)
        cost = time.perf_counter() - start
        keeping = _KEEPING * cost + price_writes(cost, trained=order.steps * usual, judging=judging)
        trial_state.unlink(missing_ok=True)
    layers = sum(1 for module in model.modules() if not list(module.children()))
    finish = _EXPORT_S + _EXPORT_S_A_LAYER * layers + _PASSES * judging
    finish += price_soup(model, descent.config, steps=order.steps, step=usual, judging=judging)
    costs = peers.collect(Costs(step=usual, epoch=judging + keeping, finish=finish))
    return Costs(*(max(getattr(one, field.name) for one in costs) for field in dataclasses.fields(Costs)))


def price_soup(model: nn.Module, config: TrainConfig, *, steps: int, step: float, judging: float) -> float:
    """Seconds that the mean of the best epochs takes after the last one: statistics anew and a validation for each try.

    Args:
        model: the network.
        config: the recipe; without average=soup it is 0.
        steps: number of steps of one epoch.
        step: seconds of one.
        judging: seconds of a validation.
    """
    if config.average != "soup":
        return 0.0
    batches = min(STATISTICS, steps) if any(isinstance(part, _BatchNorm) for part in model.modules()) else 0
    return (INGREDIENTS - 1) * (batches * _FORWARD * step + judging)
