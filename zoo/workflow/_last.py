"""What follows the folds of a run: one more training, of all images or of the folds' files, or a refusal in time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from zoo._support.text import brief, quote_path
from zoo.errors import UsageError
from zoo.workflow._find import OF_ALL, OF_FOLDS, last_of
from zoo.workflow._freeze import list_unused
from zoo.workflow._settings import settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from zoo.runs import RunFolder, RunRecord
    from zoo.spec import Budget
    from zoo.workflow._folds_request import Then
    from zoo.workflow._trainings import Training
    from zoo.workflow.folds import FoldsResult

__all__ = ["of_all", "of_folds", "refuse_last"]

_LENGTH = frozenset({"budget", "epochs", "patience", "steps"})
"""Settings that say how long training lasts, which the folds have found out."""


_HEAD = 4096 * 1000
"""Parameters at most of a head of 1000 classes, which a card counts: VGG's. A run has one of its own classes."""


def refuse_last(record: RunRecord, place: Path | None, what: Then, folds: int, *, held: bool = False) -> None:
    """Refuse what could not follow the folds, before any is trained.

    Args:
        record: record of the run, or of its first fold.
        place: the run.
        what: follows the folds.
        folds: how many there are.
        held: the run exists and is resumed.

    Raises:
        UsageError: something else followed the folds already; or they take columns, or lie where no ensemble can be.
        ModelError: the networks of all folds are too large for one file.
        PluginError: the plugin of ensembles cannot be loaded.
    """
    from zoo import registry

    if what == "none":
        return
    other = last_of(place) if held and place is not None else None
    if other is not None and other.name != what:
        raise UsageError(
            f"--then {what}: {quote_path(other)} is there already, and a run over folds ships one model; take another "
            f"--out, or remove that one with 'zoo runs remove {quote_path(other)}'",
            code="option-conflict",
            options=["--then"],
            holds=other.name,
        )
    if what != OF_FOLDS:
        return
    if record.card.table is not None:
        raise UsageError(
            f"--then ensemble: the folds take {brief(record.card.table.names)} beside the image (--inputs), and an "
            "ensemble sees the image alone; leave --inputs out, or give --then all",
            code="inputs-unsupported",
            model=record.card.name,
        )
    _refuse_large(record, folds)
    registry.load(registry.ENSEMBLE_PLUGIN)
    if place is not None and "," in str(place):
        raise UsageError(
            f"--then ensemble: {quote_path(place)} holds a comma, which divides names of members; take another --out",
            code="ensemble-name",
            name=str(place),
        )


def _refuse_large(record: RunRecord, folds: int) -> None:
    """By what the card counts, without a head; the file itself is measured in the end."""
    from zoo.artefact._ensemble import refuse_large

    backbone = int(record.card.parameters or 0) - _HEAD
    if backbone > 0:
        remedy = "give fewer folds, a smaller model or --then all"
        refuse_large(4 * backbone * folds, "--then ensemble: the folds", remedy)


def of_all(first: Training, found: FoldsResult, run: RunFolder) -> Training:
    """The training of the last model: all images, the median best epoch, never stopped early.

    It has no share of the time: an epoch of all images takes longer than one of a fold.
    """
    from zoo import registry

    budget: dict[str, Any] = {**first.budget, "fold": "none"}
    card = run.record.card
    if "epochs" not in list_unused(registry.load(card.plugin).plugin, card.train):
        settings = {name: value for name, value in settings_of(first.budget).items() if name not in _LENGTH}
        budget |= {"epochs": found.median_best_epoch, "budget": None, "settings": {**settings, "patience": 0}}
    return dataclasses.replace(first, out=run.path / OF_ALL, budget=cast("Budget", budget))


def of_folds(first: Training, found: FoldsResult, run: RunFolder) -> Training:
    """The ensemble of the folds: all that is open is decided by them."""
    from zoo.registry import ENSEMBLE

    model = f"{ENSEMBLE}{','.join(found.folds)}"
    return dataclasses.replace(first, model=model, out=run.path / OF_FOLDS, skip_bad=False, budget={"fold": "none"})
