"""What a name given to a verb stands for: the model file behind it, and the images it is to be judged on.

A name may be a run, a bundle or an .onnx file. Training images are opened again only when they are proven to be the
same ones, so that a made split puts every image where it was.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import DataError, ModelError, PluginError, UsageError
from zoo.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.data import Splits
    from zoo.edge import Runtime
    from zoo.runs import Run
    from zoo.ship import Judged
    from zoo.spec import Manifest

__all__ = ["MODEL_FILE", "images_of", "judged", "lasting_source", "model_file", "without_bad"]

MODEL_FILE = "model.onnx"

log = logging.getLogger("zoo")


def model_file(path: Path) -> Path:
    """The file or bundle to open for `path`, which may be a run."""
    from zoo.runs import find_run

    if path.is_file() or (path / "manifest.json").is_file():
        return path
    if (path / "run.json").is_file() or not path.exists():
        try:
            run = find_run(path)
        except UsageError:
            raise ModelError(f"{path}: no such file; expected an .onnx file, a bundle NAME.zoo or a run") from None
        if not (run / MODEL_FILE).is_file():
            raise ModelError(f"{run} holds no {MODEL_FILE}: {_why_no_file(run)}")
        return run / MODEL_FILE
    raise ModelError(f"{path} is a folder without manifest.json; expected an .onnx file, a bundle NAME.zoo or a run")


def _why_no_file(run: Path) -> str:
    from zoo.registry import ENSEMBLE_PLUGIN
    from zoo.runs import open_run, remedy

    record = open_run(run).record
    if record.plugin.name == ENSEMBLE_PLUGIN and record.status != "done":
        return "the ensemble did not come about; make it again with 'zoo train ensemble:RUN,RUN --overwrite'"
    return remedy(record, run)


def judged(
    target: str | Path | None,
    data: str | Path | None,
    *,
    split: str,
    provider: str,
    skip_bad: bool = False,
    key: str | Path | None = None,
) -> tuple[Runtime, Judged]:
    """Open a target and run it on a split of `data`, or of its own data."""
    from zoo import registry, ship
    from zoo.data import reopen_data
    from zoo.edge import Runtime
    from zoo.runs import find_run, open_run

    path = model_file(Path(target) if target is not None else find_run(None))
    runtime = Runtime.open(path, provider=provider, key=key)
    run = open_run(path.parent) if (path.parent / "run.json").is_file() else None
    plugin = None
    if run is not None:
        try:
            plugin = registry.load(run.record.plugin.name).plugin
        except PluginError as problem:
            log.warning("judged without the model's plugin: %s", problem)
    if data is None:
        if run is None:
            raise UsageError(f"{path} does not say where its images are; name them with --data")
        splits = without_bad(images_of(run, None), run.record.skipped)
    else:
        splits = reopen_data(data, runtime.manifest.provenance, skip_bad=skip_bad)
    if skip_bad:
        splits = _only_readable(splits, split, runtime)
    seen = _seen(run, splits, split, runtime.manifest)
    return runtime, ship.judge(plugin, runtime, splits, split, seen=seen)


def images_of(run: Run, data: str | Path | None) -> Splits:
    """The images a run was trained with, proven to be the same ones."""
    from zoo.data import open_data

    record, config = run.record, run.record.config
    source = data or record.source
    try:
        splits = open_data(
            source,
            split_seed=config.split_seed,
            skip_bad=bool(record.skipped),
            leaks=config.leaks,
            fold=config.fold,
        )
    except DataError as problem:
        if data is not None:
            raise
        raise DataError(f"{problem}; name the images of run {run.path.name} with --data if they have moved") from None
    if splits.fingerprint.sha256 != record.data.sha256:
        raise DataError(
            f"{source} is not what {run.path.name} was trained with: its fingerprint is "
            f"{splits.fingerprint.sha256[:12]}…, the run says {record.data.sha256[:12]}…; "
            "name the original images with --data"
        )
    return splits.read_for(record.card.preprocess)


def without_bad(splits: Splits, skipped: Sequence[str]) -> Splits:
    """Leave out what training found unreadable (--skip-bad): export and evaluation do not meet it again."""
    # Ids only: what had no readable header stands there as 'id: reason' and is in no split.
    bad = set(skipped)
    sets = (splits.train, splits.val, splits.test)
    train, val, test = (images.subset([i for i, image in enumerate(images.ids) if image not in bad]) for images in sets)
    left_out = sum(map(len, sets)) - len(train) - len(val) - len(test)
    if not left_out:
        return splits
    return dataclasses.replace(splits, train=train, val=val, test=test, notes=(*splits.notes, _left_out(left_out)))


def _left_out(n: int) -> str:
    return f"{counted(n, 'image')} left out: can not be decoded, or out of range"


def lasting_source(data: str | Path) -> str:
    """How run.json names the images: a path must still be right from another working directory."""
    from zoo.data import named

    known = named(data)
    return known.name if known else str(Path(data).resolve())


def _seen(run: Run | None, splits: Splits, split: str, manifest: Manifest) -> tuple[str, ...]:
    """A note on how many of the images to be judged on the model has seen in training; a warning where it has."""
    from zoo.data import TRAINED_ON, read_seen, seen_among

    own = splits.fingerprint.sha256
    # Members of an ensemble may have been trained on other images, or on these split otherwise.
    elsewhere = any(member.data.sha256 != own for member in manifest.members)
    if own == manifest.provenance.data.sha256 and not (split == "test" and elsewhere):
        if split == "test":  # the notes of the data say what its splits share
            return ()
        how = "the model was trained on" if split == "train" else "the model's best epoch was chosen by"
        note = f"these are the images that {how}: numbers are optimistic"
        log.warning("%s", note)
        return (note,)
    if run is None or not run.file(TRAINED_ON).is_file():
        return (
            "whether the model was trained on some of these images is not known: no list of its images came with it",
        )
    digests = splits.split(split).digests
    count = seen_among(digests, read_seen(run.file(TRAINED_ON)))
    note = f"{count} of {len(digests)} images were in the model's training or validation set, byte for byte"
    if count:
        log.warning("%s: %s; numbers are optimistic", run.path.name, note)
    return (note,)


def _only_readable(splits: Splits, split: str, runtime: Runtime) -> Splits:
    from zoo import ship

    manifest = runtime.manifest
    images, bad = ship.readable(splits.read_for(manifest.preprocess).split(split), manifest.views)
    if not bad:
        return splits
    changed: dict[str, Any] = {split: images, "notes": (*splits.notes, _left_out(len(bad)))}
    return dataclasses.replace(splits, **changed)
