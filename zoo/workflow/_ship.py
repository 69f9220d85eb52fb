"""From what a plugin has trained to the run's proven file; what no test image has a say in.

`zoo train` judges the file afterwards. A search stops here, and judges one file of many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.workflow._find import MODEL_FILE

if TYPE_CHECKING:
    import onnx

    from zoo.artefact import Shippable
    from zoo.data import Splits
    from zoo.spec import Manifest
    from zoo.workflow._begin import Job
    from zoo.workflow._folds import Expected

__all__ = ["Shipped", "ship"]


@dataclass(frozen=True, slots=True, eq=False)
class Shipped:
    """A model file that is proven, before the test images are looked at.

    Attributes:
        model: its graph.
        manifest: what it says of itself.
        splits: images that can be read.
        expected: what is known of it without test images; None: those are to be asked.
    """

    model: onnx.ModelProto
    manifest: Manifest
    splits: Splits
    expected: Expected | None


def ship(trained: Shippable, job: Job) -> Shipped:
    """Calibrate on validation, export through the gate, write both down; the run is "trained" then."""
    from zoo.data import TRAINED_ON, leave_out_unread
    from zoo.runs import STATE, hash_learnt
    from zoo.workflow import _prove
    from zoo.workflow._calibrate import calibrate
    from zoo.workflow._folds import expect
    from zoo.workflow._images import readable, without_bad
    from zoo.workflow._unlike import keep_space

    run = job.run
    skipped = run.record.skipped
    if job.context.skip_bad:  # training has met the bad images of train and val
        bad = readable(job.data.test, [run.record.card.preprocess])[1]
        skipped = tuple(dict.fromkeys((*skipped, *bad)))
    splits = without_bad(job.data, skipped)
    expected = expect(run)
    settled = calibrate(trained, run.record, splits, expected)
    keep_space(run, settled.trained)
    run.add_notes(
        (*settled.notes, *splits.notes),
        **settled.changes,
        status="trained",
        skipped=skipped,
        data=splits.fingerprint,
        learnt=hash_learnt(run),
    )
    run.file(STATE).unlink(missing_ok=True)  # only now: until here, it is what a stopped run is continued from
    if job.context.skip_bad:
        leave_out_unread(run.file(TRAINED_ON), splits)
    model, manifest = _prove.build(run, settled.trained, splits, refer=settled.answered)
    _prove.save_model(run.file(MODEL_FILE), model)
    return Shipped(model, manifest, splits, expected)
