"""`zoo evaluate`: a shipped file on raw images, judged, with what is known of images it has seen before."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo._support.text import format_count
from zoo.errors import DataError, PluginError, UsageError
from zoo.spec import SeenImages, pick_reading
from zoo.workflow._find import is_run, model_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    from zoo.data import Seen, Splits
    from zoo.edge import Runtime
    from zoo.plugin import ModelPlugin
    from zoo.runs import RunFolder
    from zoo.spec import EvalReport, Reading
    from zoo.workflow._judge import Judged
    from zoo.workflow._seen import Overlap

__all__ = [
    "Target",
    "check_words",
    "evaluate",
    "judge_target",
    "leave_out_seen",
    "load_plugin",
    "look_up",
    "only_readable",
    "open_target",
]

log = logging.getLogger("zoo")


def evaluate(
    target: str | Path | None = None,
    data: str | Path | None = None,
    *,
    split: str = "test",
    provider: str = "cpu",
    skip_bad: bool = False,
    key: str | Path | None = None,
    include_seen: bool = False,
    operating: Sequence[str] = (),
    prevalence: Sequence[str] = (),
    by: Sequence[str] | None = None,
    unlike: Sequence[str | Path] = (),
    **reading: Unpack[Reading],
) -> EvalReport:
    """Run a shipped file on raw images that it has not seen, and judge its answers.

    Args:
        target: a run, a bundle, or an .onnx file; None: the last run.
        data: images; None: those the run was trained with (a bundle or file needs it).
        split: train, val or test.
        provider: execution provider.
        skip_bad: leave out images that cannot be read, those of `unlike` too, and rows without a label.
        key: file of a public key: only a bundle signed by it is judged.
        include_seen: judge images too that the model was trained or validated on; `EvalReport.seen` counts them.
        operating: rules, such as "sensitivity=0.9:melanoma", that choose operating points on the run's own validation
            images in the place of the file's own; the file stays as it is.
        prevalence: share of images that have a label where the model is to be used, such as "0.05" or "melanoma=0.05",
            for PPV and NPV there.
        by: columns of the data that the report is divided by: names or roles, ["all"] or ["none"]; None: site, age, sex
            and device, where the data bring them.
        unlike: files or folders of images that are not of the model's kind; the report says how many of them the file
            calls unlike training, and how well its score tells them from the judged ones.
        **reading: columns, group, keep_na, uncertain, frames; see `zoo.spec.Reading`. What is missing is as in
            training.

    Raises:
        ZooError: any kind. GateError: the model has seen all of the images, and `include_seen` is off.
    """
    check_words(operating, prevalence)
    found = open_target(target, data, split=split, provider=provider, skip_bad=skip_bad, key=key, **reading)
    splits, seen = leave_out_seen(found, split, include=include_seen)
    judged = judge_target(
        found, splits, split, seen,
        operating=operating, prevalence=prevalence, by=by, unlike=unlike, skip_bad=skip_bad,
    )  # fmt: skip
    return judged.report


def check_words(operating: Sequence[str], prevalence: Sequence[str]) -> None:
    """Refuse rules and shares that nobody could read, before images are.

    Raises:
        UsageError: one is not a rule, or not a share.
    """
    from zoo.evaluation import parse_prevalence, read_rules

    read_rules(operating)
    parse_prevalence(prevalence)


def judge_target(
    found: Target,
    splits: Splits,
    split: str,
    seen: SeenImages | None,
    *,
    operating: Sequence[str] = (),
    prevalence: Sequence[str] = (),
    by: Sequence[str] | None = None,
    unlike: Sequence[str | Path] = (),
    skip_bad: bool = False,
) -> Judged:
    """Judge an open target on `splits`, which `leave_out_seen` gave with `seen`; the others as of `evaluate`."""
    from zoo.workflow._judge import judge
    from zoo.workflow._other_points import choose_for_report

    manifest, notes = choose_for_report(found, operating, split) if operating else (None, ())
    judged = judge(
        found.plugin,
        found.runtime,
        splits,
        split,
        seen=seen,
        manifest=manifest,
        prevalence=prevalence,
        by=by,
        unlike=unlike,
        skip_bad=skip_bad,
    )
    told = msgspec.structs.replace(judged.report, notes=(*judged.report.notes, *notes))
    return dataclasses.replace(judged, report=told, decided=manifest)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A model that is about to be judged.

    Attributes:
        runtime: its file, opened.
        plugin: whose `evaluate` is asked; None: `zoo.evaluate`.
        splits: the images.
        seen: what it says that it has seen; None: nothing came with it.
        own: the images are those it was trained with, divided as then.
        run: the run that it lies in; None: it is a file alone.
        left_out: images of the split that it cannot take (--skip-bad, there or here); `splits` lacks them.
    """

    runtime: Runtime
    plugin: ModelPlugin | None
    splits: Splits
    seen: Seen | None
    own: bool
    run: RunFolder | None = None
    left_out: frozenset[str] = frozenset()

    @property
    def keeps_seen(self) -> bool:
        """Whether its own test images were judged in training although it had seen some, as was asked then.

        Not of a recalibrated file: images that recalibrated it are never judged unasked, and its list does not tell
        them from the others.
        """
        manifest = self.runtime.manifest
        return self.own and manifest.provenance.config.leaks == "keep" and not manifest.recalibrated

    def learnt(self, split: str) -> bool:
        """Whether this split of its own images was trained on; fold none trains on validation images, too."""
        return self.own and (split == "train" or self.runtime.manifest.provenance.config.fold == "none")


def open_target(
    target: str | Path | None,
    data: str | Path | None,
    *,
    split: str,
    provider: str,
    skip_bad: bool = False,
    key: str | Path | None = None,
    undivided: bool = False,
    **reading: Unpack[Reading],
) -> Target:
    """Open a model and the images it is to be judged on; `undivided`: its own are not divided as in training."""
    from zoo.data import SEEN, parse_seen, reopen_data
    from zoo.edge import Runtime
    from zoo.edge.bundle import open_model
    from zoo.runs import find_run, open_run
    from zoo.workflow._images import images_of, without_bad
    from zoo.workflow._seen import list_seen

    asked = pick_reading(reading)
    if data is None and (idle := sorted(asked.keys() - {"uncertain"})):
        options = [f"--{name.replace('_', '-')}" for name in idle]
        raise UsageError(
            f"{' and '.join(options)} without --data; the images of a run are read as in its training",
            code="option-ignored",
            options=options,
        )
    path = model_file(Path(target) if target is not None else find_run(None))
    contents = open_model(path, keep=(SEEN,), key=None if key is None else Path(key))
    runtime = Runtime.from_contents(path, contents, provider=provider, threads=None)
    run = open_run(path.parent) if is_run(path.parent) else None
    plugin = None
    if run is not None:
        seen, plugin = list_seen(run), load_plugin(run)
    else:
        seen = parse_seen(contents.files[SEEN], str(path)) if SEEN in contents.files else None
    origin = runtime.manifest.provenance
    if data is None:
        if run is None:
            raise UsageError(
                f"{path} does not say where its images are; name them with --data", code="data-unnamed", path=str(path)
            )
        given = images_of(run, None, uncertain=asked.get("uncertain"))
        splits = without_bad(given, run.record.skipped)
    else:
        splits = given = reopen_data(data, origin, skip_bad=skip_bad, undivided=undivided, **asked)
    if skip_bad:
        splits = only_readable(splits, split, runtime)
    own = data is None or (splits.fingerprint.sha256 == origin.data.sha256 and not undivided)
    whole, left = ({"train": one.train, "val": one.val, "test": one.test}[split] for one in (given, splits))
    bad = frozenset(whole.ids).difference(left.ids) if len(left) < len(whole) else frozenset[str]()
    return Target(runtime, plugin, splits, seen, own, run, bad)


def load_plugin(run: RunFolder) -> ModelPlugin | None:
    """The plugin of a run's model; None, and a warning: it cannot be loaded here."""
    from zoo import registry

    try:
        return registry.load(run.record.plugin.name).plugin
    except PluginError as problem:
        log.warning("judged without the model's plugin: %s", problem)
        return None


def look_up(target: Target, split: str) -> Overlap | SeenImages | None:
    """Which images the model has seen; or what is said of all of them; or None: they are its own test images."""
    from zoo.workflow._seen import NOT_KNOWN, UNKNOWN_SITE, find_overlap, find_unknown, name_start

    n, own = len(target.splits.split(split)), target.splits.fingerprint.sha256
    if target.own and split != "test":
        how = "the model was trained on" if target.learnt(split) else "the model's best epoch was chosen by"
        note = f"these are the images that {how}: numbers are optimistic"
        return SeenImages(count=n, of=n, how="judged", note=note)
    # Members of an ensemble may have been trained on other images, or on these split otherwise.
    elsewhere = any(member.data.sha256 != own for member in target.runtime.manifest.members)
    again = target.runtime.manifest.recalibrated  # maybe on some of its own test images
    if target.own and not elsewhere and not again:  # the notes of the data say what its splits share
        origin = target.runtime.manifest.provenance
        if target.seen is None or not len(target.seen.files.get("start", ())):
            unknown = find_unknown(origin.notes)
            return SeenImages(count=None, of=n, how="not known", note=unknown) if unknown else None
        start = name_start(weights=origin.weights is not None, teacher=origin.teacher is not None)
        return find_overlap(target.splits, split, target.seen, "start", start=start)
    if target.seen is None:
        return SeenImages(
            count=None, of=n, how="not known", note=UNKNOWN_SITE if target.own and not elsewhere else NOT_KNOWN
        )
    return dataclasses.replace(find_overlap(target.splits, split, target.seen), recalibrated=again)


def leave_out_seen(target: Target, split: str, *, include: bool) -> tuple[Splits, SeenImages | None]:
    """The images without those that the model has seen, and what is said of these; `include`: with them.

    Raises:
        GateError: it has seen all of them.
    """
    from zoo.workflow._seen import sift

    seen = look_up(target, split)
    if seen is None or isinstance(seen, SeenImages):
        return target.splits, seen
    return sift(target.splits, split, seen, include=include or target.keeps_seen)


def only_readable(splits: Splits, split: str, runtime: Runtime) -> Splits:
    """The images, of this split those alone that can be decoded and lie in range; a note counts the others."""
    from zoo.workflow._images import note_left_out, note_unread, readable

    manifest = runtime.manifest
    images, bad = readable(splits.read_for(manifest.preprocess).split(split), manifest.views)
    if not bad:
        return splits
    if not len(images):
        raise DataError(
            f"{splits.fingerprint.name}: none of {format_count(len(bad), 'image')} is decoded and within the range of "
            f"{manifest.name}; name images that it takes with --data",
            code="images-none-left",
            left_out=len(bad),
        )
    changed: dict[str, Any] = {split: images, "notes": (*splits.notes, note_left_out(len(bad)))}
    return dataclasses.replace(note_unread(splits, split, set(bad)), **changed)
