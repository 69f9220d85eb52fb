"""`zoo evaluate`: a shipped file on raw images, judged, with what is known of images it has seen before."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import PluginError, UsageError
from zoo.spec import pick_reading
from zoo.workflow._find import is_run, model_file

if TYPE_CHECKING:
    from typing import Unpack

    from zoo.data import Splits
    from zoo.edge import Runtime
    from zoo.runs import RunFolder
    from zoo.spec import EvalReport, Manifest, Reading
    from zoo.workflow._judge import Judged

__all__ = ["evaluate", "judge_target"]

log = logging.getLogger("zoo")


def evaluate(
    target: str | Path | None = None,
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
    key: str | Path | None = None,
    **reading: Unpack[Reading],
) -> EvalReport:
    """Run a shipped file on raw images and judge its answers.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run.
        data: images; None: those the run was trained with (a bundle or file needs it).
        split: train, val or test.
        provider: execution provider.
        skip_bad: leave out images that cannot be read, and rows without a label.
        key: file of a public key: only a bundle signed by it is judged.
        **reading: columns, group, keep_na, uncertain; see `zoo.spec.Reading`. What is missing is as in training.
    """
    found = judge_target(target, data, split=split, provider=provider, skip_bad=skip_bad, key=key, **reading)
    return found[1].report


def judge_target(
    target: str | Path | None,
    data: str | Path | None,
    *,
    split: str,
    provider: str,
    skip_bad: bool = False,
    key: str | Path | None = None,
    **reading: Unpack[Reading],
) -> tuple[Runtime, Judged]:
    """Open a target and run it on a split of `data`, or of its own data."""
    from zoo import registry
    from zoo.data import reopen_data
    from zoo.edge import Runtime
    from zoo.runs import find_run, open_run
    from zoo.workflow._images import images_of, without_bad
    from zoo.workflow._judge import judge

    asked = pick_reading(reading)
    if data is None and (idle := sorted(asked.keys() - {"uncertain"})):
        options = [f"--{name.replace('_', '-')}" for name in idle]
        raise UsageError(
            f"{' and '.join(options)} without --data; the images of a run are read as in its training",
            code="option-ignored",
            options=options,
        )
    path = model_file(Path(target) if target is not None else find_run(None))
    runtime = Runtime.open(path, provider=provider, key=key)
    run = open_run(path.parent) if is_run(path.parent) else None
    plugin = None
    if run is not None:
        try:
            plugin = registry.load(run.record.plugin.name).plugin
        except PluginError as problem:
            log.warning("judged without the model's plugin: %s", problem)
    if data is None:
        if run is None:
            raise UsageError(
                f"{path} does not say where its images are; name them with --data", code="data-unnamed", path=str(path)
            )
        splits = without_bad(images_of(run, None, uncertain=asked.get("uncertain")), run.record.skipped)
    else:
        splits = reopen_data(data, runtime.manifest.provenance, skip_bad=skip_bad, **asked)
    if skip_bad:
        splits = _only_readable(splits, split, runtime)
    seen = _note_seen(run, splits, split, runtime.manifest)
    return runtime, judge(plugin, runtime, splits, split, seen=seen)


def _note_seen(run: RunFolder | None, splits: Splits, split: str, manifest: Manifest) -> tuple[str, ...]:
    """A note on how many of the images to be judged on the model has seen in training; a warning where it has."""
    from zoo.data import TRAINED_ON, count_seen, read_seen

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
    count = count_seen(digests, read_seen(run.file(TRAINED_ON)))
    note = f"{count} of {len(digests)} images were in the model's training or validation set, byte for byte"
    if count:
        log.warning("%s: %s; numbers are optimistic", run.path.name, note)
    return (note,)


def _only_readable(splits: Splits, split: str, runtime: Runtime) -> Splits:
    from zoo.workflow._images import note_left_out, readable

    manifest = runtime.manifest
    images, bad = readable(splits.read_for(manifest.preprocess).split(split), manifest.views)
    if not bad:
        return splits
    changed: dict[str, Any] = {split: images, "notes": (*splits.notes, note_left_out(len(bad)))}
    return dataclasses.replace(splits, **changed)
