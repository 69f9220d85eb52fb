"""`zoo evaluate --suspects`: labels of images that are likely wrong, by a model that has not learnt from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zoo.errors import UsageError
from zoo.spec import Display, Table
from zoo.workflow._find import is_exported

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    import numpy as np
    from numpy.typing import NDArray

    from zoo.data import ImageSet, Splits
    from zoo.edge import Runtime
    from zoo.evaluation import Cases
    from zoo.runs import RunFolder
    from zoo.spec import Reading

__all__ = ["LabelSuspect", "Suspects", "find_suspects"]


class LabelSuspect(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose label is likely wrong."""

    image: str
    """Its name."""
    given: str
    """The label that it bears; of several labels "not NAME" where it is said not to have one."""
    suggested: str
    """The label that the model suggests."""
    probability: float
    """Of `suggested`, in [0, 1]."""
    given_probability: float
    """Of `given`."""
    rank: int
    """1 is the likeliest of all."""
    rank_in_class: int
    """1 is the likeliest of its label."""


class Suspects(Display, msgspec.Struct, frozen=True, kw_only=True):
    """Labels that are likely wrong, the likeliest first."""

    n: int
    """Images that were looked at."""
    found: int
    """Labels that are in doubt, with those that are not listed."""
    suspects: tuple[LabelSuspect, ...]
    notes: tuple[str, ...] = ()
    """Which images were looked at."""

    def headline(self) -> str:
        """How many."""
        return f"{self.found} labels of {self.n} images are in doubt; {len(self.suspects)} are listed"

    def tables(self) -> dict[str, Table]:
        """One row a label."""
        return {"suspects": Table([msgspec.structs.asdict(one) for one in self.suspects])}


def find_suspects(
    target: str | Path | None = None,
    data: str | Path | None = None,
    *,
    most: int = 50,
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
    key: str | Path | None = None,
    **reading: Unpack[Reading],
) -> Suspects:
    """List the labels that are likely wrong; see `zoo.evaluation.suspects`.

    Of a run over folds these are the kept answers to all its images, each by the file that has not seen it. Of another
    run its file answers its test and validation images. Elsewhere images that the model has seen are left out.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run.
        data: other images; None: those of the run.
        most: labels that are listed at most.
        split: which of `data`; of a run's own images test, with which validation goes.
        provider: execution provider.
        skip_bad: leave out images that cannot be read.
        key: file of a public key.
        **reading: way to read the data, see `zoo.spec.Reading`.

    Raises:
        UsageError: training images are asked for, which tell nothing of labels that were learnt.
        ZooError: any kind.
    """
    import numpy as np

    from zoo.evaluation import Cases
    from zoo.runs import find_run
    from zoo.workflow._folds import read_answers
    from zoo.workflow.evaluate import leave_out_seen, open_target

    if split == "train" and data is None:
        raise _refuse_learnt("the training images")
    place = Path(target) if target is not None else find_run(None)
    run = None if data is not None or is_exported(place) else _over_folds(place)
    if run is not None:
        kept = read_answers(run.path)
        cases = Cases.of(kept.logits, kept.targets, ordered=run.record.task == "ordinal")
        note = f"answers of {len(run.record.folds)} folds, each to images that it has not seen"
        return _list(cases, kept.ids.tolist(), run.record.labels, most, note)
    found = open_target(place, data, split=split, provider=provider, skip_bad=skip_bad, key=key, **reading)
    if found.learnt(split):
        raise _refuse_learnt("the images of its training")
    splits, seen = leave_out_seen(found, split, include=False)
    names = ("test", "val") if found.own and split == "test" else (split,)
    if not any(len(splits.split(name)) for name in names):
        raise _refuse_learnt("the images that are left")
    parts = [_answer(found.runtime, splits, name) for name in names if len(splits.split(name))]
    manifest = found.runtime.manifest
    cases = Cases.of(
        np.concatenate([logits for _, logits in parts]),
        np.concatenate([images.targets for images, _ in parts]),
        manifest.temperature,
        ordered=manifest.task == "ordinal",
    )
    ids = [name for images, _ in parts for name in images.ids]
    notes = (f"answers to the {' and '.join(names)} images", *(() if seen is None else (seen.note,)))
    return _list(cases, ids, manifest.labels, most, *notes)


def _over_folds(place: Path) -> RunFolder | None:
    from zoo.runs import find_run, open_run

    run = open_run(find_run(place))
    return run if run.record.folds else None


def _answer(runtime: Runtime, splits: Splits, split: str) -> tuple[ImageSet, NDArray[np.float32]]:
    """The images of one split, and what the file answers to them."""
    from zoo.evaluation import predict_set
    from zoo.workflow._images import check_in_range
    from zoo.workflow._inputs import select_columns
    from zoo.workflow._judge import check_takes

    manifest = runtime.manifest
    chosen, _ = select_columns(check_takes(manifest, splits).split(split), manifest.table)
    images = check_in_range(chosen, manifest.views)
    return images, predict_set(runtime.logits, images)


def _list(cases: Cases, ids: Sequence[str], labels: Sequence[str], most: int, *notes: str) -> Suspects:
    from zoo.evaluation import rank_suspects

    def name(label: int, held: bool | None) -> str:
        return f"not {labels[label]}" if held is False else labels[label]

    found = rank_suspects(cases)
    rows = [
        LabelSuspect(
            image=ids[one.image],
            given=name(one.given, one.held),
            suggested=name(one.suggested, None if one.held is None else not one.held),
            probability=one.probability,
            given_probability=one.given_probability,
            rank=one.rank,
            rank_in_class=one.rank_in_class,
        )
        for one in found[:most]
    ]
    return Suspects(n=cases.n, found=len(found), suspects=tuple(rows), notes=notes)


def _refuse_learnt(what: str) -> UsageError:
    return UsageError(
        f"--suspects: the model has learnt from {what}, and repeats their labels; take its test images, or a run over "
        "folds ('zoo train --folds'), which answers every image by a model that has not seen it",
        code="suspects-learnt",
    )
