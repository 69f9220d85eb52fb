"""`zoo compare`: several models on the same images; names of the catalogue are trained first, with one budget."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

from zoo.errors import CatalogueError, UsageError
from zoo.spec import Reading
from zoo.workflow._find import is_run
from zoo.workflow.evaluate import judge_target
from zoo.workflow.train import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.evaluation.comparison import Comparison
    from zoo.spec import Budget

__all__ = ["compare"]

log = logging.getLogger("zoo")


def compare(
    targets: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    budget: Budget | None = None,
) -> Comparison:
    """Compare models on the same images: intervals, latency and size of each, and a paired test of each pair.

    Args:
        targets: runs, bundles, .onnx files, or names of models, which are trained first with one budget.
        data: images; None: those of the runs, which must then be the same, or "digits" where nothing was
            trained yet.
        split: train, val or test.
        provider: execution provider.
        budget: what the models that are trained get, such as {"epochs": 5}; its `uncertain` holds for all models.

    Raises:
        UsageError: fewer than two targets.
        DataError: the targets were not trained on the same data and `data` is None, or do not know the same
            labels.
    """
    from zoo.workflow._judge import compare_judged

    if len(targets) < 2:
        raise UsageError(
            f"{len(targets)} model to compare, expected at least two runs, bundles, files or model names",
            code="compare-too-few",
            found=len(targets),
            expected=2,
        )
    located = _locate(targets, data, budget or {})
    said = budget or {}
    asked = Reading(uncertain=said.get("uncertain"))
    if data is not None:  # else the runs' own images, read as in training
        asked |= Reading(columns=said.get("columns"), group=said.get("group"), keep_na=said.get("keep_na"))
    opened = [judge_target(where, data, split=split, provider=provider, **asked) for where in located]
    return compare_judged(opened, located)


def _locate(targets: Sequence[str | Path], data: str | Path | None, budget: Budget) -> list[Path]:
    """Where each model is; names of the catalogue are trained, after every name was found to mean something."""
    from zoo import registry
    from zoo.runs import open_run

    found, named = [_find(target) for target in targets], data
    if data is None:  # on the images of a run that is already there, divided as they were for it
        runs = [path for path in found if path is not None and is_run(path)]
        data = "digits"
        if runs:
            record = open_run(runs[0]).record
            data = record.source
            config = record.card.train
            own = {"leaks": config.leaks, "fold": config.fold, **config.reading}
            said = {name: value for name, value in budget.items() if value is not None}
            budget = cast("Budget", own | said)
    paths = []
    for target, path in zip(targets, found, strict=True):
        if path is None and str(target).startswith(registry.ENSEMBLE):  # nothing to train: its members' images
            path = Path(train(str(target), named).run)  # noqa: PLW2901 - what was missing is filled in
        elif path is None:
            log.info("training %s", target)
            given: Budget = {**budget}
            if given.get("pretrained") and registry.find(str(target)).weights is None:
                log.info("%s has no pretrained weights and starts from scratch", target)
                given["pretrained"] = False
            path = Path(train(str(target), data, **given).run)  # noqa: PLW2901 - what was missing is filled in
        paths.append(path)
    return paths


def _find(target: str | Path) -> Path | None:
    """The run, bundle or file called `target`; None: it is a model to train."""
    from zoo import registry
    from zoo.runs import find_run

    if Path(target).exists():
        return Path(target).resolve()  # runs/latest moves on when a model is trained for the comparison
    try:
        return find_run(target)
    except UsageError:
        pass
    try:
        registry.find(str(target))
    except CatalogueError as problem:
        raise UsageError(
            f"'{target}' is not a run, bundle, file or model: {problem}", code="target-unknown", target=str(target)
        ) from None
    return None
