"""What an epoch leaves in the run, in an order in which a kill loses nothing; and what a resumed run finds there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from zoo._support.text import quote_path
from zoo.errors import WeightsError
from zoo.learn._averaging import Soup
from zoo.learn._checkpoint import (
    WEIGHTS_FILE,
    State,
    read_checksum,
    weights_checksum,
    write_weights,
)
from zoo.learn._distributed import Peers
from zoo.learn._history import Epoch, best_epoch, best_of, write_history
from zoo.learn._objective import Scores
from zoo.learn._saving import Checkpoints
from zoo.learn._sharded import whole
from zoo.runs import Best, RunFolder

__all__ = ["at_step", "catch_up", "compare_threads", "keep", "keep_soup"]

log = logging.getLogger("zoo")


def at_step(state: State, step: int, loss: torch.Tensor, lr: float, seconds: float) -> State:
    """`state` after so many steps of an epoch."""
    return msgspec.structs.replace(state, step=step, loss=float(loss), lr=lr, seconds=seconds)


def keep(run: RunFolder, state: State, average: AveragedModel, checkpoints: Checkpoints) -> State:
    """Write what this epoch gave: the state that counts it as done, then its weights where they are the best, the rest.

    Killed before the first, a resumed run repeats the epoch; killed after it, `catch_up` writes the rest. Every process
    calls it, and the first one writes.
    """
    history = state.history
    better = best_epoch(history) is history[-1]
    if isinstance(average, Soup):
        average.offer(history)
    weights = whole(average.module.state_dict(), checkpoints.peers) if better else {}
    if weights:
        state = msgspec.structs.replace(state, weights=weights_checksum(weights))
    state = at_step(state, 0, torch.zeros(()), 0.0, 0.0)
    checkpoints.write(state)
    if weights:
        write_weights(weights, run.file(WEIGHTS_FILE))
    run.update(best=best_of(history), epochs_done=len(history), steps_done=0)
    return state


def catch_up(run: RunFolder, state: State, average: AveragedModel, peers: Peers) -> None:
    """Bring the other files of a run to where its state is, which holds the weights of the last epoch.

    That of a soup holds the best epoch, too. Every process calls it, and the first one writes.

    Raises:
        WeightsError: weights.safetensors does not hold those of the best epoch, which came before the last.
    """
    place, history = run.file(WEIGHTS_FILE), state.history
    best = best_epoch(history)
    if peers.agree(peers.first and read_checksum(place) != state.weights):
        if isinstance(average, Soup):
            source = average.holding(best.epoch)
        elif best is history[-1]:
            source = average.module
        else:
            raise WeightsError(
                f"{quote_path(place)} does not hold the weights of epoch {best.epoch}, the best so far: it was "
                "changed, damaged or removed; bring a good copy back, or train a new run",
                code="weights-hash",
                path=str(place),
                expected=state.weights,
            )
        if weights := whole(source.state_dict(), peers):
            write_weights(weights, place)
    if run.writes:
        write_history(run.file("history.csv"), history)
    run.update(best=best_of(history), epochs_done=len(history), steps_done=state.step)


def keep_soup(
    run: RunFolder,
    history: Sequence[Epoch],
    soup: Soup,
    judge: Callable[[nn.Module], Scores],
    settle: Callable[[nn.Module], None],
    *,
    peers: Peers,
) -> Best:
    """Write the mean of the best epochs as the weights, and record what it is; the state lets it be made again.

    Every process makes the mean, because all of them judge it; the first one writes.

    Args:
        run: its weights.safetensors is replaced.
        history: every epoch.
        soup: the epochs that are held.
        judge: argument of `Soup.blend`.
        settle: argument of `Soup.blend`.
        peers: processes that train together.
    """
    network, chosen, row = soup.blend(history, judge, settle)
    best = best_of([row])
    if weights := whole(network.state_dict(), peers):
        write_weights(weights, run.file(WEIGHTS_FILE))
    single = best_of(history)
    note = f"weights: epoch {chosen[0]} alone, no mean with the next best epochs was as good"
    if len(chosen) > 1:
        named = ", ".join(map(str, chosen))
        note = f"weights: mean of epochs {named}; {best.metric} {best.value:.4f}, of the best alone {single.value:.4f}"
    if run.writes:
        log.info("%s", note)
    run.add_notes([note], best=best)
    return best


def compare_threads(run: RunFolder) -> None:
    """Say and record that another number of threads continues the run: sums come out in another order."""
    was, now = run.record.threads, torch.get_num_threads()
    if was in {None, now}:
        return
    note = f"resumed after epoch {run.record.epochs_done} with {now} threads, {was} before"
    log.warning("%s; the weights may differ from those of an uninterrupted run", note)
    run.add_notes([note])
