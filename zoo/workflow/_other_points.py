"""Operating points in the place of a run's own: in a file that is exported, or for one report.

A threshold of error control is of the answers that points give, so it is settled anew with them. Both choose on the
validation images that the run was divided into, as its training did, and leave the run as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from zoo._support.text import format_count
from zoo.errors import UsageError
from zoo.workflow._answered import Answered, answer_images
from zoo.workflow._decide import Asked, settle
from zoo.workflow._find import MODEL_FILE, read_report
from zoo.workflow._images import images_of, without_bad
from zoo.workflow._inputs import select_columns
from zoo.workflow._judge import check_takes, judge
from zoo.workflow._seen import list_seen, sift_start, start_of
from zoo.workflow._unlike import add_novelty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.artefact import Shippable
    from zoo.data import Splits
    from zoo.plugin import ModelPlugin
    from zoo.runs import RunFolder
    from zoo.spec import EvalReport, Manifest
    from zoo.workflow.evaluate import Target

__all__ = ["choose_at_export", "choose_for_report"]


def choose_at_export(
    run: RunFolder, trained: Shippable, plugin: ModelPlugin, splits: Splits, rules: Sequence[str]
) -> tuple[RunFolder, EvalReport | None, Answered]:
    """The run with other operating points, in memory, its report with them, and the answers that they were chosen on.

    The report is None where the run was not judged yet.

    Args:
        run: its record as training left it.
        trained: its model.
        plugin: plugin of the model.
        splits: images of the run; val chooses, test judges what was chosen.
        rules: spellings that `zoo.spec.read_rule` takes.

    Raises:
        UsageError: a rule names a class that there is not, or the model has learnt from all images.
        DataError: the images cannot follow a rule.
    """
    from zoo.edge import Runtime

    _refuse_all(run)
    config, labels, temperature = run.record.card.train, run.record.labels, run.record.temperature
    answered = answer_images(trained, splits.val, config.seed)
    found = settle(answered.logits, splits.val, labels, Asked.of(config, rules), temperature=temperature, strict=True)
    before = run.record.abstention
    abstention = add_novelty(found.abstention, None if before is None else before.novelty)
    run = run.in_memory()
    run.add_notes(found.notes, operating=found.operating, abstention=abstention)
    if read_report(run) is None:
        return run, None, answered
    splits, seen = sift_start(splits, list_seen(run), config.leaks, run.record.notes, start=start_of(run.record))
    runtime = Runtime.open(run.file(MODEL_FILE))
    decided = msgspec.structs.replace(runtime.manifest, operating=found.operating, abstention=abstention)
    return run, judge(plugin, runtime, splits, "test", seen=seen, manifest=decided).report, answered


def choose_for_report(found: Target, rules: Sequence[str], split: str) -> tuple[Manifest, tuple[str, ...]]:
    """What a file would decide by with other points, settled on the validation images of its own run; and notes.

    Args:
        found: the file, and the images that it is to be judged on.
        rules: spellings that `zoo.spec.read_rule` takes.
        split: which of those images.

    Raises:
        UsageError: no run is beside the file, its model has learnt from all images, or the validation images are
            those to be judged.
        DataError: the run's images are gone, or cannot follow a rule.
    """
    from zoo.evaluation import predict_set

    manifest = found.runtime.manifest
    if found.run is None:
        raise UsageError(
            f"--operating: {manifest.name} is a file without its run, whose validation images alone choose an "
            "operating point; choose it at export with 'zoo export RUN --onnx --operating RULE'",
            code="operating-without-run",
            model=manifest.name,
        )
    if split == "val":
        raise UsageError(
            "--operating chooses on the validation images, and --split val judges them; judge other images",
            code="option-conflict",
            options=["--operating", "--split val"],
        )
    _refuse_all(found.run)
    own = found.splits if found.own else without_bad(images_of(found.run, None), found.run.record.skipped)
    images, _ = select_columns(check_takes(manifest, own).val, manifest.table)
    asked = Asked.of(found.run.record.card.train, rules)
    logits = predict_set(found.runtime.logits, images)
    settled = settle(logits, images, manifest.labels, asked, temperature=manifest.temperature, strict=True)
    abstention = add_novelty(settled.abstention, manifest.novelty)
    note = (
        f"operating points, and what is withheld beside them, were settled for this report on "
        f"{format_count(len(images), 'validation image')}; the file keeps its own"
    )
    decided = msgspec.structs.replace(manifest, operating=settled.operating, abstention=abstention)
    return decided, (*settled.notes, note)


def _refuse_all(run: RunFolder) -> None:
    """Refuse a model that was trained on its validation images too."""
    if run.record.card.train.fold == "none":
        raise UsageError(
            f"--operating: {run.record.id} has learnt from all images, and none is left to choose an operating point "
            "on; leave it out, or name the model of one fold",
            code="operating-without-run",
            model=run.record.card.name,
        )
